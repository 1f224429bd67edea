"""Blocks on S3: a delete marker of ours on top, and a note of who wants it there.

Order: note the intent, put the marker on condition that the version is still on top, note the marker. Order
back: look at the bytes, note that it is being lifted, take the markers away, forget the block. Whoever finds
another's half-done work finishes it, so any step may be the last of its process, and any may come twice. A
marker that no note names is somebody else's, unless an intent just before it was never settled. Copies
nothing, and knows nothing of legal holds.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, TypeVar

from coverguard.aws.s3_notes import Block, Intent, Note, Notes, Stored
from coverguard.aws.s3_objects import KeyState, Marker, Objects, Overtaken, Version
from coverguard.errors import IntegrityFailure, ObjectMissing, TransientError
from coverguard.model import ObjectRef
from coverguard.ports import Clock, Presence

_TRIES: Final = 40
_LONGEST_PAUSE: Final = 400  # milliseconds

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One look at a key: what lies there, and then the note of it."""

    state: KeyState
    stored: Stored

    @property
    def note(self) -> Note:
        return self.stored.note

    @property
    def ours(self) -> Block | None:
        """The block whose marker is on top, with that marker in it."""
        top = self.state.top
        if not isinstance(top, Marker):
            return None
        named = self.note.of_marker(top.version_id)
        if named is not None or not self.state.versions:
            return named
        block = self.note.of_version(self.state.versions[0])
        return block.with_marker(top.version_id) if block.may_have_put(top) else None


class Blocks:
    """`block`, `unblock` and `presence` of `ports.ObjectStore`. Thread-safe."""

    def __init__(self, *, objects: Objects, notes: Notes, clock: Clock) -> None:
        self._objects = objects
        self._notes = notes
        self._clock = clock

    # ── the port ───────────────────────────────────────────────────────────────────────────────────────────

    def presence(self, ref: ObjectRef) -> Presence:
        return self.until_settled(lambda: self._presence(ref))

    def block(self, ref: ObjectRef, *, token: str) -> Presence:
        return self.until_settled(lambda: self._block(ref, token))

    def unblock(self, ref: ObjectRef, *, token: str) -> Presence:
        return self.until_settled(lambda: self._unblock(ref, token))

    # ── what restoring shares ──────────────────────────────────────────────────────────────────────────────

    def scene(self, ref: ObjectRef) -> Scene:
        """Look at the key, having finished what somebody began to lift there. Raises `Overtaken`."""
        scene = self._look(ref, self._objects.state(ref.bucket, ref.key))
        if scene.note.lifting is not None:
            self._lift(ref, scene.note.lifting)
            raise Overtaken
        return scene

    def until_settled(self, attempt: Callable[[], T]) -> T:
        """Try until nobody is in the way. Raises `TransientError` when somebody always is."""
        for number in range(_TRIES):
            with suppress(Overtaken):
                return attempt()
            longest = min(10 * 2**number, _LONGEST_PAUSE)
            self._clock.sleep(timedelta(milliseconds=secrets.randbelow(longest)))
        raise TransientError("others keep changing the same object")

    def identical(self, ref: ObjectRef, one: Version, other: Version) -> bool:
        """Whether two versions of the key have the same bytes; read only where the store cannot tell."""
        if one.version_id == other.version_id:
            return True
        if one.size != other.size:
            return False
        if one.etag == other.etag or one.size == 0:
            return True
        return self._sha256(ref, one) == self._sha256(ref, other)

    # ── looking ────────────────────────────────────────────────────────────────────────────────────────────

    def _presence(self, ref: ObjectRef, wanted: Version | None = None) -> Presence:
        state = self._objects.state(ref.bucket, ref.key)
        wanted = wanted or self._find(ref, state)
        if isinstance(state.top, Marker) and self._look(ref, state).ours is not None:
            return Presence.BLOCKED
        return self._without_ours(ref, state, wanted)

    def _look(self, ref: ObjectRef, state: KeyState) -> Scene:
        """Raises `Overtaken` when it is not sure whose the marker on top is.

        State first: a marker of ours has an intent or its block before it is seen. It is taken away before
        its block is forgotten; so a marker that is still there after the note knew nothing of it is foreign.
        """
        scene = Scene(state=state, stored=self._notes.load(ref.bucket, ref.key))
        foreign = isinstance(state.top, Marker) and scene.ours is None
        if foreign and self._objects.state(ref.bucket, ref.key).top != state.top:
            raise Overtaken
        return scene

    def _find(self, ref: ObjectRef, state: KeyState) -> Version:
        """Raises `ObjectMissing`, also for a marker's id."""
        return state.version(ref.version_id) or self._objects.version(ref)

    def _sha256(self, ref: ObjectRef, version: Version) -> bytes:
        return self._objects.sha256(replace(ref, version_id=version.version_id))

    def _without_ours(self, ref: ObjectRef, state: KeyState, wanted: Version) -> Presence:
        """What the public gets where no marker of ours is on top."""
        if not isinstance(state.top, Version):
            return Presence.ABSENT
        same = self.identical(ref, state.top, wanted)
        return Presence.CURRENT if same else Presence.REPLACED

    # ── block ──────────────────────────────────────────────────────────────────────────────────────────────

    def _block(self, ref: ObjectRef, token: str) -> Presence:
        scene = self.scene(ref)
        wanted = self._find(ref, scene.state)
        if scene.ours is not None:
            if self.identical(ref, scene.ours.version, wanted):
                self._change(ref, scene, scene.ours.joined(token))
            return Presence.BLOCKED
        presence = self._without_ours(ref, scene.state, wanted)
        if presence is Presence.CURRENT and isinstance(scene.state.top, Version):
            self._hide(ref, scene, over=scene.state.top, token=token)
            return Presence.BLOCKED
        return presence

    def _hide(self, ref: ObjectRef, scene: Scene, *, over: Version, token: str) -> None:
        """Note the intent, put the marker, note the marker. Raises `Overtaken`."""
        name = secrets.token_hex(8)
        intent = Intent(token=token, at=scene.state.asked_at)
        self._change(ref, scene, scene.note.of_version(over).intends(name, intent))
        try:
            marker_id = self._objects.hide(ref.bucket, ref.key, over=over)
        except Overtaken:
            self.until_settled(lambda: self._give_up(ref, over, name))
            raise
        if self._hides_something_newer(ref, over, marker_id):
            self._objects.remove(ref.bucket, ref.key, marker_id)
            self.until_settled(lambda: self._give_up(ref, over, name))
            raise Overtaken
        self.until_settled(lambda: self._settle(ref, over, marker_id))

    def _hides_something_newer(self, ref: ObjectRef, over: Version, marker_id: str) -> bool:
        """Whether the marker went over a version that came between; only a careless store lets it."""
        state = self._objects.state(ref.bucket, ref.key)
        on_top = state.top is not None and state.top.version_id == marker_id
        return on_top and not self.identical(ref, state.versions[0], over)

    def _give_up(self, ref: ObjectRef, over: Version, name: str) -> None:
        stored = self._notes.load(ref.bucket, ref.key)
        block = stored.note.of_version(over)
        if name in block.intents:
            self._save(ref, stored, stored.note.with_block(block.gave_up(name)))

    def _settle(self, ref: ObjectRef, over: Version, marker_id: str) -> None:
        """Note the marker that was put; take it away again where nobody wants it by now."""
        stored = self._notes.load(ref.bucket, ref.key)
        block = stored.note.of_version(over).with_marker(marker_id)
        block = replace(block, lifting=not block.tokens)
        self._save(ref, stored, stored.note.with_block(block))
        if block.lifting:
            self._lift(ref, block)

    # ── unblock ────────────────────────────────────────────────────────────────────────────────────────────

    def _unblock(self, ref: ObjectRef, token: str) -> Presence:
        scene = self.scene(ref)
        block = scene.ours
        try:
            wanted = self._find(ref, scene.state)
        except ObjectMissing:
            if block is None or token not in block.tokens or block.version_id == ref.version_id:
                self._drop_token_of_missing(ref, scene, token)
                raise
            wanted = block.version  # the byte-identical one that was hidden in its place
        if block is None:
            self._save(ref, scene.stored, scene.note.without_token(token))
            return self._without_ours(ref, scene.state, wanted)
        if not self.identical(ref, block.version, wanted):
            return Presence.BLOCKED
        block = block.without(token)
        if block.tokens or not self._would_be_served(ref, scene, block):
            self._change(ref, scene, block)
            return Presence.BLOCKED
        self._check_bytes(ref, block)
        block = replace(block, lifting=True)
        self._change(ref, scene, block)
        self._lift(ref, block)
        return self._presence(ref, wanted)

    def _drop_token_of_missing(self, ref: ObjectRef, scene: Scene, token: str) -> None:
        """The marker stays, because it hides what is older; but nobody holds it, and a copy may go on top."""
        for block in scene.note.blocks:
            if block.version_id == ref.version_id and token in block.tokens:
                self._change(ref, scene, block.without(token))

    def _would_be_served(self, ref: ObjectRef, scene: Scene, block: Block) -> bool:
        """Whether lifting would show the block's bytes, and not older ones because its version is gone."""
        below = scene.state.versions
        return bool(below) and self.identical(ref, below[0], block.version)

    def _check_bytes(self, ref: ObjectRef, block: Block) -> None:
        """Raises `IntegrityFailure` where the bytes are not the ones that were hidden."""
        hidden = replace(ref, version_id=block.version_id)
        try:
            if self._objects.version(hidden) != block.version:
                raise IntegrityFailure("the version is not the one that was hidden")
            self._objects.sha256(hidden)  # to its end, against the store's checksum
        except ObjectMissing as exc:
            raise Overtaken from exc

    def _lift(self, ref: ObjectRef, block: Block) -> None:
        for marker_id in block.markers:
            self._objects.remove(ref.bucket, ref.key, marker_id)
        self.until_settled(lambda: self._forget(ref, block))

    def _forget(self, ref: ObjectRef, block: Block) -> None:
        """Drop the block, unless somebody else did and it is another one by now."""
        stored = self._notes.load(ref.bucket, ref.key)
        found = stored.note.of_version(block.version)
        if found.lifting and found.markers <= block.markers:
            self._save(ref, stored, stored.note.without_block(block.version_id))

    # ── the note ───────────────────────────────────────────────────────────────────────────────────────────

    def _change(self, ref: ObjectRef, scene: Scene, block: Block) -> None:
        self._save(ref, scene.stored, scene.note.with_block(block).tidied(now=scene.state.asked_at))

    def _save(self, ref: ObjectRef, stored: Stored, note: Note) -> None:
        """Replace the note that was read, if anything changes. Raises `Overtaken`."""
        if note != stored.note:
            self._notes.save(ref.bucket, ref.key, note, over=stored)
