"""Misclassification costs of the user: validation, and the form that a search uses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoimb.arrays import Floats
from autoimb.errors import OptionError, choices
from autoimb.text import number_of, shown

__all__ = ["Costs", "GivenCosts", "Matrix", "read_matrix", "read_weights"]

Matrix = tuple[tuple[float, ...], ...]
GivenCosts = tuple[float, ...] | Matrix

# A cost matrix gives each class at least this share of the largest class weight in the loss.
MIN_SHARE = 0.01
# Costs of 1 would vanish in the rounding of sums with a higher cost.
HIGHEST_COST = 1e12


@dataclass(frozen=True)
class Costs:
    """Misclassification costs in the form that training, probabilities and labels use.

    Weights of classes (`class_weight=`) stay in the probabilities. Trained with a weight w on each
    class, a network gives probabilities p that carry it, and the expected cost of answering j,
    sum_i p_i C_ij, is then sum_i (p_i / w_i) C_ij up to a factor. A matrix (`cost_matrix=`) never
    changes probabilities: it determines the labels and, on request, weights the loss; the
    probabilities are then corrected for these weights.

    Attributes
    ----------
    class_costs : tuple of C floats, or None
        Class weights of the loss, with the mean 1; None for an unweighted loss.
    matrix : tuple of C tuples of C floats
        Cost of each (true, predicted) pair of classes. Labels minimise the expected cost under the
        probabilities of the search.
    in_probabilities : bool
        Whether `class_costs` stay in the probabilities; otherwise they are corrected for.
    """

    class_costs: tuple[float, ...] | None
    matrix: Matrix
    in_probabilities: bool = True

    @classmethod
    def of(cls, values: GivenCosts, *, in_loss: bool = False) -> Costs:
        """Create the costs from validated class weights or a validated cost matrix.

        Parameters
        ----------
        values : tuple
            C costs from `read_weights`, or C × C costs from `read_matrix`.
        in_loss : bool
            Whether a cost matrix also weights the loss; each class gets the sum of its row.
        """
        costs = np.asarray(values, dtype=np.float64)
        if costs.ndim == 2:
            # The probability of a class without weight in the loss could not be corrected.
            weights = np.maximum(costs.sum(axis=1), MIN_SHARE * costs.sum(axis=1).max())
            return cls(_mean_one(weights) if in_loss else None, _tuples(costs), False)
        # Labels that minimise `matrix` under weighted probabilities minimise `costs` under the true
        # ones: the cost of each true class is divided by its weight.
        weights = np.maximum(costs, 1e-12)
        matrix = costs[:, None] * (1.0 - np.eye(len(costs)))
        class_costs = _mean_one(weights)
        return cls(class_costs, _tuples(matrix / np.array(class_costs)[:, None]))


def _mean_one(weights: Floats) -> tuple[float, ...]:
    return tuple((weights / weights.mean()).tolist())


def _tuples(matrix: Floats) -> Matrix:
    return tuple(map(tuple, matrix.tolist()))


def read_matrix(value: Any, labels: list[object]) -> Matrix:
    """Check a cost matrix and convert it to tuples, in the order of the labels.

    Raises
    ------
    OptionError
        If the shape is not (C, C), a cost is negative or not finite, or all costs are 0.
    """
    requirement = (
        f"cost_matrix must have the shape ({len(labels)}, {len(labels)}), true × predicted class "
        f"in the order {', '.join(map(str, labels))}"
    )
    try:
        matrix = np.asarray(value, dtype=object)
    except ValueError:
        matrix = np.empty(0, dtype=object)
    if matrix.shape != (len(labels), len(labels)):
        raise OptionError(f"{requirement}; got {shown(value)}.")
    costs = tuple(tuple(_cost(cell, "cost_matrix") for cell in row) for row in matrix)
    if not any(map(any, costs)):
        raise OptionError(f"{requirement}, and at least one cost must be above 0; got only zeros.")
    return costs


def read_weights(weights: Mapping[Any, Any], labels: list[object]) -> tuple[float, ...]:
    """Check class weights and return the weight of each class; the default weight is 1.

    Raises
    ------
    OptionError
        If a class is unknown, a weight is negative or not finite, or all weights are 0.
    """
    by_text = {str(label): label for label in labels}
    by_label: dict[object, float] = {}
    for label, weight in weights.items():
        if str(label) not in by_text:
            raise OptionError(choices("class in class_weight", label, labels))
        by_label[by_text[str(label)]] = _cost(weight, "class_weight")
    if not any(by_label.get(label, 1.0) > 0 for label in labels):
        raise OptionError("class_weight gives every class the weight 0; one must be above 0.")
    return tuple(by_label.get(label, 1.0) for label in labels)


def _cost(value: Any, option: str) -> float:
    cost = number_of(value)
    if not math.isfinite(cost) or cost < 0:
        raise OptionError(f"A cost in {option} must be a finite number >= 0, got {shown(value)}.")
    if cost > HIGHEST_COST:
        raise OptionError(f"A cost in {option} must be at most {HIGHEST_COST:g}, got {cost:g}.")
    return cost
