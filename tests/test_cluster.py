"""Trials on a Dask cluster: a real scheduler and real workers on loopback."""

from __future__ import annotations

import os
import pickle
import re
import shlex
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import dask
import joblib
import pytest
import shared_values
import studies
import tables
from distributed import Client
from test_docs import README
from test_pool import by_network, gather, strategies, work
from test_schedule import searched, told

from autoimb import load
from autoimb.budget import Deadline
from autoimb.cli import main
from autoimb.errors import OptionError, RunError
from autoimb.evaluation.trial import Cut, Failed, Scored
from autoimb.runtime import cluster as cluster_module
from autoimb.runtime.batches import Synchronous
from autoimb.runtime.cluster import Dask, backend_for
from autoimb.runtime.pool import GRACE, LOCAL, Resources
from autoimb.runtime.remote import Host
from autoimb.runtime.worker import Assignment
from reports.benchmarks.engines.clusters import ENVIRONMENT, cluster

FOREVER = Deadline()


@pytest.fixture(scope="module")
def address():
    with cluster(2) as (found, _):
        yield found


@pytest.fixture(scope="module")
def client(address):
    with Client(address, set_as_default=False) as found:
        found.wait_for_workers(2, timeout=60)
        yield found


@pytest.fixture
def runner(client):
    found = Dask(client).runner(work(by_network), Resources(n_jobs=2, killable=True))
    studies.wait_until(lambda: found.collect(0.1) == [] and found.idle == 2)  # both are ready
    yield found
    found.close()


def pids(client):
    """The process of each worker, by address."""
    return client.run(os.getpid)


# --- what a search gives --------------------------------------------------------------------------


def test_leaderboard_and_artifact_are_those_of_this_machine(client, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    frame, y = tables.mixed_table("binary", 240)
    here = searched(frame, y, tmp_path / "here", n_jobs=2)
    with joblib.parallel_config("dask", client=client):
        assert searched(frame, y, tmp_path / "there", n_jobs=2) == here


def test_a_worker_killed_in_mid_trial_costs_nothing_but_time(client):
    given = {"n_jobs": 2, "n_trials": 6}
    undisturbed = studies.study(backend=Synchronous(LOCAL), **given)
    killed = []

    def kill(event):
        if not killed and event.running == 2 and event.counts["complete"] >= 2:
            pid = min(pids(client).values())
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    disturbed = studies.study(
        backend=Synchronous(Dask(client)),
        evaluate=partial(studies.evaluate_slowly, seconds=1.0),
        on_event=kill,
        **given,
    )
    assert len(killed) == 1
    assert told(disturbed) == told(undisturbed)
    assert not disturbed.interrupted
    client.wait_for_workers(2, timeout=60)  # its nanny starts it again


# --- trials and workers ---------------------------------------------------------------------------


def test_a_trial_beyond_its_limit_is_killed_and_the_worker_goes_on(client, runner):
    before = pids(client)
    dying, good, hanging = strategies(3)
    for number in (0, 1):
        runner.submit(number, Assignment(good, FOREVER))
    gather(runner, 2, within=120.0)  # the processes in the workers are up
    runner.submit(0, Assignment(dying, FOREVER))
    runner.submit(1, Assignment(hanging, Deadline.after(3.0)))
    assert (sorted(runner.running), runner.idle) == ([0, 1], 0)
    found = gather(runner, 2)
    assert isinstance(found[0], Failed)
    assert "killed by SIGKILL" in found[0].reason
    assert isinstance(found[1], Cut)
    assert found[1].reason == f"killed {GRACE:g} seconds after its deadline"
    for number in (2, 3, 4):  # one more than threads
        runner.submit(number, Assignment(good, FOREVER))
    assert runner.idle == 0
    assert {type(outcome) for outcome in gather(runner, 3).values()} == {Scored}
    assert pids(client) == before


def test_a_search_that_ends_leaves_nothing_behind(client):
    runner = Dask(client).runner(work(by_network), Resources(n_jobs=2, killable=False))
    *_, hanging = strategies(3)
    runner.submit(0, Assignment(hanging, FOREVER))
    runner.collect(1.0)
    runner.close()
    workers = list(pids(client))
    free = [client.submit(os.getpid, workers=[one], pure=False) for one in workers]
    assert len([one.result(timeout=20) for one in free]) == 2
    del free
    studies.wait_until(lambda: not any(client.has_what().values()))


def test_the_table_is_sent_once_a_worker(client, monkeypatch):
    sent = []
    original = cluster_module._Placed._sent

    def count(self, content, address):
        sent.append(address)
        return original(self, content, address)

    monkeypatch.setattr(cluster_module._Placed, "_sent", count)
    result = studies.study(backend=Dask(client), n_jobs=2, n_trials=6)
    assert len(result.records) == 6
    assert sorted(sent) == sorted(pids(client))


def test_workers_of_a_machine_compute_a_value_once_and_the_last_removes_it(client):
    runner = Dask(client).runner(work(shared_values.evaluate), Resources(n_jobs=2, killable=True))
    studies.wait_until(lambda: runner.collect(0.1) == [] and runner.idle == 2)
    for number, strategy in enumerate(strategies(2)):
        runner.submit(number, Assignment(strategy, FOREVER))
    told = [outcome.reason.split() for outcome in gather(runner, 2, within=120.0).values()]
    (place, maker, first), (same, again, second) = told
    assert (place, maker) == (same, again)
    assert first != second
    os.kill(min(pids(client).values()), signal.SIGKILL)
    client.wait_for_workers(2, timeout=60)
    studies.wait_until(lambda: runner.collect(0.1) == [] and runner.idle == 2)
    assert Path(place).is_dir()
    runner.close()
    studies.wait_until(lambda: not Path(place).parent.exists())


def test_encoders_that_the_driver_has_are_not_sent_again(client):
    runner, sent = (
        Dask(client).runner(work(shared_values.evaluate), Resources(n_jobs=1, killable=True)),
        [],
    )
    hold = runner._encoded.hold
    runner._encoded.hold = lambda encoders: hold(encoders) or sent.append(list(encoders))
    for number, strategy in enumerate(strategies(2)):
        runner.submit(number, Assignment(strategy, FOREVER))
        gather(runner, 1, within=120.0)
    runner.close()
    assert sent == [[(0, 0)], []]


def test_a_trial_that_loses_two_workers_has_failed(client, runner):
    *_, hanging = strategies(3)
    runner.submit(7, Assignment(hanging, FOREVER))
    found = {}
    for _ in range(2):
        studies.wait_until(lambda: not runner.collect(0.1) and runner._tasks[7].worker)
        os.kill(pids(client)[runner._tasks[7].worker], signal.SIGKILL)
        lost = runner._tasks[7].lost
        while not found and runner._tasks[7].lost == lost:
            found = dict(runner.collect(0.2))
    assert found[7].reason == "2 Dask workers were lost that ran it"
    client.wait_for_workers(2, timeout=60)


def test_what_asks_for_the_cluster(client):
    with backend_for(None) as backend:
        assert backend is LOCAL
    with client.as_current(), backend_for("dask") as backend:
        assert isinstance(backend, Dask)
    with joblib.parallel_config("dask", client=client):
        with backend_for("local") as backend:
            assert backend is LOCAL
        with backend_for(None) as backend:
            assert isinstance(backend, Dask)
            assert joblib.effective_n_jobs(None) == 1  # nothing but trials goes there


def test_n_jobs_counts_the_threads_of_the_cluster(client):
    counted = {n: Dask(client).workers(n) for n in (None, -1, -2, -9, 5)}
    assert counted == {None: 2, -1: 2, -2: 1, -9: 1, 5: 5}


def test_what_a_worker_holds_does_not_travel():
    moved = pickle.loads(pickle.dumps(Host()))
    with pytest.raises(RunError, match="can't be moved"):
        moved.run(Assignment(*strategies(1), FOREVER))


# --- the scheduler --------------------------------------------------------------------------------


def readme_command(address: str, data: Path) -> list[str]:
    """The search of the README's part on Dask, with this scheduler and these rows."""
    part = README.read_text(encoding="utf-8").split("### On a Dask cluster")[1].split("\n##")[0]
    lines = [shlex.split(line) for line in part.splitlines() if line.startswith("autoimb search")]
    (words,) = lines
    words[words.index("--scheduler") + 1] = address
    words[2] = str(data)
    return words[1:]


def test_a_lost_scheduler_ends_the_search_with_what_it_had(tmp_path):
    frame, y = tables.mixed_table("binary", 240)
    frame.assign(churned=y).to_csv(tmp_path / "rows.csv", index=False)
    with cluster(1) as (address, scheduler):
        words = [*readme_command(address, tmp_path / "rows.csv"), "--cv", "2", "--out", "run"]
        command = [sys.executable, "-m", "autoimb", *words]
        impatient = ENVIRONMENT | {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "2s"}
        process = subprocess.Popen(
            command, cwd=tmp_path, env=impatient, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        for line in process.stderr:
            if re.search("[1-9] complete", line):
                break
        scheduler.kill()
        told = process.stderr.read()
        process.stderr.close()
        assert process.wait(timeout=30) == 130, told
    assert "interrupted by the loss of the Dask scheduler" in told
    assert (tmp_path / "run" / "report.html").is_file()
    assert len(load(tmp_path / "run" / "pipeline.autoimb").classes_) == 2


# --- what can't be reached ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "scheduler", "words"),
    [
        ("dusk", None, "Did you mean 'dask'"),
        ("local", "tcp://127.0.0.1:1", "A scheduler goes with the backend 'dask'"),
        (None, "tcp://127.0.0.1:1", "A scheduler goes with the backend 'dask'"),
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


def test_a_local_search_does_not_import_it():
    code = """
import sys, tables
from autoimb import AutoImbClassifier
AutoImbClassifier(**tables.ONE_TRIAL, cv=2).fit(*tables.mixed_table("binary", 60))
sys.exit("distributed" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT).returncode == 0
