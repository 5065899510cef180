"""One study and many drivers, on a real PostgreSQL server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import drivers
import optuna
import pytest
import sqlalchemy
import studies
from drivers import POLICY, join, prepared
from optuna.trial import FrozenTrial
from postgres import Server

from autoimb.errors import RunError, StorageLostError
from autoimb.runs.database import Database, reach
from autoimb.runs.drivers import drivers_of
from autoimb.runs.folder import RunFolder


@pytest.fixture
def url(postgres: Server, request: pytest.FixtureRequest) -> str:
    """A database of the test's own."""
    name = f"own_{abs(hash(request.node.nodeid)):x}"
    engine = sqlalchemy.create_engine(psycopg(postgres.url), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return postgres.url.removesuffix("postgres") + name


def psycopg(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")


def trials(url: str) -> list[FrozenTrial]:
    storage = reach(url)
    found: list[FrozenTrial] = storage.get_all_trials(storage.get_study_id_from_name(drivers.NAME))
    storage.engine.dispose()
    return found


def start(url: str, place: Path, run: Path, *, n_jobs: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, drivers.__file__, url, str(place), str(run), str(n_jobs), "0.3"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,  # one group: the driver, its server and its workers
    )


@pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")
def test_drivers_come_and_go_and_each_that_stays_exports_the_same(
    postgres: Server, url: str, tmp_path: Path
) -> None:
    place, runs = tmp_path / "shared", [tmp_path / f"run{i}" for i in range(3)]
    others = [start(url, place, run, n_jobs=1) for run in runs[1:]]
    killed = start(url, place, runs[0], n_jobs=2)

    def has_begun(process_run: Path) -> Callable[[], bool]:
        return lambda: (process_run / "run.json").exists() and bool(
            [t for t in trials(url) if t.state.name == "RUNNING" and t.user_attrs["driver"] in own]
        )

    def own_of(run: Path) -> set[str]:
        return {str(RunFolder.view(run).read_run().get("driver"))}

    studies.wait_until(lambda: (runs[0] / "run.json").exists() and "driver" in str(own_of(runs[0])))
    own: set[str] = own_of(runs[0])
    studies.wait_until(has_begun(runs[0]))
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    postgres.stop()
    postgres.start()
    assert [process.wait(60) for process in others] == [0, 0]
