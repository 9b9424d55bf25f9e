"""Puts a streaming worker together, and leaves nothing in its hands when it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from datetime import timedelta

from stacyard.core.errors import StacyardError
from stacyard.ingestor.courtesy import Courtesy
from stacyard.ingestor.errors import SourceError
from stacyard.ingestor.identity import worker_name
from stacyard.ingestor.intake import Intake
from stacyard.ingestor.ledger import Ledger
from stacyard.ingestor.load.bulk import Mode
from stacyard.ingestor.queue import TableQueue
from stacyard.ingestor.recipe import Recipe
from stacyard.ingestor.run import Platform
from stacyard.ingestor.session import Session
from stacyard.ingestor.settings import StreamSettings
from stacyard.ingestor.sources.buckets import Buckets
from stacyard.ingestor.stream.arrivals import AllowList, Finder
from stacyard.ingestor.stream.heartbeat import Heartbeat
from stacyard.ingestor.stream.ledger import StreamLedger
from stacyard.ingestor.stream.messages import Messages, TableMessages
from stacyard.ingestor.stream.product import Product, Workers
from stacyard.ingestor.stream.retention import Retention
from stacyard.ingestor.stream.tally import Tally
from stacyard.ingestor.stream.worker import StreamingWorker
from stacyard.ingestor.workplace import make_workers, work_directory

TABLE = "table"


def serve_stream(
    recipes: Sequence[tuple[Recipe, str]],
    *,
    platform: Platform,
    settings: StreamSettings,
    stop: Callable[[], bool],
    say: Callable[[str], None],
    hire: Callable[..., Workers] = make_workers,
) -> Tally:
    """Consume the queue until `stop`, end what is in work, and give the rest back.

    Args:
        recipes: whose products are brought in, each with its text.
        platform: where to.
        settings: of the queue.
        stop: asked several times a second.
        say: takes what an operator should know.
        hire: makes those who do the tasks of a recipe.

    Raises:
        SourceError: the settings allow no prefix to be read.
        RunStopped: the queue or the database is away, a disk is full, or the storage refuses the credentials.
    """
    if not settings.prefixes:
        raise SourceError(
            "no object may be read: name the prefixes that events may come from in STACYARD_STREAM_PREFIXES, such as "
            '["s3://inbox/"]'
        )
    name = worker_name()
    buckets = Buckets()
    with ExitStack() as stack:
        session = stack.enter_context(closing(_session(platform)))
        queue = TableQueue(session, worker=name, attempts=platform.settings.attempts)
        messages = open_messages(settings, session)
        ended = _Ended(queue, messages, say)
        stack.callback(ended.give_back)
        directory = stack.enter_context(work_directory(platform.settings.work_directory))
        keeping = stack.enter_context(closing(_session(platform)))
        heartbeat = stack.enter_context(
            Heartbeat(open_messages(settings, keeping), visibility_seconds=settings.visibility_seconds, say=say)
        )
        ledger = StreamLedger(session, worker=name)
        courtesy = Courtesy(session)
        products = []
        for recipe, text in recipes:
            run = ledger.open_run(collection=recipe.collection.id, recipe=text, recipe_hash=recipe.hash)
            ended.runs.append(run)
            intake = Intake(
                run,
                recipe,
                session=session,
                ledger=Ledger(session, worker=name, attempts=platform.settings.attempts),
                mode=Mode.UPSERT,
                chunk_items=settings.batch_items,
                flush_seconds=settings.batch_seconds,
            )
            intake.begin()
            workers = hire(
                run,
                recipe,
                mode=Mode.UPSERT,
                database=platform.database,
                storage=platform.storage,
                settings=platform.settings,
                directory=directory,
                others_ask=courtesy.others_ask,
                started=True,
            )
            products.append(
                Product(
                    collection=recipe.collection.id,
                    run=run,
                    finder=Finder(recipe, buckets),
                    intake=intake,
                    workers=stack.enter_context(closing(workers)),
                )
            )
        ended.worker = worker = StreamingWorker(
            products,
            messages=messages,
            heartbeat=heartbeat,
            queue=queue,
            ledger=ledger,
            allowed=AllowList(settings.prefixes),
            buckets=buckets,
            settings=settings,
            retention=_retention(session, products, settings),
            lease_seconds=platform.settings.lease_seconds,
            say=say,
        )
        if settings.metrics_port is not None:
            # who measures nothing need not wait for the import
            from stacyard.ingestor.stream.metrics import serving_metrics

            stack.enter_context(serving_metrics(worker, host=settings.metrics_host, port=settings.metrics_port))
        worker.serve(stop)
    return worker.tally


def open_messages(settings: StreamSettings, session: Session) -> Messages:
    """The queue that the settings name."""
    if settings.queue == TABLE:
        return TableMessages(session)
    # boto3 takes a third of a second to import
    from stacyard.ingestor.stream.sqs import SqsMessages

    return SqsMessages(settings.queue, endpoint_url=settings.endpoint_url)


class _Ended:
    """Gives tasks and messages back when the processes that worked on them have ended, and not before."""

    def __init__(self, queue: TableQueue, messages: Messages, say: Callable[[str], None]) -> None:
        self.runs: list[int] = []
        self.worker: StreamingWorker | None = None
        self._queue = queue
        self._messages = messages
        self._say = say

    def give_back(self) -> None:
        try:
            for run in self.runs:
                self._queue.release(run)
            if self.worker is not None and self.worker.held:
                self._messages.give_back(self.worker.held)
        except StacyardError as error:
            # what could not be given back comes back by itself, when its time is up
            self._say(f"not all was given back: {error}")


def _retention(session: Session, products: Sequence[Product], settings: StreamSettings) -> Retention | None:
    """What takes from the ledger that which is older than the settings keep; None if they keep all."""
    if not settings.retention_days:
        return None
    runs = {product.run: product.collection for product in products}
    return Retention(session, runs, keep=timedelta(days=settings.retention_days))


def _session(platform: Platform) -> Session:
    return Session(platform.database.url("ingest"), patience_seconds=platform.settings.database_patience_seconds)
