"""Evaluation of trials in a worker process."""

from __future__ import annotations

import contextlib
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import joblib

from autoimb.assessment.judge import Judge
from autoimb.errors import DeadlineExceeded
from autoimb.evaluation.basis import Basis
from autoimb.evaluation.outcome import Cut, Failed, Outcome, reason_of
from autoimb.runtime.interrupt import ignore_hang_up
from autoimb.runtime.memory import be_killed_first
from autoimb.runtime.process import end_with_parent
from autoimb.training.fit import Job
from autoimb.training.parts import Parts

if TYPE_CHECKING:
    from pathlib import Path

    from autoimb.budget import Deadline
    from autoimb.space.strategy import Strategy
    from autoimb.training.pruning import Bar

__all__ = [
    "Assignment",
    "Evaluate",
    "Jobs",
    "Work",
    "evaluated",
    "one_thread",
    "prepare_worker",
    "run_trial",
]

Evaluate = Callable[[Job, Judge], Outcome]


@dataclass(frozen=True)
class Assignment:
    """A trial that is assigned to a worker.

    Attributes
    ----------
    strategy : Strategy
    deadline : Deadline
    bar : Bar or None
        Scores that the trial must reach to continue.
    rung : float
        Total training work on a split, as a multiple of the planned work.
    confirm : bool
        Whether the trial uses the confirming splits.
    duel : bool
        Whether the trial uses the rows and folds of matched duels.
    """

    strategy: Strategy
    deadline: Deadline
    bar: Bar | None = None
    rung: float = 1.0
    confirm: bool = False
    duel: bool = False


@dataclass(frozen=True, eq=False)
class Work:
    """Data and code that all trials of a study share.

    Parameters
    ----------
    evaluate : callable
        `autoimb.evaluation.trial.evaluate` or a replacement, which may be defined in the user's
        script.
    study : Basis
        Basis of the search; its judge's metric may contain a callable of the user's script.
    duels : Basis or None
        Basis of matched duels, judged by the same metric.
    """

    evaluate: Evaluate
    study: Basis
    duels: Basis | None = None

    def dump(self, path: Path) -> None:
        """Write the work to a file for `load`, with arrays that can be mapped into memory."""
        # Code of the user's script, which workers do not run, is pickled by value.
        code = joblib.wrap_non_picklable_objects(
            (self.evaluate, self.study.judge.metric), keep_wrapper=False
        )
        bases = [
            (basis.dataset, basis.plan, _without_metric(basis.judge))
            for basis in (self.study, self.duels)
            if basis is not None
        ]
        joblib.dump({"bases": bases, "code": code}, path)

    @classmethod
    def load(cls, path: Path) -> Work:
        """Read a file that `dump` wrote.

        Arrays are mapped copy-on-write: processes share them, and torch accepts them because they
        are writable.
        """
        content = joblib.load(path, mmap_mode="c")
        evaluate, metric = content["code"]
        bases = [
            Basis(dataset, plan, Judge(metric, **judge))
            for dataset, plan, judge in content["bases"]
        ]
        return cls(evaluate, *bases)


def _without_metric(judge: Judge) -> dict[str, Any]:
    """Return the fields of a judge without the metric, which may contain code."""
    values = {field.name: getattr(judge, field.name) for field in fields(judge)}
    del values["metric"]
    return values


class Jobs:
    """Builds jobs from assignments, and keeps the parts that all jobs of a process share.

    Parameters
    ----------
    work : Work
    folder : Path or None
        Folder through which several processes share the parts.
    """

    def __init__(self, work: Work, folder: Path | None = None) -> None:
        self._study = work.study, _parts(work.study, folder)
        self._duels = None
        if work.duels is not None:
            duels_folder = None if folder is None else folder / "duels"
            self._duels = work.duels, _parts(work.duels, duels_folder)

    @property
    def parts(self) -> Parts:
        """The folds of the search."""
        return self._study[1]

    def of(self, assignment: Assignment) -> tuple[Job, Judge]:
        """Return the job of an assignment, and the judge that scores it."""
        basis, parts = self._study
        if assignment.duel and self._duels is not None:
            basis, parts = self._duels
        plan = basis.plan.at(assignment.rung, confirm=assignment.confirm)
        job = Job(assignment.strategy, plan, parts, assignment.deadline, assignment.bar)
        return job, basis.judge


def _parts(basis: Basis, folder: Path | None) -> Parts:
    """Build the parts of a basis; two bases need two folders, as their keys are the same."""
    parts_folder = None if folder is None else folder / "parts"
    return Parts(basis.dataset, basis.plan.folds, seed=basis.plan.seed, folder=parts_folder)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread: more would compete for cores and change floating-point sums."""
    import torch
    from threadpoolctl import threadpool_limits

    thread_count = torch.get_num_threads()
    with threadpool_limits(limits=1):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(thread_count)


def evaluated(evaluate: Evaluate, jobs: Jobs, assignment: Assignment) -> Outcome:
    """Evaluate an assignment; an exception of `evaluate` becomes the outcome."""
    started = time.monotonic()
    try:
        return evaluate(*jobs.of(assignment))
    except DeadlineExceeded as error:
        return Cut(str(error), seconds=time.monotonic() - started)
    except Exception as error:
        return Failed(reason_of(error), time.monotonic() - started)


_worker: dict[str, Any] = {}


def prepare_worker(shared: Path) -> None:
    """Map the study's arrays and prepare the process; each trial reports an error of this step."""
    # The default handler ends the process at once, also within a long computation.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ignore_hang_up()
    end_with_parent(shared.parent)
    be_killed_first()
    try:
        # Warnings would be printed into the progress line.
        warnings.simplefilter("ignore")
        _worker["thread"] = one_thread()
        # The limit lasts for the life of the process, so the context is never exited.
        _worker["thread"].__enter__()
        work = Work.load(shared)
        _worker.update(evaluate=work.evaluate, jobs=Jobs(work, shared.parent))
    except Exception as error:
        _worker["error"] = error


def run_trial(assignment: Assignment) -> Outcome:
    """Evaluate an assignment with the arrays that `prepare_worker` mapped."""
    if "error" in _worker:
        return Failed(f"the worker couldn't start: {reason_of(_worker['error'])}")
    return evaluated(_worker["evaluate"], _worker["jobs"], assignment)
