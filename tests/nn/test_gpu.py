"""Trials on a GPU, where there is one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from autoimb.space.components import COMPONENTS
from tests.support.tables import (
    chosen,
    dataset_of,
    mixed_table,
    outcome_of,
    short_plan,
    strategy_with,
)

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
OPTIONS = [
    (component, option)
    for component in ("class_weight", "loss", "network")
    for option in COMPONENTS[component]
]


@pytest.mark.parametrize(
    ("component", "option"), OPTIONS, ids=[f"{r}-{o.name}" for r, o in OPTIONS]
)
def test_a_gpu_gives_what_the_cpu_gives(component, option):
    """Within float error: the same draws, other orders of summation."""
    dataset = dataset_of(*mixed_table("binary"))
    plan = short_plan(dataset, 3)
    plan = replace(plan, class_costs=(1.0, 5.0))
    strategy = strategy_with(**{component: chosen(option)})
    cpu, gpu = (
        outcome_of(strategy, dataset, replace(plan, device=device)) for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(gpu.oof, cpu.oof, atol=1e-3)
