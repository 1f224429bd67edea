"""Commands that look at pictures: fingerprint, match, explain. Nothing is uploaded, stored or blocked.

`match` and `explain` read lists: they take the role list_reader and every use is audited. They show which
list and how near, never a digest of a list.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from coverguard import bootstrap
from coverguard.access import Verb, require
from coverguard.bootstrap import Deployment
from coverguard.cli.comparing import explain_pair
from coverguard.cli.output import Commands, add_json, document, moment, person, say, table
from coverguard.errors import BadMessage, ContentRejected, NotFound
from coverguard.imaging.sandbox import Sandbox
from coverguard.model import Actor, Fingerprint, Match, Micros
from coverguard.policy import decide
from coverguard.screening import Knowledge
from coverguard.settings import home_of
from coverguard.store import audit, covers, lists, screenings
from coverguard.telemetry import Log


def add_commands(verbs: Commands) -> None:
    command = verbs.add_parser("fingerprint", help="hash pictures as a worker would: PDQ, pHash 256, digests")
    command.add_argument("files", nargs="+", type=Path, metavar="FILE")
    command.add_argument(
        "--explain", type=Path, metavar="OTHER",
        help="draw how FILE and OTHER were compared, view by view; decodes them outside of the sandbox",
    )  # fmt: skip
    command.add_argument(
        "--output", type=Path, metavar="PNG", help="where to draw it (default: beside FILE, .explained.png)"
    )
    add_json(command)
    command.set_defaults(run=_fingerprint)
    command = verbs.add_parser(
        "match", help="say what the lists say of pictures (role: list_reader, audited)"
    )
    command.add_argument("files", nargs="+", type=Path, metavar="FILE")
    add_json(command)
    command.set_defaults(run=_match)
    command = verbs.add_parser(
        "explain", help="why a cover version got its answer (role: list_reader, audited)"
    )
    command.add_argument("cover", help="the reference, such as cover-0123456789abcdef")
    add_json(command)
    command.set_defaults(run=_explain)


def _made(path: Path, look: Callable[[bytes], Fingerprint]) -> Fingerprint | str:
    try:
        return look(path.read_bytes())
    except OSError as error:
        raise BadMessage(f"{path} cannot be read: {type(error).__name__}") from error
    except ContentRejected as error:
        return error.reason.value


def _fingerprint(options: argparse.Namespace) -> int:
    if options.explain is not None:
        return explain_pair(options.files, options.explain, output=options.output, as_json=options.json)
    if options.output is not None:
        raise BadMessage("--output says where to draw, and only --explain OTHER draws")
    with Sandbox() as sandbox:
        described = [_described(path, _made(path, sandbox.fingerprint)) for path in options.files]
    if options.json:
        document(described)
    else:
        for one in described:
            _show_fingerprint(one)
    return 1 if any("rejected" in one for one in described) else 0


def _described(path: Path, made: Fingerprint | str) -> dict[str, Any]:
    if isinstance(made, str):
        return {"file": str(path), "rejected": made}
    return {
        "file": str(path),
        "format": made.format,
        "width": made.width,
        "height": made.height,
        "version": made.version,
        "digests": {name: digest.hex() for name, digest in made.digests.items()},
        "views": [
            {
                "name": v.name,
                "quality": v.quality,
                "low_diversity": v.low_diversity,
                **{name: d.hex() for name, d in v.signals.items()},
            }
            for v in made.views
        ],
    }


def _show_fingerprint(one: dict[str, Any]) -> None:
    if "rejected" in one:
        say(f"{one['file']}: not screened: {one['rejected']}")
        return
    say(f"{one['file']}: {one['format']} {one['width']} × {one['height']}")
    for name, digest in one["digests"].items():
        say(f"  {name:9} {digest}")
    for view in one["views"]:
        low = ", low diversity" if view["low_diversity"] else ""
        say(f"  view {view['name']}, quality {view['quality']}{low}")
        say(f"  {'pdq':9} {view['pdq']}")
        say(f"  {'phash256':9} {view['phash256']}")


def _reader(parts: Deployment, verb: str, subject: str) -> Actor:
    actor = person(parts.settings)
    require(actor, Verb.READ_LISTS)
    with parts.database.transaction() as tx:
        audit.write(tx, now=parts.clock.now(), verb=verb, subject=subject, actor=actor.name, role=actor.role)
    return actor


def _match(options: argparse.Namespace) -> int:
    with bootstrap.deployment(home_of(options.home), log=Log(stream=None)) as parts:
        _reader(parts, "match files", "lists")
        known = parts.knowledge().current()
        with parts.database.reading() as tx:
            names = {row.list_id: row.name for row in lists.counts(tx)}
        now = parts.clock.now()
        results = [
            _matched(path, _made(path, parts.fingerprint), known, names, now=now) for path in options.files
        ]
    if options.json:
        document(results)
        return 0
    for one in results:
        say(f"{one['file']}: {one['decision']}")
        table(one["matches"], empty="  no match")
    return 0


def _matched(
    path: Path, made: Fingerprint | str, known: Knowledge, names: dict[int, str], *, now: Micros
) -> dict[str, Any]:
    if isinstance(made, str):
        return {"file": str(path), "decision": f"not_screened: {made}", "matches": []}
    matches = known.matches(made, now=now)
    decision = type(decide(matches, made)).__name__.lower()
    return {"file": str(path), "decision": decision, "matches": [_row(m, names) for m in matches]}


def _row(match: Match, names: dict[int, str]) -> dict[str, Any]:
    return {
        "list": names.get(match.list_id, "?"),
        "category": match.category.value,
        "algorithm": match.algorithm.value,
        "view": match.view,
        "orientation": match.orientation,
        "negative": "yes" if match.complement else "no",
        "distance": match.distance,
        "quality": match.quality,
        "tier": match.tier.value,
        "may": match.action.value,
        "suppressed": "yes" if match.suppressed else "no",
    }


def _explain(options: argparse.Namespace) -> int:
    with bootstrap.deployment(home_of(options.home), log=Log(stream=None)) as parts:
        _reader(parts, "explain", options.cover if options.cover.startswith("cover-") else "cover")
        with parts.database.reading() as tx:
            cover = covers.by_ref(tx, options.cover)
            if cover is None:
                raise NotFound("no cover version has that reference")
            names = {row.list_id: row.name for row in lists.counts(tx)}
            answers = screenings.of_cover(tx, cover.id)
            found = screenings.matches_of_cover(tx, cover.id)
    told = [
        {
            "origin": row.origin,
            "decision": row.decision,
            "reason": row.reason or "-",
            "detail": row.detail or "-",
            "judged at": row.judged_seq if row.judged_seq is not None else "-",
            "decided": moment(row.decided_at),
            "settled": moment(row.settled_at),
            "attempts": row.attempts,
        }
        for row in answers
    ]
    matches = [
        {
            "list": names.get(row.list_id, "?"),
            "rule": row.rule_version,
            "category": row.category,
            "algorithm": row.algorithm,
            "view": row.view,
            "orientation": row.orientation,
            "negative": "yes" if row.complement else "no",
            "distance": row.distance,
            "tier": row.tier,
            "may": row.action,
            "suppressed": "yes" if row.suppressed else "no",
        }
        for row in found
    ]
    if options.json:
        document({"cover": cover.ref, "mode": cover.mode, "answers": told, "matches": matches})
        return 0
    say(f"{cover.ref}: {cover.surface}, {cover.mode} mode, announced {moment(cover.announced_at)}")
    table(told, empty="no answer yet")
    table(matches, empty="no match")
    return 0
