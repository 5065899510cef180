"""Decision rules: most probable class, class offsets, and least expected cost."""

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
    """Decision rule that converts class probabilities to labels.

    Attributes
    ----------
    kind : {"argmax", "offsets", "costs"}
        The most probable class; the class with the highest ``log p + offset``; the class with the
        lowest expected cost.
    offsets : tuple of float
        Offset of each class, for ``"offsets"``. With two classes they define a threshold.
    costs : tuple of tuple of float, or None
        Cost matrix, for ``"costs"``: rows are true classes, columns predicted classes.
    name : str
        Description for reports.
    """

    kind: Literal["argmax", "offsets", "costs"] = "argmax"
    offsets: tuple[LogRatio, ...] = ()
    costs: Matrix | None = None
    name: str = "most probable class"

    def apply(self, proba: Floats) -> Ints:
        """Return the labels of rows.

        Parameters
        ----------
        proba : ndarray of float, shape (n, C)
            Class probabilities.

        Returns
        -------
        ndarray of int64, shape (n,)
            Class codes; the lowest code in a tie.
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
        """Return the probability from which a row is positive; None without two classes."""
        if self.kind == "argmax":
            return 0.5 if len(self.offsets) in (0, 2) else None
        if self.costs is not None:
            return _cost_threshold(np.asarray(self.costs), positive)
        if len(self.offsets) != 2:
            return None
        # log p + offset is equal for both classes where the log-odds of p are minus the gap.
        gap = self.offsets[positive] - self.offsets[1 - positive]
        return float(1 / (1 + np.exp(np.clip(gap, -700, 700))))


def _cost_threshold(costs: Floats, positive: int) -> float | None:
    if len(costs) != 2:
        return None
    # The expected costs of both labels are equal where p * miss = (1 - p) * false_alarm.
    false_alarm = costs[1 - positive, positive] - costs[1 - positive, 1 - positive]
    miss = costs[positive, 1 - positive] - costs[positive, positive]
    return float(false_alarm / (false_alarm + miss)) if false_alarm + miss > 0 else None


def plug_in_rule(metric: Metric, rows: Evidence, deadline: Deadline = FOREVER) -> DecisionRule:
    """Return the plug-in rule of a metric, which is optimal for calibrated probabilities."""
    n_classes = rows.proba.shape[1]
    if metric.name == "balanced_accuracy":
        # The class with the highest p / prior maximises the expected mean recall.
        total = rows.truth.sum(axis=0)
        prior = np.maximum(total, 0.5) / max(total.sum(), 1.0)
        offsets = tuple(float(o) for o in -np.log(prior))
        return DecisionRule("offsets", offsets, name="highest probability relative to the prior")
    if metric.counts is None:
        return DecisionRule()
    offsets = best_offsets(metric, rows.expected(), (0.0,) * n_classes, deadline=deadline)
    parameter = "threshold" if n_classes == 2 else "class offsets"
    return DecisionRule("offsets", offsets, name=f"{parameter} of the best expected {metric.name}")


def tuned_rule(
    metric: Metric, rows: Evidence, start: DecisionRule, deadline: Deadline = FOREVER
) -> DecisionRule:
    """Fit the offsets that maximise a label metric on these rows, starting from those of a rule."""
    initial = start.offsets or (0.0,) * rows.proba.shape[1]
    offsets = best_offsets(metric, rows, initial, deadline=deadline)
    return DecisionRule("offsets", offsets, name=f"tuned for {metric.name}")
