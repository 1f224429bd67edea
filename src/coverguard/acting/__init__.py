"""The ensure verbs: block, hold, release, verify gone. Whatever use case asks, acts are done here and once.

An act starts from a quarantine row that a transaction has written before, asks the store for an idempotent
verb, and settles the row in another transaction. Any step may happen twice, by anybody, and ends the same.
"""

from coverguard.acting.enforcer import Enforcer
from coverguard.acting.places import Places

__all__ = ["Enforcer", "Places"]
