"""`coverguard verify audit`: says what was gone through, and names what is not as it was written."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

import pytest
from test_commands import ME, Machine

from coverguard import bootstrap
from coverguard.cli import main
from coverguard.local.keys import LocalSigner
from coverguard.telemetry import Log

pytestmark = pytest.mark.thorough

AN_INSERTED_ROW = """
INSERT INTO audit SELECT 9, at - 7200000000, actor, role, verb, subject, facts, digest FROM audit WHERE id = 2
"""


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """A deployment with four sealed rows: two in each of two heads, the first archived."""
    home = tmp_path_factory.mktemp("sealed") / "home"
    run = ["--home", str(home)]
    assert main([*run, "migrate"]) == 0
    (home / "coverguard.toml").write_text(f"[people]\n{ME} = ['list_editor']\n", encoding="utf-8")
    for names in (("a", "b"), ("c", "d")):
        for name in names:
            assert main([*run, "lists", "add", name, "--source", "s", "--category", "other"]) == 0
        with bootstrap.deployment(home, log=Log(stream=None)) as parts:
            keeper = parts.keeper()
            keeper.seal()
            keeper.archive_heads()
    return home


@pytest.fixture
def machine(sealed, tmp_path, capsys):
    return Machine(shutil.copytree(sealed, tmp_path / "home"), capsys)


def attack(machine, *statements):
    with closing(sqlite3.connect(machine.home / "ledger.db")) as ledger:
        for act in ("update", "delete"):
            ledger.execute(f"DROP TRIGGER IF EXISTS audit_no_{act}")
        for statement in statements:
            ledger.execute(statement)
        ledger.commit()


def test_a_trail_that_is_well(machine):
    assert machine("verify", "audit").endswith("the audit trail is as it was written\n")
    told = machine.json("verify", "audit")
    assert told == {"kept": True, "links": 4, "heads": 2, "archived": 1, "found": [], "count": 0}


def test_a_deployment_without_a_row(tmp_path, capsys):
    machine = Machine(tmp_path / "home", capsys)
    machine("migrate")
    assert machine.json("verify", "audit")["kept"]


@pytest.mark.parametrize(
    ("statements", "kind", "row"),
    [
        (["UPDATE audit SET actor = 'Eve' WHERE id = 2"], "changed_row", 2),
        (["DELETE FROM audit WHERE id = 2"], "removed_row", 2),
        ([AN_INSERTED_ROW], "inserted_row", 9),
        (["DELETE FROM audit_chain WHERE seq = 2"], "removed_links", None),
        (["DELETE FROM audit WHERE id > 1", "DELETE FROM audit_chain WHERE seq > 1",
          "DELETE FROM audit_head"], "cut_tail", None),
        (["UPDATE audit_head SET signature = zeroblob(64) WHERE seq = 4"], "forged_head", None),
    ],
)  # fmt: skip
def test_an_attack_is_named_and_breaks_the_promise(machine, statements, kind, row):
    attack(machine, *statements)
    told = machine.json("verify", "audit", code=1)
    assert not told["kept"]
    assert (kind, row) in {(flaw["kind"], flaw["row"]) for flaw in told["found"]}
    assert f"BROKEN {kind}: " in machine("verify", "audit", code=1)
    checks = {one["check"]: one for one in machine.json("verify", code=1)["checks"]}
    assert checks["audit_unchanged"]["state"] == "BROKEN"
    assert checks["audit_unchanged"]["found"]


def test_an_auditor_brings_the_key(machine, tmp_path):
    """A copy made earlier counts, whatever lies in the deployment's folder now."""
    copy = tmp_path / "auditor.pub"
    copy.write_bytes((machine.home / "keys" / "audit.pub").read_bytes())
    stranger = LocalSigner(b"\x07" * 32).public_pem()
    (machine.home / "keys" / "audit.pub").write_bytes(stranger)
    assert machine.json("verify", "audit", "--public-key", copy)["kept"]
    told = machine.json("verify", "audit", code=1)
    assert {flaw["kind"] for flaw in told["found"]} == {"unknown_key"}
    machine.json("verify", "audit", "--public-key", copy, "--public-key", machine.home / "keys" / "audit.pub")


@pytest.mark.parametrize("content", [None, b"no key"])
def test_a_key_file_that_is_none_is_refused(machine, tmp_path, content):
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    assert "public key file" in machine("verify", "audit", "--public-key", file, code=2)


def test_a_key_belongs_to_the_audit(machine, tmp_path):
    assert "verify audit" in machine("verify", "--public-key", tmp_path, code=2)


def test_the_private_key_is_private(machine):
    assert (machine.home / "keys" / "audit.key").stat().st_mode & 0o777 == 0o600
