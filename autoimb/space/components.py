"""All components of the search space, in the order in which they act on the data."""

from __future__ import annotations

from typing import Any

from autoimb.space.class_weight import CLASS_WEIGHT
from autoimb.space.ensemble import ENSEMBLE
from autoimb.space.loss import LOSS
from autoimb.space.network import NETWORK
from autoimb.space.option import Component
from autoimb.space.resampling.component import RESAMPLING

__all__ = ["COMPONENTS", "CONTROL"]

COMPONENTS: dict[str, Component[Any]] = {
    component.name: component for component in (RESAMPLING, CLASS_WEIGHT, LOSS, ENSEMBLE, NETWORK)
}
# The options of a control, which has no imbalance method.
CONTROL = {
    "resampling": "none",
    "class_weight": "none",
    "loss": "cross_entropy",
    "ensemble": "single",
}
