"""The class-weight component: weight of the rows of each class in the loss."""

from __future__ import annotations

import numpy as np

from autoimb.space.option import Component, Float

__all__ = ["CLASS_WEIGHT"]

CLASS_WEIGHT: Component[np.ndarray] = Component(
    "class_weight", "Weight of the rows of each class in the loss."
)

# Every option takes the class counts of the training rows after resampling, as float64 (C,), and
# the user's costs (C,) or None. It returns weights (C,), which are later scaled to mean 1 over the
# rows.


@CLASS_WEIGHT.option()
def none(counts: np.ndarray, costs: np.ndarray | None) -> np.ndarray:  # noqa: ARG001  component's signature
    """Every row counts the same."""
    return np.ones_like(counts)


@CLASS_WEIGHT.option(tau=Float(0.25, 1.0))
def power(counts: np.ndarray, costs: np.ndarray | None, *, tau: float) -> np.ndarray:  # noqa: ARG001  component's signature
    """Inverse class frequency to the power τ: 1 is "balanced", 0.5 its square root."""
    return np.asarray((counts.sum() / (len(counts) * counts)) ** tau)


@CLASS_WEIGHT.option(beta_complement=Float(1e-4, 1e-1, log=True))
def effective_number(
    counts: np.ndarray,
    costs: np.ndarray | None,  # noqa: ARG001  component's signature
    *,
    beta_complement: float,
) -> np.ndarray:
    """Inverse effective number of rows, (1-β)/(1-β^n) (Cui et al., 2019)."""
    return np.asarray(beta_complement / -np.expm1(counts * np.log1p(-beta_complement)))


@CLASS_WEIGHT.option(searched=False)
def costs(counts: np.ndarray, costs: np.ndarray | None) -> np.ndarray:
    """Weigh by costs of the user, which is no imbalance method."""
    return np.ones_like(counts) if costs is None else np.asarray(costs, dtype=np.float64)
