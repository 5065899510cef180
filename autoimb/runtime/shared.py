"""File of the task and code of a study, which all workers of a machine map into memory."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self

import joblib

from autoimb.evaluation.outcome import Outcome
from autoimb.evaluation.task import Task, Trial
from autoimb.runtime.process import warm_up

__all__ = ["Evaluate", "Shared", "load"]

Evaluate = Callable[[Task, Trial], Outcome]


@dataclass(frozen=True)
class Shared:
    """File of a study's task, in a folder that also contains the arrays that workers share.

    Attributes
    ----------
    task : Task
    file : Path
        The file that `load` reads.
    """

    task: Task
    file: Path

    @classmethod
    def of(cls, task: Task, evaluate: Evaluate, place: Path | None = None) -> Self:
        """Write a task to a new folder in `place`, or in the temporary folder of this process.

        The function and the metric may be defined in the user's script, so they are written as
        code; arrays are written so that they can be mapped into memory.
        """
        place = warm_up() if place is None else place
        place.mkdir(parents=True, exist_ok=True)
        shared = cls(task, Path(tempfile.mkdtemp(dir=place)) / "task.joblib")
        as_code = partial(joblib.wrap_non_picklable_objects, keep_wrapper=False)
        metric = as_code(task.judge.metric)
        tasks = [
            (member.dataset, member.plan, replace(member.judge, metric=metric))
            for member in (task, task.duels)
            if member is not None
        ]
        try:
            joblib.dump((as_code(evaluate), tasks), shared.file)
        except BaseException:
            shutil.rmtree(shared.file.parent, ignore_errors=True)
            raise
        return shared

    def remove(self) -> None:
        """Take over the encoders that workers fitted, and remove the folder."""
        # `Task.parts` of this process has no folder, and encoders that cannot be read are fitted
        # again.
        twin = Task(self.task.dataset, self.task.plan, self.task.judge)
        with suppress(OSError):
            twin.share_parts(self.file.parent)
            self.task.parts.add_encoders(twin.parts.fitted_encoders())
        shutil.rmtree(self.file.parent, ignore_errors=True)


def load(file: Path) -> tuple[Task, Evaluate]:
    """Read the file of a `Shared` task; encoded folds are shared through its folder.

    Arrays are mapped copy-on-write: processes share them, and torch accepts them because they are
    writable.
    """
    evaluate, tasks = joblib.load(file, mmap_mode="c")
    task, *duels = (Task(*fields) for fields in tasks)
    for duel in duels:
        duel.share_parts(file.parent / "duels")
        task = replace(task, duels=duel)
    task.share_parts(file.parent)
    return task, evaluate
