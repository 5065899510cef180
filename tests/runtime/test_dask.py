"""Trials on a Dask cluster: a real scheduler and real workers on loopback."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from functools import partial
from importlib import import_module
from pathlib import Path

import dask
import numpy as np
import pytest
from distributed import Client

from autoimb import load
from autoimb.budget import Deadline
from autoimb.cli import main
from autoimb.errors import ClusterLostError, OptionError, RunError
from autoimb.evaluation.outcome import Cut, Failed, Scored
from autoimb.evaluation.task import Trial
from autoimb.runtime.dask import Dask, backend_for
from autoimb.runtime.pool import Resources
from reports.benchmarks.engines.clusters import ENVIRONMENT, cluster
from tests.runtime.test_pool import by_width, die, gather, obey, strategies, work
from tests.search.test_schedule import searched, told
from tests.support import studies, tables
from tests.support.reference_pages import ROOT

FOREVER = Deadline()
EVALUATE = partial(by_width, deeds=(die, studies.evaluate, obey))


@pytest.fixture(scope="module")
def address():
    with cluster(2) as (found, _):
        yield found


@pytest.fixture(scope="module")
def client(address):
    with Client(address, set_as_default=False) as found:
        found.wait_for_workers(2, timeout=studies.PATIENCE)
        found.run(import_module, __name__)  # a first trial would spend its deadline on this
        yield found


@pytest.fixture
def runner(client):
    client.wait_for_workers(2, timeout=studies.PATIENCE)
    started = started_runner(client)
    studies.wait_until(lambda: started.idle == 2)
    yield started
    started.close()


def started_runner(client):
    """Start a runner as a search does."""
    found = Dask(client)
    found.workers(2)
    return found.runner(*work(EVALUATE), Resources(n_jobs=2, killable=True))


def pids(client):
    """The process of each worker, by address."""
    return client.run(os.getpid)


# --- what a search gives --------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("minimal_work")
def test_leaderboard_and_artifact_are_those_of_this_machine(client, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    frame, y = tables.mixed_table("binary", 240)
    rows = {"time": np.arange(240), "groups": np.arange(240) % 60}
    here = searched(frame, y, tmp_path / "here", n_jobs=2, rows=rows)
    with client.as_current():
        assert searched(frame, y, tmp_path / "there", n_jobs=2, backend="dask", rows=rows) == here


@pytest.mark.slow
def test_a_search_that_ends_leaves_nothing_behind(client):
    runner = started_runner(client)
    *_, endless = strategies(3)
    runner.submit(0, Trial(endless, Deadline.after(3.0)))
    runner.collect(1.0)
    runner.close()
    del runner
    studies.wait_until(lambda: not any(client.has_what().values()))
    free = [client.submit(os.getpid, workers=[one], pure=False) for one in pids(client)]
    assert len([one.result(timeout=studies.PATIENCE) for one in free]) == 2
    assert client.run(_studies_there) == dict.fromkeys(pids(client), 0)


def _studies_there():
    import gc

    from autoimb.evaluation.task import Task

    gc.collect()
    return sum(isinstance(value, Task) for value in gc.get_objects())


@pytest.mark.slow
def test_a_worker_killed_in_mid_trial_costs_nothing_but_time(client):
    options = {"n_jobs": 2, "n_trials": 6, "synchronous": True}
    undisturbed = studies.study(**options)
    killed = []

    def kill(event):
        if not killed and event.running == 2 and event.counts["complete"] >= 2:
            pid = min(pids(client).values())
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    disturbed = studies.study(
        backend=Dask(client),
        evaluate=partial(studies.evaluate_slowly, seconds=0.5),
        on_event=kill,
        **options,
    )
    assert len(killed) == 1
    assert told(disturbed) == told(undisturbed)
    assert not disturbed.interrupted
    client.wait_for_workers(2, timeout=studies.PATIENCE)  # its nanny starts it again


# --- trials and workers ---------------------------------------------------------------------------


@pytest.mark.slow
def test_a_trial_ends_itself_at_its_deadline_and_the_worker_goes_on(client, runner):
    before = pids(client)
    _, good, endless = strategies(3)
    runner.submit(0, Trial(good, FOREVER))
    runner.submit(1, Trial(endless, Deadline.after(2.0)))
    assert (sorted(runner.running), runner.idle) == ([0, 1], 0)
    outcomes = gather(runner, 2)
    assert isinstance(outcomes[0], Scored)
    assert isinstance(outcomes[1], Cut)
    assert outcomes[1].reason.startswith("the deadline passed")
    for number in (2, 3, 4):  # one more than workers
        runner.submit(number, Trial(good, FOREVER))
    assert runner.idle == 0
    assert {type(outcome) for outcome in gather(runner, 3).values()} == {Scored}
    assert pids(client) == before


@pytest.mark.slow
def test_a_trial_that_kills_its_workers_has_failed(client, runner):
    dying, good, _ = strategies(3)
    runner.submit(0, Trial(dying, FOREVER))
    assert isinstance(gather(runner, 1)[0], Failed)
    client.wait_for_workers(1, timeout=studies.PATIENCE)
    runner.submit(1, Trial(good, FOREVER))
    assert isinstance(gather(runner, 1)[1], Scored)
    client.wait_for_workers(2, timeout=studies.PATIENCE)


@pytest.mark.slow
def test_the_table_is_scattered_once(client, monkeypatch):
    scattered = []
    original = client.scatter
    monkeypatch.setattr(
        client, "scatter", lambda *a, **named: scattered.append(named) or original(*a, **named)
    )
    result = studies.study(backend=Dask(client), n_jobs=2, n_trials=6)
    assert len(result.records) == 6
    assert scattered == [{"broadcast": True, "hash": False}]


@pytest.mark.slow
def test_n_jobs_counts_the_workers_of_the_cluster(client):
    client.wait_for_workers(2, timeout=studies.PATIENCE)
    counted = {n: Dask(client).workers(n) for n in (None, -1, -2, -9, 5)}
    assert counted == {None: 2, -1: 2, -2: 1, -9: 1, 5: 5}


@pytest.mark.slow
def test_workers_of_several_threads_are_refused(client, monkeypatch):
    monkeypatch.setattr(client, "nthreads", lambda: dict.fromkeys(pids(client), 2))
    with pytest.raises(RunError, match=r"has 2 threads, .*threads_per_worker=1"):
        Dask(client).workers(None)


# --- the scheduler --------------------------------------------------------------------------------


def documented_command(address: str, data: Path) -> list[str]:
    """Return the search of the guide to Dask, with this scheduler and these rows."""
    guide = (ROOT / "examples/guides/large-tables-and-dask.md").read_text(encoding="utf-8")
    section = guide.split("## Search on a Dask cluster")[1].split("\n##")[0]
    lines = [
        shlex.split(line) for line in section.splitlines() if line.startswith("autoimb search")
    ]
    (words,) = lines
    words[words.index("--scheduler") + 1] = address
    words[2] = str(data)
    return words[1:]


@pytest.mark.slow
def test_a_scheduler_lost_before_a_trial_is_submitted_is_a_lost_cluster(
    client, runner, monkeypatch
):
    def time_out(*args, **options):
        raise OSError("Timed out trying to connect")

    monkeypatch.setattr(client, "scatter", time_out)
    # With the connection, the client loses what was scattered.
    runner._scattered.cancel()
    with pytest.raises(ClusterLostError, match="the loss of the Dask scheduler at"):
        runner.submit(0, Trial(*strategies(1), FOREVER))


@pytest.mark.slow
def test_a_lost_scheduler_ends_the_search_with_what_it_had(tmp_path):
    frame, y = tables.mixed_table("binary", 120)
    frame.assign(churned=y).to_csv(tmp_path / "rows.csv", index=False)
    with cluster(2) as (address, scheduler):
        words = documented_command(address, tmp_path / "rows.csv")
        words += ["--cv", "2", "--network", "mlp", "--partners", "none", "--out", "run"]
        command = [sys.executable, "-m", "autoimb", *words]
        process = subprocess.Popen(
            command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        assert any(re.search(r"\d+ complete", line) for line in process.stderr)
        scheduler.kill()
        words_of_end = process.stderr.read()
        process.stderr.close()
        assert process.wait(timeout=studies.PATIENCE) == 130, words_of_end
    assert "interrupted by the loss of the Dask scheduler" in words_of_end
    assert (tmp_path / "run" / "report.html").is_file()
    assert len(load(tmp_path / "run" / "pipeline.autoimb").classes_) == 2


# --- what can't be reached ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "scheduler", "words"),
    [
        ("dusk", None, "Did you mean 'dask'"),
        ("local", "tcp://127.0.0.1:1", "A scheduler goes with the backend 'dask'"),
        ("dask", None, "needs the address of a scheduler"),
    ],
)
def test_what_names_no_backend(name, scheduler, words):
    with pytest.raises(OptionError, match=words), backend_for(name, scheduler):
        pass


def test_a_scheduler_that_is_not_there_is_one_line(tmp_path, capsys):
    rows = tmp_path / "rows.csv"
    frame, y = tables.mixed_table("binary", 60)
    frame.assign(fraud=y).to_csv(rows, index=False)
    words = ["search", str(rows), "--target", "fraud", "--backend", "dask", "--scheduler"]
    with dask.config.set({"distributed.comm.timeouts.connect": "500ms"}):
        assert main([*words, "tcp://127.0.0.1:1", "--out", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert "The Dask scheduler at tcp://127.0.0.1:1 can't be reached" in told
    assert not (tmp_path / "run").exists()


def test_a_missing_package_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    install = r"pip install 'autoimb\[distributed\]'"
    with pytest.raises(OptionError, match=install), backend_for("dask"):
        pass


@pytest.mark.slow
def test_a_local_search_does_not_import_it():
    code = """
import sys
from tests.support import searches, tables
from autoimb import AutoImbClassifier
with searches.minimal_work():
    AutoImbClassifier(**tables.ONE_TRIAL, cv=2).fit(*tables.mixed_table("binary", 60))
sys.exit("distributed" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT).returncode == 0
