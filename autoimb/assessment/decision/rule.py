"""The decision rule, and the two that a label metric chooses from."""

from __future__ import annotations

from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from autoimb.assessment.calibration import LogRatio, log_proba
from autoimb.assessment.costs import Matrix
from autoimb.assessment.decision.offsets import Evidence, best_offsets
from autoimb.assessment.metrics import Metric
from autoimb.budget import FOREVER, Deadline

__all__ = ["DecisionRule", "plug_in_rule", "tuned_rule"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class DecisionRule(Struct, frozen=True, forbid_unknown_fields=True):
    """What turns probabilities into labels.

    Attributes
    ----------
    kind : {"argmax", "offsets", "costs"}
        The most probable class; the class of the highest ``log p + offset``; the class of the
        least expected cost.
    offsets : tuple of float
        One a class, for ``"offsets"``. With two classes they are a threshold.
    costs : tuple of tuple of float, or None
        For ``"costs"``: rows are true classes, columns predicted ones.
    name : str
        In words, for reports.
    """

    kind: Literal["argmax", "offsets", "costs"] = "argmax"
    offsets: tuple[LogRatio, ...] = ()
    costs: Matrix | None = None
    name: str = "most probable class"

    def apply(self, proba: Floats) -> Ints:
        """Label rows.

        Parameters
        ----------
        proba : ndarray of float, shape (n, C)
            Class probabilities.

        Returns
        -------
        ndarray of int64, shape (n,)
            Class codes; of equal classes the first.
        """
        if self.kind == "offsets":
            values = log_proba(proba) + np.asarray(self.offsets)
        elif self.costs is not None:
            values = -(np.asarray(proba, dtype=np.float64) @ np.asarray(self.costs))
        else:
            values = proba
        labels: Ints = values.argmax(axis=1).astype(np.int64)
        return labels

    def threshold(self, positive: int) -> float | None:
        """Probability from which a row gets the label ``positive``; None unless two classes."""
        if self.kind == "argmax":
            return 0.5 if len(self.offsets) in (0, 2) else None
        if self.costs is not None:
            return _cost_threshold(np.asarray(self.costs), positive)
        if len(self.offsets) != 2:
            return None
        gap = self.offsets[positive] - self.offsets[1 - positive]
        return float(1 / (1 + np.exp(np.clip(gap, -700, 700))))


def _cost_threshold(costs: Floats, positive: int) -> float | None:
    if len(costs) != 2:
        return None
    false_alarm = costs[1 - positive, positive] - costs[1 - positive, 1 - positive]
    miss = costs[positive, 1 - positive] - costs[positive, positive]
    return float(false_alarm / (false_alarm + miss)) if false_alarm + miss > 0 else None


def plug_in_rule(metric: Metric, rows: Evidence, deadline: Deadline = FOREVER) -> DecisionRule:
    """Make the rule that needs no tuning where the probabilities are calibrated."""
    n_classes = rows.proba.shape[1]
    if metric.name == "balanced_accuracy":
        total = rows.truth.sum(axis=0)
        prior = np.maximum(total, 0.5) / max(total.sum(), 1.0)
        offsets = tuple(float(o) for o in -np.log(prior))
        return DecisionRule("offsets", offsets, name="highest probability relative to the prior")
    if metric.counts is None:
        return DecisionRule()
    offsets = best_offsets(metric, rows.expected(), (0.0,) * n_classes, deadline=deadline)
    what = "threshold" if n_classes == 2 else "class offsets"
    return DecisionRule("offsets", offsets, name=f"{what} of the best expected {metric.name}")


def tuned_rule(
    metric: Metric, rows: Evidence, start: DecisionRule, deadline: Deadline = FOREVER
) -> DecisionRule:
    """Fit the offsets that serve a label metric best on these rows, beginning with a rule's."""
    begin = start.offsets or (0.0,) * rows.proba.shape[1]
    offsets = best_offsets(metric, rows, begin, deadline=deadline)
    return DecisionRule("offsets", offsets, name=f"tuned for {metric.name}")
