"""The commands as people type them: what they print, what they refuse, and how they end."""

import json
import os
import pwd
import signal
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from coverguard import bootstrap
from coverguard.cli import main
from coverguard.imaging import fingerprint
from coverguard.imaging.sandbox import Confinement, Sandbox, pool, seccomp
from coverguard.local import fileserver
from coverguard.local.catalogue import TOKEN_FILE
from coverguard.settings import Settings
from coverguard.store.schema.lists import ATTESTED, WEIGHED
from coverguard.telemetry import Log
from coverguard.testing.catalogue import TOKEN, CatalogueServer, Holdings
from coverguard.testing.pictures import Alteration, Kind, alter, draw, encode
from coverguard.worker import Heartbeat

pytestmark = pytest.mark.process  # each test has a file server and many opened deployments

ME = pwd.getpwuid(os.getuid()).pw_name
OTHER = next(one for one in pwd.getpwall() if one.pw_uid != os.getuid())
EVERYTHING = '["moderator", "senior_moderator", "list_editor", "list_reader", "operator"]'


class Machine:
    """One deployment and its command line."""

    def __init__(self, home, capsys):
        self.home = home
        self._capsys = capsys

    def __call__(self, *arguments, code=0):
        found = main(["--home", str(self.home), *map(str, arguments)])
        printed = self._capsys.readouterr()
        assert found == code, printed
        return printed.out if code in (0, 1) else printed.err

    def json(self, *arguments, code=0):
        return json.loads(self(*arguments, "--json", code=code))

    def settings(self, text):
        (self.home / "coverguard.toml").write_text(text, encoding="utf-8")

    def later(self, span, item):
        """As if the item had been opened so much earlier."""
        micros = span // timedelta(microseconds=1)
        mine = f"(SELECT id FROM case_item WHERE ref = '{item}')"
        moved = f"opened_at = opened_at - {micros}, due_at = due_at - {micros}"
        with (
            bootstrap.deployment(self.home, log=Log(stream=None)) as parts,
            parts.database.transaction() as tx,
        ):
            tx.exec_driver_sql(f"UPDATE obligation SET {moved} WHERE item_id = {mine}")

    def work(self):
        """Serve everything that waits, then one tick of the keeper."""
        with bootstrap.deployment(self.home, log=Log(stream=None)) as parts:
            worker, stop = parts.worker(), threading.Event()
            with Heartbeat(lease=timedelta(seconds=60), log=parts.log) as heartbeat:
                while worker.serve_once(heartbeat, stop):
                    pass
            for step in parts.keeper().steps():
                step()


@pytest.fixture
def machine(tmp_path, capsys):
    made = Machine(tmp_path / "home", capsys)
    made("migrate")
    store = bootstrap.folder_store(bootstrap.settings.load(made.home))
    with fileserver.serve(store, public=frozenset({"public"}), port=0) as server:
        made.settings(
            f"file_server_port = {server.port}\nverdict_on_cli = true\ntrust_sudo = true\n"
            f"[people]\n{ME} = {EVERYTHING}\n{OTHER.pw_name} = {EVERYTHING}\n"
        )
        yield made


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(encode(draw(Kind.SCENE, 3, side=320)))
    return path


@pytest.fixture
def listed(machine, picture, tmp_path):
    """The picture is on a list that may hold."""
    pdq = fingerprint(picture.read_bytes()).views[0].signals["pdq"].hex()
    file = tmp_path / "list.csv"
    file.write_text(f"id,algorithm,digest\nentry-1,pdq,{pdq}\n", encoding="utf-8")
    machine("lists", "add", "demo", "--source", "tests", "--category", "child_abuse")
    machine("lists", "load", "demo", file)
    machine("lists", "attest", "demo", *(word for name in ATTESTED for word in (flag(name), "said")))
    machine("lists", "enable", "demo")
    machine("lists", "review", "demo", *(word for name in WEIGHED for word in (flag(name), "weighed")))
    for _ in ("refer", "hold"):
        machine("lists", "promote", "demo", "--note", "looked right")
    return file


def flag(name):
    return f"--{name.replace('_', '-')}"


def test_help_teaches(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    for word in ("migrate", "worker", "keeper", "verify", "doctor", "demo", "first steps", "exit codes"):
        assert word in shown


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["emit"], ["verdict", "confirm", "item-1"]])
def test_a_senseless_call_is_told_how(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: coverguard" in capsys.readouterr().err


def test_nothing_runs_before_migrate(tmp_path, capsys):
    machine = Machine(tmp_path / "none", capsys)
    assert "coverguard migrate" in machine("verify", code=2)


def test_settings_that_make_no_sense_are_named(machine):
    machine.settings("gracee = '1m'\n")
    assert "unknown setting gracee" in machine("verify", code=2)
    machine.settings("grace = '-1m'\n")
    assert "setting grace" in machine("verify", code=2)


def test_nobody_has_a_role_until_given(machine, picture):
    machine.settings("")
    add = ["lists", "add", "x", "--source", "s", "--category", "other"]
    for arguments in (add, ["cases"], ["match", picture], ["queue", "redrive", "uploads"]):
        assert f"user {ME} has no roles" in machine(*arguments, code=3)


def test_the_environment_cannot_name_a_person(machine, monkeypatch):
    machine.settings('[people]\nsomebody = ["moderator"]\n')
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "SUDO_USER"):
        monkeypatch.setenv(name, "somebody")
    monkeypatch.setenv("SUDO_UID", str(OTHER.pw_uid))  # not trusted unless the settings say so
    assert f"user {ME} has no roles" in machine("cases", code=3)


def test_lists_are_loaded_shown_and_ruled(machine, listed):
    (shown,) = machine.json("lists", "show")
    assert shown.pop("says all since") != "-"
    assert shown.pop("review due") != "-"
    assert shown == {
        "list": "demo", "source": "tests", "entries": 1, "enabled": "yes",
        "category": "child_abuse", "action": "hold", "pdq": 31, "phash256": -1, "quality": 50, "rule": 3,
        "negatives": "yes", "plug-ins": "-",
    }  # fmt: skip
    assert machine.json("lists", "load", "demo", listed)["new or changed"] == 0
    machine("lists", "rule", "demo", "--pdq-radius", 20, "--note", "trying")
    machine("lists", "disable", "demo")
    (shown,) = machine.json("lists", "show")
    assert (shown["pdq"], shown["rule"], shown["enabled"], shown["action"]) == (20, 4, "no", "hold")


def test_negatives_and_wide_radii_are_a_rule_of_the_list(machine, listed, monkeypatch):
    machine("lists", "rule", "demo", "--no-complement", "--pdq-radius", 53, "--note", "trying")
    (shown,) = machine.json("lists", "show")
    assert (shown["pdq"], shown["negatives"]) == (53, "no")
    monkeypatch.setattr("coverguard.policy.rules.WIDE_ENTRIES", 0)
    said = machine("lists", "rule", "demo", "--pdq-radius", 54, "--note", "wider", code=3)
    assert "lower its radius, or split the list" in said
    machine("lists", "rule", "demo", "--pdq-radius", 31, "--note", "narrow again")


def test_a_plug_ins_radius_needs_the_plug_in(machine, listed, monkeypatch):
    said = machine("lists", "rule", "demo", "--radius", "luma-example.1=40", "--note", "trying", code=2)
    assert "no plug-in brings luma-example.1" in said
    with pytest.raises(SystemExit):
        machine("lists", "rule", "demo", "--radius", "luma-example.1", "--note", "trying")
    examples = Path(__file__).parents[2] / "docs" / "examples"
    monkeypatch.syspath_prepend(str(examples))
    machine.settings(f'signal_plugins = ["luma_signal:LUMA"]\n[people]\n{ME} = ["list_editor"]\n')
    machine("lists", "rule", "demo", "--radius", "luma-example.1=40", "--note", "trying")
    assert machine.json("lists", "show")[0]["plug-ins"] == "luma-example.1=40"
    with pytest.raises(SystemExit, match="must be -1"):
        machine("lists", "rule", "demo", "--radius", "luma-example.1=999", "--note", "too far")
    checks = {one["check"]: one["state"] for one in machine.json("doctor", code=1)}
    assert checks["signal luma-example.1"] == checks["signal pdq"] == "ok"


def test_a_bad_list_file_is_told_by_line_and_never_by_content(machine, listed):
    listed.write_text("id,algorithm,digest\nentry-1,pdq,SECRETSECRET\n", encoding="utf-8")
    told = machine("lists", "load", "demo", listed, code=1)
    assert "line 2: digest is not hex" in told
    assert "SECRET" not in told
    listed.write_text("id,algorithm\n", encoding="utf-8")
    machine("lists", "load", "demo", listed, code=2)
    machine("lists", "load", "nowhere", listed, code=4)
    assert "--algorithm" in machine("lists", "load", "demo", listed, "--format", "hex", code=2)


def test_a_list_that_would_shrink_needs_a_word(machine, listed):
    listed.write_text("id,algorithm,digest\n", encoding="utf-8")
    assert "--confirm-shrink" in machine("lists", "load", "demo", listed, code=3)
    assert machine.json("lists", "load", "demo", listed, "--confirm-shrink")["withdrawn"] == 1


def test_fingerprint_and_match(machine, listed, picture, tmp_path):
    (shown,) = machine.json("fingerprint", picture)
    assert (shown["format"], shown["width"], len(shown["views"][0]["pdq"])) == ("png", 320, 64)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    assert "not screened: unsupported_format" in machine("fingerprint", broken, code=1)
    mirrored = tmp_path / "mirrored.png"
    mirrored.write_bytes(alter(draw(Kind.SCENE, 3, side=320), Alteration.MIRRORED))
    results = machine.json("match", picture, mirrored, broken)
    assert [one["decision"] for one in results] == ["hold", "hold", "not_screened: unsupported_format"]
    assert results[1]["matches"][0]["orientation"] == "mirrored"
    machine("fingerprint", tmp_path / "nowhere", code=2)


def test_from_emit_to_a_released_cover_by_two_people(machine, listed, picture, monkeypatch):
    told = machine("emit", picture, "--surface", "profile_image", "--cover", "c1", "--uploader", "u1")
    assert "announced cover c1 version 1" in told
    assert machine.json("queue", "stats")[0]["visible"] == 1
    machine.work()
    assert machine("verify").endswith("every promise is kept\n")
    (case,) = machine.json("cases")
    assert (case["account"], case["category"], case["waiting"]) == ("u1", "child_abuse", 1)
    shown = machine.json("cases", case["case"])
    (item,) = shown["items"]
    assert (item["held"], item["two people"]) == ("hold held", "yes")
    explained = machine.json("explain", item["cover"])
    assert explained["matches"][0]["list"] == "demo"
    clear = ("verdict", "clear", item["item"], "--reason", "a lake", "--basis", "viewed")
    assert "claim the item before" in machine(*clear, code=3)
    machine("verdict", "claim", item["item"])
    assert "a second person" in machine(*clear)
    machine("verdict", "claim", item["item"])
    assert "takes a second person" in machine(*clear, code=3)
    machine("verdict", "unsure", item["item"], "--reason", "hm", "--basis", "viewed")
    monkeypatch.setenv("SUDO_UID", str(OTHER.pw_uid))
    machine("verdict", "claim", item["item"])
    assert "a second person" in machine(
        *clear
    )  # the proposal was followed by another verdict: it starts again
    monkeypatch.delenv("SUDO_UID")
    machine("verdict", "claim", item["item"])
    assert "clear recorded" in machine(*clear)
    assert machine("cases") == "no case waits\n"
    assert "case-" in machine("cases", "--closed")


def test_a_confirmed_removal_owes_and_teaches(machine, listed, picture):
    machine("emit", picture, "--surface", "profile_image", "--uploader", "u1")
    machine.work()
    (case,) = machine.json("cases")
    (item,) = machine.json("cases", case["case"])["items"]
    machine("verdict", "claim", item["item"])
    why = ("--category", "child_abuse", "--reason", "it is", "--basis", "match_record")
    told = machine("verdict", "confirm", item["item"], *why)
    assert "confirm recorded" in told
    assert any(row["list"] == "removed-here/child_abuse" for row in machine.json("lists", "show"))
    told = machine.json("verify", code=1)
    checks = {one["check"]: one["state"] for one in told["checks"]}
    assert [name for name, state in checks.items() if state == "BROKEN"] == ["takedowns_served"]
    assert len(machine.json("takedowns")) == 1
    machine("takedown", "u1", "--reason", "to the end", "--wait")
    checks = {one["check"]: one["state"] for one in machine.json("verify")["checks"]}
    assert set(checks.values()) <= {"kept", "owed"}


def test_verdicts_are_off_unless_switched_on(machine):
    machine.settings(f"[people]\n{ME} = {EVERYTHING}\n")
    assert "verdict_on_cli" in machine("verdict", "claim", "item-0", code=3)


def test_unknown_references_say_where_to_look(machine):
    assert "coverguard cases" in machine("verdict", "claim", "item-0", code=4)
    machine("cases", "case-0", code=4)
    machine("explain", "cover-0", code=4)


def test_a_dead_letter_breaks_a_promise_until_it_is_redriven(machine):
    with bootstrap.deployment(machine.home, log=Log(stream=None)) as parts:
        parts.queue(bootstrap.UPLOADS).send(["no message"])
    machine.work()
    told = machine.json("verify", code=1)
    assert not told["kept"]
    assert [one for one in told["alarms"] if one[0] == "dead_letters"]
    assert "1 dead letters are back" in machine("queue", "redrive", "uploads")


def test_some_dead_letters_can_be_tried_first(machine):
    with bootstrap.deployment(machine.home, log=Log(stream=None)) as parts:
        parts.queue(bootstrap.UPLOADS).send(["no message"] * 3)
    machine.work()
    assert "2 dead letters are back" in machine("queue", "redrive", "uploads", "--limit", "2")
    (uploads,) = [one for one in machine.json("queue", "stats") if one["queue"] == "uploads"]
    assert uploads == {"queue": "uploads", "visible": 2, "delayed": 0, "leased": 0, "dead": 1}
    with pytest.raises(SystemExit):
        machine("queue", "redrive", "uploads", "--limit", "0")


def test_verify_sees_a_held_cover_that_is_public_again(machine, listed, picture):
    machine("emit", picture, "--surface", "profile_image")
    machine.work()
    store = bootstrap.folder_store(bootstrap.settings.load(machine.home))
    (marked,) = [one for one in _keys(store) if store.current("public", one) is None]
    store.put("public", marked, picture.read_bytes(), content_type="image/png")  # the platform puts it back
    found = {one["check"]: one for one in machine.json("verify", code=1)["checks"]}
    assert found["held_covers_gone"]["state"] == "BROKEN"
    machine.work()
    machine("verify")


def _keys(store):
    """Every key the public bucket knows, shown or not."""
    root = store._root / "public"
    found = {path.parent for path in root.rglob("versions.json")}
    assert found
    return [
        "/".join(part.removeprefix("=") for part in path.relative_to(root).parts if part != "@")
        for path in found
    ]


def test_doctor_tells_what_is_missing(machine, tmp_path, capsys):
    checks = {one["check"]: one for one in machine.json("doctor")}
    assert checks["file server"]["state"] == "ok"
    assert checks["lists"]["state"] == "note"
    assert checks["platform's catalogue"]["state"] == "note"
    (machine.home / "coverguard.toml").write_text("nonsense", encoding="utf-8")
    assert {one["check"]: one["state"] for one in machine.json("doctor", code=1)}["settings"] == "BAD"
    assert "coverguard migrate" in Machine(tmp_path / "none", capsys)("doctor", code=1)


def test_doctor_says_how_well_decoding_is_confined(machine, monkeypatch):
    def decoding(code=0):
        return {one["check"]: one for one in machine.json("doctor", code=code)}["decoding"]

    assert decoding()["state"] == "ok" or seccomp.architecture() is None
    monkeypatch.setattr(Sandbox, "confinement", lambda _: Confinement(seccomp=False, linux=True))
    assert decoding()["state"] == "note"
    assert "seccomp" in decoding()["note"]
    monkeypatch.setattr(Settings, "embedded", False)
    assert decoding(code=1)["state"] == "BAD"
    monkeypatch.undo()
    monkeypatch.setattr(pool, "default_program", lambda: ("/nowhere/python",))
    assert decoding(code=1) == {
        "state": "BAD", "check": "decoding", "note": "cannot start the launcher of decoding children",
    }  # fmt: skip


def test_what_is_opened_for_use_decodes_in_a_child(machine):
    with bootstrap.deployment(machine.home, log=(log := Log(stream=None))) as parts:
        assert parts.fingerprint == parts.sandbox.fingerprint
        assert parts.screener().eyes.fingerprint == parts.sandbox.fingerprint
        data = encode(draw(Kind.SCENE, 5, side=64), "PNG")
        assert parts.fingerprint(data) == fingerprint(data)
        os.kill(parts.sandbox.idle()[0], signal.SIGKILL)
        assert parts.fingerprint(data) == fingerprint(data)
        assert log.counters["decoder_ended"] == 1
        parts.worker().checks["decoder"]()


def test_limits_of_decoding_are_settings(machine):
    machine.settings('decoding_cpu = "2s"\ndecoding_time = "5s"\ndecoding_memory = 100000000\n')
    with bootstrap.deployment(machine.home, log=Log(stream=None)) as parts:
        limits = parts.settings.limits()
        assert (limits.cpu_seconds, limits.wall_seconds, limits.memory_bytes) == (2, 5, 100_000_000)
    machine.settings('decoding_cpu = "31s"\n')
    assert "decoding_time: must not be shorter" in machine("queue", "stats", code=2)


def test_doctor_asks_the_platforms_catalogue(machine):
    with CatalogueServer(Holdings()) as server:
        before = (machine.home / "coverguard.toml").read_text("utf-8")
        machine.settings(f'catalogue_url = "{server.url}"\n{before}')
        state = {one["check"]: one for one in machine.json("doctor", code=1)}["platform's catalogue"]
        assert (state["state"], "catalogue.token" in state["note"]) == ("BAD", True)
        token = machine.home / "keys" / TOKEN_FILE
        token.touch(mode=0o600)
        token.write_text(TOKEN, encoding="ascii")
        assert {one["check"]: one["state"] for one in machine.json("doctor")}["platform's catalogue"] == "ok"


def test_lost_keys_stop_the_start(machine, listed):
    (machine.home / "keys").rename(machine.home / "lost")
    assert "restore it from a backup" in machine("verify", code=2)


def test_clocks_show_what_runs_out_first_and_what_is_over(machine, listed, picture):
    assert machine("clocks") == "nothing is owed\n"
    machine("emit", picture)
    machine.work()
    machine("emit", picture, "--uploader", "u2")
    machine.work()
    shown = machine.json("clocks")
    first, second = shown["clocks"]
    assert first["due"] <= second["due"]
    assert first["kind"] == "review"
    assert first["about"].startswith("item-")
    assert first["case"].startswith("case-")
    assert first["due"].endswith("+00:00")
    assert first["seconds_left"] in range(24 * 3600 - 600, 24 * 3600 + 1)
    assert (first["percent"], first["overdue"], first["warned"]) == (0, False, 0)
    row = machine("clocks").splitlines()[1].split("  ")
    assert row[0] == "review"
    assert row[-1] == "[..........] 0 %"
    assert machine("clocks", "--overdue") == "nothing is overdue\n"

    machine.later(timedelta(hours=30), first["about"])
    late = machine.json("clocks", code=1)["clocks"][0]
    assert (late["about"], late["overdue"], late["percent"]) == (first["about"], True, 125)
    printed = machine("clocks", "--overdue", code=1).splitlines()
    assert len(printed) == 2
    assert "overdue by 6 h" in printed[1]
    assert printed[1].endswith("[##########] 125 %")
    assert "u2" not in machine("clocks", code=1), "references only"
    assert f"review of {first['about']}" in machine("verify", code=1)
