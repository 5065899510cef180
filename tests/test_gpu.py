"""Trials on a GPU, where there is one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tables import chosen, dataset_of, mixed_table, short_plan, strategy_with

from autoimb.assessment.metrics import get_metric
from autoimb.data.folds import plan_folds
from autoimb.search.budget import Deadline
from autoimb.search.evaluate import evaluate
from autoimb.space.rooms import ROOMS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
OPTIONS = [(room, option) for room in ("class_weight", "loss", "network") for option in ROOMS[room]]


@pytest.mark.parametrize(("room", "option"), OPTIONS, ids=[f"{r}-{o.name}" for r, o in OPTIONS])
def test_a_gpu_gives_what_the_cpu_gives(room, option):
    """Within float error: the same draws, other orders of summation."""
    dataset = dataset_of(*mixed_table("binary"))
    plan = short_plan(dataset, plan_folds(dataset.y, cv=3, random_state=0))
    plan = replace(plan, cost_weights=(1.0, 5.0))
    metric = get_metric("average_precision", n_classes=2, positive=1)
    strategy = strategy_with(**{room: chosen(option)})
    cpu, gpu = (
        evaluate(
            strategy, dataset, replace(plan, device=device), metric=metric, deadline=Deadline()
        )
        for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(gpu.oof, cpu.oof, atol=1e-3)
