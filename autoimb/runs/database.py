"""The database of a study: its URL, a lock that all drivers obey, and what its errors mean."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage, get_storage

from autoimb.budget import FOREVER, Deadline
from autoimb.errors import RunError
from autoimb.runs.patience import Patience
from autoimb.runs.seal import reason_of

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from sqlalchemy import Connection, Engine

__all__ = ["Database", "holds_password", "quiet_optuna", "reach"]

T = TypeVar("T")

POSTGRESQL = ("postgresql", "postgres")
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
    scheme, _, rest = url.partition(":")
    if not rest:
        raise RunError(f"A storage must be a URL, such as sqlite:///study.db; got {url!r}.")
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
    from urllib.parse import parse_qsl, unquote, urlsplit

    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    found, queries = list[str | None](), list[tuple[str, str]]()
    with suppress(ValueError):
        parts = urlsplit(url)
        found.append(parts.password)
        queries += parse_qsl(parts.query)
    with suppress(ValueError, ArgumentError):  # a "#" or "/" in a password ends no host for it
        own = make_url(url)
        found.append(own.password)
        queries += [(key, one) for key, values in own.normalized_query.items() for one in values]
    found += [value for key, value in queries if key.lower().endswith("password")]
    return sorted({one for own in found if own for one in (own, unquote(own))}, key=len)[::-1]


class Database:
    """A study's place in a database.

    Parameters
    ----------
    storage : RDBStorage
    patience : float
        Seconds that it may be away.
    deadline : Deadline, optional
        After which it is not waited for.

    Attributes
    ----------
    storage : BaseStorage
        Of Optuna, which reads again only trials that had not finished.
    engine : Engine
    """

    def __init__(
        self, storage: RDBStorage, *, patience: float, deadline: Deadline = FOREVER
    ) -> None:
        self.storage: BaseStorage = get_storage(storage)
        self.engine: Engine = storage.engine
        self._patience = Patience(
            "the study's database", patience, is_away=_is_away, deadline=deadline
        )

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def patiently(self, step: Callable[[], T]) -> T:
        """Do what may be done twice, again from its start where the database goes away meanwhile.

        Raises
        ------
        StorageLostError
            Where it stays away.
        RunError
            Where it refuses something; without the URL, which may hold a password.
        """
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return self._patience.wait(step)
        except (SQLAlchemyError, StorageInternalError) as error:
            own = _cause(error)
            told = reason_of(getattr(own, "orig", None) or own)
            raise RunError(f"The study's database refuses something: {told}") from None

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


def _is_away(error: Exception) -> bool:
    """Say whether an error is of a connection that broke or can't be made."""
    from sqlalchemy.exc import InterfaceError, OperationalError

    return isinstance(_cause(error), (InterfaceError, OperationalError))


def _cause(error: Exception) -> Exception:
    """Return the error of the database that Optuna has hidden in one of its own."""
    hidden = error.__cause__ if isinstance(error, StorageInternalError) else None
    return hidden if isinstance(hidden, Exception) else error
