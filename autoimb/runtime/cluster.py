"""Trials on a Dask cluster: placed worker by worker, so that the loss of one is seen and made good.

Dask would begin the tasks of a lost worker again by itself, and move them to wherever it likes.
Here each trial is for one worker: those that join get the study's work once and then trials, and
the trials of one that leaves are begun anew elsewhere.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, Any

import joblib

from autoimb.errors import ClusterLostError, OptionError, RunError, choices
from autoimb.evaluation.trial import Cut, Failed, Outcome, reason_of
from autoimb.foreign import cluster_of_joblib
from autoimb.runtime.pool import GRACE, LOCAL, Backend, Resources, Runner
from autoimb.runtime.remote import Ended, prepare, run_trial
from autoimb.runtime.shared import Shared
from autoimb.training.states import waiting_key
from autoimb.version import __version__

if TYPE_CHECKING:
    from distributed import Client, Future

    from autoimb.runtime.worker import Assignment, Work
    from autoimb.training.parts import Parts

__all__ = ["BACKENDS", "Dask", "backend_for"]

BACKENDS = ("local", "dask")
LOOK = 1.0  # seconds between two looks at who is there
PATIENCE = 5.0  # seconds that the scheduler may take to say so
TRANSFER = 60.0  # seconds that a table or a result may take on its way
FIRST_WORKER = 60.0  # seconds to wait for one, which an adaptive cluster may have to start
ATTEMPTS = 2  # how often a trial is begun whose worker is lost
LOST = ("cancelled", "lost")  # what becomes of the futures of a connection that breaks


class Dask:
    """A Dask cluster.

    Parameters
    ----------
    client : distributed.Client
    """

    name = "dask"

    def __init__(self, client: Client) -> None:
        self._client = client

    def workers(self, n_jobs: int | None) -> int:
        """Return how many trials at a time `n_jobs` is.

        None and -1 are as many as the cluster's workers have threads now, -2 one less. More than
        that are had as workers join.
        """
        if n_jobs is not None and n_jobs > 0:
            return n_jobs
        threads = sum(self._client.nthreads().values()) or self._first_threads()
        return max(threads + 1 + (-1 if n_jobs is None else n_jobs), 1)

    def _first_threads(self) -> int:
        """Wait for a worker; a task that waits as well lets an adaptive cluster start one."""
        probe = self._client.submit(int, pure=False)
        try:
            probe.result(timeout=FIRST_WORKER)
        except OSError as error:
            raise RunError(f"No worker is there at {_named(self._client)}.") from error
        return sum(self._client.nthreads().values())

    def runner(self, work: Work, resources: Resources) -> Runner:
        """Return what runs the trials of a study, once a worker is ready for them.

        Whatever runs here can be killed.

        Raises
        ------
        RunError
            Where no worker can run any.
        """
        shared = Shared.of(work, resources.folder or Path(gettempdir()))
        runner = _Placed(shared, resources.n_jobs, self._client, memory=resources.memory)
        try:
            runner.begin()
        except BaseException:
            runner.close()
            raise
        return runner


@dataclass
class _Task:
    """A trial, waiting for a worker or on one."""

    assignment: Assignment
    submitted: float
    worker: str = ""
    future: Future | None = None
    lost: int = 0


class _Placed:
    """The runner of a cluster.

    Parameters
    ----------
    shared : Shared
        The study's work, which each worker is sent once.
    n_jobs : int
        Trials at a time, as far as there are threads.
    client : distributed.Client
    memory : int or None
        Bytes that the trials on a Dask worker may hold together; None for what is free there.
    """

    def __init__(
        self, shared: Shared, n_jobs: int, client: Client, *, memory: int | None = None
    ) -> None:
        self._shared, self._n_jobs, self._client = shared, n_jobs, client
        self._memory, self._name = memory, secrets.token_hex(16)
        self._parts = shared.parts()
        self.states = self._parts.states
        self._encoded = self._parts.in_memory()
        self._threads: dict[str, int] = {}  # by worker
        self._hosts: dict[str, Future] = {}
        self._tasks: dict[int, _Task] = {}
        self._looked = 0.0
        self._changed = threading.Event()

    def begin(self) -> None:
        """Wait until a worker is ready."""
        end = time.monotonic() + FIRST_WORKER + TRANSFER
        while not self._ready():
            states = [host.status for host in self._hosts.values()]
            if states and set(states) == {"error"}:
                raise RunError(reason_of(next(iter(self._hosts.values())).exception()))
            if time.monotonic() > end:
                raise RunError(f"No worker is ready for trials at {_named(self._client)}.")
            self._changed.wait(LOOK)
            self._changed.clear()
            self._follow()

    @property
    def running(self) -> tuple[int, ...]:
        """The numbers of the trials that were submitted and not collected."""
        return tuple(self._tasks)

    @property
    def idle(self) -> int:
        """How many more trials it can take now; one may wait for a first worker."""
        threads = sum(self._ready().values())
        return max(max(min(self._n_jobs, threads), 1) - len(self._tasks), 0)

    def submit(self, number: int, assignment: Assignment) -> None:
        """Take a trial, for the worker with the most free threads or the next one to have one."""
        self._tasks[number] = _Task(assignment, time.monotonic())
        self._place()

    def collect(self, seconds: float) -> list[tuple[int, Outcome]]:
        """Return the trials that ended, after at most so many seconds.

        Raises
        ------
        ClusterLostError
            Where the scheduler is gone, and did not come back while the client looked for it.
        """
        self._follow()
        self._place()
        self._changed.wait(seconds)
        self._changed.clear()
        ended = []
        for number, task in tuple(self._tasks.items()):
            outcome = self._outcome(task)
            if outcome is not None:
                self._give_up(task)
                del self._tasks[number]
                ended.append((number, outcome))
        return ended

    def encoded(self) -> Parts:
        """Return the folds of the search with the encoders that came back with its trials."""
        return self._encoded

    def close(self) -> None:
        """Let the workers forget the study, whatever runs."""
        for task in self._tasks.values():
            self._give_up(task)
        self._tasks.clear()
        self._hosts.clear()  # Dask forgets what nobody wants
        self._shared.remove()

    # --- workers ------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Send the work to those that joined, and take back the trials of those that left."""
        now = time.monotonic()
        if now - self._looked < LOOK:
            return
        self._looked, self._threads = now, self._there()
        for address, host in tuple(self._hosts.items()):
            if address not in self._threads or host.status in LOST:
                del self._hosts[address]
        for task in self._tasks.values():
            if task.future is None:
                continue
            if task.worker not in self._hosts or task.future.status in LOST:
                self._give_up(task)
                task.lost += 1
        for address in self._threads.keys() - self._hosts.keys():
            with contextlib.suppress(OSError, CancelledError):  # it has left; the next look says so
                content = self._sent(self._shared.file.read_bytes(), address)
                self._hosts[address] = self._submit(
                    address, prepare, content, self._name, wanted=__version__, most=self._memory
                )

    def _there(self) -> dict[str, int]:
        """Return the threads of each worker."""
        if self._client.status == "closed":
            raise ClusterLostError(f"the loss of {_named(self._client)}")
        if self._client.status != "running":  # it looks for the scheduler again
            return {}
        try:
            return dict(self._client.nthreads(callback_timeout=PATIENCE))
        except OSError:
            return self._threads

    def _ready(self) -> dict[str, int]:
        """Return the threads of each worker that has the study's work."""
        ready = (address for address, host in self._hosts.items() if host.status == "finished")
        return {address: self._threads[address] for address in ready}

    def _sent(self, content: bytes, address: str) -> Future:
        """Send bytes to a worker, by the scheduler, which does not keep them."""
        return self._client.scatter(content, workers=[address], hash=False, timeout=TRANSFER)

    def _submit(self, address: str, function: Any, *args: Any, **named: Any) -> Future:
        key = f"autoimb-{function.__name__}-{uuid.uuid4().hex}"
        where = {"workers": [address], "key": key, "pure": False}
        future = self._client.submit(function, *args, **where, **named)
        future.add_done_callback(lambda _: self._changed.set())
        return future

    # --- trials -------------------------------------------------------------------------------

    def _place(self) -> None:
        """Begin the trials that wait, as far as threads are free."""
        free = self._ready()
        for task in self._tasks.values():
            if task.future is not None:
                free[task.worker] = free.get(task.worker, 0) - 1
        for task in self._tasks.values():
            if task.future is None:
                address = max(free, key=free.__getitem__, default=None)
                if address is None or free[address] < 1:
                    return
                with contextlib.suppress(OSError, CancelledError):  # as in `_follow`
                    self._start(task, address)
                    free[address] -= 1

    def _start(self, task: _Task, address: str) -> None:
        own = task.assignment
        content = self.states.read(waiting_key(own.strategy))
        task.future = self._submit(
            address,
            run_trial,
            self._hosts[address],
            own,
            waiting=None if content is None else self._sent(content, address),
            held=frozenset(self._encoded.made()),
            seconds=own.deadline.left(),
        )
        task.worker = address

    def _give_up(self, task: _Task) -> None:
        """Let Dask forget what became of a trial, and kill it if it runs."""
        if task.future is not None and self._client.status == "running":
            task.future.cancel()
        task.future = None

    def _outcome(self, task: _Task) -> Outcome | None:
        """Return how a trial ended; None while it goes on."""
        seconds = time.monotonic() - task.submitted
        if task.lost >= ATTEMPTS:
            return Failed(f"{task.lost} Dask workers were lost that ran it", seconds)
        if task.future is not None and task.future.status == "error":
            return Failed(reason_of(task.future.exception()), seconds)
        if task.future is not None and task.future.status == "finished":
            return self._result(task.future, task.assignment, seconds)
        if task.assignment.deadline.left() < -(GRACE + PATIENCE):
            return Cut("no answer from its Dask worker at its deadline", seconds=seconds)
        return None

    def _result(self, future: Future, assignment: Assignment, seconds: float) -> Outcome | None:
        """Fetch what a trial gave; None where its worker has left with it."""
        try:
            ended: Ended = future.result(timeout=TRANSFER)
        except (OSError, CancelledError):
            return None
        except Exception as error:  # it can't be read here
            return Failed(reason_of(error), seconds)
        if ended.waiting is not None:
            self.states.write(waiting_key(assignment.strategy), ended.waiting)
        self._encoded.hold(ended.encoders)
        return ended.outcome


@contextlib.contextmanager
def backend_for(name: str | None, scheduler: str | None = None) -> Iterator[Backend]:
    """Reach what trials are to run on.

    Inside, joblib's backend is that of one process: what the search fits besides its trials is not
    meant for a cluster.

    Parameters
    ----------
    name : {"local", "dask"} or None
        None is joblib's active backend where that is Dask, else this machine.
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
    if name not in (None, *BACKENDS):
        raise OptionError(choices("backend", name, BACKENDS))
    if scheduler is not None and name != Dask.name:
        raise OptionError(f"A scheduler goes with the backend 'dask'; got the backend {name!r}.")
    client = cluster_of_joblib() if name is None else None
    with contextlib.ExitStack() as stack:
        if name == Dask.name:
            client = stack.enter_context(_reach(scheduler))
        if client is None:
            yield LOCAL
        else:
            stack.enter_context(joblib.parallel_config("loky", n_jobs=1))
            yield Dask(client)


@contextlib.contextmanager
def _reach(scheduler: str | None) -> Iterator[Client]:
    """Connect with a scheduler, or take the client that is there."""
    try:
        from distributed import Client, get_client
    except ImportError as error:
        raise OptionError(
            "The backend 'dask' needs the package distributed: pip install 'autoimb[distributed]'."
        ) from error
    if scheduler is None:
        try:
            client = get_client()
        except ValueError as error:
            raise OptionError(
                "The backend 'dask' needs the address of a scheduler (--scheduler), and in Python "
                "a client: distributed.Client('tcp://HOST:8786')."
            ) from error
        yield client
        return
    try:
        client = Client(scheduler, set_as_default=False)
    except (OSError, ValueError, KeyError) as error:
        words = reason_of(error)
        raise RunError(f"The Dask scheduler at {scheduler} can't be reached: {words}") from error
    try:
        yield client
    finally:
        client.close(timeout=PATIENCE)


def _named(client: Client) -> str:
    address = getattr(client.scheduler, "address", None)
    return f"the Dask scheduler at {address}" if address else "the Dask scheduler"
