"""Trials as tasks of a Dask cluster.

The work of a study is scattered once, and each trial is one task of a one-threaded Dask worker.
Dask itself restarts the tasks of a lost worker on another one. Workers are not killed at a trial's
limit: training checks its deadline, and an option that might run long without such a check is
infeasible by its estimated work (`autoimb.space.option.work_at_most`).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Container, Iterator
from concurrent.futures import CancelledError
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, cast

from autoimb.budget import Deadline
from autoimb.errors import ClusterLostError, OptionError, RunError, check_choice
from autoimb.evaluation.outcome import Cut, Failed, Outcome, reason_of
from autoimb.evaluation.task import Task, Trial
from autoimb.runtime.pool import LOCAL, Backend, Resources, Runner, Submission
from autoimb.runtime.shared import Evaluate
from autoimb.runtime.worker import evaluated, one_thread
from autoimb.version import __version__

if TYPE_CHECKING:
    from distributed import Client, Future

    from autoimb.data.encoding.encoder import Encoder

__all__ = ["BACKENDS", "Dask", "backend_for"]

BACKENDS = ("local", "dask")
# Seconds between two counts of the workers.
COUNT_INTERVAL = 1.0
# Seconds that a first worker may take to join, and a result to arrive.
TRANSFER = 60.0
# Maximum number of submissions of a trial whose inputs are lost with a worker.
ATTEMPTS = 2


class Dask:
    """Backend of a Dask cluster with one-threaded workers.

    Parameters
    ----------
    client : distributed.Client
    """

    name = "dask"

    def __init__(self, client: Client) -> None:
        self._client = client

    def workers(self, n_jobs: int | None) -> int:
        """Return the maximum number of concurrent trials.

        None and -1 are the current number of workers, -2 one less. A larger number is reached when
        more workers join.

        Raises
        ------
        RunError
            If no worker joins within a minute, or a worker lacks autoimb or has several threads.
        """
        # A task is needed for an adaptive cluster to start its first worker.
        probe = self._client.submit(int, pure=False)
        try:
            probe.result(timeout=TRANSFER)
        except OSError as error:
            raise RunError(f"{_named(self._client)} has no worker.") from error
        # The import is tried before any task, because packages that keep an exception of their
        # import also keep its stack frames.
        try:
            self._client.run(import_module, __name__)
        except ImportError as error:
            raise RunError(f"A worker of {_named(self._client)} lacks autoimb: {error}") from error
        threads = self._client.nthreads()
        for address, count in threads.items():
            if count > 1:
                raise RunError(
                    f"The Dask worker at {address} has {count} threads, and a trial needs a "
                    "process of its own: start one-threaded workers (dask worker --nworkers N "
                    "--nthreads 1, in Python Client(threads_per_worker=1))."
                )
        if n_jobs is not None and n_jobs > 0:
            return n_jobs
        return max(len(threads) + 1 + (-1 if n_jobs is None else n_jobs), 1)

    def runner(self, task: Task, evaluate: Evaluate, resources: Resources) -> Runner:
        """Return a runner for the trials of a study; Dask limits its workers' memory itself."""
        return _Tasks(task, evaluate, resources.n_jobs, self._client)


class _Tasks:
    """Runner that evaluates trials as tasks of a cluster.

    Attributes
    ----------
    running : dict of int to Submission
        The trials that were submitted and not collected, by number.
    """

    def __init__(self, task: Task, evaluate: Evaluate, n_jobs: int, client: Client) -> None:
        self._client, self._n_jobs = client, n_jobs
        self._task, self._evaluate = task, evaluate
        self._scattered = self._scatter()
        self.running: dict[int, Submission[Future]] = {}
        self._workers, self._counted_at = 0, 0.0
        self._changed = threading.Event()

    @property
    def idle(self) -> int:
        """Number of further trials that the current workers can take now."""
        if time.monotonic() - self._counted_at > COUNT_INTERVAL:
            # The loss of the scheduler is reported by `collect`.
            with contextlib.suppress(OSError):
                self._workers = len(self._client.nthreads())
            self._counted_at = time.monotonic()
        return max(min(self._n_jobs, self._workers) - len(self.running), 0)

    def submit(self, number: int, trial: Trial, *, attempt: int = 1) -> None:
        """Submit a trial to the cluster.

        Raises
        ------
        ClusterLostError
            If the connection with the scheduler was lost since the last trial.
        """
        # Scattered data is lost with the last worker that stored it.
        if self._scattered.status != "finished":
            self._scattered = self._scatter()
        future = self._client.submit(
            _run_trial,
            self._scattered,
            trial,
            version=__version__,
            seconds=trial.deadline.left(),
            sent=frozenset(self._task.parts.fitted_encoders()),
            pure=False,
        )
        future.add_done_callback(lambda _: self._changed.set())
        self.running[number] = Submission(trial, future, time.monotonic(), attempt)

    def collect(self, seconds: float) -> list[tuple[int, Outcome]]:
        """Return the trials that ended, after waiting at most the given time.

        Raises
        ------
        ClusterLostError
            If the connection with the scheduler is lost.
        """
        self._changed.wait(seconds)
        self._changed.clear()
        if self._client.status != "running":
            raise ClusterLostError(f"the loss of {_named(self._client)}")
        ended = []
        for number, running in tuple(self.running.items()):
            outcome = self._outcome(number, running)
            if outcome is not None:
                running.future.cancel()
                del self.running[number]
                ended.append((number, outcome))
        return ended

    def _outcome(self, number: int, running: Submission[Future]) -> Outcome | None:
        """Return the outcome of a trial, or None while it runs."""
        seconds, status = time.monotonic() - running.submitted, running.future.status
        if status == "finished":
            try:
                outcome, encoders = running.future.result(timeout=TRANSFER)
            except (OSError, CancelledError):
                # The worker was lost, and Dask runs the trial again.
                return None
            except Exception as error:
                # The result cannot be deserialized on this machine.
                return Failed(reason_of(error), seconds)
            self._task.parts.add_encoders(encoders)
            return cast("Outcome", outcome)
        if status == "error":
            return Failed(reason_of(running.future.exception()), seconds)
        if running.overdue:
            return Cut("no answer from its Dask worker at its deadline", seconds=seconds)
        if status in ("cancelled", "lost"):
            if running.attempt >= ATTEMPTS:
                return Failed(
                    f"its inputs were lost {running.attempt} times with a worker", seconds
                )
            self.submit(number, running.trial, attempt=running.attempt + 1)
        return None

    def close(self) -> None:
        """Cancel all trials; a running one ends at its deadline, and its result is discarded."""
        if self._client.status == "running":
            self._client.cancel([running.future for running in self.running.values()])
        self.running.clear()

    def _scatter(self) -> Future:
        """Send the task and the code to all workers."""
        shared = (self._task, self._evaluate)
        try:
            # A tuple by itself would be scattered element by element.
            (future,) = self._client.scatter([shared], broadcast=True, hash=False)
        except OSError as error:
            raise ClusterLostError(f"the loss of {_named(self._client)}") from error
        return future


def _run_trial(
    shared: tuple[Task, Evaluate],
    trial: Trial,
    *,
    version: str,
    seconds: float,
    sent: Container[int],
) -> tuple[Outcome, dict[int, Encoder]]:
    """Evaluate a strategy on a Dask worker.

    Parameters
    ----------
    shared : tuple of Task and callable
        The task and the function that evaluates it. Dask keeps them in the memory of the worker,
        with the encoded folds.
    trial : Trial
    version : str
        Version of autoimb on the machine that runs the search.
    seconds : float
        Time until the deadline; the deadline itself refers to the clock of another machine.
    sent : container of int
        Folds whose encoders the driver already has.

    Returns
    -------
    outcome : Outcome
    encoders : dict of int to Encoder
        Encoders that the driver does not have, by fold.

    Raises
    ------
    RunError
        If another version is installed on the worker.
    """
    if version != __version__:
        raise RunError(
            f"A Dask worker has autoimb {__version__} and the search has {version}: install the "
            "same version on both."
        )
    task, evaluate = shared
    with one_thread():
        outcome = evaluated(evaluate, task, replace(trial, deadline=Deadline.after(seconds)))
    return outcome, task.parts.fitted_encoders(exclude=sent)


@contextlib.contextmanager
def backend_for(name: str, scheduler: str | None = None) -> Iterator[Backend]:
    """Yield the backend with a given name, connected to its scheduler.

    Parameters
    ----------
    name : {"local", "dask"}
    scheduler : str or None
        Address of a Dask scheduler; None uses the current client.

    Yields
    ------
    Backend

    Raises
    ------
    OptionError
        If the name is unknown, the arguments exclude each other, or `distributed` is missing.
    RunError
        If the scheduler cannot be reached.
    """
    check_choice("backend", name, BACKENDS)
    if scheduler is not None and name != Dask.name:
        raise OptionError(f"A scheduler goes with the backend 'dask'; got the backend {name!r}.")
    if name != Dask.name:
        yield LOCAL
        return
    try:
        from distributed import Client, get_client
    except ImportError as error:
        raise OptionError(
            "The backend 'dask' needs the package distributed: pip install 'autoimb[distributed]'."
        ) from error
    try:
        client = get_client() if scheduler is None else Client(scheduler, set_as_default=False)
    except (OSError, ValueError, KeyError) as error:
        if scheduler is None:
            raise OptionError(
                "The backend 'dask' needs the address of a scheduler (--scheduler), and in Python "
                "a client: distributed.Client('tcp://HOST:8786')."
            ) from error
        reason = reason_of(error)
        raise RunError(f"The Dask scheduler at {scheduler} can't be reached: {reason}") from error
    try:
        yield Dask(client)
    finally:
        if scheduler is not None:
            client.close(timeout=COUNT_INTERVAL)


def _named(client: Client) -> str:
    address = getattr(client.scheduler, "address", None)
    return f"the Dask scheduler at {address}" if address else "the Dask scheduler"
