"""Evaluation of trials in a worker process."""

from __future__ import annotations

import contextlib
import signal
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autoimb.errors import DeadlineExceeded
from autoimb.evaluation.outcome import Cut, Failed, Outcome, reason_of
from autoimb.evaluation.task import Task, Trial
from autoimb.runtime.interrupt import ignore_hang_up
from autoimb.runtime.memory import be_killed_first
from autoimb.runtime.process import end_with_parent
from autoimb.runtime.shared import Evaluate, load

__all__ = ["evaluated", "one_thread", "prepare_worker", "run_trial"]


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


def evaluated(evaluate: Evaluate, task: Task, trial: Trial) -> Outcome:
    """Evaluate a trial of a search or of its duels; an exception becomes the outcome."""
    started = time.monotonic()
    try:
        duels = task.duels if trial.duel else None
        return evaluate(task if duels is None else duels, trial)
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
        _worker["task"], _worker["evaluate"] = load(shared)
    except Exception as error:
        _worker["error"] = error


def run_trial(trial: Trial) -> Outcome:
    """Evaluate a trial with the arrays that `prepare_worker` mapped."""
    if "error" in _worker:
        return Failed(f"the worker couldn't start: {reason_of(_worker['error'])}")
    return evaluated(_worker["evaluate"], _worker["task"], trial)
