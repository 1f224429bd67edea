"""The web's side of reports, without HTTP: it seals, sends, and reads mail by the token alone."""

from __future__ import annotations

import hashlib
import itertools
import secrets
from dataclasses import dataclass, field

from coverguard.correspondence import (
    Mail,
    NamedCover,
    ReportAddition,
    ReportDetails,
    added_context,
    filed_context,
    mail_context,
    sealed_text,
    to_seal,
    unsealed,
)
from coverguard.local.boxes import Mailbox, StaffBox, seal
from coverguard.messages import ReportAdded, ReportFiled, dump, from_micros, parse
from coverguard.model import Category, ReporterKind
from coverguard.ports import Delivery
from coverguard.store import threads
from coverguard.store.rows import new_ref

NETWORKS = itertools.count()


def network(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


@dataclass
class Receipt:
    reference: str
    token: bytes
    body: str = field(repr=False)
    outcome: object = None

    @property
    def mailbox(self) -> Mailbox:
        return Mailbox.of(self.token)


class Desk:
    """Reports into a world."""

    def __init__(self, world) -> None:
        self.world = world
        self.staff = StaffBox.open_or_create(world.settings.home / "keys")

    def details(self, *covers, playlists=(), accounts=(), category=Category.CHILD_ABUSE, **other):
        named = [
            NamedCover(id=one.cover_id, surface=one.surface) if hasattr(one, "cover_id") else one
            for one in covers
        ]
        return ReportDetails(
            category=category, covers=named, playlist_ids=list(playlists), account_ids=list(accounts), **other
        )

    def file(self, *covers, source=ReporterKind.ANONYMOUS, api_key=None, removal=False, net="home", **told):
        """Send a report and let it be handled; return what its reporter holds."""
        made = self.sent(*covers, source=source, api_key=api_key, removal=removal, net=net, **told)
        made.outcome = self.deliver(made.body)
        return made

    def sent(self, *covers, source=ReporterKind.ANONYMOUS, api_key=None, removal=False, net="home", **told):
        reference, token = f"report-{secrets.token_hex(8)}", secrets.token_bytes(32)
        plain = to_seal(self.details(*covers, **told))
        event = ReportFiled(
            event_id=reference,
            occurred_at=from_micros(self.world.clock.now()),
            reference=reference,
            source=source,
            api_key=api_key,
            removal=removal,
            mailbox=Mailbox.of(token).public_key.hex(),
            network=network(net) if net else None,
            details=sealed_text(seal(self.staff.public_key, plain, context=filed_context(reference))),
        )
        return Receipt(reference=reference, token=token, body=dump(event))

    def deliver(self, body: str):
        """Hand a message to the reports' use cases, the clock standing still."""
        now = self.world.clock.now()
        delivery = Delivery(queue="reports", body=body, receipt="1:x", attempt=1, sent_at=now)
        return self.world.intake.handle(delivery)

    def button(self, **fields):
        """What the platform's own button sends."""
        return self.deliver(self.world.message("content.reported", **fields))

    def add(self, receipt: Receipt, text: str, *, token: bytes | None = None, event_id=None, **other):
        mailbox = Mailbox.of(token or receipt.token)
        plain = to_seal(ReportAddition(text=text, **other))
        event = ReportAdded(
            event_id=event_id or f"added-{secrets.token_hex(4)}",
            occurred_at=from_micros(self.world.clock.now()),
            reference=receipt.reference,
            mailbox=mailbox.public_key.hex(),
            addition=sealed_text(
                seal(self.staff.public_key, plain, context=added_context(receipt.reference))
            ),
        )
        return self.deliver(dump(event))

    def key(self, role: ReporterKind) -> str:
        """The reference of a live API key of that role."""
        from coverguard.store.schema import api_key  # noqa: PLC0415

        ref = new_ref("key")
        now = self.world.clock.now()
        with self.world.database.transaction() as tx:
            tx.execute(
                api_key.insert().values(
                    ref=ref, name="k", role=role.value, secret_sha256=secrets.token_bytes(32),
                    created_by="op", created_at=now, expires_at=now + 10**15,
                )
            )  # fmt: skip
        return ref

    def keyed(self, role: ReporterKind, *covers, **told):
        return self.file(*covers, source=role, api_key=self.key(role), **told)

    # ── looking ────────────────────────────────────────────────────────────────────────────────────────────

    def row(self, receipt: Receipt):
        (row,) = self.world.rows("report", ref=receipt.reference)
        return row

    def targets(self, receipt: Receipt) -> list[tuple[str, str]]:
        rows = self.world.rows("report_target", report_id=self.row(receipt).id)
        return [(one.named_id, one.effect) for one in rows]

    def effects(self, receipt: Receipt) -> set[str]:
        return {effect for _, effect in self.targets(receipt)}

    def mail(self, receipt: Receipt) -> list[Mail]:
        box = receipt.mailbox
        with self.world.database.reading() as tx:
            found = threads.mail(tx, box.address)
        return [
            unsealed(Mail, box.open(body, context=mail_context(receipt.reference, seq)))
            for seq, body in found
        ]

    def kinds(self, receipt: Receipt) -> list[str]:
        return [one.kind for one in self.mail(receipt)]

    def owed(self, receipt: Receipt) -> dict[str, int]:
        mine = self.world.rows("obligation", report_id=self.row(receipt).id, met_at=None)
        return {one.kind: one.due_at for one in mine}

    def rescreens(self) -> list:
        """The stretches of accounts that wait to be looked at again."""
        found = [row.body for row in self.world.rows("queue_message", queue="uploads")]
        return [event for event in map(parse, found) if event.type == "report.rescreen"]

    def rescreen(self) -> int:
        """Let them be looked at."""
        waiting = self.rescreens()
        for event in waiting:
            self.deliver(dump(event))
        return len(waiting)
