"""What matches mean and what follows from it: pure functions over values.

`judge` applies the lists' rules to index candidates, `decide` says what the machine concludes, `effects` what
that conclusion does in this mode and origin, `spent_budget` when consequences (never protection) stop. No
clock, no store, no logging. Two-person rules are not here: they bind people, and live in `review`.
"""

from coverguard.policy.budgets import Budgets, BudgetUse, firm, is_capped, spent_budget
from coverguard.policy.deciding import decide
from coverguard.policy.effects import BLOCKED_ON_REFER, Effects, effects
from coverguard.policy.freshness import stale, withholds
from coverguard.policy.judging import EntryFacts, Suppressions, judge
from coverguard.policy.rules import (
    HOLD_RADIUS,
    PERCENT,
    QUALITY_FLOOR,
    REVIEW_QUALITY,
    REVIEW_RADIUS,
    WIDE_ENTRIES,
    LabelRule,
    ListRule,
    Reach,
    own_rule,
    reach,
    require_searchable,
)
from coverguard.policy.stops import Stops

__all__ = [
    "BLOCKED_ON_REFER",
    "HOLD_RADIUS",
    "PERCENT",
    "QUALITY_FLOOR",
    "REVIEW_QUALITY",
    "REVIEW_RADIUS",
    "WIDE_ENTRIES",
    "BudgetUse",
    "Budgets",
    "Effects",
    "EntryFacts",
    "LabelRule",
    "ListRule",
    "Reach",
    "Stops",
    "Suppressions",
    "decide",
    "effects",
    "firm",
    "is_capped",
    "judge",
    "own_rule",
    "reach",
    "require_searchable",
    "spent_budget",
    "stale",
    "withholds",
]
