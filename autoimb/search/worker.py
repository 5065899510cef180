"""What happens in a worker process."""

from __future__ import annotations

import contextlib
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import cloudpickle
import joblib

from autoimb.errors import DeadlineExceeded
from autoimb.search.process import end_with_parent
from autoimb.search.record import unscored

if TYPE_CHECKING:
    from pathlib import Path

    from autoimb.assessment.metrics import Metric
    from autoimb.data.table import Dataset
    from autoimb.search.budget import Deadline
    from autoimb.search.evaluate import Outcome
    from autoimb.search.planning import Plan
    from autoimb.search.pruning import Bar
    from autoimb.space.strategy import Strategy

__all__ = [
    "Assignment",
    "Evaluate",
    "Work",
    "one_thread",
    "prepare_worker",
    "run_trial",
    "sentence",
]


class Evaluate(Protocol):
    """`autoimb.search.evaluate.evaluate`, or a stand-in for it."""

    def __call__(
        self,
        strategy: Strategy,
        dataset: Dataset,
        plan: Plan,
        *,
        metric: Metric,
        deadline: Deadline,
        cache: Any,
        bar: Bar | None,
    ) -> Outcome:
        """Evaluate a strategy; `cache` is what `Work.new_cache` made for this process."""
        ...


@dataclass(frozen=True)
class Assignment:
    """What a worker is asked to do.

    Attributes
    ----------
    strategy : Strategy
    deadline : Deadline
    bar : Bar or None
        What the trial must reach to go on.
    work : int
        How many times the planned work the trial is given.
    """

    strategy: Strategy
    deadline: Deadline
    bar: Bar | None = None
    work: int = 1


@dataclass(frozen=True)
class Work:
    """What all trials of a study share.

    Parameters
    ----------
    evaluate : callable
        Also one that was defined in the user's script.
    dataset : Dataset
    plan : Plan
    metric : Metric
        May hold a callable of the user's script.
    make_cache : callable or None
        Makes from the dataset, the plan and a folder what `evaluate` keeps between trials; the
        processes of a study share the folder, which is None where there is but one.
    """

    evaluate: Evaluate
    dataset: Dataset
    plan: Plan
    metric: Metric
    make_cache: Callable[[Dataset, Plan, Path | None], Any] | None = None

    def new_cache(self, folder: Path | None = None) -> Any:
        """Make the cache of a process."""
        make = self.make_cache
        return None if make is None else make(self.dataset, self.plan, folder)

    def run(self, assignment: Assignment, cache: Any) -> Outcome:
        """Evaluate a strategy; what it raises becomes the reason of its failure."""
        started = time.monotonic()
        try:
            return self.evaluate(
                assignment.strategy,
                self.dataset,
                self.plan.times(assignment.work),
                metric=self.metric,
                deadline=assignment.deadline,
                cache=cache,
                bar=assignment.bar,
            )
        except DeadlineExceeded as error:
            return unscored("timeout", str(error), seconds=time.monotonic() - started)
        except Exception as error:
            return unscored("failed", sentence(error), seconds=time.monotonic() - started)

    def dump(self, path: Path) -> None:
        """Write it down for `load`; arrays in a form that can be mapped into memory."""
        code = cloudpickle.dumps((self.evaluate, self.metric, self.make_cache))
        joblib.dump({"dataset": self.dataset, "plan": self.plan, "code": code}, path)

    @classmethod
    def load(cls, path: Path) -> Work:
        """Read what `dump` wrote.

        Arrays are copied when they are written to, not before: processes share them, and torch
        may have them.
        """
        parts = joblib.load(path, mmap_mode="c")
        evaluate, metric, make_cache = cloudpickle.loads(parts["code"])
        return cls(evaluate, parts["dataset"], parts["plan"], metric, make_cache)


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


def sentence(error: BaseException) -> str:
    """Return an exception as one line."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


_worker: dict[str, Any] = {}


def prepare_worker(shared: Path) -> None:
    """Map the study's arrays and settle in; an error is told by each trial, not by dying."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # at once, also inside a long computation
    end_with_parent()
    try:
        warnings.simplefilter("ignore")  # they would tear the progress line
        _worker["thread"] = one_thread()
        _worker["thread"].__enter__()  # for good
        work = Work.load(shared)
        _worker.update(work=work, cache=work.new_cache(shared.with_name("parts")))
    except Exception as error:
        _worker["error"] = error


def run_trial(assignment: Assignment) -> Outcome:
    """Evaluate a strategy with what `prepare_worker` mapped."""
    if "error" in _worker:
        return unscored("failed", f"the worker couldn't start: {sentence(_worker['error'])}")
    work: Work = _worker["work"]
    return work.run(assignment, _worker["cache"])
