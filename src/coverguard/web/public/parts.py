"""The parts of the public process, and what its JSON routes and its pages have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from fastapi import Request
from starlette.responses import JSONResponse

from coverguard import receipts
from coverguard.correspondence import ReportDetails
from coverguard.model import Category
from coverguard.ports import SignatureCheck
from coverguard.telemetry import Log
from coverguard.web.answers import TooMany
from coverguard.web.bodies import Verified
from coverguard.web.desk import Caller, Desk, Receipted
from coverguard.web.networks import Buckets, Networks


@dataclass(frozen=True, slots=True, kw_only=True)
class Public:
    """The parts of the process."""

    desk: Desk
    networks: Networks
    reports: Buckets
    reads: Buckets
    signatures: SignatureCheck
    public_keys: Mapping[str, bytes]
    platform: str  # how the pages call the platform
    log: Log

    def file(self, request: Request, told: ReportDetails) -> Receipted:
        """Take a report in.

        Raises:
            TooMany: over the limit of one network, and not about a child.
            TransientError: the queue did not take it.
        """
        network = self.networks.digest(request)
        wait = self.reports.take(network, now=self.desk.clock.now())
        if wait and told.category is not Category.CHILD_ABUSE:
            raise TooMany(int(wait.total_seconds()))
        return self.desk.file(told, caller=Caller(network=network))

    def require_patience(self, request: Request) -> None:
        """Count one look at a thread.

        Raises:
            TooMany: over the limit of one network.
        """
        wait = self.reads.take(self.networks.digest(request), now=self.desk.clock.now())
        if wait > timedelta():
            raise TooMany(int(wait.total_seconds()))


def verified(text: str, signatures: SignatureCheck) -> Verified:
    """What a receipt's file is; schema and reference only of one that is as we signed it."""
    envelope = receipts.read(text)
    verdict = receipts.checked(envelope, signatures)
    if verdict is not receipts.Verdict.VALID or not isinstance(envelope, dict):
        return Verified(verdict=verdict)
    document = envelope["document"]
    reference = document.get("reference")
    return Verified(
        verdict=verdict,
        kind=document["schema"],
        reference=reference if isinstance(reference, str) else None,
    )


def download(document: Mapping[str, Any], name: str) -> JSONResponse:
    """A document to be kept as a file."""
    return JSONResponse(document, headers={"Content-Disposition": f'attachment; filename="{name}"'})
