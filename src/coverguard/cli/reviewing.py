"""Commands for moderators on a machine without the console: cases and verdict.

Verdicts by command line are off unless the settings allow them (`verdict_on_cli = true`), and are recorded
with channel `cli` and the operating-system user, who must have the role.
"""

from __future__ import annotations

import argparse
from typing import Any, Final

from coverguard import bootstrap
from coverguard.access import Verb, require
from coverguard.bootstrap import Deployment
from coverguard.cli.output import Commands, add_json, document, moment, person, say, table
from coverguard.errors import Refused
from coverguard.model import Basis, Category
from coverguard.review import Opinion
from coverguard.settings import home_of
from coverguard.store import Connection, Row, audit, budgets, cases, covers, grounds, quarantines
from coverguard.telemetry import Log

ACTS: Final = {
    "claim": "take an item for half an hour",
    "confirm": "it is what the match says: remove it, keep the evidence",
    "clear": "it is not: release it (a known hash takes two people)",
    "unsure": "give it back for somebody else",
    "reopen": "put a decided item before people again (role: senior_moderator)",
    "agree": "second person: near copies of this confirmed removal may hold",
}
SHOWN_OTHERS: Final = 20


def add_commands(verbs: Commands) -> None:
    command = verbs.add_parser("cases", help="what waits for a person, or one case (role: moderator)")
    command.add_argument("case", nargs="?", help="a case's reference")
    command.add_argument("--closed", action="store_true", help="closed cases instead of open ones")
    command.add_argument(
        "--batches", action="store_true",
        help="what came after a budget was spent: many covers, and probably one reason",
    )  # fmt: skip
    add_json(command)
    command.set_defaults(run=_cases)
    verdict = verbs.add_parser("verdict", help="decide an item (off unless the settings allow it)")
    acts = verdict.add_subparsers(title="acts", metavar="ACT", required=True)
    for name, meaning in ACTS.items():
        command = acts.add_parser(name, help=meaning)
        command.add_argument("item", help="an item's reference")
        if name != "claim":
            command.add_argument("--reason", required=True, help="why, in your words; kept sealed")
            command.add_argument("--basis", type=Basis, choices=list(Basis), required=True)
        if name in ("confirm", "agree"):
            command.add_argument(
                "--category", type=Category, choices=list(Category), required=name == "confirm"
            )
        command.set_defaults(run=_verdict, act=name, category=None)


def _cases(options: argparse.Namespace) -> int:
    with bootstrap.deployment(home_of(options.home), log=Log(stream=None)) as parts:
        actor = person(parts.settings)
        require(actor, Verb.READ_CASES)
        with parts.database.transaction() as tx:
            subject = options.case or "cases"
            audit.write(
                tx,
                now=parts.clock.now(),
                verb="read",
                subject=subject[:80],
                actor=actor.name,
                role=actor.role,
            )
        with parts.database.reading() as tx:
            if options.case:
                return _show_case(tx, options)
            if options.batches:
                rows, empty = [_batch(row) for row in budgets.batches(tx)], "no batch waits"
            else:
                rows = [_summary(row) for row in cases.cases(tx, closed=options.closed)]
                empty = "no case waits" if not options.closed else "no closed case"
    if options.json:
        document(rows)
    else:
        table(rows, empty=empty)
    return 0


def _batch(row: Row[Any]) -> dict[str, object]:
    return {
        "batch": row.ref,
        "of": row.scope,
        "opened": moment(row.opened_at),
        "items": row.items,
        "waiting": row.waiting,
        "uploaders": row.uploaders,
    }


def _summary(row: Row[Any]) -> dict[str, object]:
    return {
        "case": row.ref,
        "account": row.platform_id,
        "category": row.category,
        "items": row.items,
        "waiting": row.waiting,
        "opened": moment(row.opened_at),
        "closed": moment(row.closed_at),
    }


def _show_case(tx: Connection, options: argparse.Namespace) -> int:
    file = cases.case_by_ref(tx, options.case)
    found = cases.items(tx, file.id)
    lost = grounds.lost_by(tx, [row.id for row in found])
    batches = budgets.refs(tx, [row.batch_id for row in found if row.batch_id])
    items = [
        {
            **_item(tx, row),
            "batch": batches.get(row.batch_id, "-"),
            "withdrawn entries": ", ".join(map(str, lost.get(row.id, ()))) or "-",
        }
        for row in found
    ]
    inside = [row.cover_version_id for row in found]
    others = covers.others_of_uploader(tx, file.account_id, besides=inside)
    shown = {
        "case": file.ref,
        "account": covers.platform_account(tx, file.account_id),
        "category": file.category,
        "opened": moment(file.opened_at),
        "closed": moment(file.closed_at),
        "items": items,
        "parties": [{"account": row.platform_id, "role": row.role} for row in cases.parties(tx, file.id)],
        "linked": [
            {"account": row.platform_id, "shared playlists": row.playlists}
            for row in cases.linked_accounts(tx, file.id)
        ],
        "same network": cases.case_group(tx, file.id),
        "other covers": [
            {"cover": row.ref, "surface": row.surface, "announced": moment(row.announced_at)}
            for row in others
        ],
    }
    if options.json:
        document(shown)
    else:
        _print_case(shown)
    return 0


def _item(tx: Connection, row: Row[Any]) -> dict[str, object]:
    held = quarantines.of_cover(tx, row.cover_version_id)
    given = cases.verdicts(tx, row.id)
    return {
        "item": row.ref,
        "cover": row.cover_ref,
        "surface": row.surface,
        "state": row.state,
        "claimed by": row.claimed_by or "-",
        "two people": "yes" if row.two_people else "no",
        "held": ", ".join(sorted({f"{one.level} {one.state}" for one in held})) or "no",
        "verdicts": ", ".join(f"{one.kind} {one.outcome} by {one.actor}" for one in given) or "-",
    }


def _print_case(shown: dict[str, Any]) -> None:
    say(f"{shown['case']}: account {shown['account']}, {shown['category']}, opened {shown['opened']}")
    for name, empty in (
        ("items", "no items"),
        ("parties", "no parties"),
        ("linked", "nobody shares a playlist with these covers"),
    ):
        say(f"\n{name}:")
        table(shown[name], empty=f"  {empty}")
    others = shown["other covers"]
    say(f"\nother covers of the uploader: {len(others)}")
    table(others[:SHOWN_OTHERS], empty="  none")
    say(f"\ncases that match the same entries: {', '.join(shown['same network']) or 'none'}")


def _verdict(options: argparse.Namespace) -> int:
    with bootstrap.deployment(home_of(options.home), log=Log(stream=None)) as parts:
        if not parts.settings.verdict_on_cli:
            raise Refused("verdicts by command line are off; set verdict_on_cli = true in coverguard.toml")
        say(_given(parts, options))
    return 0


def _given(parts: Deployment, options: argparse.Namespace) -> str:
    actor = person(parts.settings)
    review = parts.review()
    if options.act == "claim":
        item = review.claim(options.item, actor=actor)
        return f"{item.ref} is yours until {moment(item.lease_until)}"
    opinion = Opinion(category=options.category, reason=options.reason, basis=options.basis)
    verb = review.agree_to_hold if options.act == "agree" else getattr(review, options.act)
    verdict = verb(options.item, actor=actor, opinion=opinion)
    if verdict.kind == "proposal":
        return f"{verdict.ref}: proposed; a second person has to claim and clear it, too"
    return f"{verdict.ref}: {verdict.outcome} recorded for {options.item}"
