"""Where trials run: worker processes that can be killed one at a time, or this process.

Workers are forked from a server that has imported the heavy packages (Linux) or started afresh
(elsewhere). They map the study's arrays into memory, ignore Ctrl-C, use one thread each and end
when their parent does, however it ends; then they remove its copy of the arrays.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import joblib
from pebble import ProcessExpired, ProcessPool

from autoimb.evaluation.outcome import Cut, Failed, Outcome, reason_of
from autoimb.foreign import WorkerContext, passes_results, workers_of
from autoimb.runtime.memory import kills_for_memory, memory_a_worker, private_memory
from autoimb.runtime.process import warm_up
from autoimb.runtime.shared import Shared
from autoimb.runtime.worker import (
    Assignment,
    Jobs,
    Work,
    evaluated,
    one_thread,
    prepare_worker,
    run_trial,
)
from autoimb.training.parts import Parts

__all__ = ["GRACE", "LOCAL", "Backend", "InProcess", "Local", "Resources", "Runner", "WorkerPool"]

GRACE = 2.0  # seconds that a trial may outlive its deadline before its worker is killed
LOOK = 0.2  # seconds between two looks at the workers' memory
PATIENCE = 2.0  # seconds that a worker may take to send a result, while another waits
ATTEMPTS = 2  # how often a task is started where the pool breaks under it


class Runner(Protocol):
    """Runs trials, a few at a time."""

    @property
    def running(self) -> tuple[int, ...]:
        """The numbers of the trials that were submitted and not collected."""
        ...

    @property
    def idle(self) -> int:
        """How many more trials it can take now."""
        ...

    def submit(self, number: int, assignment: Assignment) -> None:
        """Take a trial."""
        ...

    def collect(self, seconds: float) -> list[tuple[int, Outcome]]:
        """Wait up to so many seconds and return the trials that ended."""
        ...

    def encoded(self) -> Parts:
        """Return the folds of the search with the encoders that its trials fitted."""
        ...

    def close(self) -> None:
        """Stop, whatever runs."""
        ...


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What the trials of a study may take.

    Attributes
    ----------
    n_jobs : int
        How many at a time.
    killable : bool
        Whether a trial must be stopped that doesn't stop by itself.
    memory : int or None
        Bytes that the trials on a machine may hold together; None for what is free there.
    folder : Path or None
        Where this machine's copy of the arrays is put.
    """

    n_jobs: int
    killable: bool
    memory: int | None = None
    folder: Path | None = None


class Backend(Protocol):
    """Where trials run.

    Attributes
    ----------
    name : str
        As the user calls it.
    """

    name: str

    def workers(self, n_jobs: int | None) -> int:
        """Return how many workers `n_jobs` is here."""
        ...

    def runner(self, work: Work, resources: Resources) -> Runner:
        """Return what runs the trials of a study."""
        ...


class InProcess:
    """Runs trials here, one at a time: nothing to start, and nothing that could be killed.

    Parameters
    ----------
    work : Work
    """

    def __init__(self, work: Work) -> None:
        self._evaluate, self._jobs = work.evaluate, Jobs(work)
        self._tasks: dict[int, Assignment] = {}

    @property
    def running(self) -> tuple[int, ...]:
        """The numbers of the trials that wait to be run."""
        return tuple(self._tasks)

    @property
    def idle(self) -> int:
        """1, or 0 while a trial waits to be run."""
        return int(not self._tasks)

    def submit(self, number: int, assignment: Assignment) -> None:
        """Take a trial; `collect` runs it, after those of its batch that were taken before."""
        self._tasks[number] = assignment

    def collect(self, seconds: float) -> list[tuple[int, Outcome]]:  # noqa: ARG002 - a Runner
        """Run the first trial that waits to its end, and return it."""
        if not self._tasks:
            return []
        number, assignment = next(iter(self._tasks.items()))
        with one_thread():
            outcome = evaluated(self._evaluate, self._jobs, assignment)
        del self._tasks[number]
        return [(number, outcome)]

    def encoded(self) -> Parts:
        """Return the folds of the search with the encoders that its trials fitted."""
        return self._jobs.parts.in_memory()

    def close(self) -> None:
        """Forget the trials that wait."""
        self._tasks.clear()


@dataclass(frozen=True)
class _Task:
    """A running trial."""

    assignment: Assignment
    future: Future[Outcome]
    submitted: float
    attempt: int

    @property
    def overdue(self) -> bool:
        """Whether it has outlived its deadline by more than the grace."""
        return self.assignment.deadline.left() < -GRACE


class WorkerPool:
    """Runs trials in worker processes.

    Parameters
    ----------
    shared : Shared
        What they work on; it goes with the pool.
    n_jobs : int
        How many workers.
    memory : int or None
        Bytes that a worker may hold for itself; None is no limit.
    """

    def __init__(self, shared: Shared, n_jobs: int, *, memory: int | None = None) -> None:
        self._shared, self._n_jobs, self._memory = shared, n_jobs, memory
        self._looked, self._killed = 0.0, kills_for_memory()
        self._tasks: dict[int, _Task] = {}
        warm_up()
        try:
            self._pool = self._new_pool()
        except BaseException:
            shared.remove()
            raise

    @property
    def running(self) -> tuple[int, ...]:
        """The numbers of the running trials."""
        return tuple(self._tasks)

    @property
    def idle(self) -> int:
        """How many workers have nothing to do."""
        return self._n_jobs - len(self._tasks)

    def submit(self, number: int, assignment: Assignment) -> None:
        """Hand a trial to a worker."""
        self._start(number, assignment, attempt=1)

    def collect(self, seconds: float) -> list[tuple[int, Outcome]]:
        """Return the trials that ended, after at most so many seconds.

        A trial that outlives its deadline by more than `GRACE`, or whose worker holds too much
        memory, loses its worker, and a worker that dies takes one trial with it: all of them come
        back as outcomes with the reason.
        """
        if not self._pool.active:
            self._restart()
        futures = [task.future for task in self._tasks.values()]
        deadlines = [task.assignment.deadline for task in self._tasks.values()]
        soonest = min((deadline.left() + GRACE for deadline in deadlines), default=0.0)
        wait(futures, timeout=max(0.0, min(seconds, soonest)), return_when=FIRST_COMPLETED)
        ended, held = [], self._look()
        for number, task in tuple(self._tasks.items()):
            outcome = self._outcome(task, held.get(task.future, 0))
            if outcome is not None:
                del self._tasks[number]
                ended.append((number, outcome))
        return ended

    def encoded(self) -> Parts:
        """Return the folds of the search with the encoders that its trials fitted."""
        return self._shared.parts().in_memory()

    def close(self) -> None:
        """Kill the workers and remove their copy of the arrays."""
        self._tasks.clear()
        _end(self._pool)
        self._shared.remove()

    def _start(self, number: int, assignment: Assignment, *, attempt: int) -> None:
        future: Future[Outcome]
        try:
            future = self._pool.schedule(run_trial, args=(assignment,))
        except RuntimeError:  # the pool broke; the next `collect` restarts it
            future = _broken()
        self._tasks[number] = _Task(assignment, future, time.monotonic(), attempt)

    def _new_pool(self) -> ProcessPool:
        return ProcessPool(
            max_workers=self._n_jobs,
            initializer=prepare_worker,
            initargs=(self._shared.file,),
            context=WorkerContext(),
        )

    def _restart(self) -> None:
        """Replace a pool that broke, and start what was running once more."""
        _end(self._pool)
        self._pool = self._new_pool()
        for number, task in tuple(self._tasks.items()):
            if task.future.done() and not isinstance(task.future.exception(), BrokenProcessPool):
                continue
            if task.attempt < ATTEMPTS:
                self._start(number, task.assignment, attempt=task.attempt + 1)
            else:
                self._tasks[number] = replace(task, future=_broken())

    def _look(self) -> dict[Future[Outcome], int]:
        """Return the bytes that the worker of each running trial holds; nothing between looks."""
        now = time.monotonic()
        if self._memory is None or now - self._looked < LOOK:
            return {}
        self._looked, workers = now, workers_of(self._pool)
        return {one: private_memory(pid, beyond=self._memory) for one, pid in workers.items()}

    def _outcome(self, task: _Task, held: int) -> Outcome | None:
        """Return how a trial ended, whose worker holds so many bytes; None while it goes on."""
        seconds = time.monotonic() - task.submitted
        if not task.future.done():
            killed = self._too_much(task, held, seconds)
            if killed is None or task.future.cancel():  # pebble kills its worker, and no other
                return killed
        error = task.future.exception()
        if error is None:
            return task.future.result()
        if isinstance(error, BrokenProcessPool) and task.attempt < ATTEMPTS:
            return None  # the next `collect` restarts it
        if isinstance(error, ProcessExpired) and not passes_results(self._pool, patience=PATIENCE):
            self._pool.stop()  # type: ignore[no-untyped-call]  # as in `_end`; `collect` starts it
        return Failed(self._death(error), seconds)

    def _too_much(self, task: _Task, held: int, seconds: float) -> Outcome | None:
        """Return what becomes of a trial that takes more time or memory than it may."""
        if task.overdue:
            return Cut(f"killed {GRACE:g} seconds after its deadline", seconds=seconds)
        if self._memory is not None and held > self._memory:
            taken, given = (f"{size / 2**20:,.0f} MB" for size in (held, self._memory))
            return Failed(f"memory: {taken}, and a worker has {given} here", seconds)
        return None

    def _death(self, error: BaseException) -> str:
        """Say in a sentence what a future's exception means."""
        if isinstance(error, ProcessExpired):
            code = error.exitcode
            if code is None or code >= 0:
                return f"the worker ended with exit status {code}"
            name = signal.Signals(-code).name
            return f"the worker was killed by {name}{self._want() if name == 'SIGKILL' else ''}"
        if isinstance(error, BrokenProcessPool):
            return "the workers can't be kept alive"
        return reason_of(error)

    def _want(self) -> str:
        """Say whether it was for want of memory that the system has killed."""
        before, self._killed = self._killed, kills_for_memory()
        if before is None or self._killed is None:
            return ": the system may be out of memory"
        return ": the system was out of memory" if self._killed > before else ""


def _broken() -> Future[Outcome]:
    future: Future[Outcome] = Future()
    future.set_exception(BrokenProcessPool())
    return future


def _end(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]  # pebble leaves its result out
    pool.join()


class Local:
    """The machine that searches."""

    name = "local"

    def workers(self, n_jobs: int | None) -> int:
        """Return how many workers `n_jobs` is, as joblib counts: None is 1, -1 all cores."""
        with joblib.parallel_config("loky"):  # another backend may count other machines
            return int(joblib.effective_n_jobs(n_jobs))

    def runner(self, work: Work, resources: Resources) -> Runner:
        """Return what runs trials in worker processes.

        In this process for one job that needn't be killable, and where this process is itself a
        daemonic worker, which may have no children.
        """
        n_jobs, one = resources.n_jobs, resources.n_jobs == 1
        if (one and not resources.killable) or multiprocessing.current_process().daemon:
            return InProcess(work)
        each = memory_a_worker(n_jobs, work.study.plan.policy, most=resources.memory)
        return WorkerPool(Shared.of(work, resources.folder), n_jobs, memory=each)


LOCAL = Local()
