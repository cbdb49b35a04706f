"""Where a study is kept: a SQLite file, a journal file, or a PostgreSQL database that machines share.

Optuna's storages let two processes add a trial at the same time. So there is a lock beside each, held for a
moment while a trial is given out; if its holder dies, the system or the database releases it.
"""

import contextlib
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from filelock import FileLock
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from pongrad.ground.errors import UserError

SECONDS_TO_CONNECT = 10
SECONDS_FOR_SQLITE = 60
"""To wait for another process that writes to the file."""

HELP = "give another --storage: postgresql://USER@HOST/DATABASE, sqlite:///FILE or a journal's FILE"

ERRORS = (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError, OSError, ValueError)
"""What Optuna raises when a storage cannot be used, or no longer."""

NO_STORAGE = (*ERRORS, RuntimeError, LookupError, TypeError, AssertionError)
"""What it raises when a storage is none of its own."""


class Storage:
    """A storage and its lock.

    Attributes:
        optuna: the storage itself.
        shown: its name for people, without a password.
        lock: a context in which no other process gives out a trial.
    """

    def __init__(self, where: str | sqlalchemy.URL) -> None:
        """Open it, or make it.

        Args:
            where: a URL, or the name of a journal file; see `sqlite`.

        Raises:
            UserError: it cannot be opened.
        """
        self.shown = str(where)
        self.optuna: BaseStorage
        self.lock: Callable[[], contextlib.AbstractContextManager[Any]]
        if isinstance(where, str) and "://" not in where:
            file = Path(where).expanduser()
            self._open_file(file, lambda: _journal(file))
            return
        try:
            url = sqlalchemy.engine.make_url(where)
        except (sqlalchemy.exc.SQLAlchemyError, ValueError) as error:
            raise UserError(f"{where} is no storage: {HELP}") from error
        self.shown = url.render_as_string(hide_password=True)
        kind = url.get_backend_name()
        if kind == "sqlite" and url.database:
            options = {"connect_args": {"timeout": SECONDS_FOR_SQLITE}}
            self._open_file(Path(url.database), lambda: RDBStorage(_text(url), engine_kwargs=options))
        elif kind in ("postgresql", "postgres"):
            self._open_postgresql(url.set(drivername="postgresql+psycopg"))
        else:
            raise UserError(f"{self.shown} is no storage that pongrad can share: {HELP}")

    def _open_file(self, file: Path, open_it: Callable[[], BaseStorage]) -> None:
        lock = FileLock(f"{file}.claim")  # a journal has a .lock of its own
        self.lock = lambda: lock
        with self.errors(NO_STORAGE):
            file.parent.mkdir(parents=True, exist_ok=True)
            with lock:
                self.optuna = open_it()

    def _open_postgresql(self, url: sqlalchemy.URL) -> None:
        options: dict[str, Any] = {
            "pool_pre_ping": True,  # a trial may take longer than the server keeps a connection
            "connect_args": {"connect_timeout": SECONDS_TO_CONNECT},
        }
        try:
            engine = sqlalchemy.create_engine(url, **options)
        except ModuleNotFoundError as error:
            raise UserError("PostgreSQL needs a driver: pip install '.[tune,postgresql]'") from error
        key = zlib.crc32(b"pongrad tune")

        @contextlib.contextmanager
        def lock() -> Iterator[None]:
            with engine.begin() as transaction:  # its end, however it comes, releases the lock
                transaction.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
                yield

        self.lock = lock
        with self.errors(NO_STORAGE), lock():
            self.optuna = RDBStorage(_text(url), engine_kwargs=options)

    @contextlib.contextmanager
    def errors(self, kinds: tuple[type[Exception], ...] = ERRORS) -> Iterator[None]:
        """In the `with` block, what is wrong with the storage is the user's error."""
        try:
            yield
        except kinds as error:
            cause = error.__cause__ or error
            why = (str(cause).splitlines() or [type(cause).__name__])[0]
            raise UserError(f"cannot use the storage {self.shown} ({why}): {HELP}") from error


def sqlite(file: Path) -> sqlalchemy.URL:
    """What a SQLite file of this name is opened with."""
    return sqlalchemy.URL.create("sqlite", database=str(file))


def _journal(file: Path) -> JournalStorage:
    if file.exists() and (first := file.read_bytes().partition(b"\n")[0]):
        entry = json.loads(first)  # Optuna would take a file of one line for an empty journal
        if not (isinstance(entry, dict) and "op_code" in entry):
            raise ValueError("it is no journal of Optuna's")
    return JournalStorage(JournalFileBackend(str(file)))


def _text(url: sqlalchemy.URL) -> str:
    """The URL as Optuna, which fills in what is in braces, is given it."""
    return url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
