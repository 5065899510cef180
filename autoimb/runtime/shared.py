"""File of a study's task and code, which all worker processes of a machine map into memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import cloudpickle
import joblib

from autoimb.assessment.judge import Judge
from autoimb.evaluation.outcome import Outcome
from autoimb.evaluation.task import Task, Trial
from autoimb.runtime.process import warm_up
from autoimb.runtime.scratch import Scratch

__all__ = ["Evaluate", "Shared", "load"]

Evaluate = Callable[[Task, Trial], Outcome]
FILE = "task.joblib"


@dataclass(frozen=True)
class Shared:
    """File of a study's task, in a folder that also contains the arrays that workers share.

    Attributes
    ----------
    task : Task
    scratch : Scratch
        Folder of the file.
    """

    task: Task
    scratch: Scratch

    @classmethod
    def of(cls, task: Task, evaluate: Evaluate, place: Path | None = None) -> Self:
        """Write a task to a new folder in `place`, or in the temporary folder of this process.

        The function and the metric may be defined in the user's script, so they are written as
        code; arrays are written so that they can be mapped into memory.
        """
        scratch = Scratch.make(warm_up() if place is None else place)
        tasks = [each for each in (task, task.duels) if each is not None]
        content = {
            "code": cloudpickle.dumps((evaluate, task.judge.metric)),
            "tasks": [(each.dataset, each.plan, _without_metric(each.judge)) for each in tasks],
        }
        try:
            joblib.dump(content, scratch.path / FILE)
        except BaseException:
            scratch.remove()
            raise
        return cls(task, scratch)

    @property
    def file(self) -> Path:
        """The file that `load` reads."""
        return self.scratch.path / FILE

    def remove(self) -> None:
        """Take over the encoders that workers fitted, and remove the folder."""
        # `Task.parts` of this process has no folder, and encoders that cannot be read are fitted
        # again.
        twin = Task(self.task.dataset, self.task.plan, self.task.judge)
        with suppress(OSError):
            twin.share_parts(self.scratch.path)
            self.task.parts.add_encoders(twin.parts.fitted_encoders())
        self.scratch.remove()


def load(file: Path) -> tuple[Task, Evaluate]:
    """Read the file of a `Shared` task; encoded folds are shared through its folder.

    Arrays are mapped copy-on-write: processes share them, and torch accepts them because they are
    writable.
    """
    content = joblib.load(file, mmap_mode="c")
    evaluate, metric = cloudpickle.loads(content["code"])
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
