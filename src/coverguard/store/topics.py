"""The embedded profile's topics: a queue of ours, which the platform's part of the demo empties.

A table has no partial failure: a call sends all or nothing, in order. Key and group are in the body already.
"""

from __future__ import annotations

from collections.abc import Sequence

from coverguard.errors import TransientError
from coverguard.ports import OutgoingEvent, Published, Queue


class QueueTopic:
    """`ports.Topic` on a `ports.Queue` that keeps its order."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def publish(self, events: Sequence[OutgoingEvent]) -> Published:
        try:
            self._queue.send([event.body for event in events])
        except TransientError as error:
            return Published(fault=type(error.__cause__ or error).__name__)
        return Published(confirmed=frozenset(event.key for event in events))
