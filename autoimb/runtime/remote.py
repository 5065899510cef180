"""What happens in a Dask worker: trials run in processes of ours, which it only waits for.

A process of ours can be killed at a trial's limit, and no Dask worker with it. Whatever a Dask
worker holds goes when the search that put it there goes, however that ends: Dask forgets what
nobody wants.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Container
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from autoimb.budget import Deadline
from autoimb.errors import RunError
from autoimb.evaluation.trial import Failed, Outcome, Scored
from autoimb.foreign import allow_children, given_up
from autoimb.runtime.memory import memory_a_worker
from autoimb.runtime.pool import WorkerPool
from autoimb.runtime.shared import Shared
from autoimb.training.states import waiting_key
from autoimb.version import __version__

if TYPE_CHECKING:
    from autoimb.data.encoding.encoder import Encoder
    from autoimb.policy import SearchPolicy
    from autoimb.runtime.worker import Assignment

__all__ = ["Ended", "Host", "prepare", "run_trial"]

LOOK = 1.0  # seconds between two looks whether a trial is still wanted


@dataclass(frozen=True, eq=False)
class Ended:
    """What comes back of a trial.

    Attributes
    ----------
    outcome : Outcome
    waiting : bytes or None
        The state of a training that may go on, as a file of `Parts.states`.
    encoders : dict
        By repeat and fold; those that the driver did not have when the trial began.
    """

    outcome: Outcome
    waiting: bytes | None = None
    encoders: dict[tuple[int, int], Encoder] = field(default_factory=dict)


class Host:
    """What a Dask worker holds for a study.

    Parameters
    ----------
    shared : Shared or None
        The study's work in a file of this machine; None for one that Dask has moved to another
        worker, which can run nothing.
    memory : int or None
        Bytes that a process of ours may hold for itself.
    """

    def __init__(self, shared: Shared | None = None, memory: int | None = None) -> None:
        self._shared, self._memory = shared, memory
        self._lock = threading.Lock()
        self._free: list[WorkerPool] = []  # of one process each
        pools: list[WorkerPool] = []
        self._pools = pools
        if shared is not None:
            self._parts = shared.parts()
            weakref.finalize(self, _end, shared, pools)

    def __reduce__(self) -> tuple[type[Host], tuple[()]]:
        """Leave all behind: processes and files don't travel."""
        return Host, ()

    def run(
        self,
        assignment: Assignment,
        *,
        waiting: bytes | None = None,
        held: Container[tuple[int, int]] = (),
    ) -> Ended:
        """Run a trial in a process of ours, unless it is given up meanwhile."""
        pool = self._pool()
        if waiting is not None:
            self._parts.states.write(waiting_key(assignment.strategy), waiting)
        pool.submit(0, assignment)
        while not (ended := pool.collect(LOOK)):
            if given_up():
                pool.cancel()
                break
        with self._lock:
            self._free.append(pool)
        outcome = ended[0][1] if ended else Failed("given up")
        return Ended(outcome, self._waiting(assignment, outcome), self._parts.made(but=held))

    def _pool(self) -> WorkerPool:
        with self._lock:
            if self._free:
                return self._free.pop()
            if self._shared is None:
                raise RunError("Dask has moved what can't be moved.")
            pool = WorkerPool(self._shared, 1, memory=self._memory)
            self._pools.append(pool)
            return pool

    def _waiting(self, assignment: Assignment, outcome: Outcome) -> bytes | None:
        """Return the state that a trial has left for its next rung."""
        goes_on = isinstance(outcome, Scored) and not outcome.trace.ended
        if not goes_on or assignment.confirm or assignment.duel:
            return None
        return self._parts.states.read(waiting_key(assignment.strategy))


def prepare(content: bytes, name: str, *, wanted: str, most: int | None) -> Host:
    """Put a study's work on a Dask worker.

    Parameters
    ----------
    content : bytes
        The file of a `Shared` elsewhere.
    name : str
        What the workers of a machine share it by.
    wanted : str
        The version of autoimb there.
    most : int or None
        Bytes that its trials may hold together, where the user says so.

    Raises
    ------
    RunError
        Where another version is installed here.
    """
    from distributed import get_worker

    worker = get_worker()
    if wanted != __version__:
        raise RunError(
            f"The Dask worker {worker.address} has autoimb {__version__}, and the search is of "
            f"{wanted}: install the same on both."
        )
    allow_children()
    with ThreadPoolExecutor(1) as aside:  # an import may keep its frames, and those the host
        shared = aside.submit(Shared.received, content, name).result()
    return Host(shared, _memory(worker, shared.work.study.plan.policy, most))


def run_trial(
    host: Host,
    assignment: Assignment,
    *,
    seconds: float,
    waiting: bytes | None,
    held: Container[tuple[int, int]],
) -> Ended:
    """Run a trial on the Dask worker that holds `host`.

    Parameters
    ----------
    host : Host
    assignment : Assignment
    seconds : float
        Until its deadline, which means nothing on another machine.
    waiting : bytes or None
        The state of its training at the rung below, as a file of `Parts.states`.
    held : container of (int, int)
        The repeats and folds whose encoders the driver has.
    """
    own = replace(assignment, deadline=Deadline.after(seconds))
    return host.run(own, waiting=waiting, held=held)


def _memory(worker: Any, policy: SearchPolicy, most: int | None) -> int | None:
    """Return what a process of ours may hold: its share of what is free, and of Dask's limit."""
    threads = worker.state.nthreads
    free, limit = memory_a_worker(threads, policy, most=most), worker.memory_manager.memory_limit
    if not limit:
        return free
    share = max(int(limit * policy.workers_memory / threads), policy.least_worker_bytes)
    return share if free is None else min(share, free)


def _end(shared: Shared, pools: list[WorkerPool]) -> None:
    for pool in pools:
        pool.stop()
    shared.remove()
