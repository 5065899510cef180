"""What happens in a worker process."""

from __future__ import annotations

import contextlib
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cloudpickle
import joblib

from autoimb.errors import DeadlineExceeded
from autoimb.evaluation.trial import Cut, Failed, Outcome, reason_of
from autoimb.runtime.process import end_with_parent
from autoimb.training.fit import Job
from autoimb.training.parts import Parts

if TYPE_CHECKING:
    from pathlib import Path

    from autoimb.assessment.judge import Judge
    from autoimb.budget import Deadline
    from autoimb.data.dataset import Dataset
    from autoimb.space.strategy import Strategy
    from autoimb.training.plan import Plan
    from autoimb.training.pruning import Bar

__all__ = [
    "Assignment",
    "Evaluate",
    "Work",
    "broken",
    "one_thread",
    "prepare_worker",
    "run_trial",
]

Evaluate = Callable[[Job, "Judge"], Outcome]


@dataclass(frozen=True)
class Assignment:
    """What a worker is asked to do.

    Attributes
    ----------
    strategy : Strategy
    deadline : Deadline
    bar : Bar or None
        What the trial must reach to go on.
    rung : float
        How many times the planned work the training on a split is in all.
    confirm : bool
        Whether it is on the splits that confirm.
    """

    strategy: Strategy
    deadline: Deadline
    bar: Bar | None = None
    rung: float = 1.0
    confirm: bool = False


@dataclass(frozen=True)
class Work:
    """What all trials of a study share.

    Parameters
    ----------
    evaluate : callable
        `autoimb.evaluation.trial.evaluate`, or a stand-in for it, also one that was defined in the
        user's script.
    dataset : Dataset
    plan : Plan
    judge : Judge
        Its metric may hold a callable of the user's script.
    """

    evaluate: Evaluate
    dataset: Dataset
    plan: Plan
    judge: Judge

    def parts(self, folder: Path | None = None) -> Parts:
        """Make what a process keeps between trials, in a folder that several may share."""
        return Parts(self.dataset, self.plan.folds, seed=self.plan.seed, folder=folder)

    def job(self, assignment: Assignment, parts: Parts) -> Job:
        """Write an assignment out as what is evaluated."""
        plan = self.plan.at(assignment.rung, confirm=assignment.confirm)
        return Job(assignment.strategy, plan, parts, assignment.deadline, assignment.bar)

    def dump(self, path: Path) -> None:
        """Write it down for `load`; arrays in a form that can be mapped into memory."""
        code = cloudpickle.dumps((self.evaluate, self.judge.metric))
        judge = [self.judge.y, self.judge.group, self.judge.weight, self.judge.costs]
        joblib.dump(
            {"dataset": self.dataset, "plan": self.plan, "judge": judge, "code": code}, path
        )

    @classmethod
    def load(cls, path: Path) -> Work:
        """Read what `dump` wrote.

        Arrays are copied when they are written to, not before: processes share them, and torch
        may have them.
        """
        from autoimb.assessment.judge import Judge

        found = joblib.load(path, mmap_mode="c")
        evaluate, metric = cloudpickle.loads(found["code"])
        return cls(evaluate, found["dataset"], found["plan"], Judge(metric, *found["judge"]))


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread while inside: more would fight each other, and sum differently."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    with threadpool_limits(limits=1):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def broken(error: Exception, started: float) -> Outcome:
    """Return the outcome of a trial whose evaluation raised."""
    seconds = time.monotonic() - started
    if isinstance(error, DeadlineExceeded):
        return Cut(str(error), seconds=seconds)
    return Failed(reason_of(error), seconds)


_worker: dict[str, Any] = {}


def prepare_worker(shared: Path) -> None:
    """Map the study's arrays and get ready; an error is told by each trial, not by dying."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # at once, also inside a long computation
    end_with_parent(shared.parent)
    try:
        warnings.simplefilter("ignore")  # they would tear the progress line
        _worker["thread"] = one_thread()
        _worker["thread"].__enter__()  # for good
        work = Work.load(shared)
        _worker.update(work=work, parts=work.parts(shared.with_name("parts")))
    except Exception as error:
        _worker["error"] = error


def run_trial(assignment: Assignment) -> Outcome:
    """Evaluate a strategy with what `prepare_worker` mapped."""
    if "error" in _worker:
        return Failed(f"the worker couldn't start: {reason_of(_worker['error'])}")
    work: Work = _worker["work"]
    started = time.monotonic()
    try:
        return work.evaluate(work.job(assignment, _worker["parts"]), work.judge)
    except Exception as error:  # of a stand-in
        return broken(error, started)
