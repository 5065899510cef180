"""The blend: a few strategies whose mean predicts better than the best of them alone.

Bagged greedy selection with replacement (Caruana et al., "Ensemble selection from libraries of
models", 2004) on out-of-fold probabilities. Weights are cheap to overfit, so a blend is kept only
where blends whose weights the other groups chose beat, on the group left out, the single strategy
that the same groups chose. Its score and its predictions here come from that exchange too: no row
is predicted by weights that it had a part in.

What mixing can better is probabilities, so the log-likelihood a row weighs beside the metric. A
metric of labels hardly tells one mixture from the next, and a few rows at the threshold decide; for
such a metric the log-likelihood alone weighs, the decision rule serves the metric, and a blend
whose labels are worse by more than the error of the comparison is not kept
(`reports/decisions/0025-likelihood-weighs-a-blend.md`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.crossfit import leave_group_out
from autoimb.assessment.decision import cross_fit_labels
from autoimb.assessment.metrics import Metric
from autoimb.assessment.uncertainty import Prediction, Score, paired_difference, score
from autoimb.errors import BudgetError
from autoimb.randomness import Purpose, stream
from autoimb.search.budget import Deadline

if TYPE_CHECKING:
    from autoimb.search.evaluate import Outcome

__all__ = ["Blend", "blend"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Costs = Sequence[float] | Sequence[Sequence[float]]

MOST_STRATEGIES = 10
MOST_CANDIDATES = 25
LEAST_CANDIDATES = 4
MOST_BAGS = 8
STEPS = 8  # strategies drawn in a bag, with replacement
WORK = 10_000_000  # rows scored in one fit, about a second; counted, so that no clock decides
ENOUGH_ROWS = 10  # of the rarest class in each group, so that groups are scored one by one
_FLAT = 1e-9  # a gain that small is rounding


@dataclass(frozen=True, eq=False)
class Blend:
    """What the search hands over: a blend, or the best single strategy.

    Attributes
    ----------
    numbers : tuple of int
        Trials, by falling weight.
    weights : tuple of float
        Of their probabilities; they sum to 1.
    proba : ndarray of float64, shape (n, C)
        Out-of-fold probabilities; of a blend, mixed by weights that the row's group did not choose.
    labels : ndarray of int64, shape (n,)
        Cross-fitted labels.
    score : Score
        Of these predictions.
    kept : bool
        Whether it is a blend.
    gain : float
        Cross-fitted gain over the best single strategy in what weighs: the log-likelihood a row
        and, unless the metric is one of labels, its utility. 0 where no blend was tried.
    """

    numbers: tuple[int, ...]
    weights: tuple[float, ...]
    proba: Floats
    labels: Ints
    score: Score
    kept: bool
    gain: float = 0.0


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows with the probabilities of all candidates (K, n, C)."""

    metric: Metric
    proba: Floats
    y: Ints
    group: Ints
    weight: Floats | None

    def take(self, mask: Mask) -> _Rows:
        """Take rows, sorted by group: then a group is a slice, which costs no copy."""
        rows = np.flatnonzero(mask)[np.argsort(self.group[mask], kind="stable")]
        return replace(
            self,
            proba=self.proba[:, rows],
            y=self.y[rows],
            group=self.group[rows],
            weight=None if self.weight is None else self.weight[rows],
        )

    def mix(self, weights: Floats) -> Floats:
        return np.tensordot(weights, self.proba, axes=1)  # (K,), (K, n, C) -> (n, C)

    @cached_property
    def _parts(self) -> list[slice]:
        """Each group of sorted rows, where each has enough of every class.

        Folds' probabilities are not on one scale: see `autoimb.assessment.uncertainty`.
        """
        starts = np.append(np.flatnonzero(np.diff(self.group, prepend=-1)), len(self.group))
        parts = [slice(*ends) for ends in pairwise(starts.tolist())]
        least = min(np.bincount(self.y[p], minlength=self.metric.n_classes).min() for p in parts)
        return parts if least >= ENOUGH_ROWS else [slice(None)]

    def merit(self, proba: Floats) -> float:
        """Judge probabilities (n, C) of sorted rows: what weighs a blend."""
        likely = np.clip(proba[np.arange(len(self.y)), self.y], 1e-15, 1.0)
        likelihood = float(np.average(np.log(likely), weights=self.weight))
        if self.metric.kind == "label":
            return likelihood
        values = []
        for part in self._parts:
            weight = None if self.weight is None else self.weight[part]
            values.append(self.metric(self.y[part], proba[part], weight=weight))
        return likelihood + float(np.mean([self.metric.utility(value) for value in values]))


def blend(
    metric: Metric,
    outcomes: Mapping[int, Outcome],
    y: Ints,
    group: Ints,
    *,
    weight: Floats | None = None,
    costs: Costs | None = None,
    random_state: int = 0,
    deadline: Deadline | None = None,
) -> Blend:
    """Choose what to hand over.

    Sees: the scored rows, by out-of-fold probabilities only.

    Parameters
    ----------
    metric : Metric
        What to maximise.
    outcomes : mapping of int to Outcome
        By trial. Only complete ones with probabilities and a fitted strategy can join.
    y, group : ndarray of int64, shape (n,)
        Class codes and cross-fitting groups of the scored rows.
    weight : ndarray of float64, shape (n,), optional
        Row weights.
    costs : sequence, optional
        Costs that decide the labels, as in `fit_rule`.
    random_state : int
        Seed of the bags.
    deadline : Deadline, optional
        Past it the bags made so far must do. Without one no clock is read.

    Returns
    -------
    Blend
        At most 10 strategies, or one.

    Raises
    ------
    BudgetError
        Where no outcome can join: no trial was completed.
    """
    deadline, n_rows = deadline or Deadline(), len(y) * len(metric.classes)
    numbers = _candidates(outcomes, n_rows=n_rows)
    best = min(numbers, key=lambda number: (-_utility(outcomes[number]), number))
    rows = _Rows(metric, _stacked(outcomes, numbers), y, group, weight)
    single = partial(_single, rows, outcomes[best], best, costs)
    if len(numbers) < 2 or len(np.unique(group)) < 2 or deadline.expired:
        return single()
    bags = _bags(len(numbers), n_rows=n_rows, random_state=random_state)
    gains, crossed, mixed = [], np.empty_like(rows.proba[0]), []
    for part, (learn, use) in enumerate(leave_group_out(y, group)):
        seen = replace(rows, proba=_stacked(outcomes, numbers, part=part))
        chosen, used = seen.take(learn), seen.take(use)
        weights, alone = _fit(chosen, bags, deadline)
        mixed.append(weights)
        crossed[use] = seen.mix(weights)[use]
        gains.append(used.merit(used.mix(weights)) - used.merit(used.mix(alone)))
    gain = float(np.mean(gains))
    weights, _ = _fit(rows.take(np.ones(len(y), dtype=bool)), bags, deadline)
    order = [k for k in np.argsort(-weights, kind="stable") if weights[k] > 0]
    if gain <= _FLAT or len(order) < 2:
        return replace(single(), gain=gain)

    def view(part: int) -> Floats:
        return replace(rows, proba=_stacked(outcomes, numbers, part=part)).mix(mixed[part])

    labels = cross_fit_labels(metric, y, view, group, weight=weight, costs=costs)
    if metric.kind == "label":
        mine, other = (crossed, labels), _best_of_others(rows, [outcomes[n] for n in numbers])
        gained, error = paired_difference(metric, y, mine, other, group, weight=weight)
        if gained < -error:
            return replace(single(), gain=gain)
    return Blend(
        numbers=tuple(numbers[k] for k in order),
        weights=tuple(float(weights[k]) for k in order),
        proba=crossed,
        labels=labels,
        score=score(metric, y, crossed, labels, group, weight=weight),
        kept=True,
        gain=gain,
    )


def _best_of_others(rows: _Rows, outcomes: Sequence[Outcome]) -> Prediction:
    """Predict each group as the strategy does that is best alone on the other groups."""
    found = list(zip(rows.proba, (np.asarray(outcome.labels) for outcome in outcomes)))
    proba, labels = np.empty_like(rows.proba[0]), np.empty_like(rows.y)
    for learn, use in leave_group_out(rows.y, rows.group):
        weight = None if rows.weight is None else rows.weight[learn]
        values = [
            rows.metric(rows.y[learn], p[learn], own[learn], weight=weight) for p, own in found
        ]
        best = int(np.argmax([rows.metric.utility(value) for value in values]))
        proba[use], labels[use] = (one[use] for one in found[best])
    return proba, labels


def _candidates(outcomes: Mapping[int, Outcome], *, n_rows: int) -> list[int]:
    """Trials that can join, by number: the best, and fewer of them where rows are many."""
    utility = {
        number: _utility(outcome)
        for number, outcome in outcomes.items()
        if outcome.status == "complete"
        and outcome.score is not None
        and outcome.oof is not None
        and outcome.fitted is not None
    }
    if not utility:
        raise BudgetError(
            "No trial was completed, so there is nothing to hand over: give the search more time, "
            "or see the reasons in the leaderboard."
        )
    most = int(np.clip(WORK // (STEPS * n_rows), LEAST_CANDIDATES, MOST_CANDIDATES))
    return sorted(sorted(utility, key=lambda number: (-utility[number], number))[:most])


def _utility(outcome: Outcome) -> float:
    return -np.inf if outcome.score is None else outcome.score.utility


def _stacked(
    outcomes: Mapping[int, Outcome], numbers: Sequence[int], *, part: int | None = None
) -> Floats:
    """Stack probabilities (K, n, C); of all rows, as no label of a part has touched."""
    found = [outcomes[number] for number in numbers]
    own = [outcome.oof if part is None else outcome.view(part) for outcome in found]
    return np.stack([np.asarray(proba, dtype=np.float64) for proba in own])


def _single(rows: _Rows, outcome: Outcome, number: int, costs: Costs | None) -> Blend:
    """Hand over the best strategy alone."""
    proba, labels = np.asarray(outcome.oof, dtype=np.float64), outcome.labels
    if labels is None:
        labels = cross_fit_labels(
            rows.metric, rows.y, outcome.view, rows.group, weight=rows.weight, costs=costs
        )
    if outcome.score is None:
        raise ValueError(f"trial {number} is complete and has no score")
    return Blend((number,), (1.0,), proba, labels, outcome.score, kept=False)


def _bags(n_candidates: int, *, n_rows: int, random_state: int) -> list[Ints]:
    """Draw the candidates that each bag may choose from: about half of them."""
    size = max(min(n_candidates, 5), -(-n_candidates // 2))
    number = int(np.clip(WORK // (n_rows * size * STEPS), 1, MOST_BAGS))
    rng = stream(Purpose.BLEND_BAGS, random_state)
    return [np.sort(rng.choice(n_candidates, size, replace=False)) for _ in range(number)]


def _fit(rows: _Rows, bags: Sequence[Ints], deadline: Deadline) -> tuple[Floats, Floats]:
    """Weights (K,) by bagged greedy selection on these rows, and those of the best one alone."""
    alone, total = np.zeros(len(rows.proba)), np.zeros(len(rows.proba))
    alone[np.argmax([rows.merit(proba) for proba in rows.proba])] = 1.0
    for members in bags:
        total += _greedy(rows, members, deadline)
        if deadline.expired:
            break
    total[np.argsort(-total, kind="stable")[MOST_STRATEGIES:]] = 0.0
    return total / total.sum(), alone


def _greedy(rows: _Rows, members: Ints, deadline: Deadline) -> Floats:
    """Add the candidate that helps most, again and again, while one helps: weights (K,)."""
    counts, total, best = np.zeros(len(rows.proba)), np.zeros_like(rows.proba[0]), -np.inf
    for size in range(1, STEPS + 1):
        values = [rows.merit((total + rows.proba[member]) / size) for member in members]
        at = int(np.argmax(values))
        if values[at] <= best + _FLAT:
            break
        best, total = values[at], total + rows.proba[members[at]]
        counts[members[at]] += 1
        if deadline.expired:
            break
    return np.asarray(counts / counts.sum())
