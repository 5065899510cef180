"""What happens in a worker process."""

from __future__ import annotations

import contextlib
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import cloudpickle
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
    duel : bool
        Whether it is on the rows and folds of matched duels.
    """

    strategy: Strategy
    deadline: Deadline
    bar: Bar | None = None
    rung: float = 1.0
    confirm: bool = False
    duel: bool = False


@dataclass(frozen=True, eq=False)
class Work:
    """What all trials of a study share.

    Parameters
    ----------
    evaluate : callable
        `autoimb.evaluation.trial.evaluate`, or a stand-in for it, also one that was defined in the
        user's script.
    study : Basis
        Its judge's metric may hold a callable of the user's script.
    duels : Basis or None
        Of matched duels, judged by the same metric.
    """

    evaluate: Evaluate
    study: Basis
    duels: Basis | None = None

    def dump(self, path: Path) -> None:
        """Write it down for `load`; arrays in a form that can be mapped into memory."""
        code = cloudpickle.dumps((self.evaluate, self.study.judge.metric))
        bases = [
            (one.dataset, one.plan, _without_metric(one.judge))
            for one in (self.study, self.duels)
            if one is not None
        ]
        joblib.dump({"bases": bases, "code": code}, path)

    @classmethod
    def load(cls, path: Path) -> Work:
        """Read what `dump` wrote.

        Arrays are copied when they are written to, not before: processes share them, and torch
        may have them.
        """
        found = joblib.load(path, mmap_mode="c")
        evaluate, metric = cloudpickle.loads(found["code"])
        bases = [
            Basis(dataset, plan, Judge(metric, **judge)) for dataset, plan, judge in found["bases"]
        ]
        return cls(evaluate, *bases)


def _without_metric(judge: Judge) -> dict[str, Any]:
    """Return the fields of a judge but the metric, which may hold code."""
    own = {field.name: getattr(judge, field.name) for field in fields(judge)}
    del own["metric"]
    return own


class Jobs:
    """Writes assignments out as jobs, and keeps between them what those of a process share.

    Parameters
    ----------
    work : Work
    folder : Path or None
        Where several processes share it.
    """

    def __init__(self, work: Work, folder: Path | None = None) -> None:
        self._study = work.study, _parts(work.study, folder)
        self._duels = None
        if work.duels is not None:
            own = None if folder is None else folder / "duels"
            self._duels = work.duels, _parts(work.duels, own)

    @property
    def parts(self) -> Parts:
        """The folds of the search."""
        return self._study[1]

    def of(self, assignment: Assignment) -> tuple[Job, Judge]:
        """Return what is evaluated, and by whom it is judged."""
        basis, parts = self._study
        if assignment.duel and self._duels is not None:
            basis, parts = self._duels
        plan = basis.plan.at(assignment.rung, confirm=assignment.confirm)
        job = Job(assignment.strategy, plan, parts, assignment.deadline, assignment.bar)
        return job, basis.judge


def _parts(basis: Basis, folder: Path | None) -> Parts:
    """Make what is kept of a basis; waiting trainings of two of them have the same keys."""
    own = None if folder is None else folder / "parts"
    return Parts(basis.dataset, basis.plan.folds, seed=basis.plan.seed, folder=own)


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


def evaluated(evaluate: Evaluate, jobs: Jobs, assignment: Assignment) -> Outcome:
    """Evaluate a strategy; what a stand-in for `evaluate` raises becomes the outcome."""
    started = time.monotonic()
    try:
        return evaluate(*jobs.of(assignment))
    except DeadlineExceeded as error:
        return Cut(str(error), seconds=time.monotonic() - started)
    except Exception as error:
        return Failed(reason_of(error), time.monotonic() - started)


_worker: dict[str, Any] = {}


def prepare_worker(shared: Path) -> None:
    """Map the study's arrays and get ready; an error is told by each trial, not by dying."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # at once, also inside a long computation
    ignore_hang_up()
    end_with_parent(shared.parent)
    be_killed_first()
    try:
        warnings.simplefilter("ignore")  # they would tear the progress line
        _worker["thread"] = one_thread()
        _worker["thread"].__enter__()  # for good
        work = Work.load(shared)
        _worker.update(evaluate=work.evaluate, jobs=Jobs(work, shared.parent))
    except Exception as error:
        _worker["error"] = error


def run_trial(assignment: Assignment) -> Outcome:
    """Evaluate a strategy with what `prepare_worker` mapped."""
    if "error" in _worker:
        return Failed(f"the worker couldn't start: {reason_of(_worker['error'])}")
    return evaluated(_worker["evaluate"], _worker["jobs"], assignment)
