"""Backends that run trials: killable worker processes, or the current process.

On Linux, workers are forked from a server that has imported the heavy packages; on other systems
they are spawned. Workers map the study's arrays into memory, ignore Ctrl-C, use one thread each and
end when their parent process ends for any reason; then they remove its copy of the arrays.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import joblib
from pebble import ProcessExpired, ProcessPool

from autoimb.evaluation.outcome import Cut, Failed, Outcome, reason_of
from autoimb.evaluation.task import Task, Trial
from autoimb.foreign import WorkerContext, passes_results, workers_of
from autoimb.runtime.memory import memory_a_worker, private_memory
from autoimb.runtime.process import warm_up
from autoimb.runtime.shared import Evaluate, Shared
from autoimb.runtime.worker import evaluated, one_thread, prepare_worker, run_trial

__all__ = ["LOCAL", "Backend", "InProcess", "Resources", "Runner", "Submission", "WorkerPool"]

F = TypeVar("F")

# Time in seconds by which a trial may exceed its deadline before its worker is killed.
GRACE = 2.0
# Seconds between two checks of the workers' memory.
MEMORY_CHECK_INTERVAL = 0.2
# Seconds that a worker may take to send a result while another worker is waiting.
PATIENCE = 2.0
# Maximum number of times that a task is started if the pool breaks.
ATTEMPTS = 2


class Runner(Protocol):
    """Interface of an object that runs trials, several at a time."""

    @property
    def running(self) -> Mapping[int, object]:
        """The trials that were submitted and not collected, by number."""

    @property
    def idle(self) -> int:
        """Number of further trials that can be submitted now."""

    def submit(self, number: int, trial: Trial) -> None:
        """Submit a trial."""

    def collect(self, seconds: float) -> list[tuple[int, Outcome]]:
        """Return the trials that ended, after waiting at most the given time."""

    def close(self) -> None:
        """Stop all trials; the task then has the encoders that they fitted."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Resources that the trials of a study may use.

    Attributes
    ----------
    n_jobs : int
        Number of concurrent trials.
    killable : bool
        Whether a trial that does not stop by itself must be killed.
    memory : int or None
        Memory limit in bytes of all trials on a machine; None uses the free memory.
    folder : Path or None
        Folder for this machine's copy of the arrays.
    """

    n_jobs: int
    killable: bool
    memory: int | None = None
    folder: Path | None = None


class Backend(Protocol):
    """Interface of an execution environment for trials.

    Attributes
    ----------
    name : str
        Name by which users select it.
    """

    name: str

    def workers(self, n_jobs: int | None) -> int:
        """Return the number of workers that `n_jobs` requests."""

    def runner(self, task: Task, evaluate: Evaluate, resources: Resources) -> Runner:
        """Return a runner for the trials of a study."""


class InProcess:
    """Runner in the current process: one trial at a time, which cannot be killed.

    Parameters
    ----------
    task : Task
    evaluate : callable

    Attributes
    ----------
    running : dict of int to Trial
        The submitted trials that have not run, by number.
    """

    def __init__(self, task: Task, evaluate: Evaluate) -> None:
        self._task, self._evaluate = task, evaluate
        self.running: dict[int, Trial] = {}

    @property
    def idle(self) -> int:
        """1, or 0 while a submitted trial has not run."""
        return int(not self.running)

    def submit(self, number: int, trial: Trial) -> None:
        """Submit a trial; `collect` runs it after the trials that were submitted earlier."""
        self.running[number] = trial

    def collect(self, seconds: float) -> list[tuple[int, Outcome]]:  # noqa: ARG002 - a Runner
        """Run the first submitted trial to its end, and return it."""
        if not self.running:
            return []
        number, trial = next(iter(self.running.items()))
        with one_thread():
            outcome = evaluated(self._evaluate, self._task, trial)
        del self.running[number]
        return [(number, outcome)]

    def close(self) -> None:
        """Discard the submitted trials."""
        self.running.clear()


@dataclass(frozen=True)
class Submission(Generic[F]):
    """A trial that was submitted to a worker, with the future of its outcome.

    Attributes
    ----------
    trial : Trial
    future : Future
    submitted : float
        Reading of ``time.monotonic()``.
    attempt : int
        How many times the trial was submitted.
    """

    trial: Trial
    future: F
    submitted: float
    attempt: int

    @property
    def overdue(self) -> bool:
        """Return whether the trial has exceeded its deadline by more than `GRACE`."""
        return self.trial.deadline.left() < -GRACE


class WorkerPool:
    """Runner that evaluates trials in worker processes.

    Parameters
    ----------
    shared : Shared
        The shared task, which is removed with the pool.
    n_jobs : int
        Number of workers.
    memory : int or None
        Memory limit in bytes of each worker; None is no limit.

    Attributes
    ----------
    running : dict of int to Submission
        The running trials, by number.
    """

    def __init__(self, shared: Shared, n_jobs: int, *, memory: int | None = None) -> None:
        self._shared, self._n_jobs, self._memory = shared, n_jobs, memory
        self._checked_at = 0.0
        self.running: dict[int, Submission[Future[Outcome]]] = {}
        warm_up()
        try:
            self._pool = self._new_pool()
        except BaseException:
            shared.remove()
            raise

    @property
    def idle(self) -> int:
        """Number of idle workers."""
        return self._n_jobs - len(self.running)

    def submit(self, number: int, trial: Trial, *, attempt: int = 1) -> None:
        """Submit a trial to a worker."""
        future: Future[Outcome]
        try:
            future = self._pool.schedule(run_trial, args=(trial,))
        except RuntimeError:
            # The pool is broken; the next call of `collect` restarts it.
            future = _broken()
        self.running[number] = Submission(trial, future, time.monotonic(), attempt)

    def collect(self, seconds: float) -> list[tuple[int, Outcome]]:
        """Return the trials that ended, after waiting at most the given time.

        A worker is killed if its trial exceeds the deadline by more than `GRACE` or the memory
        limit. The trial of a worker that was killed or died is returned as an outcome with the
        reason; other trials are not affected.
        """
        if not self._pool.active:
            self._restart()
        futures = [running.future for running in self.running.values()]
        deadlines = [running.trial.deadline for running in self.running.values()]
        # The wait ends in time to kill the first trial that exceeds its deadline.
        soonest = min((deadline.left() + GRACE for deadline in deadlines), default=0.0)
        wait(futures, timeout=max(0.0, min(seconds, soonest)), return_when=FIRST_COMPLETED)
        ended, memory_in_use = [], self._worker_memory()
        for number, running in tuple(self.running.items()):
            outcome = self._outcome(running, memory_in_use.get(running.future, 0))
            if outcome is not None:
                del self.running[number]
                ended.append((number, outcome))
        return ended

    def close(self) -> None:
        """Kill the workers and remove their copy of the arrays."""
        self.running.clear()
        _end(self._pool)
        self._shared.remove()

    def _new_pool(self) -> ProcessPool:
        return ProcessPool(
            max_workers=self._n_jobs,
            initializer=prepare_worker,
            initargs=(self._shared.file,),
            context=WorkerContext(),
        )

    def _restart(self) -> None:
        """Replace a broken pool, and restart the trials that were running."""
        _end(self._pool)
        self._pool = self._new_pool()
        for number, running in tuple(self.running.items()):
            error = running.future.exception() if running.future.done() else BrokenProcessPool()
            if not isinstance(error, BrokenProcessPool):
                continue
            if running.attempt < ATTEMPTS:
                self.submit(number, running.trial, attempt=running.attempt + 1)
            else:
                self.running[number] = replace(running, future=_broken())

    def _worker_memory(self) -> dict[Future[Outcome], int]:
        """Return the bytes in use by each running trial's worker; empty between two checks."""
        now = time.monotonic()
        if self._memory is None or now - self._checked_at < MEMORY_CHECK_INTERVAL:
            return {}
        self._checked_at, workers = now, workers_of(self._pool)
        return {
            future: private_memory(pid, threshold=self._memory) for future, pid in workers.items()
        }

    def _outcome(self, running: Submission[Future[Outcome]], memory_in_use: int) -> Outcome | None:
        """Return the outcome of a trial, given its worker's memory; None while the trial runs."""
        seconds = time.monotonic() - running.submitted
        if not running.future.done():
            killed = self._limit_outcome(running, memory_in_use, seconds)
            # Cancelling a running task makes pebble kill the task's worker and no other one.
            if killed is None or running.future.cancel():
                return killed
        error = running.future.exception()
        if error is None:
            return running.future.result()
        if isinstance(error, BrokenProcessPool) and running.attempt < ATTEMPTS:
            return None  # The next call of `collect` restarts the task.
        if isinstance(error, ProcessExpired) and not passes_results(self._pool, patience=PATIENCE):
            self._pool.stop()  # type: ignore[no-untyped-call]  # as in `_end`; `collect` starts it
        return Failed(self._exit_reason(error), seconds)

    def _limit_outcome(
        self, running: Submission[Future[Outcome]], memory_in_use: int, seconds: float
    ) -> Outcome | None:
        """Return the outcome of a trial that exceeds its time or memory limit, else None."""
        if running.overdue:
            return Cut(f"killed {GRACE:g} seconds after its deadline", seconds=seconds)
        if self._memory is not None and memory_in_use > self._memory:
            used_text, limit_text = (
                f"{size / 2**20:,.0f} MB" for size in (memory_in_use, self._memory)
            )
            return Failed(f"memory: {used_text}, and a worker has {limit_text} here", seconds)
        return None

    def _exit_reason(self, error: BaseException) -> str:
        """Return the reason for a future's exception as text."""
        if isinstance(error, ProcessExpired):
            code = error.exitcode
            if code is None or code >= 0:
                return f"the worker ended with exit status {code}"
            name = signal.Signals(-code).name
            cause = ": the system may be out of memory" if name == "SIGKILL" else ""
            return f"the worker was killed by {name}{cause}"
        if isinstance(error, BrokenProcessPool):
            return "the workers can't be kept alive"
        return reason_of(error)


def _broken() -> Future[Outcome]:
    future: Future[Outcome] = Future()
    future.set_exception(BrokenProcessPool())
    return future


def _end(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]  # pebble leaves its result out
    pool.join()


class Local:
    """Backend of worker processes on the machine that runs the search."""

    name = "local"

    def workers(self, n_jobs: int | None) -> int:
        """Return the number of workers by joblib's convention: None is 1, -1 all cores."""
        # Another backend of joblib might count the workers of other machines.
        with joblib.parallel_config("loky"):
            return int(joblib.effective_n_jobs(n_jobs))

    def runner(self, task: Task, evaluate: Evaluate, resources: Resources) -> Runner:
        """Return a runner with worker processes, or one in the current process.

        Trials run in the current process for a single job that need not be killable, and if the
        process is itself a daemonic worker, which may not have child processes.
        """
        n_jobs, single_worker = resources.n_jobs, resources.n_jobs == 1
        if (single_worker and not resources.killable) or multiprocessing.current_process().daemon:
            return InProcess(task, evaluate)
        worker_memory = memory_a_worker(n_jobs, task.plan.policy, limit=resources.memory)
        return WorkerPool(Shared.of(task, evaluate, resources.folder), n_jobs, memory=worker_memory)


LOCAL = Local()
