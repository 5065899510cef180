"""The synchronous schedule: batches of trials, so that speed does not influence a search."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autoimb.evaluation.outcome import Outcome
    from autoimb.evaluation.task import Task, Trial
    from autoimb.runtime.pool import Backend, Resources, Runner
    from autoimb.runtime.shared import Evaluate

__all__ = ["Batches", "Synchronous"]


class Synchronous:
    """Backend whose workers start trials together and wait for each other.

    Parameters
    ----------
    backend : Backend
        Backend that runs the trials.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend, self.name = backend, backend.name

    def workers(self, n_jobs: int | None) -> int:
        """Return the number of workers that `n_jobs` requests."""
        return self._backend.workers(n_jobs)

    def runner(self, task: Task, evaluate: Evaluate, resources: Resources) -> Runner:
        """Return a runner for the trials of a study, in batches of `n_jobs`."""
        return Batches(self._backend.runner(task, evaluate, resources), resources.n_jobs)


class Batches:
    """Runner of batches with one trial for each worker: a batch starts when the last has ended.

    The trials that a study proposes then depend only on the results of previous batches.

    Parameters
    ----------
    runner : Runner
        Runner that evaluates the trials in any order.
    size : int
        Number of trials in a batch.
    """

    def __init__(self, runner: Runner, size: int) -> None:
        self._runner, self._size = runner, size
        # The trials that were not returned, in the order of submission.
        self._batch: list[int] = []
        self._open = True
        self._ended: dict[int, Outcome] = {}

    @property
    def running(self) -> tuple[int, ...]:
        """The numbers of the trials of the batch that were not returned."""
        return tuple(self._batch)

    @property
    def idle(self) -> int:
        """Number of trials that the batch still accepts; 0 once the batch is full."""
        return self._size - len(self._batch) if self._open else 0

    def submit(self, number: int, trial: Trial) -> None:
        """Add a trial to the batch and submit it."""
        self._batch.append(number)
        self._runner.submit(number, trial)

    def collect(self, seconds: float) -> list[tuple[int, Outcome]]:
        """Return the trials that ended, in the order of submission."""
        self._ended.update(self._runner.collect(seconds))
        in_order = []
        while self._batch and self._batch[0] in self._ended:
            number = self._batch.pop(0)
            in_order.append((number, self._ended.pop(number)))
        self._open = not self._batch
        return in_order

    def close(self) -> None:
        """Stop all trials."""
        self._runner.close()
