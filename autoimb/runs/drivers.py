"""Who works on a shared study: a table of drivers beside those of Optuna.

All moments are the database's, so the clocks of machines may differ.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import (
    Column,
    DateTime,
    Integer,
    MetaData,
    String,
    Table,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy import inspect as inspected

if TYPE_CHECKING:
    from sqlalchemy import Engine

__all__ = ["Driver", "Pulse", "drivers_of"]

_TABLE = Table(
    "autoimb_drivers",
    MetaData(),
    Column("study", String(200), primary_key=True),
    Column("driver", String(40), primary_key=True),
    Column("workers", Integer, nullable=False),
    Column("joined", DateTime(timezone=True), nullable=False),
    Column("seen", DateTime(timezone=True), nullable=False),
)


@dataclass(frozen=True)
class Driver:
    """One process that searches.

    Attributes
    ----------
    name : str
    workers : int
        Its processes that run trials.
    joined, silent : float
        Seconds ago that it joined, and that it was heard of last.
    """

    name: str
    workers: int
    joined: float
    silent: float


def drivers_of(engine: Engine, study: str) -> list[Driver]:
    """Return all drivers of a study that have not left, also those that died."""
    if not inspected(engine).has_table(_TABLE.name):
        return []
    query = select(_TABLE, func.current_timestamp().label("now")).where(_TABLE.c.study == study)
    with engine.connect() as connection:
        rows = connection.execute(query.order_by(_TABLE.c.joined)).all()
    return [
        Driver(
            row.driver,
            row.workers,
            joined=(row.now - row.joined).total_seconds(),
            silent=(row.now - row.seen).total_seconds(),
        )
        for row in rows
    ]


class Pulse:
    """Tells the others in regular beats that a driver lives.

    Parameters
    ----------
    engine : Engine
    study, driver : str
    workers : int
    every : float
        Seconds between two beats.
    """

    def __init__(
        self, engine: Engine, study: str, driver: str, *, workers: int, every: float
    ) -> None:
        self._engine, self._every, self._workers = engine, every, workers
        self._own = {"study": study, "driver": driver}
        self._here = (_TABLE.c.study == study) & (_TABLE.c.driver == driver)
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name="autoimb-pulse", daemon=True)

    def start(self) -> None:
        """Join: make the table if need be, and go on beating beside the program."""
        _TABLE.create(self._engine, checkfirst=True)
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        """Leave."""
        self._left.set()
        self._thread.join(self._every)
        with suppress(Exception), self._engine.begin() as connection:  # then it dies for the others
            connection.execute(delete(_TABLE).where(self._here))

    def _beat_on(self) -> None:
        while not self._left.wait(self._every):
            with suppress(Exception):  # while the database is away
                self._beat()

    def _beat(self) -> None:
        now = func.current_timestamp()
        with self._engine.begin() as connection:
            done = connection.execute(update(_TABLE).where(self._here).values(seen=now))
            if not done.rowcount:
                values = {**self._own, "workers": self._workers, "joined": now, "seen": now}
                connection.execute(insert(_TABLE).values(values))
