"""The audit trail is sealed by any number of keepers, and whatever an attacker does to it is named.

The attacker is whoever owns the database: triggers are dropped first. With the signing key or the archive in
their hands as well there are things nobody can see, and no test here says otherwise.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coverguard.auditing import KEPT, Auditor, AuditReport
from coverguard.errors import IntegrityFailure, TransientError
from coverguard.local.heads import FolderHeads
from coverguard.local.keys import LocalSigner, PublicKeys
from coverguard.sealing import BEHIND_AFTER, LATE, Sealer
from coverguard.store import audit
from coverguard.testing.faults import FaultPlan, FaultyDatabase
from coverguard.trail import START, link

pytestmark = pytest.mark.thorough

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
SIGNER = LocalSigner(b"\x01" * 32)
STRANGER = LocalSigner(b"\x02" * 32)


class Trail:
    """One ledger, its archive, whoever writes, seals and checks, and whoever attacks."""

    def __init__(self, database, clock, archive: Path) -> None:
        self.database, self.clock, self.archive = database, clock, archive

    def write(self, count: int = 1) -> None:
        with self.database.transaction() as tx:
            for number in range(count):
                audit.write(
                    tx, now=self.clock.now(), verb="decide", subject="item-1", facts={"matches": number}
                )

    def sealer(self, signer: LocalSigner = SIGNER, *, database=None) -> Sealer:
        return Sealer(
            database=database or self.database,
            signer=signer,
            archive=FolderHeads(self.archive),
            clock=self.clock,
            archive_links=10,
        )

    def seal(self, signer: LocalSigner = SIGNER) -> int:
        """What a keeper does; a second goes by."""
        done = self.sealer(signer).seal()
        self.sealer(signer).archive_heads()
        self.clock.go_on(SECOND)
        return done

    def sealed(self, rounds: int = 4, rows: int = 3) -> Trail:
        """Some rounds of a few rows, each with a head of its own, the first and the last archived."""
        for _ in range(rounds):
            self.write(rows)
            self.seal()
        self.clock.go_on(MINUTE)
        self.seal()
        return self

    def check(self, *, keys=(SIGNER,), whole: bool = True) -> AuditReport:
        auditor = Auditor(
            database=self.database,
            archive=FolderHeads(self.archive),
            signatures=PublicKeys([key.public_pem() for key in keys]),
            clock=self.clock,
        )
        return auditor.run(whole=whole)

    def found(self, **how) -> set[tuple[str, int | None]]:
        """Kind and row, or kind and link where no row is named."""
        return {(f.kind.value, f.row if f.row is not None else f.seq) for f in self.check(**how).flaws}

    def attack(self, *statements: str) -> None:
        with self.database.transaction() as tx:
            if tx.dialect.name == "postgresql":
                tx.exec_driver_sql("DROP TRIGGER IF EXISTS audit_append_only ON audit")
            for act in ("update", "delete") if tx.dialect.name == "sqlite" else ():
                tx.exec_driver_sql(f"DROP TRIGGER IF EXISTS audit_no_{act}")
            for statement in statements:
                tx.exec_driver_sql(statement)

    def rows(self, sql: str) -> list:
        with self.database.reading() as tx:
            return [tuple(row) for row in tx.exec_driver_sql(sql)]

    def rechain(self) -> None:
        """Make all digests and links agree with the rows, as one who knows the arithmetic would."""
        with self.database.transaction() as tx:
            tx.exec_driver_sql("DELETE FROM audit_chain")
            chain = START
            for seq, row in enumerate(audit.unchained(tx, after=0, limit=10_000), start=1):
                chain = link(chain, row.id, audit.digest(row._mapping))
                tx.execute(audit.audit.update().where(audit.audit.c.id == row.id).values(
                    digest=audit.digest(row._mapping)))  # fmt: skip
                audit.add_links(tx, [{"seq": seq, "audit_id": row.id, "chain": chain}])

    def forge(self, signer: LocalSigner = STRANGER) -> None:
        """Sign anew what the ledger has, with a key of one's own, and hide that it was archived."""
        self.attack("DELETE FROM audit_head")
        Sealer(
            database=self.database,
            signer=signer,
            archive=FolderHeads(self.archive / "theirs"),
            clock=self.clock,
        ).seal()


@pytest.fixture
def trail(database, clock, tmp_path) -> Trail:
    return Trail(database, clock, tmp_path / "heads")


# ── sealing ────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_sealed_is_found_well(trail):
    trail.sealed()
    report = trail.check()
    assert not report.flaws
    assert (report.links, report.heads, report.archived) == (12, 4, 2)
    assert trail.check(whole=False).archived == 2


def test_an_empty_trail_is_well(trail):
    assert trail.seal() == 0
    assert not trail.check().flaws
    assert not trail.archive.exists()


def test_a_row_is_chained_once_and_in_order(trail):
    trail.write(3)
    assert [trail.seal(), trail.seal()] == [3, 0]
    trail.write(2)
    trail.seal()
    assert trail.rows("SELECT seq, audit_id FROM audit_chain ORDER BY seq") == [(n, n) for n in range(1, 6)]


def test_a_chain_can_be_computed_without_us(trail):
    trail.write(2)
    trail.seal()
    chain = bytes(32)
    for audit_id, digest in trail.rows("SELECT id, digest FROM audit ORDER BY id"):
        chain = link(chain, audit_id, bytes(digest))
    ((last, signature),) = trail.rows("SELECT chain, signature FROM audit_head")
    assert bytes(last) == chain
    assert len(bytes(signature)) == 64


def test_a_row_that_commits_late_has_a_low_id_and_a_place_of_its_own(trail):
    trail.write(4)
    hidden = trail.rows("SELECT * FROM audit WHERE id = 2")[0]
    trail.attack("DELETE FROM audit WHERE id = 2")  # its transaction is still open
    assert trail.seal() == 3
    with trail.database.transaction() as tx:
        names = [column.name for column in audit.audit.c]
        row = dict(zip(names, hidden, strict=True)) | {"facts": {"matches": 1}}
        tx.execute(audit.audit.insert().values(row))
    assert trail.seal() == 1
    assert [row for (row,) in trail.rows("SELECT audit_id FROM audit_chain ORDER BY seq")] == [1, 3, 4, 2]
    assert not trail.check().flaws


def test_a_long_backlog_is_chained_before_it_is_signed(trail, monkeypatch):
    """Rows of a release that did not seal: their dates are older than any head, and no lie."""
    monkeypatch.setattr("coverguard.sealing._PAGE", 4)
    monkeypatch.setattr("coverguard.sealing._PAGES", 3)
    trail.write(20)
    trail.clock.go_on(2 * LATE)
    assert trail.seal() == 12
    assert not trail.rows("SELECT seq FROM audit_head")
    assert trail.seal() == 8
    assert trail.rows("SELECT seq FROM audit_head") == [(20,)]
    assert not trail.check().flaws


def test_sealing_goes_on_after_a_day_without_a_keeper(trail):
    trail.sealed(rounds=1)
    trail.clock.go_on(timedelta(days=1))
    trail.write(2)
    trail.clock.go_on(timedelta(days=1))
    trail.seal()
    assert not trail.check().flaws


def test_many_keepers_seal_without_a_gap(trail):
    trail.write(30)
    start = threading.Barrier(4)
    chained = []

    def keep() -> None:
        start.wait()
        for _ in range(3):
            chained.append(trail.sealer().seal())
            trail.write(2)
            trail.sealer().archive_heads()

    keepers = [threading.Thread(target=keep) for _ in range(4)]
    for one in keepers:
        one.start()
    for one in keepers:
        one.join()
    chained.append(trail.seal())
    assert sum(chained) == 30 + 4 * 3 * 2
    seqs = [seq for (seq,) in trail.rows("SELECT seq FROM audit_chain ORDER BY seq")]
    assert seqs == list(range(1, 55))
    assert not trail.check().flaws


def test_heads_are_archived_now_and_then(trail):
    for _ in range(30):
        trail.write()
        trail.seal()
    assert len([*trail.archive.iterdir()]) == 3  # the first, and each tenth link; a minute has not gone by
    trail.clock.go_on(MINUTE)
    trail.seal()
    assert len([*trail.archive.iterdir()]) == 4
    assert not trail.check().flaws


@pytest.mark.parametrize("waits", ["a row", "a head"])
def test_what_is_behind_is_said_and_stops_being_said(trail, waits):
    trail.sealed(rounds=1)
    assert not trail.sealer().is_behind()
    trail.write()
    if waits == "a head":
        trail.sealer().seal()
    trail.clock.go_on(BEHIND_AFTER)
    assert not trail.sealer().is_behind()
    trail.clock.go_on(SECOND)
    assert trail.sealer().is_behind()
    assert {flaw.kind.value for flaw in trail.check().flaws} == ({"unsealed"} if waits == "a row" else set())
    trail.seal()
    assert not trail.sealer().is_behind()


def test_an_archived_head_cannot_be_written_over(trail):
    trail.write()
    trail.seal()
    (name,) = trail.archive.iterdir()
    assert name.stat().st_mode & 0o777 == 0o400
    before = name.read_bytes()
    trail.forge()
    with pytest.raises(IntegrityFailure):
        trail.sealer(STRANGER).archive_heads()
    assert name.read_bytes() == before
    assert not trail.rows("SELECT seq FROM audit_head WHERE archived_at IS NOT NULL")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_fault_at_any_call_leaves_a_whole_chain(reused, ledger_file, clock, tmp_path, when):
    """On SQLite, where the shipped faulty database lies over the same file."""
    trail = Trail(reused[1], clock, tmp_path / "heads")
    plan = FaultPlan()
    faulty = FaultyDatabase(f"sqlite:///{ledger_file}", plan=plan, durable=False)
    number = 0
    while True:
        number += 1
        faulty.plan = FaultPlan(fail_at={number}, when=when, error=TransientError)
        trail.write(2)
        trail.clock.go_on(MINUTE)
        sealer = trail.sealer(database=faulty)
        for step in (sealer.seal, sealer.archive_heads):
            try:
                step()
            except TransientError:
                step()
        assert not trail.check().flaws, number
        if not faulty.plan.failed:
            break
    faulty.close()
    assert number > 4


# ── attacks ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("change", ["verb = 'clear'", "at = at + 1", "actor = 'Eve'", "subject = 'item-2'"])
def test_a_changed_row_is_named(trail, change):
    trail.sealed()
    trail.attack(f"UPDATE audit SET {change} WHERE id = 5")
    assert trail.found() == {("changed_row", 5)}


def test_a_row_changed_with_its_digest_is_named(trail):
    trail.sealed()
    trail.attack("UPDATE audit SET actor = 'Eve' WHERE id = 5")
    with trail.database.transaction() as tx:
        row = next(row for row in audit.links(tx, after=4, limit=1))
        tx.execute(
            audit.audit.update().where(audit.audit.c.id == 5).values(digest=audit.digest(row._mapping))
        )
    assert trail.found() == {("changed_row", 5)}


def test_a_changed_digest_alone_is_named(trail):
    trail.sealed()
    trail.attack("UPDATE audit SET digest = (SELECT digest FROM audit AS o WHERE o.id = 4) WHERE id = 5")
    assert trail.found() == {("changed_row", 5)}


@pytest.mark.parametrize("row", [1, 5, 12])
def test_a_removed_row_is_named(trail, row):
    trail.sealed()
    trail.attack(f"DELETE FROM audit WHERE id = {row}")
    assert trail.found() == {("removed_row", row)}


def test_a_row_removed_with_its_link_leaves_a_gap(trail):
    trail.sealed()
    trail.attack("DELETE FROM audit WHERE id = 5", "DELETE FROM audit_chain WHERE seq = 5")
    assert trail.found() == {("removed_links", 5)}
    (flaw,) = trail.check().flaws
    assert flaw.text == "links 5 to 5 are gone: they were of audit rows between 4 and 6"


def test_a_changed_link_is_told_from_a_changed_row(trail):
    trail.sealed()
    trail.attack(
        "UPDATE audit_chain SET chain = (SELECT chain FROM audit_chain AS o WHERE o.seq = 1) WHERE seq = 5"
    )
    assert trail.found() == {("changed_link", 5)}


def test_an_id_used_again_is_a_changed_row(trail):
    trail.sealed()
    trail.attack("DELETE FROM audit WHERE id = 5")
    row = trail.rows("SELECT * FROM audit WHERE id = 6")[0]
    with trail.database.transaction() as tx:
        copied = dict(zip([c.name for c in audit.audit.c], row, strict=True))
        tx.execute(audit.audit.insert().values(copied | {"id": 5, "facts": {"matches": 2}}))
    assert trail.found() == {("changed_row", 5)}


@pytest.mark.parametrize("sealed_after", [False, True])
def test_a_row_put_into_the_past_is_named(trail, sealed_after):
    """Whether the sealer has chained it since or not."""
    trail.sealed()
    past = trail.clock.now()
    trail.clock.go_on(2 * LATE)
    trail.sealed(rounds=2)
    with trail.database.transaction() as tx:
        audit.write(tx, now=past, verb="clear", subject="item-1")
    (row,) = trail.rows("SELECT max(id) FROM audit")[0]
    if sealed_after:
        trail.seal()
    assert trail.found() == {("inserted_row", row)}


def test_a_row_put_under_an_old_id_is_named(trail):
    trail.write(3)
    trail.attack("DELETE FROM audit WHERE id = 2")  # as an id that was never committed
    trail.seal()
    trail.clock.go_on(2 * LATE)
    trail.sealed(rounds=2)
    with trail.database.transaction() as tx:
        audit.write(tx, now=trail.clock.now(), verb="clear", subject="item-1")
    row = trail.rows("SELECT max(id) FROM audit")[0][0]
    trail.attack(f"UPDATE audit SET id = 2 WHERE id = {row}")
    trail.clock.go_on(LATE + MINUTE)
    trail.write()
    assert trail.seal() == 1  # the sealer does not look so far back
    assert trail.found() == {("inserted_row", 2)}


def test_a_trail_that_was_chained_anew_is_not_what_was_signed(trail):
    trail.sealed()
    trail.attack("UPDATE audit SET actor = 'Eve' WHERE id = 5")
    trail.rechain()
    assert trail.found() == {("rewritten", 6), ("rewritten", 12)}  # by the ledger's head and by the archive's
    assert trail.check().flaws[0].text.startswith("links 4 to 6 are not those that were signed")


def test_a_trail_signed_anew_with_another_key_is_not_trusted(trail):
    trail.sealed()
    trail.attack("UPDATE audit SET actor = 'Eve' WHERE id = 5")
    trail.rechain()
    trail.forge()
    assert ("unknown_key", 12) in trail.found()
    shutil.rmtree(trail.archive)
    assert trail.found() == {("unknown_key", 12)}


def test_a_trail_signed_anew_with_the_stolen_key_is_found_out_by_the_archive(trail):
    trail.sealed()
    trail.attack("UPDATE audit SET actor = 'Eve' WHERE id = 5")
    trail.rechain()
    trail.forge(SIGNER)
    assert trail.found() == {("rewritten", 12), ("removed_head", 3)}


def test_a_forged_head_is_named(trail):
    trail.sealed()
    trail.attack("UPDATE audit_head SET sealed_at = sealed_at - 1 WHERE seq = 6")
    assert trail.found() == {("forged_head", 6)}
    trail.attack("UPDATE audit_head SET sealed_at = sealed_at + 1, seq = 5 WHERE seq = 6")
    assert trail.found() == {("forged_head", 5)}


@pytest.mark.parametrize("archived", [True, False])
def test_a_cut_tail_is_named(trail, archived):
    """Rows and links, and the heads too where they are archived."""
    trail.sealed()
    trail.attack("DELETE FROM audit WHERE id > 7", "DELETE FROM audit_chain WHERE seq > 7")
    if archived:
        trail.attack("DELETE FROM audit_head WHERE seq > 7")
    else:
        shutil.rmtree(trail.archive)
        trail.attack("UPDATE audit_head SET archived_at = NULL")
    expected = {("cut_tail", 12 if archived else 8)}
    assert trail.found() == expected
    assert trail.found(whole=False) == expected
    trail.write(9)
    trail.seal()  # and went on as if nothing had been
    assert ("rewritten", 12) in trail.found() if archived else True


def test_a_removed_head_is_missed(trail):
    trail.sealed()
    trail.attack("DELETE FROM audit_head WHERE seq = 12")
    assert trail.found() == {("removed_head", 12)}


def test_a_gap_in_the_archive_is_named(trail):
    trail.sealed()
    for name in sorted(trail.archive.iterdir()):
        name.unlink()
    assert trail.found() == {("archive_gap", 3), ("archive_gap", 12)}


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"\xff", b"[" * 100_000, b'{"schema":"coverguard.audit-head/2"}']
)
def test_what_is_no_head_in_the_archive_is_named(trail, content):
    trail.sealed()
    name = min(trail.archive.iterdir())
    name.chmod(0o600)
    name.write_bytes(content)
    assert trail.found() == {("unreadable_head", None), ("archive_gap", 3)}


def test_a_forged_head_in_the_archive_is_named(trail):
    trail.sealed()
    name = min(trail.archive.iterdir())
    name.chmod(0o600)
    name.write_bytes(name.read_bytes().replace(b'"seq": 3', b'"seq": 2'))
    assert trail.found() == {("forged_head", 2), ("archive_gap", 3)}


def test_flaws_are_counted_when_they_are_too_many_to_name(trail):
    trail.write(KEPT + 20)
    trail.seal()
    trail.attack("UPDATE audit SET actor = 'Eve'")
    report = trail.check()
    assert (report.count, len(report.flaws)) == (KEPT + 20, KEPT)


ATTACKS: dict[str, tuple[str, Callable[[int], str]]] = {
    "change": ("changed_row", lambda row: f"UPDATE audit SET verb = 'nothing' WHERE id = {row}"),
    "remove": ("removed_row", lambda row: f"DELETE FROM audit WHERE id = {row}"),
    "unlink": ("removed_links", lambda row: f"DELETE FROM audit_chain WHERE seq = {row}"),
}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(attacks=st.dictionaries(st.integers(1, 17), st.sampled_from(sorted(ATTACKS)), min_size=1, max_size=6))
def test_any_damage_is_named_row_by_row(trail, attacks):
    """Any rows at once: each by its own name, and nothing else."""
    if not trail.rows("SELECT seq FROM audit_chain"):
        trail.sealed(rounds=6)
    backup = {table: trail.rows(f"SELECT * FROM {table}") for table in ("audit", "audit_chain")}
    trail.attack(*(ATTACKS[attack][1](row) for row, attack in attacks.items()))
    found = {(kind, row) for kind, row in trail.found() if kind != "removed_links"}
    gaps = sum(kind == "removed_links" for kind, _ in trail.found())
    unlinked = {row for row, attack in attacks.items() if attack == "unlink"}
    _restore(trail, backup)
    expected = {(ATTACKS[attack][0], row) for row, attack in attacks.items() if attack != "unlink"}
    never_chained = {(kind, row) for kind, row in found if kind == "inserted_row"}
    assert found - never_chained == expected
    assert gaps == len({row for row in unlinked if row - 1 not in unlinked})
    assert not trail.check().flaws


def _restore(trail: Trail, backup) -> None:
    with trail.database.transaction() as tx:
        for table in (audit.audit, audit.audit_chain):
            tx.execute(table.delete())
            names = [column.name for column in table.c]
            rows = [dict(zip(names, row, strict=True)) for row in backup[table.name]]
            for row in rows:
                if isinstance(row.get("facts"), str):  # SQLite's driver gives the text
                    row["facts"] = json.loads(row["facts"])
            tx.execute(table.insert(), rows)


def test_a_key_that_is_retired_is_still_trusted(trail, tmp_path):
    keys = tmp_path / "keys"
    old = LocalSigner.open_or_create(keys)
    trail.write()
    trail.seal(old)
    (keys / "audit.key").unlink()
    (keys / "audit.pub").rename(keys / "audit-1.pub")
    new = LocalSigner.open_or_create(keys)
    assert new.key_id != old.key_id
    trail.write()
    trail.clock.go_on(MINUTE)
    trail.seal(new)
    auditor = Auditor(
        database=trail.database,
        archive=FolderHeads(trail.archive),
        signatures=PublicKeys.beside(keys),
        clock=trail.clock,
    )
    assert not auditor.run().flaws
    assert trail.found(keys=[new]) == {("unknown_key", 1)}
