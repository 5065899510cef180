"""Weights of a blend: bagged greedy selection on out-of-fold probabilities.

The method is that of Caruana et al., "Ensemble selection from libraries of models", 2004: selection
with replacement, from bags of the candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.calibration import row_log_loss
from autoimb.assessment.judge import Judge
from autoimb.budget import Deadline
from autoimb.policy import SearchPolicy
from autoimb.randomness import Purpose, stream

__all__ = ["FLAT", "ScoredRows", "Weighing", "draw_bags"]

# Largest number of bags of a blend.
_MAX_BAGS = 8
# Smallest weight of networks in a blend; with less, partners get no weight.
_MIN_NETWORKS_SHARE = 0.2

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

# Groups are scored separately if each has this number of rows of the rarest class.
ENOUGH_ROWS = 10
FLAT = 1e-9  # Gains up to this size are rounding errors.


@dataclass(frozen=True, eq=False)
class ScoredRows:
    """Scored rows and their probabilities by all candidates, (K, n, C)."""

    judge: Judge
    proba: Floats

    def take(self, mask: Mask) -> ScoredRows:
        """Return a selection of rows, sorted by group so that a group is a slice without a copy."""
        rows = np.flatnonzero(mask)[np.argsort(self.judge.group[mask], kind="stable")]
        return ScoredRows(self.judge.take(rows), self.proba[:, rows])

    def mix(self, weights: Floats) -> Floats:
        """Return the weighted mean of the candidates, (n, C)."""
        return np.tensordot(weights, self.proba, axes=1)  # (K,), (K, n, C) -> (n, C)

    @cached_property
    def _parts(self) -> list[slice]:
        """Slices of the groups if each has enough rows of every class, or one slice of all rows.

        Groups are scored separately because the probabilities of different folds are not on one
        scale: see `autoimb.assessment.judge`.
        """
        y, group, n_classes = self.judge.y, self.judge.group, self.judge.metric.n_classes
        starts = np.append(np.flatnonzero(np.diff(group, prepend=-1)), len(group))
        parts = [slice(*ends) for ends in pairwise(starts.tolist())]
        min_rows = min(np.bincount(y[part], minlength=n_classes).min() for part in parts)
        return parts if min_rows >= ENOUGH_ROWS else [slice(None)]

    def merit(self, proba: Floats) -> float:
        """Return the value of probabilities (n, C) of sorted rows that the weights maximize."""
        metric, y, weight = self.judge.metric, self.judge.y, self.judge.weight
        likelihood = -float(np.average(row_log_loss(y, proba), weights=weight))
        if metric.kind == "label":
            return likelihood
        values = []
        for part in self._parts:
            part_weight = None if weight is None else weight[part]
            values.append(metric(y[part], proba[part], weight=part_weight))
        return likelihood + float(np.mean([metric.utility(value) for value in values]))


def draw_bags(
    n_candidates: int, n_cells: int, random_state: int, policy: SearchPolicy
) -> list[Ints]:
    """Draw the candidates of each bag, about half of all."""
    size = max(min(n_candidates, 5), -(-n_candidates // 2))
    affordable = policy.result.blend_work // (n_cells * size * policy.result.blend_steps)
    number = int(np.clip(affordable, 1, _MAX_BAGS))
    random = stream(Purpose.BLEND_BAGS, random_state)
    return [np.sort(random.choice(n_candidates, size, replace=False)) for _ in range(number)]


@dataclass(frozen=True)
class Weighing:
    """Bagged greedy selection.

    Attributes
    ----------
    bags : sequence of int64 arrays
        Candidates that each bag can choose.
    deadline : Deadline
        Time after which no further bag is started.
    policy : SearchPolicy
    partner : bool array of shape (K,)
        Mask of the candidates that are partners, not networks.
    shares : float64 array of shape (K, R)
        Shares of R limited resources that each candidate takes; see `Limits.shares`.
    """

    bags: Sequence[Ints]
    deadline: Deadline
    policy: SearchPolicy
    partner: Mask
    shares: Floats

    def fit(self, rows: ScoredRows) -> tuple[Floats, Floats]:
        """Return the weights (K,) that fit these rows, and those of the best network alone."""
        alone, total = np.zeros(len(rows.proba)), np.zeros(len(rows.proba))
        merits = np.array([rows.merit(proba) for proba in rows.proba])
        alone[np.argmax(np.where(self.partner, -np.inf, merits))] = 1.0
        for members in self.bags:
            total += self._greedy(rows, members)
            if self.deadline.expired:
                break
        total[~self._within_limits(total, alone)] = 0.0
        if not total.any():
            # Only partners were chosen, and the limits have no room for them beside a network.
            return alone, alone
        weights = total / total.sum()
        return self._floored(weights, alone) if self.partner.any() else weights, alone

    def _within_limits(self, weights: Floats, alone: Floats) -> Mask:
        """Select the largest weights whose candidates together keep the limits, (K,).

        At least one network is selected.
        """
        network_weights = np.where(self.partner, 0.0, weights)
        first = int(np.argmax(network_weights if network_weights.any() else alone))
        selected, taken = np.zeros(len(weights), dtype=bool), self.shares[first]
        selected[first] = True
        # Candidates are added in order of decreasing weight while their shares still fit.
        for k in np.argsort(-weights, kind="stable"):
            fits = bool((taken + self.shares[k] <= 1).all())
            if fits and not selected[k] and selected.sum() < self.policy.result.max_blended:
                selected[k], taken = True, taken + self.shares[k]
        return selected

    def _floored(self, weights: Floats, alone: Floats) -> Floats:
        """Raise the weights of networks to their minimum share, in their proportions.

        Where no network has a weight, the best one gets the whole share.
        """
        network_weights = np.where(self.partner, 0.0, weights)
        share = network_weights.sum()
        if share >= _MIN_NETWORKS_SHARE:
            return weights
        network_weights = network_weights / share if share > 0 else alone
        partner_weights = np.where(self.partner, weights, 0.0)
        floored: Floats = (
            _MIN_NETWORKS_SHARE * network_weights
            + (1 - _MIN_NETWORKS_SHARE) * partner_weights / partner_weights.sum()
        )
        return floored

    def _greedy(self, rows: ScoredRows, members: Ints) -> Floats:
        """Add the best candidate repeatedly while the value increases; return weights (K,)."""
        counts, total, best = np.zeros(len(rows.proba)), np.zeros_like(rows.proba[0]), -np.inf
        for size in range(1, self.policy.result.blend_steps + 1):
            values = [rows.merit((total + rows.proba[member]) / size) for member in members]
            at = int(np.argmax(values))
            if values[at] <= best + FLAT:
                break
            best, total = values[at], total + rows.proba[members[at]]
            counts[members[at]] += 1
            if self.deadline.expired:
                break
        return np.asarray(counts / counts.sum())
