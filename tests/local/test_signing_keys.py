"""The signing key of the audit trail: private, made once, its public half beside it."""

from __future__ import annotations

import threading

import pytest

from coverguard.errors import ConfigurationError
from coverguard.local.keys import LocalSigner, PublicKeys


def test_a_key_is_made_once_and_signs_the_same(tmp_path):
    one, again = (LocalSigner.open_or_create(tmp_path / "keys") for _ in range(2))
    assert one.key_id == again.key_id
    assert one.sign(b"x") == again.sign(b"x")
    assert len(one.sign(b"x")) == 64


def test_two_processes_at_once_have_one_key(tmp_path):
    start, found = threading.Barrier(4), []

    def make() -> None:
        start.wait()
        found.append(LocalSigner.open_or_create(tmp_path / "keys").key_id)

    makers = [threading.Thread(target=make) for _ in range(4)]
    for one in makers:
        one.start()
    for one in makers:
        one.join()
    assert len(found) == 4
    assert len(set(found)) == 1


def test_what_was_signed_holds_and_nothing_else(tmp_path):
    signer = LocalSigner.open_or_create(tmp_path / "keys")
    keys = PublicKeys.beside(tmp_path / "keys")
    signature = signer.sign(b"said")
    assert keys.knows(signer.key_id)
    assert keys.holds(signer.key_id, b"said", signature=signature)
    assert not keys.holds(signer.key_id, b"other", signature=signature)
    assert not keys.holds(signer.key_id, b"said", signature=b"")
    assert not keys.holds("0" * 64, b"said", signature=signature)


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_key_that_others_may_read_is_refused(tmp_path, mode):
    LocalSigner.open_or_create(tmp_path / "keys")
    (tmp_path / "keys" / "audit.key").chmod(mode)
    with pytest.raises(ConfigurationError):
        LocalSigner.open_or_create(tmp_path / "keys")


def test_a_short_key_is_refused(tmp_path):
    LocalSigner.open_or_create(tmp_path / "keys")
    (tmp_path / "keys" / "audit.key").write_bytes(b"short")
    with pytest.raises(ConfigurationError):
        LocalSigner.open_or_create(tmp_path / "keys")


def test_no_key_is_no_trust(tmp_path):
    assert not PublicKeys.beside(tmp_path).knows("0" * 64)


def test_the_key_is_not_in_its_repr(tmp_path):
    signer = LocalSigner.open_or_create(tmp_path / "keys")
    assert (tmp_path / "keys" / "audit.key").read_bytes().hex() not in repr(signer)
