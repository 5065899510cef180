"""The database of a study: its URL, a lock that all drivers obey, and patience where it is away."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage, get_storage

from autoimb.budget import Deadline
from autoimb.errors import RunError, StorageLostError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from sqlalchemy import Connection, Engine

__all__ = ["Database", "holds_password", "quiet_optuna", "reach"]

T = TypeVar("T")

POSTGRESQL = ("postgresql", "postgres")
FIRST_PAUSE, MOST_PAUSE = 0.1, 2.0  # seconds between two tries
# a server notices within a minute that a machine with an open connection is no more
KEPT_ALIVE = {"keepalives_idle": 20, "keepalives_interval": 10, "keepalives_count": 4}
OF_SERVER = " ".join(f"-c tcp_{name}={value}" for name, value in KEPT_ALIVE.items())


def reach(url: str) -> RDBStorage:
    """Open a user's storage; its own errors name no culprit, and its URL may hold a password.

    Parameters
    ----------
    url : str
        Of SQLAlchemy; ``postgresql://`` is reached by psycopg, whose environment (``PGHOST``,
        ``PGPASSFILE``, ...) serves.

    Raises
    ------
    RunError
        Without the URL, of which only the scheme is told.
    """
    if not url.strip():
        raise RunError(f"A storage must be a URL, such as sqlite:///study.db; got {url!r}.")
    scheme, _, rest = url.partition(":")
    options: dict[str, Any] = {}
    if scheme in POSTGRESQL:
        url = f"postgresql+psycopg:{rest}"
        kept = KEPT_ALIVE | {"options": OF_SERVER, "connect_timeout": 10}
        options = {"connect_args": kept}
    try:
        return _opened(url, options)
    except ImportError as error:
        more = ": pip install 'autoimb[postgresql]'" if scheme in POSTGRESQL else ""
        raise RunError(f"The {scheme!r} storage needs a package that is missing{more}.") from error
    except Exception as error:
        words = " ".join(str(error).split())
        for secret in (url, rest, *_passwords(url)):
            words = words.replace(secret, "...")
        # its own words, which hold the URL, are no cause of ours
        raise RunError(f"The {scheme!r} storage can't be opened: {words}") from None


def _opened(url: str, options: dict[str, Any]) -> RDBStorage:
    """Open a storage, which makes its tables: in PostgreSQL one process after the other."""
    from sqlalchemy import create_engine

    engine = create_engine(url, **options)
    try:
        with engine.connect() as connection:
            if engine.dialect.name == "postgresql":
                _wait_for_lock(connection, _key("tables"))
            return RDBStorage(url, engine_kwargs=options)
    finally:
        engine.dispose()


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keep Optuna from telling of what it does; nothing it tells is a user's."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def holds_password(url: str) -> bool:
    """Say whether a URL holds a password, which whoever lists processes reads."""
    return bool(_passwords(url))


def _passwords(url: str) -> list[str]:
    """Return the passwords in a URL, as they are written and as they are meant."""
    from urllib.parse import parse_qs, unquote, urlsplit

    with suppress(ValueError):
        parts = urlsplit(url)
        found = [parts.password or "", *parse_qs(parts.query).get("password", [])]
        return [one for own in found if own for one in {own, unquote(own)}]
    return []


class Database:
    """A study's place in a database.

    Parameters
    ----------
    storage : RDBStorage
    patience : float
        Seconds that it may be away.

    Attributes
    ----------
    storage : BaseStorage
        Of Optuna, which reads again only trials that had not finished.
    engine : Engine
    deadline : Deadline
        After which nothing is waited for.
    """

    def __init__(self, storage: RDBStorage, *, patience: float) -> None:
        self.storage: BaseStorage = get_storage(storage)
        self.engine: Engine = storage.engine
        self.deadline = Deadline()
        self._patience = patience

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def patiently(self, step: Callable[[], T]) -> T:
        """Do what may be done twice, again from its start where the database goes away meanwhile.

        Raises
        ------
        StorageLostError
            Where it stays away.
        """
        first, pause = None, FIRST_PAUSE
        while True:
            try:
                return step()
            except Exception as error:
                if not _is_away(error):
                    raise
                now = time.monotonic()
                first = now if first is None else first
                if now + pause > first + self._patience or self.deadline.expired:
                    raise StorageLostError(
                        f"The study's database was away for {now - first:.0f} seconds."
                    ) from None  # as it may show a URL
            time.sleep(pause)
            pause = min(2 * pause, MOST_PAUSE)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Let no other process into a block of this name, wherever it runs.

        PostgreSQL's advisory lock of a transaction, which ends with its connection, however that
        ends; of SQLite, which is for one machine, a file beside the database.
        """
        if self.engine.dialect.name == "sqlite":
            from filelock import FileLock

            with FileLock(f"{self.engine.url.database}.{_key(name):x}.lock"):
                yield
            return
        connection = self.engine.connect()
        try:
            _wait_for_lock(connection, _key(name))
            yield
        finally:
            with suppress(Exception):  # a lock whose connection is gone is given back
                connection.rollback()
            connection.close()


def _wait_for_lock(connection: Connection, key: int) -> None:
    from sqlalchemy import text

    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})


def _key(name: str) -> int:
    """Return a number of 63 bits for a name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) >> 1


def _is_away(error: BaseException) -> bool:
    """Say whether an error is of a connection that broke or can't be made."""
    from sqlalchemy.exc import InterfaceError, OperationalError

    own = error.__cause__ if isinstance(error, StorageInternalError) else error
    return isinstance(own, (InterfaceError, OperationalError))
