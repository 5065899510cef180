from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from multiprocessing import spawn
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from joblib.parallel import ThreadingBackend
from optuna.trial import FixedTrial

from autoimb.budget import Deadline
from autoimb.evaluation.outcome import Cut, Failed, Scored
from autoimb.evaluation.task import Task, Trial
from autoimb.foreign import clean_start
from autoimb.runtime import pool as pool_module
from autoimb.runtime.pool import LOCAL, InProcess, Resources, WorkerPool
from autoimb.runtime.shared import Shared, load
from autoimb.space.draw import Space, draw
from autoimb.space.portfolio import first_networks
from autoimb.space.strategy import Choice
from tests.support import studies
from tests.support.programs import ENVIRONMENT

FOREVER = Deadline()
linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems fork and say nothing")

WIDTHS = (96, 128, 64)


def strategies(n):
    """Strategies that differ in the width of their network."""
    space = Space.restricted()
    first = draw(FixedTrial(first_networks(space)[0]), space)
    given = first.network.values
    made = [Choice(first.network.name, tuple((given | {"width": w}).items())) for w in WIDTHS]
    return [replace(first, network=network) for network in made[:n]]


def work(evaluate):
    given = studies.material()
    return Task(given.dataset, given.plan, given.judge), evaluate


def gather(runner, n):
    """Collect `n` outcomes by number."""
    end = time.monotonic() + studies.PATIENCE
    found = {}
    while len(found) < n:
        assert time.monotonic() < end, f"only {found} came back"
        found.update(runner.collect(0.2))
    return found


def outcome_of(runner, deadline=FOREVER):
    """Let a runner evaluate a strategy, and return what comes of it."""
    runner.submit(0, Trial(*strategies(1), deadline))
    return gather(runner, 1)[0]


@pytest.fixture
def pooled():
    """Make pools, and close them."""
    pools = []

    def make(evaluate, n_jobs=2, folder=None, **given):
        pools.append(WorkerPool(Shared.of(*work(evaluate), folder), n_jobs, **given))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


# --- evaluations; importable in a worker -------------------------------------------------------


def by_width(task, trial, *, deeds):
    """Do something else for each width."""
    return dict(zip(WIDTHS, deeds))[trial.strategy.network.values["width"]](task, trial)


def die(task, trial):
    os.kill(os.getpid(), signal.SIGKILL)


def leave(*_):
    os._exit(3)


class Torn:
    """An outcome that ends its worker while it is sent."""

    def __reduce__(self):
        os.kill(os.getpid(), signal.SIGKILL)


def tear(task, trial):
    return Torn()


def hoard(task, trial):
    kept = np.ones(400 * 2**17)  # 400 MB
    time.sleep(60)
    return kept


think = partial(studies.evaluate_slowly, seconds=4)
hang = partial(studies.evaluate_slowly, seconds=600)


def crash(task, trial):
    raise ValueError("no\n  good")


def obey(task, trial):
    while trial.deadline.finite:
        trial.deadline.check()
        time.sleep(0.01)
    return Failed("There is no deadline.")


def oom_score():
    """Return how soon the system ends this process if it is out of memory."""
    path = Path("/proc/self/oom_score_adj")
    return int(path.read_text()) if path.exists() else 0


def look(task, trial):
    """Tell what a worker looks like."""
    dataset = task.dataset
    dataset.columns.numbers[0, 0] = 1.0  # the worker's own
    facts = (
        type(dataset.columns.numbers.base).__name__,
        str(torch.get_num_threads()),
        str(signal.getsignal(signal.SIGINT) == signal.SIG_IGN),
        str(len(dataset.y)),
        str(os.getpid()),
        str(oom_score()),
    )
    task.parts.encoder(0)  # computed once for all workers of the study
    return Failed(" ".join(facts))


# --- the tests ---------------------------------------------------------------------------------


def test_outcomes_come_back_whole(pooled):
    runner = pooled(studies.evaluate)
    given = strategies(2)
    for number, strategy in enumerate(given):
        runner.submit(number, Trial(strategy, FOREVER))
    assert list(runner.running) == [0, 1]
    assert runner.idle == 0
    found = gather(runner, 2)
    assert not runner.running
    for number, strategy in enumerate(given):
        wanted = studies.complete(strategy, studies.material().dataset)
        assert found[number].score == wanted.score
        np.testing.assert_array_equal(found[number].oof, wanted.oof)
        assert found[number].fitted.description == strategy.describe()


def test_one_bad_trial_takes_no_other_with_it(pooled):
    """A hanging one, a dying one and a good one at the same time."""
    runner = pooled(partial(by_width, deeds=(die, studies.evaluate, hang)), n_jobs=3)
    dying, good, hanging = strategies(3)
    runner.submit(1, Trial(good, FOREVER))
    gather(runner, 1)  # the workers are up
    runner.submit(0, Trial(dying, FOREVER))
    runner.submit(1, Trial(good, FOREVER))
    runner.submit(2, Trial(hanging, Deadline.after(0.5)))
    found = gather(runner, 3)
    assert isinstance(found[0], Failed)
    assert "killed by SIGKILL" in found[0].reason
    assert isinstance(found[1], Scored)
    assert isinstance(found[2], Cut)
    assert found[2].best is None
    assert found[2].reason == "killed 2 seconds after its deadline"
    for number in range(3, 6):
        runner.submit(number, Trial(good, FOREVER))
    assert {type(outcome) for outcome in gather(runner, 3).values()} == {Scored}


@pytest.mark.slow
@linux
def test_too_much_memory_costs_one_trial(pooled):
    """The other worker's trial goes on, and so does the pool."""
    runner = pooled(partial(by_width, deeds=(hoard, think)), memory=300 * 2**20)
    large, slow = strategies(2)
    for number, strategy in enumerate((large, slow)):
        runner.submit(number, Trial(strategy, FOREVER))
    found = gather(runner, 2)
    assert isinstance(found[0], Failed)
    taken, given = re.fullmatch(
        "memory: ([0-9]+) MB, and a worker has ([0-9]+) MB here", found[0].reason
    ).groups()
    assert int(taken) > int(given) == 300
    assert isinstance(found[1], Scored)
    runner.submit(2, Trial(slow, FOREVER))
    assert isinstance(gather(runner, 1)[2], Scored)


@pytest.mark.slow
def test_a_worker_that_dies_while_it_sends_holds_nobody_up(pooled):
    """Non-regression test: it kept the pool's lock, and the search waited for ever."""
    runner = pooled(partial(by_width, deeds=(think, tear)))
    slow, torn = strategies(2)
    runner.submit(0, Trial(slow, FOREVER))
    runner.submit(1, Trial(torn, FOREVER))
    found = gather(runner, 2)
    assert isinstance(found[0], Scored)
    assert found[1].reason.startswith("the worker was killed by SIGKILL")
    runner.submit(2, Trial(slow, FOREVER))
    assert isinstance(gather(runner, 1)[2], Scored)


def test_reasons(pooled):
    runner = pooled(partial(by_width, deeds=(crash, leave, die)), n_jobs=1)
    reasons = [
        "ValueError: no good",
        "the worker ended with exit status 3",
        "the worker was killed by SIGKILL: the system may be out of memory",
    ]
    for number, (strategy, reason) in enumerate(2 * [*zip(strategies(3), reasons)]):
        runner.submit(number, Trial(strategy, FOREVER))
        outcome = gather(runner, 1)[number]
        assert isinstance(outcome, Failed)
        assert outcome.reason == reason


@pytest.mark.parametrize("killable", [False, True])
def test_a_deadline_inside_a_trial(killable):
    runner = LOCAL.runner(*work(obey), Resources(n_jobs=1, killable=killable))
    # On a busy machine a worker takes longer to start than this deadline is.
    outcome_of(runner)
    outcome = outcome_of(runner, Deadline.after(0.3))
    runner.close()
    assert isinstance(outcome, Cut)
    assert "the deadline passed" in outcome.reason


def test_a_worker_is_as_it_should_be(pooled, tmp_path):
    runner = pooled(look, 1, tmp_path / "c")
    base, threads, ignores, rows, pid, score = outcome_of(runner).reason.split()
    # Workers are killed before the search.
    assert int(score) == (min(oom_score() + 300, 1000) if sys.platform == "linux" else 0)
    assert base in ("mmap", "memmap")
    assert (threads, ignores, rows) == ("1", "True", "120")
    (own,) = (tmp_path / "c").iterdir()
    assert [path.suffix for path in (own / "parts").iterdir() if path.suffix != ".lock"] == [""]
    runner.close()
    assert list((tmp_path / "c").iterdir()) == []
    assert not Path(f"/proc/{pid}").exists()


def test_a_table_without_numbers_or_categories(tmp_path):
    """Non-regression test: arrays without columns can't be mapped, and needn't be."""
    given = studies.material()
    for kept in ("number_names", "category_names"):
        columns = studies.without(given.dataset.columns, kept)
        dataset = studies.with_columns(given.dataset, columns)
        task = Task(dataset, given.plan, given.judge)
        shared, _ = load(Shared.of(task, studies.evaluate, tmp_path).file)
        np.testing.assert_array_equal(shared.dataset.columns.numbers, columns.numbers)
        np.testing.assert_array_equal(shared.dataset.columns.codes, columns.codes)


def test_what_cannot_be_loaded_is_told_by_the_trial(pooled, monkeypatch, tmp_path):
    module = tmp_path / "gone.py"
    module.write_text("def evaluate(*a, **k): pass")
    monkeypatch.syspath_prepend(tmp_path)
    from gone import evaluate  # type: ignore[import-not-found]  # made above

    runner = pooled(evaluate, n_jobs=1)
    module.unlink()
    for leftover in tmp_path.glob("__pycache__/*"):
        leftover.unlink()
    outcome = outcome_of(runner)
    assert isinstance(outcome, Failed)
    assert outcome.reason.startswith("the worker couldn't start: ModuleNotFoundError")


def test_a_broken_pool_is_replaced(pooled):
    runner = pooled(studies.evaluate, n_jobs=1)
    runner.submit(0, Trial(*strategies(1), FOREVER))
    gather(runner, 1)
    (worker,) = runner._pool._pool_manager.worker_manager.workers
    os.kill(worker, signal.SIGKILL)  # idle: pebble gives the whole pool up
    time.sleep(0.5)
    runner.submit(1, Trial(*strategies(1), FOREVER))
    assert isinstance(gather(runner, 1)[1], Scored)


def test_workers_that_never_start_end_the_trial_not_the_search(pooled, monkeypatch):
    monkeypatch.setattr(pool_module, "prepare_worker", leave)
    runner = pooled(studies.evaluate, n_jobs=1)
    outcome = outcome_of(runner)
    assert isinstance(outcome, Failed)
    assert outcome.reason == "the workers can't be kept alive"


@pytest.mark.slow
def test_no_orphans(tmp_path):
    """A SIGKILL of the parent ends its workers, whatever they are at."""
    process = subprocess.Popen(
        [sys.executable, studies.__file__, str(tmp_path), "100", "1000"],
        env=ENVIRONMENT,
        start_new_session=True,
    )
    tally = tmp_path / "tally.txt"
    studies.wait_until(lambda: tally.exists() and len(tally.read_text().splitlines()) == 2)
    assert len(studies.alive(process.pid)) >= 3
    process.kill()
    process.wait()
    studies.wait_until(lambda: not studies.alive(process.pid))
    assert list((tmp_path / ".cache").iterdir()) == []  # they took the table along


def test_in_this_process_where_nothing_must_be_killed():
    before = torch.get_num_threads()
    runner = LOCAL.runner(*work(look), Resources(n_jobs=1, killable=False))
    assert isinstance(runner, InProcess)
    assert runner.collect(1.0) == []
    runner.submit(7, Trial(*strategies(1), FOREVER))
    assert (list(runner.running), runner.idle) == ([7], 0)
    ((number, outcome),) = runner.collect(0.0)
    assert number == 7
    assert outcome.reason.split()[1] == "1"
    assert outcome.reason.split()[4] == str(os.getpid())
    assert torch.get_num_threads() == before
    runner.close()


class Elsewhere(ThreadingBackend):
    """A backend of joblib that counts the threads of many machines."""

    def effective_n_jobs(self, n_jobs):
        return 4_000


def test_n_jobs_counts_this_machine_alone():
    own = {n: LOCAL.workers(n) for n in (1, 2, -1)}
    with joblib.parallel_config(Elsewhere()):
        assert {n: LOCAL.workers(n) for n in own} == own
    with joblib.parallel_config(n_jobs=3):
        assert LOCAL.workers(None) == 3


def test_only_our_processes_leave_the_script_out(monkeypatch):
    main = sys.modules["__main__"]  # a test process may have no script
    monkeypatch.setattr(main, "__spec__", None)
    monkeypatch.setattr(main, "__file__", __file__, raising=False)
    seen = {}

    def elsewhere():
        seen["theirs"] = spawn.get_preparation_data("other")

    with clean_start():
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        seen["ours"] = spawn.get_preparation_data("worker")
    after = spawn.get_preparation_data("worker")
    mains = {"init_main_from_name", "init_main_from_path"}
    assert not mains & seen["ours"].keys()
    assert mains & seen["theirs"].keys()
    assert mains & after.keys()
    assert "sys_path" in seen["ours"]
