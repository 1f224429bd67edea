"""What the folder store promises beyond the port: legal hold, damage, faults, kills, many processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from coverguard.errors import (
    ConfigurationError,
    IntegrityFailure,
    ObjectMissing,
    Refused,
    TransientError,
)
from coverguard.local.folder import FolderStore
from coverguard.local.keypaths import MAX_KEY_BYTES, directory_names
from coverguard.local.stack import DeleteMarker, StoredVersion
from coverguard.model import ObjectRef
from coverguard.ports import Presence

RED = b"red, generated" * 100
BLUE = b"blue, generated" * 100
KEY = "secret-looking-key/1.png"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return make_store(tmp_path)


def make_store(path: Path, *, durable: bool = False) -> FolderStore:
    return FolderStore(root=path / "store", buckets=frozenset({"covers"}), vault="vault", durable=durable)


def put(store: FolderStore, data: bytes = RED, key: str = KEY) -> ObjectRef:
    return store.put("covers", key, data, content_type="image/png")


def file_of(path: Path, ref: ObjectRef) -> Path:
    return next((path / "store" / ref.bucket).rglob(ref.version_id))


def document_of(path: Path) -> Path:
    return next((path / "store" / "covers").rglob("versions.json"))


# ── the vault ──────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_but_keep_writes_to_the_vault(store: FolderStore) -> None:
    kept = store.keep(put(store), name="q/1")
    for act in (
        lambda: store.put("vault", "q/1", BLUE, content_type="image/png"),
        lambda: store.put("vault", "q/2", BLUE, content_type="image/png"),
        lambda: store.delete("vault", "q/1"),
        lambda: store.block(kept.ref, token="t1"),
    ):
        with pytest.raises(Refused):
            act()
    assert store.current("vault", "q/1") == kept
    assert store.read(kept.ref, limit=len(RED)) == RED


def test_keep_finds_damage_in_the_vault(store: FolderStore, tmp_path: Path) -> None:
    ref = put(store)
    kept = store.keep(ref, name="q/1")
    file_of(tmp_path, kept.ref).write_bytes(RED[:-1] + b"?")
    with pytest.raises(IntegrityFailure):
        store.keep(ref, name="q/1")


def test_keep_refuses_damaged_bytes(store: FolderStore, tmp_path: Path) -> None:
    ref = put(store)
    file_of(tmp_path, ref).write_bytes(BLUE)
    with pytest.raises(IntegrityFailure):
        store.keep(ref, name="q/1")
    assert store.versions("vault", "q/1") == ()


def test_keep_takes_no_copy_without_a_legal_hold_for_its_own(tmp_path: Path) -> None:
    elsewhere = FolderStore(
        root=tmp_path / "store", buckets=frozenset({"covers", "vault"}), vault="other", durable=False
    )
    elsewhere.put("vault", "q/1", RED, content_type="image/png")
    store = make_store(tmp_path)
    with pytest.raises(IntegrityFailure):
        store.keep(put(store), name="q/1")


def test_keep_under_an_impossible_name_is_refused(store: FolderStore) -> None:
    with pytest.raises(Refused):
        store.keep(put(store), name="")


# ── damage ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("damage", [b"", RED[:-1], RED + b"x", b"X" + RED[1:]])
def test_damaged_bytes_are_never_handed_out(store: FolderStore, tmp_path: Path, damage: bytes) -> None:
    ref = put(store)
    file_of(tmp_path, ref).write_bytes(damage)
    with pytest.raises(IntegrityFailure):
        store.read(ref, limit=10_000)


def test_lost_bytes_are_an_integrity_failure(store: FolderStore, tmp_path: Path) -> None:
    ref = put(store)
    file_of(tmp_path, ref).unlink()
    with pytest.raises(IntegrityFailure):
        store.read(ref, limit=10_000)


def test_damaged_bytes_can_be_blocked_and_stay_so(store: FolderStore, tmp_path: Path) -> None:
    ref = put(store)
    file_of(tmp_path, ref).write_bytes(BLUE)
    assert store.block(ref, token="t1") is Presence.BLOCKED
    with pytest.raises(IntegrityFailure):
        store.unblock(ref, token="t1")
    assert store.presence(ref) is Presence.BLOCKED


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"format": 3}',
        b'{"format": 1, "next": 1}',
        b'{"format": 1, "entries": [{}]}',
        b'{"format": 1, "next": 2, "entries": [{"id": "x", "tokens": ["t1"]}]}',
    ],
)
def test_a_damaged_record_is_an_integrity_failure(
    store: FolderStore, tmp_path: Path, document: bytes
) -> None:
    ref = put(store)
    document_of(tmp_path).write_bytes(document)
    with pytest.raises(IntegrityFailure):
        store.presence(ref)
    with pytest.raises(IntegrityFailure):
        put(store, BLUE)
    assert document_of(tmp_path).read_bytes() == document


def test_a_record_of_the_first_release_is_read_and_left_readable_to_it(
    store: FolderStore, tmp_path: Path
) -> None:
    ref = put(store)
    document = json.loads(document_of(tmp_path).read_bytes())
    document["entries"][0].pop("headers", None)
    document_of(tmp_path).write_text(json.dumps(document | {"format": 1}))
    assert store.block(ref, token="t1") is Presence.BLOCKED
    assert json.loads(document_of(tmp_path).read_bytes())["format"] == 1
    assert store.unblock(ref, token="t1") is Presence.CURRENT
    store.put("covers", KEY, BLUE, content_type="image/png", headers={"Cache-Control": "no-store"})
    assert json.loads(document_of(tmp_path).read_bytes())["format"] == 2  # it would lose the header


# ── names ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_versions_tell_the_whole_story(store: FolderStore) -> None:
    ref = put(store)
    store.block(ref, token="t2")
    store.block(ref, token="t1")
    store.delete("covers", KEY)
    version, ours, foreign = store.versions("covers", KEY)
    assert isinstance(version, StoredVersion)
    assert version.version_id == ref.version_id
    assert isinstance(ours, DeleteMarker)
    assert ours.tokens == {"t1", "t2"}
    assert isinstance(foreign, DeleteMarker)
    assert foreign.tokens == frozenset()
    assert len({version.version_id, ours.version_id, foreign.version_id}) == 3
    assert store.versions("covers", "unknown") == ()


def test_no_file_leaves_the_root(store: FolderStore, tmp_path: Path) -> None:
    for key in ("../../escape", "/etc/escape", "..", "a/../../../escape", "🦊" * 256, "x" * 1024, "/" * 1024):
        put(store, key=key)
    assert {path.name for path in tmp_path.iterdir()} == {"store"}
    assert {path.name for path in (tmp_path / "store").iterdir()} == {"covers", "vault"}
    for key in ("🦊" * 256, "X" * 1024, "é/" * 300):
        assert max(map(len, directory_names(key.encode()))) <= 255


@pytest.mark.parametrize("key", ["", "x" * (MAX_KEY_BYTES + 1), "\ud800"])
def test_impossible_keys(store: FolderStore, key: str) -> None:
    with pytest.raises(Refused):
        put(store, key=key)
    with pytest.raises(ObjectMissing):
        store.presence(ObjectRef(bucket="covers", key=key, version_id="x"))
    store.delete("covers", key)
    assert store.current("covers", key) is None
    assert list(store.walk("covers", prefix=key or "nothing")) == []


@pytest.mark.parametrize("content_type", ["", " image/png", "image/png\r\nX-Evil: 1", "é", "x" * 256])
def test_a_content_type_is_one_header_line(store: FolderStore, content_type: str) -> None:
    with pytest.raises(Refused):
        store.put("covers", KEY, RED, content_type=content_type)


@pytest.mark.parametrize(
    "headers",
    [{"Cache-Control": "no-store\r\nX-Evil: 1"}, {"X-Evil": "1"}, {"Content-Type": ""}, {"Expires": "é"}],
)
def test_content_headers_are_known_ones_of_one_line(store: FolderStore, headers: dict[str, str]) -> None:
    with pytest.raises(Refused):
        store.put("covers", KEY, RED, content_type="image/png", headers=headers)


def test_what_is_put_back_is_evidence(tmp_path: Path) -> None:
    elsewhere = FolderStore(
        root=tmp_path / "store", buckets=frozenset({"covers", "vault"}), vault="other", durable=False
    )
    elsewhere.put("vault", "q/1", RED, content_type="image/png")
    store = make_store(tmp_path)
    lost = ObjectRef(bucket="covers", key=KEY, version_id="gone")
    with pytest.raises(IntegrityFailure):
        store.restore(lost, name="q/1")
    kept = store.keep(put(store, key="other"), name="q/2")
    file_of(tmp_path, kept.ref).write_bytes(BLUE)
    with pytest.raises(IntegrityFailure):
        store.restore(lost, name="q/2")
    assert store.current("covers", KEY) is None


def test_a_block_needs_a_token(store: FolderStore) -> None:
    with pytest.raises(Refused):
        store.block(put(store), token="")


def test_delete_of_what_never_was_makes_nothing(store: FolderStore, tmp_path: Path) -> None:
    store.delete("covers", KEY)
    assert list((tmp_path / "store" / "covers").iterdir()) == []


@pytest.mark.parametrize("bucket", ["", "..", "a/b", "Upper", "x", ".hidden", "a" * 64])
def test_bucket_names_are_checked_at_the_start(tmp_path: Path, bucket: str) -> None:
    with pytest.raises(ConfigurationError):
        FolderStore(root=tmp_path, buckets=frozenset({bucket}), vault="vault")


def test_an_unusable_root_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError):
        make_store(tmp_path / "file")
    with pytest.raises(ConfigurationError):
        FolderStore(root=tmp_path / ("d" * 801), buckets=frozenset(), vault="vault")


def test_nothing_is_open_to_others(store: FolderStore, tmp_path: Path) -> None:
    store.keep(put(store), name="q/1")
    modes = {path.stat().st_mode & 0o077 for path in (tmp_path / "store").rglob("*")}
    assert modes == {0}


def test_a_durable_store_behaves_the_same(tmp_path: Path) -> None:
    store = make_store(tmp_path, durable=True)
    ref = put(store)
    assert [store.block(ref, token="t1") for _ in range(2)] == [Presence.BLOCKED] * 2
    assert store.keep(ref, name="q/1") == store.keep(ref, name="q/1")
    assert store.unblock(ref, token="t1") is Presence.CURRENT
    assert store.read(ref, limit=len(RED)) == RED


def test_the_store_prints_no_paths(store: FolderStore, tmp_path: Path) -> None:
    assert str(tmp_path) not in repr(store)


# ── faults ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_fault_is_transient_and_names_no_key(store: FolderStore, tmp_path: Path) -> None:
    ref = put(store)
    file = file_of(tmp_path, ref)
    file.unlink()
    file.mkdir()  # EISDIR, whoever runs the test
    with pytest.raises(TransientError) as caught:
        store.read(ref, limit=10_000)
    told = "".join(traceback.format_exception(caught.value))
    assert "secret-looking-key" not in told
    assert "EISDIR" in str(caught.value)


CHILD = """
import os, signal, sys
from pathlib import Path
from coverguard.errors import TransientError
from coverguard.local.folder import FolderStore
from coverguard.model import ObjectRef

root = Path(sys.argv[1]) / "store"
store = FolderStore(root=root, buckets=frozenset({"covers"}), vault="vault", durable=False)
KEY = "secret-looking-key/1.png"

class At:
    '''Act when the process is about to do something for the n-th time: a fault where no test double sits.'''

    def __init__(self, event, number, act):
        self.event, self.left, self.act = event, number, act
        sys.addaudithook(self)

    def __call__(self, event, _args):
        if event == self.event:
            self.left -= 1
            if self.left == 0:
                self.act()

def killed():
    os.kill(os.getpid(), signal.SIGKILL)

def broken_disk():
    raise OSError(28, "No space left on device", "secret-looking-key")
"""


def child(tmp_path: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CHILD + textwrap.dedent(program), str(tmp_path), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.process
@pytest.mark.parametrize("rename", ["1", "2"])
def test_a_kill_before_a_rename_leaves_no_half_version(
    store: FolderStore, tmp_path: Path, rename: str
) -> None:
    before = put(store)
    done = child(
        tmp_path,
        """
        At("os.rename", int(sys.argv[2]), killed)
        store.put("covers", KEY, b"half", content_type="image/png")
        """,
        rename,
    )
    assert done.returncode == -signal.SIGKILL
    assert [entry.version_id for entry in store.versions("covers", KEY)] == [before.version_id]
    assert store.presence(before) is Presence.CURRENT
    after = put(store, BLUE)
    assert store.read(after, limit=10_000) == BLUE
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.process
def test_a_kill_within_block_leaves_all_or_nothing(store: FolderStore, tmp_path: Path) -> None:
    ref = put(store)
    done = child(
        tmp_path,
        """
        At("os.rename", 1, killed)
        store.block(ObjectRef(bucket="covers", key=KEY, version_id=sys.argv[2]), token="t1")
        """,
        ref.version_id,
    )
    assert done.returncode == -signal.SIGKILL
    assert store.presence(ref) is Presence.CURRENT
    assert store.block(ref, token="t1") is Presence.BLOCKED


@pytest.mark.process
@pytest.mark.parametrize(
    ("event", "number"), [("os.rename", 1), ("os.rename", 2), ("open", 2), ("os.mkdir", 1)]
)
def test_a_full_disk_is_transient_and_changes_nothing(
    store: FolderStore, tmp_path: Path, event: str, number: int
) -> None:
    done = child(
        tmp_path,
        """
        At(sys.argv[2], int(sys.argv[3]), broken_disk)
        try:
            store.put("covers", KEY, b"half", content_type="image/png")
        except TransientError as exc:
            print(exc, exc.__cause__, exc.__cause__.filename)
        """,
        event,
        str(number),
    )
    assert done.stdout.strip().endswith("ENOSPC [Errno 28] No space left on device None"), done.stderr
    assert store.versions("covers", KEY) == ()
    assert store.read(put(store), limit=10_000) == RED


@pytest.mark.process
def test_many_processes_agree(store: FolderStore, tmp_path: Path) -> None:
    ref = put(store)
    program = """
        import json
        me, version = sys.argv[2], sys.argv[3]
        bad = ObjectRef(bucket="covers", key=KEY, version_id=version)
        made = []
        for number in range(15):
            assert store.block(bad, token=me) == "blocked"
            assert store.presence(bad) == "blocked"
            ref = store.put("covers", "busy", f"{me} {number}".encode(), content_type="image/png")
            made.append(ref.version_id)
            store.delete("covers", "busy")
            store.keep(bad, name="q/1")
            store.unblock(bad, token=me)
        store.block(bad, token=me)
        print(json.dumps(made))
    """
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda me: child(tmp_path, program, me, ref.version_id), "abc"))
    assert [run.returncode for run in done] == [0, 0, 0], done[0].stderr
    made = {version for run in done for version in json.loads(run.stdout)}
    entries = store.versions("covers", "busy")
    assert {entry.version_id for entry in entries if isinstance(entry, StoredVersion)} == made
    assert len(entries) == 90
    assert len(store.versions("vault", "q/1")) == 1
    for entry in entries:
        if isinstance(entry, StoredVersion):
            store.read(ObjectRef(bucket="covers", key="busy", version_id=entry.version_id), limit=100)
    assert [store.unblock(ref, token=me) for me in "ab"] == [Presence.BLOCKED] * 2
    assert store.unblock(ref, token="c") is Presence.CURRENT


@pytest.mark.process
def test_a_killed_writer_frees_its_lock(store: FolderStore, tmp_path: Path) -> None:
    ref = put(store)
    program = """
        import time
        from coverguard.local.keyfolder import KeyFolder
        with KeyFolder(Path(sys.argv[1]) / "store" / "covers", KEY.encode(), durable=False).locked():
            print("locked", flush=True)
            time.sleep(60)
    """
    holder = subprocess.Popen(
        [sys.executable, "-c", CHILD + textwrap.dedent(program), str(tmp_path)], stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(store.block, ref, token="t1")
            assert store.presence(ref) is Presence.CURRENT  # readers do not wait
            os.kill(holder.pid, signal.SIGKILL)
            assert waiting.result(timeout=20) is Presence.BLOCKED
