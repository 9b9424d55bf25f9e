"""What object storage says of its objects, out of the messages of a queue.

Four shapes are known: a notification of S3 itself, its test event, an event of EventBridge, and each of them in the
envelope of SNS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote_plus

import orjson

from stacyard.ingestor.errors import Rejected

# an envelope in an envelope in an envelope is nothing that AWS sends
_DEEPEST = 3
_EVENT_BRIDGE = {"Object Created": "created", "Object Deleted": "removed"}
Kind = Literal["created", "removed", "other"]


@dataclass(frozen=True, kw_only=True)
class ObjectEvent:
    """What happened to an object. `key` is as it is, not URL-encoded; `size` in bytes, `etag` without quotes.

    Events come more than once and in any order: of two for the same key the one with the later `sequencer` holds, see
    `supersedes`.
    """

    kind: Kind
    bucket: str
    key: str
    size: int | None = None
    etag: str | None = None
    version_id: str | None = None
    sequencer: str | None = None

    @property
    def uri(self) -> str:
        """`s3://bucket/key`."""
        return f"s3://{self.bucket}/{self.key}"


def parse_message(body: str | bytes) -> Sequence[ObjectEvent]:
    """The events in the body of a message; none in a test event.

    Raises:
        Rejected: it is none of the known shapes.
    """
    return _events(_object(body), depth=0)


def supersedes(event: ObjectEvent, other: ObjectEvent) -> bool:
    """Whether an event happened after another one of the same object.

    Sequencers are hexadecimal numbers of different lengths, compared from the left: the shorter is filled up with
    zeros at its right (Amazon S3 User Guide, "Event message structure"). Without both of them nobody can say: False.
    """
    if not event.sequencer or not other.sequencer:
        return False
    width = max(len(event.sequencer), len(other.sequencer))
    return event.sequencer.upper().ljust(width, "0") > other.sequencer.upper().ljust(width, "0")


def _events(message: Mapping[str, Any], *, depth: int) -> list[ObjectEvent]:
    if message.get("Event") == "s3:TestEvent":
        return []
    if message.get("Type") == "Notification" and "Message" in message and depth < _DEEPEST:
        return _events(_object(message["Message"]), depth=depth + 1)
    if isinstance(message.get("Records"), list):
        return [_of_notification(record) for record in message["Records"]]
    if message.get("source") == "aws.s3" and isinstance(message.get("detail"), dict):
        return [_of_event_bridge(message)]
    raise Rejected(
        f"the message is no event of S3 (it has {', '.join(sorted(message)[:8]) or 'nothing'}): send notifications of "
        "S3, or of EventBridge, to this queue and nothing else"
    )


def _of_notification(record: Any) -> ObjectEvent:
    try:
        name, entity = str(record["eventName"]), record["s3"]
        described = entity["object"]
        # S3 encodes the key as a form does: a blank is a plus sign
        return _event(_kind(name), entity["bucket"]["name"], unquote_plus(described["key"]), described, etag="eTag")
    except (KeyError, TypeError, AttributeError) as error:
        raise _incomplete(error) from error


def _of_event_bridge(message: Mapping[str, Any]) -> ObjectEvent:
    try:
        detail = message["detail"]
        described = detail["object"]
        kind: Any = _EVENT_BRIDGE.get(message["detail-type"], "other")
        return _event(kind, detail["bucket"]["name"], described["key"], described, etag="etag")
    except (KeyError, TypeError, AttributeError) as error:
        raise _incomplete(error) from error


def _event(kind: Kind, bucket: Any, key: Any, described: Mapping[str, Any], *, etag: str) -> ObjectEvent:
    if not isinstance(bucket, str) or not isinstance(key, str) or not bucket or not key:
        raise TypeError("bucket and key must be text")
    size, tag = described.get("size"), described.get(etag)
    version = described.get("versionId", described.get("version-id"))
    sequencer = described.get("sequencer")
    return ObjectEvent(
        kind=kind,
        bucket=bucket,
        key=key,
        size=size if isinstance(size, int) else None,
        etag=tag.strip('"') if isinstance(tag, str) else None,
        version_id=version if isinstance(version, str) else None,
        sequencer=sequencer if isinstance(sequencer, str) else None,
    )


def _kind(name: str) -> Kind:
    name = name.removeprefix("s3:")
    if name.startswith("ObjectCreated:"):
        return "created"
    return "removed" if name.startswith(("ObjectRemoved:", "LifecycleExpiration:")) else "other"


def _object(text: Any) -> Mapping[str, Any]:
    try:
        content = orjson.loads(text)
    except (ValueError, TypeError) as error:
        raise Rejected(f"the message is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise Rejected("the message is no JSON object, so no event of S3")
    return content


def _incomplete(error: Exception) -> Rejected:
    return Rejected(f"the message looks like an event of S3, but is not whole: {error}")
