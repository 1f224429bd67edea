"""What an object store says by itself: S3 event notifications, raw or wrapped by SNS or EventBridge.

A message may hold several records; each is a unit of its own, so `alone` makes a message of one. Nothing here
is trusted but place and version: who uploaded what is not in a notification. Keys are decoded as their sender
encoded them: S3 as a form does, EventBridge not at all. The order of events is not needed, since each names
its version; their `sequencer` is not read. Envelopes' signatures are not checked: who may send to the queue
is the queue's policy. Pure; no I/O.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from urllib.parse import unquote_plus

from coverguard.errors import BadMessage
from coverguard.messages import document_of
from coverguard.model import ObjectRef

Record = Mapping[str, Any]

_NAME_BYTES: Final = 16
_UNANNOUNCED: Final = "object:"
_NOBODY: Final = "nobody:"


class Happening(StrEnum):
    CREATED = "created"
    DELETED = "deleted"  # a version, or a delete marker on top
    OTHER = "other"  # tags, life cycle, replication: no new bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectEvent:
    happening: Happening
    ref: ObjectRef


def unwrapped(body: str) -> str:
    """Return what SNS delivered in its envelope, or the body as it is: also for messages of our own schema.

    Raises:
        BadMessage: too large, not JSON, or an envelope without a message.
    """
    document = document_of(body)
    if not isinstance(document, dict) or "TopicArn" not in document or "Type" not in document:
        return body
    if document["Type"] != "Notification":
        raise BadMessage("field Type: must be Notification; subscriptions are confirmed by their owner")
    return _text(document, "Message")


def records_of(body: str) -> Sequence[Record] | None:
    """Return the records of a notification, none for a test event; None where it is another message.

    Raises:
        BadMessage: too large, or not JSON.
    """
    document = document_of(body)
    if not isinstance(document, dict):
        return None
    if document.get("Event") == "s3:TestEvent":
        return ()
    if document.get("source") == "aws.s3" and "detail-type" in document:
        return (document,)
    records = document.get("Records")
    if isinstance(records, list) and any(_is_record(one) for one in records):
        return records  # what is no record among them fails when it is alone
    return None


def alone(record: Record) -> str:
    """Return a message of this one of several records; sent twice it means the same."""
    return json.dumps({"Records": [record]})


def event_of(record: Record) -> ObjectEvent:
    """Return what happened, and to which version of which object.

    Raises:
        BadMessage: a field is missing or wrong, or the bucket keeps no versions; the message names it.
    """
    if "detail-type" in record:
        happening = _BRIDGED.get(_text(record, "detail-type"), Happening.OTHER)
        ref = _ref(record, ("detail",), version="version-id", key=_text(record, "detail", "object", "key"))
    else:
        happening = _happening(_text(record, "eventName"))
        ref = _ref(record, ("s3",), version="versionId", key=_decoded(_text(record, "s3", "object", "key")))
    if happening is Happening.CREATED and ref.version_id in {"", "null"}:
        raise BadMessage(
            "field versionId: missing; the bucket must be versioned, or what was screened could be exchanged"
        )
    return ObjectEvent(happening=happening, ref=ref)


# ── objects that nobody announced ──────────────────────────────────────────────────────────────────────────


def unannounced(ref: ObjectRef) -> str:
    """Return the cover id under which an object version is known that nobody announced: stable, and blind."""
    whole = json.dumps([ref.bucket, ref.key, ref.version_id]).encode()
    return _UNANNOUNCED + hashlib.sha256(whole).hexdigest()[: 2 * _NAME_BYTES]


def nobody(cover_id: str) -> str:
    """Return the account id that stands for the unknown uploader of such a cover, and of no other."""
    return _NOBODY + cover_id.removeprefix(_UNANNOUNCED)


def is_nobody(account_id: str, *, cover_id: str) -> bool:
    """Whether no account is behind the cover. No account can be called so: its cover's id comes later."""
    return cover_id.startswith(_UNANNOUNCED) and account_id == nobody(cover_id)


# ── fields ─────────────────────────────────────────────────────────────────────────────────────────────────

_BRIDGED: Final = {"Object Created": Happening.CREATED, "Object Deleted": Happening.DELETED}


def _happening(name: str) -> Happening:
    kind = name.removeprefix("s3:").partition(":")[0]
    return {"ObjectCreated": Happening.CREATED, "ObjectRemoved": Happening.DELETED}.get(kind, Happening.OTHER)


def _is_record(value: object) -> bool:
    """S3 and what speaks like it call the source `aws:s3`, `minio:s3`, `ceph:s3`."""
    return isinstance(value, dict) and str(value.get("eventSource", "")).endswith(":s3")


def _ref(record: Record, path: tuple[str, ...], *, version: str, key: str) -> ObjectRef:
    found: Any = record
    for name in (*path, "object"):
        found = found[name]
    version_id = found.get(version) or ""
    if not isinstance(version_id, str):
        raise BadMessage(f"field {version}: must be text")
    return ObjectRef(bucket=_text(record, *path, "bucket", "name"), key=key, version_id=version_id)


def _text(record: Record, *path: str) -> str:
    found: Any = record
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    if not isinstance(found, str) or not found:
        raise BadMessage(f"field {'.'.join(path)}: missing")
    return found


def _decoded(key: str) -> str:
    try:
        return unquote_plus(key, errors="strict")
    except UnicodeDecodeError:
        raise BadMessage("field s3.object.key: not UTF-8") from None
