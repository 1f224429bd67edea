"""From matches to the machine's decision."""

from __future__ import annotations

from collections.abc import Sequence

from coverguard.model import (
    Algorithm,
    Decision,
    Fingerprint,
    Hold,
    ListAction,
    Match,
    Opinion,
    Pass,
    Refer,
    ReferReason,
    Tier,
)
from coverguard.policy.rules import QUALITY_FLOOR


def decide(matches: Sequence[Match], fingerprint: Fingerprint) -> Decision:
    """Say what the matches call for. One match that may hold is enough; shadow matches call for nothing."""
    live = tuple(match for match in matches if match.action is not ListAction.SHADOW)
    if any(match.action is ListAction.HOLD for match in live):
        return Hold(matches=live)
    if live:
        return Refer(reason=_why(live), matches=live)
    return Pass(low_information=all(view.quality < QUALITY_FLOOR for view in fingerprint.views))


def _why(live: Sequence[Match]) -> ReferReason:
    if all(match.algorithm == Algorithm.PHASH256 for match in live):
        return ReferReason.SECOND_OPINION_ONLY
    if all(match.opinion is Opinion.SEED for match in live):
        return ReferReason.SEED_ONLY
    if all(match.opinion is Opinion.DISPUTED for match in live):
        return ReferReason.DISPUTED
    if any(match.low_diversity for match in live):
        return ReferReason.LOW_DIVERSITY
    if all(match.tier is Tier.REVIEW for match in live):
        return ReferReason.REVIEW_TIER_ONLY
    return ReferReason.LIST_REFERS
