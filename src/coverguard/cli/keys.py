"""Commands about keys of the platform's interface: add, list, rotate, revoke. A key is printed once."""

from __future__ import annotations

import argparse
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Final

from coverguard import bootstrap
from coverguard.access import Verb, require
from coverguard.cli.output import Commands, add_json, document, moment, person, say, table
from coverguard.errors import ConfigurationError
from coverguard.local.keys import raw_public_key
from coverguard.model import Micros, later
from coverguard.settings import home_of
from coverguard.store import api_keys, audit
from coverguard.telemetry import Log
from coverguard.web.platform.keyring import written

LONGEST: Final = 730  # days
MAX_NAME: Final = 100


def add_commands(verbs: Commands) -> None:
    keys = verbs.add_parser("keys", help="keys of the platform's interface (role: operator)")
    acts = keys.add_subparsers(title="acts", metavar="ACT", required=True)
    command = acts.add_parser("add", help="make a key; it is printed once and stored nowhere")
    command.add_argument("name", help="whose it is")
    command.add_argument("--role", required=True, choices=sorted(one.value for one in api_keys.ROLES))
    command.add_argument(
        "--days", type=_days, default=365, help="how long it is good for (default: %(default)s)"
    )
    command.add_argument(
        "--public-key", type=Path, metavar="PEM", help="Ed25519, of a hotline that signs its demands"
    )
    command.set_defaults(run=_add)
    command = acts.add_parser("list", help="every key there ever was, without what opens anything")
    add_json(command)
    command.set_defaults(run=_list)
    command = acts.add_parser("rotate", help="make another key of the same name; the old one ends soon")
    command.add_argument("key", help="reference of the old one")
    command.add_argument("--days", type=_days, default=365, help="of the new one (default: %(default)s)")
    command.add_argument(
        "--overlap", type=int, default=7, help="days the old one goes on (default: %(default)s)"
    )
    command.set_defaults(run=_rotate)
    command = acts.add_parser("revoke", help="end a key at once")
    command.add_argument("key", help="its reference")
    command.set_defaults(run=_revoke)


def _add(options: argparse.Namespace) -> int:
    if not options.name.strip() or len(options.name) > MAX_NAME or not options.name.isprintable():
        raise ConfigurationError(f"a key's name has 1 to {MAX_NAME} printable characters")
    public_key = _read(options.public_key) if options.public_key else None
    with bootstrap.deployment(home_of(options.home), log=Log(stream=None)) as parts:
        actor = person(parts.settings)
        require(actor, Verb.MANAGE_KEYS)
        now, secret = parts.clock.now(), secrets.token_bytes(api_keys.SECRET_BYTES)
        role = api_keys.role_of(options.role)
        with parts.database.transaction() as tx:
            ref = api_keys.add(
                tx, name=options.name, role=role, secret=secret, public_key=public_key,
                created_by=actor.name, now=now, expires_at=_in(now, options.days),
            )  # fmt: skip
            facts = {"role": role.value, "days": options.days, "signs": public_key is not None}
            audit.write(
                tx, now=now, verb="add key", subject=ref, actor=actor.name, role=actor.role, facts=facts
            )
    _hand_out(ref, secret)
    return 0


def _rotate(options: argparse.Namespace) -> int:
    with bootstrap.deployment(home_of(options.home), log=Log(stream=None)) as parts:
        actor = person(parts.settings)
        require(actor, Verb.MANAGE_KEYS)
        now, secret = parts.clock.now(), secrets.token_bytes(api_keys.SECRET_BYTES)
        with parts.database.transaction() as tx:
            ref = api_keys.replace(
                tx, options.key, secret=secret, created_by=actor.name, now=now,
                expires_at=_in(now, options.days), until=_in(now, max(0, options.overlap)),
            )  # fmt: skip
            facts = {"replaces": options.key, "overlap_days": max(0, options.overlap)}
            audit.write(
                tx, now=now, verb="rotate key", subject=ref, actor=actor.name, role=actor.role, facts=facts
            )
    _hand_out(ref, secret)
    return 0


def _revoke(options: argparse.Namespace) -> int:
    with bootstrap.deployment(home_of(options.home), log=Log(stream=None)) as parts:
        actor = person(parts.settings)
        require(actor, Verb.MANAGE_KEYS)
        with parts.database.transaction() as tx:
            now = parts.clock.now()
            if ended := api_keys.revoke(tx, options.key, now=now):
                audit.write(
                    tx, now=now, verb="revoke key", subject=options.key, actor=actor.name, role=actor.role
                )
    say("it lets nobody in any more" if ended else "it let nobody in before")
    return 0


def _list(options: argparse.Namespace) -> int:
    with bootstrap.deployment(home_of(options.home), log=Log(stream=None)) as parts:
        require(person(parts.settings), Verb.MANAGE_KEYS)
        now = parts.clock.now()
        with parts.database.reading() as tx:
            found = api_keys.listing(tx)
    rows = [
        {
            "key": row.ref,
            "name": row.name,
            "role": row.role,
            "signs": "yes" if row.public_key is not None else "no",
            "made by": row.created_by,
            "made": moment(row.created_at),
            "ends": moment(row.expires_at),
            "state": "revoked" if row.revoked_at else "ended" if row.expires_at <= now else "live",
        }
        for row in found
    ]
    document(rows) if options.json else table(rows, empty="no keys")
    return 0


def _hand_out(ref: str, secret: bytes) -> None:
    say(f"{ref}: give this to its owner by a safe way; it is shown only now")
    say(written(ref, secret))


def _read(path: Path) -> bytes:
    try:
        return raw_public_key(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"the public key cannot be read: {type(error).__name__}") from error


def _in(now: Micros, days: int) -> Micros:
    return later(now, timedelta(days=days))


def _days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= LONGEST:
        raise argparse.ArgumentTypeError(f"must be 1 to {LONGEST}")
    return int(text)
