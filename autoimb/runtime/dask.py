"""Trials as tasks of a Dask cluster.

The work of a study is scattered once, and each trial is one task of a one-threaded Dask worker.
Dask itself starts the tasks of a lost worker again on another. No process of ours runs there, so
nothing is killed at a trial's limit: training looks at its deadline, and an option that might run
long without a look is infeasible by its estimate (`autoimb.space.option.work_at_most`).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Container, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, cast
from weakref import WeakKeyDictionary

from autoimb.budget import Deadline
from autoimb.errors import ClusterLostError, OptionError, RunError, choices
from autoimb.evaluation.outcome import Cut, Failed, Outcome, Scored, reason_of
from autoimb.runtime.pool import GRACE, LOCAL, Backend, Resources, Runner
from autoimb.runtime.worker import Assignment, Jobs, Work, evaluated, one_thread
from autoimb.training.states import paused_key
from autoimb.version import __version__

if TYPE_CHECKING:
    from distributed import Client, Future

    from autoimb.data.encoding.encoder import Encoder
    from autoimb.training.parts import Parts
    from autoimb.training.states import PausedTraining
    from autoimb.training.store import Store

__all__ = ["BACKENDS", "Dask", "backend_for"]

BACKENDS = ("local", "dask")
LOOK = 1.0  # seconds between two counts of the workers
TRANSFER = 60.0  # seconds that a first worker may take to join, and a result to arrive
ATTEMPTS = 2  # how often a trial is submitted whose inputs are lost with a worker


class Dask:
    """A Dask cluster of one-threaded workers.

    Parameters
    ----------
    client : distributed.Client
    """

    name = "dask"

    def __init__(self, client: Client) -> None:
        self._client = client

    def workers(self, n_jobs: int | None) -> int:
        """Return how many trials run at a time.

        None and -1 are as many as there are workers now, -2 one less. A larger number is reached
        when more workers join.

        Raises
        ------
        RunError
            Where no worker joins within a minute, or one lacks autoimb or has several threads.
        """
        probe = self._client.submit(int, pure=False)  # lets an adaptive cluster start a worker
        try:
            probe.result(timeout=TRANSFER)
        except OSError as error:
            raise RunError(f"{_named(self._client)} has no worker.") from error
        try:  # before a task: packages that keep an exception of their import keep its frames
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

    def runner(self, work: Work, resources: Resources) -> Runner:
        """Return what runs the trials of a study; Dask limits the memory of its workers itself."""
        return _Tasks(work, resources.n_jobs, self._client)


@dataclass(frozen=True)
class _Task:
    """A submitted trial."""

    assignment: Assignment
    future: Future
    waiting: Future | None  # keeps the state of its training on the cluster
    submitted: float
    attempt: int


class _Tasks:
    """The runner of a cluster."""

    def __init__(self, work: Work, n_jobs: int, client: Client) -> None:
        self._client, self._n_jobs = client, n_jobs
        self._work, self._scattered = work, client.scatter(work, broadcast=True, hash=False)
        self._parts = Jobs(work).parts
        self.states = self._parts.states
        self._tasks: dict[int, _Task] = {}
        self._workers, self._looked = 0, 0.0
        self._changed = threading.Event()

    @property
    def running(self) -> tuple[int, ...]:
        """The numbers of the trials that were submitted and not collected."""
        return tuple(self._tasks)

    @property
    def idle(self) -> int:
        """How many more trials the workers that are there can take now."""
        if time.monotonic() - self._looked > LOOK:
            with contextlib.suppress(OSError):  # a lost scheduler is found by `collect`
                self._workers = len(self._client.nthreads())
            self._looked = time.monotonic()
        return max(min(self._n_jobs, self._workers) - len(self._tasks), 0)

    def submit(self, number: int, assignment: Assignment) -> None:
        """Hand a trial to the cluster."""
        self._submit(number, assignment, attempt=1)

    def _submit(self, number: int, assignment: Assignment, *, attempt: int) -> None:
        if self._scattered.status != "finished":  # lost with the last worker that had it
            self._scattered = self._client.scatter(self._work, broadcast=True, hash=False)
        waiting = self.states.find(paused_key(assignment.strategy))
        if waiting is not None:  # some megabytes, too many for the scheduler to pass on
            waiting = self._client.scatter(waiting, hash=False)
        future = self._client.submit(
            _run_trial,
            self._scattered,
            assignment,
            waiting,
            version=__version__,
            seconds=assignment.deadline.left(),
            sent=frozenset(self._parts.fitted_encoders()),
            pure=False,
        )
        future.add_done_callback(lambda _: self._changed.set())
        self._tasks[number] = _Task(assignment, future, waiting, time.monotonic(), attempt)

    def collect(self, seconds: float) -> list[tuple[int, Outcome]]:
        """Return the trials that ended, after at most so many seconds.

        Raises
        ------
        ClusterLostError
            Where the connection with the scheduler is lost.
        """
        self._changed.wait(seconds)
        self._changed.clear()
        if self._client.status != "running":
            raise ClusterLostError(f"the loss of {_named(self._client)}")
        ended = []
        for number, task in tuple(self._tasks.items()):
            outcome = self._outcome(number, task)
            if outcome is not None:
                task.future.cancel()
                del self._tasks[number]
                ended.append((number, outcome))
        return ended

    def _outcome(self, number: int, task: _Task) -> Outcome | None:
        """Return how a trial ended; None while it runs."""
        seconds, status = time.monotonic() - task.submitted, task.future.status
        if status == "finished":
            try:
                outcome, waiting, encoders = task.future.result(timeout=TRANSFER)
            except (OSError, CancelledError):  # its worker is lost, and Dask runs it again
                return None
            except Exception as error:  # the result cannot be read here
                return Failed(reason_of(error), seconds)
            _put(self.states, task.assignment, waiting)
            self._parts.add_encoders(encoders)
            return cast("Outcome", outcome)
        if status == "error":
            return Failed(reason_of(task.future.exception()), seconds)
        if task.assignment.deadline.left() < -GRACE:
            return Cut("no answer from its Dask worker at its deadline", seconds=seconds)
        if status in ("cancelled", "lost"):
            if task.attempt >= ATTEMPTS:
                return Failed(f"its inputs were lost {task.attempt} times with a worker", seconds)
            self._submit(number, task.assignment, attempt=task.attempt + 1)
        return None

    def encoded(self) -> Parts:
        """Return the folds of the search with the encoders that came back with its trials."""
        return self._parts

    def close(self) -> None:
        """Cancel what waits; a trial that runs ends at its deadline, and its worker forgets it."""
        if self._client.status == "running":
            self._client.cancel([task.future for task in self._tasks.values()])
        self._tasks.clear()


_jobs: WeakKeyDictionary[Work, Jobs] = WeakKeyDictionary()  # of a worker, while Dask keeps the work


def _run_trial(
    work: Work,
    assignment: Assignment,
    waiting: PausedTraining | None,
    *,
    version: str,
    seconds: float,
    sent: Container[tuple[int, int]],
) -> tuple[Outcome, PausedTraining | None, dict[tuple[int, int], Encoder]]:
    """Evaluate a strategy on a Dask worker.

    Parameters
    ----------
    work : Work
    assignment : Assignment
    waiting : PausedTraining or None
        The state of its training at the rung below.
    version : str
        Of autoimb, on the machine that searches.
    seconds : float
        Until the deadline; a deadline is a reading of another machine's clock.
    sent : container of (int, int)
        The repeats and folds whose encoders the driver has.

    Returns
    -------
    outcome : Outcome
    waiting : PausedTraining or None
        The state of a training that may go on at its next rung.
    encoders : dict of (int, int) to Encoder
        By repeat and fold; those that the driver does not have.

    Raises
    ------
    RunError
        Where another version is installed here.
    """
    if version != __version__:
        raise RunError(
            f"A Dask worker has autoimb {__version__} and the search has {version}: install the "
            "same version on both."
        )
    jobs = _jobs.get(work) or _jobs.setdefault(work, Jobs(work))
    _put(jobs.parts.states, assignment, waiting)
    here = replace(assignment, deadline=Deadline.after(seconds))
    with one_thread():
        outcome = evaluated(work.evaluate, jobs, here)
    goes_on = isinstance(outcome, Scored) and not outcome.trace.ended
    state = None
    if goes_on and not assignment.confirm and not assignment.duel:
        state = jobs.parts.states.find(paused_key(assignment.strategy))
    return outcome, state, jobs.parts.fitted_encoders(exclude=sent)


def _put(states: Store, assignment: Assignment, waiting: PausedTraining | None) -> None:
    """Keep the state of a training for its next rung."""
    if waiting is not None:
        states.put(paused_key(assignment.strategy), waiting, size=waiting.size)


@contextlib.contextmanager
def backend_for(name: str, scheduler: str | None = None) -> Iterator[Backend]:
    """Reach what trials are to run on.

    Parameters
    ----------
    name : {"local", "dask"}
    scheduler : str or None
        The address of a Dask scheduler; None takes the client that is there.

    Yields
    ------
    Backend

    Raises
    ------
    OptionError
        On another name, on what does not go together, and where `distributed` is not installed.
    RunError
        Where the scheduler can't be reached.
    """
    if name not in BACKENDS:
        raise OptionError(choices("backend", name, BACKENDS))
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
        words = reason_of(error)
        raise RunError(f"The Dask scheduler at {scheduler} can't be reached: {words}") from error
    try:
        yield Dask(client)
    finally:
        if scheduler is not None:
            client.close(timeout=LOOK)


def _named(client: Client) -> str:
    address = getattr(client.scheduler, "address", None)
    return f"the Dask scheduler at {address}" if address else "the Dask scheduler"
