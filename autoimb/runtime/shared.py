"""File of a study's task and code, which all worker processes of a machine map into memory."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import joblib

from autoimb.assessment.judge import Judge
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
        code = (evaluate, task.judge.metric)
        tasks = [each for each in (task, task.duels) if each is not None]
        content = {
            "code": joblib.wrap_non_picklable_objects(code, keep_wrapper=False),
            "tasks": [(each.dataset, each.plan, _without_metric(each.judge)) for each in tasks],
        }
        try:
            joblib.dump(content, shared.file)
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
    content = joblib.load(file, mmap_mode="c")
    evaluate, metric = content["code"]
    task, *duels = (
        Task(dataset, plan, Judge(metric, **judge)) for dataset, plan, judge in content["tasks"]
    )
    for duel in duels:
        duel.share_parts(file.parent / "duels")
        task = replace(task, duels=duel)
    task.share_parts(file.parent)
    return task, evaluate


def _without_metric(judge: Judge) -> dict[str, Any]:
    """Return the fields of a judge without the metric, which may contain code."""
    return {field.name: getattr(judge, field.name) for field in fields(judge)[1:]}
