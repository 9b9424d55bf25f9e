"""The queue of file events that is Amazon SQS, or what speaks its protocol at another endpoint.

Region and credentials are found as the AWS tools find them. A message that is received too often goes to the
dead-letter queue that the queue's own redrive policy names.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from botocore.exceptions import BotoCoreError, ClientError

from stacyard.ingestor.errors import RunStopped
from stacyard.ingestor.stream.messages import Message

# of one request (Amazon SQS API Reference, ReceiveMessage and DeleteMessageBatch)
_MOST = 10
_LONGEST_WAIT = 20
_LONGEST_VISIBILITY = 12 * 3600
_COUNTS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)
_ATTEMPTS = 5
_BATCH_ATTEMPTS = 3


class SqsMessages:
    """A standard queue of SQS; `endpoint_url` leads elsewhere than to AWS.

    A request is tried several times by the client itself; of a batch that was done in part the rest is tried again.
    """

    def __init__(self, queue_url: str, *, endpoint_url: str | None = None) -> None:
        import boto3
        from botocore.config import Config

        self._url = queue_url
        config = Config(
            retries={"mode": "standard", "max_attempts": _ATTEMPTS},
            connect_timeout=5,
            # longer than the longest poll
            read_timeout=_LONGEST_WAIT + 10,
        )
        self._client = boto3.client("sqs", endpoint_url=endpoint_url, config=config)

    def receive(self, limit: int, *, wait_seconds: float, visibility_seconds: float) -> list[Message]:
        """Up to `limit` messages, ten a request; waits at most so long, and at most 20 s, for the first.

        Raises:
            RunStopped: the queue does not answer or may not be read.
        """
        messages: list[Message] = []
        wait = min(_LONGEST_WAIT, int(wait_seconds))
        while len(messages) < limit:
            try:
                answer = self._client.receive_message(
                    QueueUrl=self._url,
                    MaxNumberOfMessages=min(_MOST, limit - len(messages)),
                    WaitTimeSeconds=0 if messages else wait,
                    VisibilityTimeout=_whole(visibility_seconds),
                    AttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
                )
            except (BotoCoreError, ClientError) as error:
                self._stop(error)
            entries = answer.get("Messages", [])
            messages += [_message(entry) for entry in entries]
            if len(entries) < min(_MOST, limit):
                break
        return messages

    def delete(self, messages: Sequence[Message]) -> None:
        """Take messages away; those that SQS does not delete are delivered again, and deleted then.

        Raises:
            RunStopped: the queue does not answer.
        """
        self._batches(self._client.delete_message_batch, messages, {})

    def extend(self, messages: Sequence[Message], *, seconds: float) -> None:
        """Keep messages invisible for so long from now, at most 12 hours after they were received.

        Raises:
            RunStopped: the queue does not answer.
        """
        timeout = {"VisibilityTimeout": _whole(seconds)}
        self._batches(self._client.change_message_visibility_batch, messages, timeout)

    def give_back(self, messages: Sequence[Message], *, seconds: float = 0) -> None:
        """Let others have the messages after so many seconds.

        Raises:
            RunStopped: the queue does not answer.
        """
        self.extend(messages, seconds=seconds)

    def count(self) -> int | None:
        """About how many messages are in the queue; None if the credentials may not ask, or there is no answer."""
        try:
            answer = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=list(_COUNTS))
        except (BotoCoreError, ClientError):
            return None
        return sum(int(answer["Attributes"].get(name, 0)) for name in _COUNTS)

    def _batches(self, send: Callable[..., Any], messages: Sequence[Message], more: dict[str, Any]) -> None:
        for batch in _parts(messages):
            waiting = list(batch)
            for _ in range(_BATCH_ATTEMPTS):
                entries = [
                    {"Id": str(number), "ReceiptHandle": message.receipt, **more}
                    for number, message in enumerate(waiting)
                ]
                try:
                    answer = send(QueueUrl=self._url, Entries=entries)
                except (BotoCoreError, ClientError) as error:
                    self._stop(error)
                # what is our fault, such as a receipt that no longer holds, would fail again
                failed = [entry for entry in answer.get("Failed", []) if not entry.get("SenderFault")]
                waiting = [waiting[int(entry["Id"])] for entry in failed]
                if not waiting:
                    break

    def _stop(self, error: BotoCoreError | ClientError) -> NoReturn:
        """Say it in a sentence without the request, which may hold credentials."""
        code = error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else ""
        raise RunStopped(
            f"the queue {self._url} cannot be used ({code or type(error).__name__}): see that it is there, that the "
            "credentials may receive, delete and change the visibility of its messages, and that the endpoint is right"
        ) from error


def _message(entry: dict[str, Any]) -> Message:
    attributes = entry.get("Attributes", {})
    now = time.time()
    # milliseconds of the service's clock, which may be a little ahead of ours
    age = max(0.0, now - int(attributes.get("SentTimestamp", 1000 * now)) / 1000)
    return Message(
        id=entry["MessageId"],
        receipt=entry["ReceiptHandle"],
        body=entry["Body"],
        received=int(attributes.get("ApproximateReceiveCount", 1)),
        sent=time.monotonic() - age,
    )


def _parts(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    for start in range(0, len(messages), _MOST):
        yield messages[start : start + _MOST]


def _whole(seconds: float) -> int:
    return max(0, min(_LONGEST_VISIBILITY, round(seconds)))
