"""One study and many drivers, on a real PostgreSQL server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import drivers
import numpy as np
import pandas as pd
import pytest
import sqlalchemy
import studies
from drivers import prepared
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from autoimb.budget import Deadline
from autoimb.cli import main
from autoimb.errors import RunError, StorageLostError
from autoimb.runs.database import Database, reach
from autoimb.runs.drivers import drivers_of
from autoimb.runs.folder import RunFolder
from reports.benchmarks.postgres import Server


def database(server: Server, name: str) -> str:
    """Make a database, and return its URL."""
    engine = sqlalchemy.create_engine(psycopg(server.url), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.url.removesuffix("postgres") + name


@pytest.fixture
def url(postgres: Server, request: pytest.FixtureRequest) -> str:
    """A database of the test's own."""
    return database(postgres, f"own_{abs(hash(request.node.nodeid)):x}")


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


def run_by(url: str, *, workers: int) -> list[int]:
    """The trials that run for the driver of so many workers."""
    storage = reach(url)
    try:
        names = {d.name for d in drivers_of(storage.engine, drivers.NAME) if d.workers == workers}
        running = [t for t in trials(url) if t.state.name == "RUNNING"] if names else []
    finally:
        storage.engine.dispose()
    return [trial.number for trial in running if trial.user_attrs["driver"] in names]


@pytest.mark.skipif(sys.platform != "linux", reason="sessions are of POSIX")
def test_drivers_come_and_go_and_each_that_stays_exports_the_same(
    postgres: Server, url: str, tmp_path: Path
) -> None:
    place, runs = tmp_path / "shared", [tmp_path / f"run{i}" for i in range(3)]
    killed = start(url, place, runs[0], n_jobs=2)
    others = [start(url, place, run, n_jobs=1) for run in runs[1:]]
    studies.wait_until(lambda: bool(run_by(url, workers=2)))
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    lost = run_by(url, workers=2)
    postgres.stop()
    postgres.start()
    assert [process.wait(60) for process in others] == [0, 0]

    found = trials(url)
    assert lost
    assert [trial.number for trial in found] == list(range(len(found)))
    said = [trial.user_attrs for trial in found]
    assert {own.get("status") for own in said} <= {"complete", "partial", "killed", "repeated"}
    retried = {own["again"] for own in said if "again" in own}
    assert retried == {t.number for t in found if t.user_attrs["status"] == "killed"} == set(lost)
    ran = [own for own in said if own["status"] in ("complete", "partial")]
    for key in ("plan", "follows"):  # no step of the plan was done twice
        steps = [own[key] for own in ran if key in own]
        assert len(steps) == len(set(steps))
    new = [own for own in ran if own["stage"] != "duel" and "follows" not in own]
    assert len(new) == drivers.N_TRIALS
    first, second = (RunFolder.view(run) for run in runs[1:])
    assert first.read_run()["best"] == second.read_run()["best"]
    assert first.pipeline.read_bytes() == second.pipeline.read_bytes()


# --- the command line -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shared") / "frauds.csv"
    given = prepared()
    frame = pd.DataFrame(given.dataset.columns.numbers, columns=["amount", "age"])
    frame.assign(fraud=np.where(given.dataset.y == 1, "yes", "no")).to_csv(path, index=False)
    return path


def words(data: Path, url: str, run: Path, *more: str) -> list[str]:
    small = ["--cv", "2", "--network", "mlp", "--ensemble", "single", "--partners", "none"]
    asked = ["--trials", "2", "--jobs", "1", "--quiet", "--out", str(run)]
    shared = ["--storage", url, "--shared", str(data.parent / "place")]
    return ["search", str(data), "--target", "fraud", *small, *asked, *shared, *more]


def test_the_same_command_elsewhere_joins_and_has_all_that_was_found(
    url: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(data, url, tmp_path / "first")) == 0
    assert main(words(data, url, tmp_path / "second")) == 0
    boards = [(tmp_path / run / "leaderboard.csv").read_bytes() for run in ("first", "second")]
    assert boards[0] == boards[1]
    assert main(["status", url, "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["study"].startswith("autoimb-")
    assert (told["drivers"], told["workers"], told["running"]) == (0, 0, False)
    assert sum(told["strategies"].values()) == 2
    assert "mlp" in told["best"]["description"]
    assert main(["status", url]) == 0
    assert "best: trial" in capsys.readouterr().out
    assert main(["status", str(tmp_path / "first")]) == 2
    assert "ask for the status of its --storage" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (["--metric", "roc_auc"], "its metric is average_precision, and here it is roc_auc"),
        (["--loss", "focal"], "its space is components="),
        (["--seed", "7"], "its seed is 0, and here it is 7"),
        (["--pos-label", "no"], "its positive class is None, and here it is no"),
        (["--drop", "age"], "its data is "),
        (["--holdout", "0.2"], "its data is "),
        (["--cv", "3"], "its split into folds is "),
        (
            ["--max-artifact-mb", "5"],
            "its limit of the result is None, and here it is max_artifact_mb 5",
        ),
    ],
)
def test_a_driver_of_another_search_is_refused_with_the_difference(
    named: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changed, said
) -> None:
    run = tmp_path / "run"
    assert main(words(data, named, run, "--study", "named", *changed)) == 2
    assert f"The study 'named' is of another search: {said}" in capsys.readouterr().err
    assert not run.exists()


@pytest.fixture(scope="module")
def named(postgres: Server, data: Path) -> str:
    """The URL of a database with a study that has a name."""
    url = database(postgres, "named")
    assert main(words(data, url, data.parent / "named", "--study", "named")) == 0
    return url


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--shared", "place"], "--shared needs a --storage"),
        (["--storage", "sqlite://", "--shared", ""], "must name a folder or a URL"),
        (["--study", "mine"], "give --storage and --shared"),
        (["--storage", "sqlite://", "--shared", "x", "--study", "a/b"], "--study must be up to"),
    ],
)
def test_what_does_not_go_together_is_said(
    data: Path, capsys: pytest.CaptureFixture[str], given: list[str], said: str
) -> None:
    assert main(["search", str(data), "--target", "fraud", *given]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "form",
    ["postgresql://postgres:{}@{}/{}", "postgresql://postgres@{1}/{2}?password={0}"],
)
def test_a_password_is_warned_of_and_stands_nowhere(
    url: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    """Not where it serves, nor where there is no such database."""
    secret, (server, _, name) = "open%2Fsesame", url.rpartition("@")[2].partition("/")
    run = tmp_path / "run"
    assert main(words(data, form.format(secret, server, name), run)) == 0
    refused = form.format(secret, server, "nowhere")
    assert main(words(data, refused, tmp_path / "other")) == 2
    assert main(["status", refused]) == 2
    said = capsys.readouterr()
    assert said.err.count("PGPASSFILE") == 3
    written = "".join(path.read_text("latin-1") for path in run.rglob("*") if path.is_file())
    for text in (said.out, said.err, written):
        assert "sesame" not in text


# --- the database ---------------------------------------------------------------------------------


@pytest.fixture
def held(url: str) -> Iterator[Database]:
    found = Database(reach(url), patience=30.0)
    yield found
    found.close()


def test_a_lock_is_for_one_and_ends_with_its_holder(held: Database, url: str) -> None:
    other, order = Database(reach(url), patience=1.0), list[str]()

    def second() -> None:
        with other.lock("it"):
            order.append("second")

    thread = threading.Thread(target=second)
    with held.lock("it"):
        thread.start()
        with held.lock("another"):
            order.append("first")
    thread.join(10)
    other.close()
    assert order == ["first", "second"]


def test_a_database_that_restarts_is_waited_for(held: Database, postgres: Server) -> None:
    study = held.storage.create_new_study([StudyDirection.MAXIMIZE], "it")
    postgres.stop()
    thread = threading.Thread(target=postgres.start)
    thread.start()
    assert held.patiently(lambda: held.storage.get_study_id_from_name("it")) == study
    thread.join()


def test_one_that_stays_away_is_given_up(postgres: Server, url: str) -> None:
    gone = Database(reach(url), patience=0.3)
    late = Database(reach(url), patience=30.0, deadline=Deadline.after(0.0))
    postgres.stop()
    try:
        with pytest.raises(StorageLostError, match="the loss of the study's database, away for"):
            gone.patiently(lambda: gone.storage.get_all_studies())
        with pytest.raises(StorageLostError, match="for 0 seconds"):
            late.patiently(lambda: late.storage.get_all_studies())
        with pytest.raises(RunError, match="'postgresql' storage can't be opened"):
            reach(url)
    finally:
        gone.close()
        late.close()
        postgres.start()


def test_many_may_open_a_new_database_at_once(url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(reach, [url] * 4))
    assert len({storage.get_head_version() for storage in opened}) == 1
    for storage in opened:
        storage.engine.dispose()


def test_what_is_no_lost_connection_is_not_tried_again(held: Database) -> None:
    tries = []

    def wrong() -> None:
        tries.append(1)
        raise KeyError("no such trial")

    with pytest.raises(KeyError):
        held.patiently(wrong)
    assert len(tries) == 1


# --- README ---------------------------------------------------------------------------------------


def test_the_commands_of_the_readme_lead_from_a_laptop_to_a_cluster(
    url: str,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    section = readme.split("### From a laptop to a cluster")[1].split("\n### ")[0]
    frame = pd.read_csv(data).rename(columns={"fraud": "churned"})
    frame.to_csv(tmp_path / "churn.csv", index=False)
    monkeypatch.chdir(tmp_path)
    here = {"postgresql://search@db/studies": url, "/mnt/team/studies": str(tmp_path / "shared")}
    quick = ["--cv", "2", "--network", "mlp", "--partners", "none", "--trials", "1", "--jobs", "1"]
    commands = [line.split() for line in section.splitlines() if line.startswith("autoimb ")]
    assert [command[1] for command in commands] == ["search", "search", "status"]
    for _, *given in commands:
        if "--time-budget" in given:  # a minute or an hour is too long for a test
            at = given.index("--time-budget")
            given[at : at + 2] = quick
        assert main([here.get(word, word) for word in given]) == 0
    out = capsys.readouterr().out
    assert "runs/churn: pipeline.autoimb" in out
    assert "runs/churn-shared: pipeline.autoimb" in out
    assert "1 strategy (1 complete)" in out
