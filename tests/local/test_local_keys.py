"""Local keys: what is sealed opens only as it was sealed, and key files are nobody else's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coverguard.errors import ConfigurationError, IntegrityFailure
from coverguard.local.keys import PURPOSES, LocalKeys


@pytest.fixture
def keys(tmp_path: Path) -> LocalKeys:
    return LocalKeys.open_or_create(tmp_path / "keys")


def fixed() -> LocalKeys:
    return LocalKeys({purpose: bytes([number]) * 32 for number, purpose in enumerate(PURPOSES)})


@given(plain=st.binary(max_size=200), context=st.binary(max_size=40))
def test_what_is_sealed_opens(plain: bytes, context: bytes) -> None:
    keys = fixed()
    sealed = keys.seal("lists", plain, context=context)
    assert keys.open("lists", sealed, context=context) == plain
    assert len(sealed) == len(plain) + 29
    assert keys.seal("lists", plain, context=context) != sealed


@given(data=st.data(), plain=st.binary(max_size=50))
def test_any_changed_byte_is_noticed(data: st.DataObject, plain: bytes) -> None:
    keys = fixed()
    sealed = bytearray(keys.seal("private", plain, context=b"row 1"))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(IntegrityFailure):
        keys.open("private", bytes(sealed), context=b"row 1")


@given(rubbish=st.binary(max_size=60))
def test_rubbish_is_an_integrity_failure(rubbish: bytes) -> None:
    for sealed in (rubbish, b"\x01" + rubbish):
        with pytest.raises(IntegrityFailure):
            fixed().open("lists", sealed, context=b"")


def test_context_and_purpose_are_part_of_it(keys: LocalKeys) -> None:
    sealed = keys.seal("lists", b"words", context=b"row 1")
    for purpose, context in (("lists", b"row 2"), ("lists", b""), ("private", b"row 1")):
        with pytest.raises(IntegrityFailure):
            keys.open(purpose, sealed, context=context)


def test_a_purpose_is_named_or_there_is_no_key(keys: LocalKeys) -> None:
    for act in (
        lambda: keys.seal("other", b"x", context=b""),
        lambda: keys.open("other", b"\x01" + b"x" * 40, context=b""),
        lambda: keys.mac("other", b"x"),
    ):
        with pytest.raises(ConfigurationError):
            act()


def test_macs_are_keyed_stable_and_their_own(keys: LocalKeys, tmp_path: Path) -> None:
    again = LocalKeys.open_or_create(tmp_path / "keys")
    other = LocalKeys.open_or_create(tmp_path / "others")
    assert keys.mac("private", b"x") == again.mac("private", b"x")
    assert len({k.mac(p, b"x") for k in (keys, other) for p in PURPOSES}) == 4
    assert len(keys.mac("lists", b"")) == 32
    # pins derivation and format: stored look-ups must survive every release
    assert fixed().mac("lists", b"pinned").hex().startswith(PINNED_MAC)


PINNED_MAC = "c099ba1a63dd27c4"


def test_keys_come_back_from_their_files(keys: LocalKeys, tmp_path: Path) -> None:
    sealed = keys.seal("private", b"words", context=b"c")
    assert LocalKeys.open_or_create(tmp_path / "keys").open("private", sealed, context=b"c") == b"words"


def test_files_are_ours_alone(keys: LocalKeys, tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in directory.iterdir()} == {"lists.key", "private.key"}
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}
    secrets = [path.read_bytes() for path in directory.iterdir()]
    assert {len(secret) for secret in secrets} == {32}
    assert secrets[0] != secrets[1]
    assert all(secret.hex() not in repr(keys) and repr(secret) not in repr(keys) for secret in secrets)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_open_files_are_refused(keys: LocalKeys, tmp_path: Path, mode: int) -> None:
    (tmp_path / "keys" / "lists.key").chmod(mode)
    with pytest.raises(ConfigurationError):
        LocalKeys.open_or_create(tmp_path / "keys")


def test_an_open_directory_is_refused(keys: LocalKeys, tmp_path: Path) -> None:
    (tmp_path / "keys").chmod(0o750)
    with pytest.raises(ConfigurationError):
        LocalKeys.open_or_create(tmp_path / "keys")


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33])
def test_a_wrong_length_is_refused(keys: LocalKeys, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "keys" / "lists.key").write_bytes(content)
    with pytest.raises(ConfigurationError):
        LocalKeys.open_or_create(tmp_path / "keys")


def test_links_and_directories_are_no_keys(keys: LocalKeys, tmp_path: Path) -> None:
    file = tmp_path / "keys" / "lists.key"
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError):
        LocalKeys.open_or_create(tmp_path / "keys")
    file.unlink()
    file.mkdir(mode=0o700)
    with pytest.raises(ConfigurationError):
        LocalKeys.open_or_create(tmp_path / "keys")


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b"")
    with pytest.raises(ConfigurationError):
        LocalKeys.open_or_create(tmp_path / "keys")


@pytest.mark.process
def test_processes_that_start_together_share_the_keys(tmp_path: Path) -> None:
    program = """
import sys, time
from pathlib import Path
from coverguard.local.keys import LocalKeys
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    keys = LocalKeys.open_or_create(Path(sys.argv[1]) / str(number))
    print(keys.mac("lists", b"x").hex(), keys.mac("private", b"x").hex())
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert outputs[0] == outputs[1]
    assert len(outputs[0].splitlines()) == 20
    assert not list(tmp_path.rglob(".*"))
