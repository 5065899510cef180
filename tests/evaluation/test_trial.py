"""A trial: its training leaves time for calibration and scores."""

from __future__ import annotations

from typing import Any

import pytest

from autoimb.budget import FOREVER, Deadline
from autoimb.errors import DeadlineExceeded
from autoimb.evaluation import trial as module
from autoimb.evaluation.task import Task, Trial
from autoimb.policy import Reserves, SearchPolicy
from autoimb.space.strategy import partner
from tests.support.studies import material
from tests.support.tables import small_network, strategy_with


@pytest.mark.parametrize("cell_seconds", [1e-3, 1e3])
@pytest.mark.parametrize("at", ["train_strategy", "fit_trees"])
def test_training_ends_before_its_trial(
    at: str, cell_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadlines = list[Deadline]()

    def recorded(*arguments: Any, **options: Any) -> None:
        deadlines.append(options["deadline"] if "deadline" in options else arguments[3].deadline)
        raise DeadlineExceeded("no time")

    monkeypatch.setattr(module, at, recorded)
    policy = SearchPolicy(reserves=Reserves(scoring_cell_seconds=cell_seconds))
    inputs = material(policy=policy)
    task = Task(inputs.dataset, inputs.plan, inputs.judge)
    strategy = strategy_with(network=small_network())
    if at == "fit_trees":
        strategy = partner("small_trees", costs=False)
    deadline = Deadline.after(300.0)
    for given in (deadline, FOREVER):
        module.evaluate(task, Trial(strategy, given))
    cells = len(task.judge.y) * task.dataset.n_classes
    # At most a third of the time is reserved.
    reserved = deadline.at - deadlines[0].at
    assert reserved == pytest.approx(min(cell_seconds * cells, 100.0), rel=0.1)
    assert deadlines[1] == FOREVER
