"""The folder store against a model so small that it can be read: any sequence of acts, the same answers."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from coverguard.local.folder import FolderStore
from coverguard.model import ObjectRef
from coverguard.ports import Presence

pytestmark = pytest.mark.thorough

KEYS = ("a", "a/b", "../c", "🦊/")
BODIES = (b"one, generated", b"two, generated")
TOKENS = ("t1", "t2")


@dataclass
class Marker:
    tokens: set[str] | None = None  # None: somebody else's


@dataclass
class Model:
    """Each key is a list of bytes and markers; what is last is what the public gets."""

    piles: dict[str, list[bytes | Marker]] = field(default_factory=lambda: {key: [] for key in KEYS})

    def public(self, key: str) -> bytes | None:
        pile = self.piles[key]
        return pile[-1] if pile and isinstance(pile[-1], bytes) else None

    def presence(self, key: str, data: bytes) -> Presence:
        top = self.piles[key][-1]
        if isinstance(top, bytes):
            return Presence.CURRENT if top == data else Presence.REPLACED
        return Presence.ABSENT if top.tokens is None else Presence.BLOCKED

    def hiding(self, key: str, data: bytes) -> set[str] | None:
        top = self.piles[key][-1]
        if isinstance(top, Marker) and top.tokens is not None and self.piles[key][-2] == data:
            return top.tokens
        return None

    def block(self, key: str, data: bytes, token: str) -> None:
        if self.public(key) == data:
            self.piles[key].append(Marker({token}))
        elif (tokens := self.hiding(key, data)) is not None:
            tokens.add(token)

    def unblock(self, key: str, data: bytes, token: str) -> None:
        tokens = self.hiding(key, data)
        if tokens is not None and token in tokens:
            tokens.remove(token)
            if not tokens:
                self.piles[key].pop()


class FolderMachine(RuleBasedStateMachine):
    versions: Bundle = Bundle("versions")

    @initialize()
    def start(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        root = Path(self.directory.name)
        self.store = FolderStore(root=root, buckets=frozenset({"covers"}), vault="vault", durable=False)
        self.model = Model()

    def teardown(self) -> None:
        self.directory.cleanup()

    @rule(target=versions, key=st.sampled_from(KEYS), data=st.sampled_from(BODIES))
    def put(self, key: str, data: bytes) -> tuple[ObjectRef, bytes]:
        self.model.piles[key].append(data)
        return self.store.put("covers", key, data, content_type="image/png"), data

    @rule(key=st.sampled_from(KEYS))
    def delete(self, key: str) -> None:
        if self.model.piles[key]:
            self.model.piles[key].append(Marker())
        self.store.delete("covers", key)

    @rule(version=versions, token=st.sampled_from(TOKENS), times=st.integers(1, 2))
    def block(self, version: tuple[ObjectRef, bytes], token: str, times: int) -> None:
        ref, data = version
        self.model.block(ref.key, data, token)
        for _ in range(times):
            assert self.store.block(ref, token=token) is self.model.presence(ref.key, data)

    @rule(version=versions, token=st.sampled_from(TOKENS), times=st.integers(1, 2))
    def unblock(self, version: tuple[ObjectRef, bytes], token: str, times: int) -> None:
        ref, data = version
        self.model.unblock(ref.key, data, token)
        for _ in range(times):
            assert self.store.unblock(ref, token=token) is self.model.presence(ref.key, data)

    @rule(version=versions)
    def keep(self, version: tuple[ObjectRef, bytes]) -> None:
        ref, data = version
        kept = self.store.keep(ref, name=data.decode())
        assert self.store.read(kept.ref, limit=100) == data

    @rule(version=versions)
    def read(self, version: tuple[ObjectRef, bytes]) -> None:
        ref, data = version
        assert self.store.read(ref, limit=100) == data
        assert self.store.presence(ref) is self.model.presence(ref.key, data)

    @invariant()
    def the_public_gets_the_same(self) -> None:
        expected = {key: data for key in KEYS if (data := self.model.public(key)) is not None}
        found = list(self.store.walk("covers", prefix=""))
        assert [ref.key for ref in found] == sorted(expected, key=str.encode)
        for ref in found:
            assert self.store.read(ref, limit=100) == expected[ref.key]


TestFolderMachine = FolderMachine.TestCase
TestFolderMachine.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
