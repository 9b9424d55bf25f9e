"""What the ingestor's tests share: a place to ingest from and into, and the demo's recipes under ids of their own."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row
from pydantic import SecretStr
from rich.console import Console

from stacyard.core.connection import connect
from stacyard.core.migrate import migrate
from stacyard.core.settings import DatabaseSettings, StorageSettings
from stacyard.ingestor.commands import ingest, retry_run
from stacyard.ingestor.ledger import Ledger
from stacyard.ingestor.queue import TableQueue
from stacyard.ingestor.report import RunSummary
from stacyard.ingestor.run import Platform
from stacyard.ingestor.session import Session
from stacyard.ingestor.settings import IngestorSettings
from stacyard.ingestor.sources.found import Found
from stacyard.vector.functions import catalog_functions

NAME = "ingestor_tests"
DEMO = Path(__file__).parents[2] / "demo"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def database_settings(database_settings: DatabaseSettings) -> DatabaseSettings:
    """A database of their own in the session's cluster, so that others find there what they put there."""
    with connect(database_settings.url("owner"), application_name="test") as owner:
        owner.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(NAME)))
    urls = {
        f"{role}_url": SecretStr(urlsplit(database_settings.url(role))._replace(path=f"/{NAME}").geturl())
        for role in ("owner", "ingest", "writer", "reader")
    }
    own = database_settings.model_copy(update=urls)
    migrate(own.url("owner"), repeatable=[catalog_functions()])
    return own


def recipe_of(product: str, collection: str, target: Path, **changes: str) -> Path:
    """A demo recipe under another collection id, with texts replaced."""
    original = (DEMO / product / "recipe.yaml").read_text()
    known = next(line for line in original.splitlines() if line.startswith("  id: "))
    text = original.replace(known, f"  id: {collection}", 1)
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    target.write_text(text)
    return target


@dataclass
class Yard:
    """A database, a storage and a work directory to ingest with."""

    database: DatabaseSettings
    storage: StorageSettings
    directory: Path
    settings: IngestorSettings = field(init=False)
    output: io.StringIO = field(default_factory=io.StringIO)

    def __post_init__(self) -> None:
        self.settings = IngestorSettings(work_directory=self.directory / "work", processes=2, flush_seconds=0.2)

    @property
    def platform(self) -> Platform:
        return Platform(database=self.database, storage=self.storage, settings=self.settings)

    def collection_id(self, name: str) -> str:
        return f"{name}-{next(_numbers)}"

    def ingest(self, recipe: Path, *sources: Path) -> RunSummary:
        summary = ingest(
            [str(source) for source in sources],
            recipe,
            platform=self.platform,
            console=Console(file=self.output, width=300),
        )
        assert summary.counts.add_up
        assert self.left_in_work() == []
        return summary

    def retry(self, run: int) -> RunSummary:
        return retry_run(
            run,
            platform=self.platform,
            console=Console(file=self.output, width=300),
        )

    def left_in_work(self) -> list[Path]:
        work = self.settings.work_directory
        return sorted(work.rglob("*")) if work.exists() else []

    def connect(self) -> psycopg.Connection[dict[str, object]]:
        return psycopg.connect(self.database.url("ingest"), row_factory=dict_row, autocommit=True)

    def query(self, statement: str, *parameters: object) -> list[dict[str, object]]:
        with self.connect() as connection:
            return connection.execute(statement, parameters).fetchall()

    def items(self, collection: str) -> dict[str, dict[str, object]]:
        rows = self.query(
            "SELECT id, pgstac.get_item(id, collection) AS item FROM pgstac.items WHERE collection = %s", collection
        )
        found = {str(row["id"]): row["item"] for row in rows}
        assert len(found) == len(rows), "an item is in the catalog twice"
        return found

    def environment(self) -> dict[str, str]:
        """Settings for a process of its own."""
        return {
            "STACYARD_DATABASE_INGEST_URL": self.database.url("ingest"),
            "STACYARD_STORAGE_ASSETS": self.storage.assets,
            "STACYARD_INGEST_WORK_DIRECTORY": str(self.settings.work_directory),
            "STACYARD_INGEST_PROCESSES": "1",
            "STACYARD_INGEST_FLUSH_SECONDS": "0.05",
        }


@pytest.fixture
def yard(database_settings: DatabaseSettings, tmp_path: Path) -> Yard:
    assets = tmp_path / "assets"
    assets.mkdir()
    return Yard(database_settings, StorageSettings(assets=assets.as_uri()), tmp_path)


@dataclass(frozen=True)
class Worker:
    """Queue and ledger as one worker sees them."""

    queue: TableQueue
    ledger: Ledger

    def open_run(self, collection: str, *found: Found) -> int:
        """A run in which all was found."""
        run = self.ledger.open_run(collection=collection, recipe="", recipe_hash="h", sources=[collection])
        self.record(run, collection, found)
        self.ledger.discovery_finished(run)
        return run

    def record(self, run: int, collection: str, found: Sequence[Found], *, present: Sequence[str] = ()) -> None:
        self.ledger.record(run, collection=collection, recipe_hash="h", found=found, present=present)


Hire = Callable[[str], Worker]


@pytest.fixture
def hire(database_settings: DatabaseSettings) -> Iterator[Hire]:
    """Makes workers by name, each with a session of its own."""
    sessions: list[Session] = []

    def hire(name: str) -> Worker:
        sessions.append(Session(database_settings.url("ingest"), patience_seconds=1))
        return Worker(TableQueue(sessions[-1], worker=name, attempts=3), Ledger(sessions[-1], worker=name, attempts=3))

    yield hire
    for session in sessions:
        session.close()


def found(*names: str, content: str = "1") -> list[Found]:
    return [Found(item_id=name, source={"path": name}, content={"data": content}) for name in names]
