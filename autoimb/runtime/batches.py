"""Trials in batches, so that no worker's pace decides what comes next."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autoimb.evaluation.outcome import Outcome
    from autoimb.runtime.pool import Backend, Resources, Runner
    from autoimb.runtime.worker import Assignment, Work
    from autoimb.training.parts import Parts

__all__ = ["Batches", "Synchronous"]


class Synchronous:
    """A backend whose workers begin together, and wait for each other.

    Parameters
    ----------
    backend : Backend
        Where the trials run.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend, self.name = backend, backend.name

    def workers(self, n_jobs: int | None) -> int:
        """Return how many workers `n_jobs` is there."""
        return self._backend.workers(n_jobs)

    def runner(self, work: Work, resources: Resources) -> Runner:
        """Return what runs the trials of a study, in batches of `n_jobs`."""
        return Batches(self._backend.runner(work, resources), resources.n_jobs)


class Batches:
    """A runner that takes as many trials as there are workers, and no more until all have ended.

    What a study asks for then depends on what the batches before gave, and on nothing else:
    synchronous successive halving, as against the asynchronous one (Li et al., "A system for
    massively parallel hyperparameter tuning", 2020).

    Parameters
    ----------
    runner : Runner
        What runs them, at whatever pace.
    size : int
        Trials of a batch.
    """

    def __init__(self, runner: Runner, size: int) -> None:
        self._runner, self._size = runner, size
        self._batch: list[int] = []  # those that were not returned, in the order they were taken
        self._open = True
        self._ended: dict[int, Outcome] = {}

    @property
    def running(self) -> tuple[int, ...]:
        """The numbers of the batch's trials that were not returned."""
        return tuple(self._batch)

    @property
    def idle(self) -> int:
        """How many trials the batch still takes: none once it runs."""
        return self._size - len(self._batch) if self._open else 0

    def submit(self, number: int, assignment: Assignment) -> None:
        """Take a trial into the batch."""
        self._batch.append(number)
        self._runner.submit(number, assignment)

    def collect(self, seconds: float) -> list[tuple[int, Outcome]]:
        """Return the trials that ended and whose turn it is, in the order they were taken."""
        self._ended.update(self._runner.collect(seconds))
        turn = []
        while self._batch and self._batch[0] in self._ended:
            number = self._batch.pop(0)
            turn.append((number, self._ended.pop(number)))
        self._open = not self._batch
        return turn

    def encoded(self) -> Parts:
        """Return the folds of the search with the encoders that its trials fitted."""
        return self._runner.encoded()

    def close(self) -> None:
        """Stop, whatever runs."""
        self._runner.close()
