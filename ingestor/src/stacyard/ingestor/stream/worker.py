"""The streaming worker: consumes file events, and deletes one only when what it announced is in the catalog.

Events come more than once, late, and in any order. So an event is only a reason to look: what the storage holds at that
moment goes through the ledger and the same stages as in a run, and when that has ended the storage is looked at again.
If it holds something else by then, the work begins anew; if not, the message is deleted. Whichever worker writes an
item last has looked after it wrote, so the newest content stays.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from botocore.exceptions import BotoCoreError, ClientError

from stacyard.core.errors import StorageError
from stacyard.ingestor.errors import Rejected, RunStopped, SourceError
from stacyard.ingestor.ledger import State
from stacyard.ingestor.queue import Queue
from stacyard.ingestor.settings import StreamSettings
from stacyard.ingestor.sources.buckets import Buckets, CredentialsRefused, Gone
from stacyard.ingestor.sources.found import Found
from stacyard.ingestor.stream.arrivals import AllowList, Listings, Look, read_body
from stacyard.ingestor.stream.heartbeat import Heartbeat
from stacyard.ingestor.stream.ledger import StreamLedger
from stacyard.ingestor.stream.messages import Message, Messages
from stacyard.ingestor.stream.product import Product
from stacyard.ingestor.stream.retention import Retention
from stacyard.ingestor.stream.tally import Tally, Waits

_WAIT_SECONDS = 0.05
# how often the ledger is asked for what others do, and what they have left
_LOOK_AROUND_SECONDS = 3.0
_REPORT_SECONDS = 60.0
# about as often as Prometheus asks
_COUNT_SECONDS = 15.0
# an object that changes more often while it is brought in waits until it rests
_MOST_ROUNDS = 10
_LONGEST_PAUSE = 300.0
_WAITING = (State.DISCOVERED, State.RUNNING)
# the storage may answer next time; what is wrong with the data itself stays wrong
_PASSING = (StorageError, OSError, BotoCoreError, ClientError)


@dataclass(eq=False)
class _Want:
    """An object that a recipe shall bring in, and the messages that wait for it."""

    product: Product
    source: str
    messages: dict[str, Message] = field(default_factory=dict)
    look: Look | None = None
    keys: frozenset[str] = frozenset()
    rounds: int = 0


class StreamingWorker:
    """Serves the queue until it is told to stop."""

    def __init__(
        self,
        products: Sequence[Product],
        *,
        messages: Messages,
        heartbeat: Heartbeat,
        queue: Queue,
        ledger: StreamLedger,
        allowed: AllowList,
        buckets: Buckets,
        settings: StreamSettings,
        retention: Retention | None,
        lease_seconds: float,
        say: Callable[[str], None],
    ) -> None:
        self.tally = Tally()
        self.waits = Waits()
        self.queued: int | None = None
        self._products = products
        self._messages = messages
        self._heartbeat = heartbeat
        self._queue = queue
        self._ledger = ledger
        self._allowed = allowed
        self._buckets = buckets
        self._settings = settings
        self._retention = retention
        self._lease_seconds = lease_seconds
        self._say = say
        self._held: dict[str, Message] = {}
        self._wants: dict[tuple[int, str], _Want] = {}
        self._pending: dict[int, set[str]] = {product.run: set() for product in products}
        self._strays: set[int] = set()
        self._changed: set[int] = set()
        self._ended = False
        now = time.monotonic()
        self._look_around_at, self._upkeep_at, self._report_at = now, now + settings.upkeep_seconds, now
        self._count_at = now
        self._reported = ""

    def serve(self, stop: Callable[[], bool]) -> None:
        """Consume messages until `stop`, then end what is in work, as far as `drain_seconds` suffice.

        Raises:
            RunStopped: the queue or the database is away, a disk is full, or the storage refuses the credentials.
        """
        while not stop():
            self._receive()
            self._round(claiming=True)
            if self._retention is not None:
                self.tally.pruned += self._retention.work(idle=self._idle)
        deadline = time.monotonic() + self._settings.drain_seconds
        # what nobody has begun is better done by others
        self._give_back(self._not_begun())
        while self._in_work() and time.monotonic() < deadline:
            self._round(claiming=False)
        self._settle()
        self._upkeep()
        self._report()

    @property
    def held(self) -> list[Message]:
        """Messages that are neither deleted nor given back."""
        return list(self._held.values())

    @property
    def items(self) -> dict[str, Counter[State]]:
        """How many items came to which end here, by collection."""
        ended: dict[str, Counter[State]] = {}
        for product in self._products:
            ended[product.collection] = ended.get(product.collection, Counter()) + product.intake.ended
        return ended

    def _receive(self) -> None:
        room = self._settings.batch_items - len(self._held)
        if room <= 0:
            return
        received = self._messages.receive(
            room,
            wait_seconds=self._settings.wait_seconds if self._idle else 0,
            visibility_seconds=self._settings.visibility_seconds,
        )
        if not received:
            return
        self._heartbeat.hold(received)
        self._held |= {message.id: message for message in received}
        self.tally.received += len(received)
        wanted: list[_Want] = []
        for message in received:
            wanted += self._wanted(message)
        self._find([want for want in dict.fromkeys(wanted) if want.look is None])
        self._delete_served(received)
        self._settle()

    def _wanted(self, message: Message) -> list[_Want]:
        """What a message asks for; counted and said if it is nothing."""
        wanted: list[_Want] = []
        try:
            for arrival in read_body(message.body):
                source = self._allowed.source(arrival.uri)
                if arrival.gone:
                    self.tally.removed += 1
                    continue
                takers = [product for product in self._products if product.finder.takes(source)]
                self.tally.unmatched += not takers
                for product in takers:
                    want = self._wants.setdefault((product.run, source), _Want(product, source))
                    want.messages[message.id] = message
                    wanted.append(want)
        except (Rejected, OSError) as error:
            self.tally.refused += 1
            self._say(f"message {message.id} is refused: {error}")
        return wanted

    def _find(self, wants: Iterable[_Want]) -> None:
        """Look at objects, and write down what is to be made of them."""
        listings = Listings(self._buckets)
        found: dict[int, dict[str, Found]] = {product.run: {} for product in self._products}
        for want in wants:
            intake = want.product.intake
            keyed = {intake.key(each): each for each in self._found(want, listings)}
            want.keys = frozenset(keyed)
            found[want.product.run] |= keyed
        for product in self._products:
            keyed = found[product.run]
            if keyed:
                self._ledger.supersede(product.run, keyed)
                product.intake.record(list(keyed.values()))
                self._ledger.reopen(product.run, keyed, present=product.intake.present(list(keyed.values())))
                self._ended = True

    def _found(self, want: _Want, listings: Listings) -> list[Found]:
        finder, want.look = want.product.finder, None
        try:
            want.look = finder.look(want.source, listings)
            found = finder.find(want.look)
        except CredentialsRefused as error:
            raise RunStopped(str(error)) from error
        except Gone:
            self.tally.removed += 1
            self._done(want)
            return []
        except (SourceError, StorageError, OSError) as error:
            received = max(message.received for message in want.messages.values())
            if (
                isinstance(error, _PASSING) or isinstance(error.__cause__, _PASSING)
            ) and received < self._settings.attempts:
                self._say(f"{want.source} is looked at again later: {error}")
                self._give_up(want, seconds=min(_LONGEST_PAUSE, 2.0**received))
                return []
            return [finder.unreadable(want.source, want.look, f"{want.source} cannot be used: {error}")]
        if not found:
            self.tally.incomplete += 1
            self._done(want)
        return found

    def _round(self, *, claiming: bool) -> None:
        for product in self._products:
            if claiming:
                self._claim(product)
            if product.workers.holding:
                for done in product.workers.collect(_WAIT_SECONDS):
                    product.intake.take(done)
                    self._changed.add(product.run)
                    self._ended = True
            self._ended |= product.intake.flush(force=not product.workers.holding)
        if self._wants and not any(product.workers.holding for product in self._products) and not self._ended:
            # others work on what these messages wait for
            time.sleep(_WAIT_SECONDS)
        now = time.monotonic()
        if now >= self._look_around_at:
            self._look_around_at = now + _LOOK_AROUND_SECONDS
            self._ended = True
            for product in self._products:
                self._queue.renew(product.run)
                self._queue.release_stale(product.run, lease_seconds=self._lease_seconds)
                self._strays.add(product.run)
        if self._ended:
            self._settle()
        if now >= self._upkeep_at:
            self._upkeep_at = now + self._settings.upkeep_seconds
            self._upkeep()
        if now >= self._count_at and self._settings.metrics_port is not None:
            self._count_at = now + _COUNT_SECONDS
            self.queued = self._messages.count()
        if now >= self._report_at:
            self._report_at = now + _REPORT_SECONDS
            self._report()

    def _claim(self, product: Product) -> None:
        keys, room = self._pending[product.run], product.workers.room
        if not room or not (keys or product.run in self._strays):
            return
        holding = [*product.workers.holding, *product.intake.ready]
        tasks = self._ledger.claim(product.run, keys, limit=room, holding=holding)
        for task in tasks:
            product.workers.submit(task)
        keys.difference_update(task.key for task in tasks)
        if not tasks:
            # nobody can have them now; the next look around says whether that has changed
            keys.clear()
            self._strays.discard(product.run)

    def _settle(self) -> None:
        """Delete messages whose work has ended; look again at what has changed meanwhile."""
        self._ended = False
        anew: list[_Want] = []
        listings: Listings | None = None
        for product in self._products:
            wants = [want for want in self._wants.values() if want.product is product]
            keys = {key for want in wants for key in want.keys}
            states = self._ledger.states(product.run, keys) if keys else {}
            self._pending[product.run] = {key for key, state in states.items() if state is State.DISCOVERED}
            for want in wants:
                if any(states.get(key) in _WAITING for key in want.keys):
                    continue
                listings = listings or Listings(self._buckets)
                if want.keys <= states.keys() and self._is_as_it_was(want, listings):
                    self._count(want, [states[key] for key in want.keys])
                    self._done(want)
                elif want.rounds >= _MOST_ROUNDS:
                    self._say(f"{want.source} changes all the time; it is looked at again later")
                    self._give_up(want, seconds=_LONGEST_PAUSE)
                else:
                    want.rounds += 1
                    anew.append(want)
        if anew:
            self._find(anew)
        self._delete_served(self.held)

    def _is_as_it_was(self, want: _Want, listings: Listings) -> bool:
        try:
            return want.product.finder.look(want.source, listings) == want.look
        except Gone:
            # its item stays; what is removed from a storage is not removed from the catalog
            return True
        except CredentialsRefused as error:
            raise RunStopped(str(error)) from error
        except (SourceError, StorageError, OSError):
            return want.look is None

    def _count(self, want: _Want, states: Sequence[State]) -> None:
        for state in states:
            setattr(self.tally, state.value, getattr(self.tally, state.value) + 1)
        if states and all(state is State.LOADED for state in states):
            now = time.monotonic()
            for message in want.messages.values():
                self.waits.note(now - message.sent)

    def _done(self, want: _Want) -> None:
        self._wants.pop((want.product.run, want.source), None)
        want.messages = {}

    def _give_up(self, want: _Want, *, seconds: float) -> None:
        messages = list(want.messages.values())
        self._done(want)
        self._give_back(messages, seconds=seconds)

    def _delete_served(self, messages: Iterable[Message]) -> None:
        """Delete the messages for which nothing is to be done any more."""
        waiting = {id for want in self._wants.values() for id in want.messages}
        served = [message for message in messages if message.id in self._held and message.id not in waiting]
        if served:
            self._let_go(served)
            self._messages.delete(served)
            self.tally.done += len(served)

    def _give_back(self, messages: Sequence[Message], *, seconds: float = 0) -> None:
        if messages:
            self._let_go(messages)
            self._messages.give_back(messages, seconds=seconds)
            self.tally.returned += len(messages)

    def _let_go(self, messages: Sequence[Message]) -> None:
        self._heartbeat.drop(messages)
        gone = {message.id for message in messages}
        for id in gone:
            self._held.pop(id, None)
        for key, want in list(self._wants.items()):
            want.messages = {id: message for id, message in want.messages.items() if id not in gone}
            if not want.messages:
                del self._wants[key]

    @property
    def _idle(self) -> bool:
        return not self._held and not self._in_work()

    def _in_work(self) -> bool:
        return any(product.workers.holding or product.intake.ready for product in self._products)

    def _not_begun(self) -> list[Message]:
        begun: set[str] = set()
        for product in self._products:
            states = self._ledger.states(product.run, {key for want in self._wants.values() for key in want.keys})
            begun |= {key for key, state in states.items() if state is not State.DISCOVERED}
        busy = {id for want in self._wants.values() if want.keys & begun for id in want.messages}
        return [message for message in self.held if message.id not in busy]

    def _upkeep(self) -> None:
        for product in self._products:
            if product.run in self._changed:
                product.intake.settle()
        self._changed = set()

    def _report(self) -> None:
        text = str(self.tally)
        if text != self._reported:
            self._say(text)
            self._reported = text
