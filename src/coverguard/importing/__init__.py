"""Whole hash lists into the ledger, from a file or a bucket: upserts and withdrawals that resume exactly."""

from coverguard.importing.counting import ImportReport
from coverguard.importing.importer import Importer
from coverguard.importing.reading import BATCH
from coverguard.importing.sources import Buckets

__all__ = ["BATCH", "Buckets", "ImportReport", "Importer"]
