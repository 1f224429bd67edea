"""The options that say what a list's rule is, and a rule changed by them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from coverguard.bootstrap import Deployment
from coverguard.cli.list_life import span
from coverguard.errors import ConfigurationError
from coverguard.model import Category, ListAction
from coverguard.policy import LabelRule, ListRule

PLAIN: Final = (
    "known", "category", "pdq_radius", "phash256_radius", "complement", "quality_floor", "hold_budget",
    "review_share", "entry_accounts", "max_age", "withhold_stale",
)  # fmt: skip
GATHERED: Final = ("radii", "floors", "labels")
NUMBERS: Final = ("radii", "floors")


def add_rule_options(command: argparse.ArgumentParser, *, required: tuple[str, ...]) -> None:
    """Add them all; what is not given stays as it is."""
    add = command.add_argument
    yes_or_no = argparse.BooleanOptionalAction
    add("--category", type=Category, choices=list(Category), required="category" in required)
    add(
        "--pdq-radius", type=int,
        help="bits of 256 (default 31; -1 switches PDQ off); beyond 31 only for small lists, and only refers",
    )  # fmt: skip
    add("--phash256-radius", type=int, help="bits of 256 (default -1, off); only ever refers")
    add(
        "--radius", dest="radii", action=_Pairs, metavar="ALGORITHM=NUMBER",
        help="how far a plug-in's algorithm matches, in its own measure (default off; may be given again)",
    )  # fmt: skip
    add(
        "--complement", action=yes_or_no, default=None,
        help="look pictures up as negatives, too (default yes); only ever refers",
    )  # fmt: skip
    add("--quality-floor", type=int, help="no near match below this PDQ quality (default 50)")
    add(
        "--floor", dest="floors", action=_Pairs, metavar="ALGORITHM=NUMBER",
        help="the same for one algorithm, where it is another (may be given again)",
    )  # fmt: skip
    add(
        "--label", dest="labels", action=_Pairs, metavar="WORD=CATEGORY:ACTION",
        help="what the source's own word means here, and the most that entries of it may do, such as "
        "A1=child_abuse:hold (may be given again). Once any is given, entries with other words only refer",
    )  # fmt: skip
    add(
        "--known", action=yes_or_no, default=None,
        help="entries are verified by experts: clearing a match takes two people (default yes)",
    )  # fmt: skip
    add(
        "--review-share", type=int, metavar="PERCENT",
        help="of exact matches with entries confirmed before, how many a person sees (default 100)",
    )  # fmt: skip
    add("--hold-budget", type=int, help="near-match holds an hour before consequences stop")
    add(
        "--entry-accounts", type=int, metavar="NUMBER",
        help="uploaders an hour whom one entry may meet by looks before consequences stop (default 20)",
    )  # fmt: skip
    add(
        "--max-age",
        type=span,
        metavar="TIME",
        help="such as 36h: older than that the list is stale, and rings",
    )
    add(
        "--withhold-stale", action=yes_or_no, default=None,
        help="let nothing pass while it is stale (default no: it rings)",
    )  # fmt: skip


class _Pairs(argparse.Action):
    """Gathers `word=value` pairs."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object,
                 option_string: str | None = None) -> None:  # fmt: skip
        word, _, said = str(values).rpartition("=")
        try:
            value = int(said) if self.dest in NUMBERS else _meaning(said)
        except ValueError:
            parser.error(f"{option_string}: must be {self.metavar}")
        if not word:
            parser.error(f"{option_string}: must be {self.metavar}")
        gathered = getattr(namespace, self.dest) or {}
        setattr(namespace, self.dest, gathered | {word: value})


def _meaning(said: str) -> LabelRule:
    category, _, action = said.partition(":")
    return LabelRule(category=Category(category), action=ListAction(action))


def changed(rule: ListRule, options: argparse.Namespace, parts: Deployment) -> ListRule:
    """Return the rule with what the options say.

    Raises:
        ConfigurationError: no plug-in brings an algorithm that is named.
    """
    chosen: dict[str, Any] = {name: value for name in PLAIN if (value := getattr(options, name)) is not None}
    for name in GATHERED:
        if (pairs := getattr(options, name)) is not None:
            chosen[name] = {**getattr(rule, name), **pairs}
    _require_plugged_in(options.radii or {}, parts)
    _require_known(options.floors or {}, parts)
    try:
        return replace(rule, **chosen)
    except ValueError as error:
        raise SystemExit(f"coverguard: {error}") from error


def _require_plugged_in(radii: Mapping[str, int], parts: Deployment) -> None:
    for name, radius in radii.items():
        known = parts.signal_types.get(name)
        if known is None:
            raise ConfigurationError(
                f"--radius: no plug-in brings {name}; see signal_plugins in the settings"
            )
        if radius > known.algorithm.max_radius:
            raise SystemExit(f"coverguard: --radius {name} must be -1 (off) to {known.algorithm.max_radius}")


def _require_known(floors: Mapping[str, int], parts: Deployment) -> None:
    known = parts.signal_types.algorithms
    for name in floors:
        if name not in known or not known[name].perceptual:
            raise SystemExit(f"coverguard: --floor: {name} is no algorithm that looks")
