"""Blending: a weighted mean of a few strategies, used where it predicts better than the best one.

The weights come from bagged greedy selection with replacement (Caruana et al., "Ensemble selection
from libraries of models", 2004) on out-of-fold probabilities. Weights overfit easily, so they are
cross-fitted: for each group of rows a blend and a single strategy are chosen on the other groups,
and the blend is used only where it beats the single strategy on the groups left out. The score and
the predictions of a blend are cross-fitted too: no row is predicted by weights that its label
influenced.

Averaging improves probabilities, so the weights maximize the mean log-likelihood of the rows in
addition to the metric. A metric of labels hardly distinguishes similar mixtures, since only a few
rows at the threshold differ. For such a metric the weights maximize the log-likelihood alone, the
decision rule is fitted for the metric, and a blend is rejected where its labels are worse by more
than the error of the comparison (`reports/design/blend.md`).

Partners (tree ensembles) join the result of the networks only where cross-fitting shows a gain. The
networks have at least a fifth of the weight; the greedy weights are adjusted to this share before
they are scored. A few rare rows cannot show such a gain; in that case networks and partners have
half of the weight each (`reports/design/blend.md`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.calibration import row_log_loss
from autoimb.assessment.judge import Judge, Prediction
from autoimb.assessment.metrics import get_metric
from autoimb.budget import Deadline
from autoimb.data.rarity import minority_count
from autoimb.evaluation.limits import Limits
from autoimb.evaluation.outcome import Scored, ranked
from autoimb.policy import DEFAULT_POLICY, SearchPolicy
from autoimb.randomness import Purpose, stream

__all__ = ["Mixture", "Results", "blend", "gain_over", "rare_rows"]

# Largest number of trials that are weighed for a blend.
_MAX_CANDIDATES = 25
# Largest number of bags of a blend.
_MAX_BAGS = 8
# Smallest weight of networks in a blend; with less, partners get no weight.
_MIN_NETWORKS_SHARE = 0.2
# Groups are scored separately if each has this number of rows of the rarest class.
_ENOUGH_ROWS = 10
# Gains up to this size are rounding errors.
_FLAT = 1e-9

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Results = Mapping[int, Scored]


@dataclass(frozen=True, eq=False)
class Mixture:
    """Weighted mean of the out-of-fold probabilities of trials; of one trial, its probabilities.

    Attributes
    ----------
    weights : mapping of int to float
        Weights by trial, chosen on all rows, in decreasing order; they sum to 1.
    by_part : sequence of mappings of int to float
        Weights by trial for each part of the rows, chosen on the other parts.
    proba : ndarray of float64, shape (n, C)
        Probabilities of each row, mixed by weights that its part did not influence.
    gain : float
        Cross-fitted gain over what the mixture replaces, in the mean log-likelihood plus, unless
        the metric is one of labels, the utility of the metric. It is infinite where partners have
        half of the weight whatever their gain.
    """

    weights: Mapping[int, float]
    by_part: Sequence[Mapping[int, float]]
    proba: Floats
    gain: float = 0.0

    @classmethod
    def single(cls, judge: Judge, results: Results, number: int) -> Mixture:
        """Return the probabilities of a trial as a mixture."""
        alone, oof = {number: 1.0}, np.asarray(results[number].oof, dtype=np.float64)
        return cls(alone, [alone] * len(judge.parts), oof)

    @property
    def is_blend(self) -> bool:
        """True if the mixture has several trials."""
        return len(self.weights) > 1

    def view(self, results: Results, part: int) -> Floats:
        """Return the probabilities of all rows, (n, C), fitted without the labels of a part."""
        views = [weight * results[n].view(part) for n, weight in self.by_part[part].items()]
        return np.asarray(np.sum(views, axis=0), dtype=np.float64)

    def labels(self, judge: Judge, results: Results) -> Ints:
        """Return cross-fitted labels, (n,)."""
        return judge.labels(lambda part: self.view(results, part))


def blend(
    judge: Judge,
    results: Results,
    *,
    partners: Collection[int] = (),
    deep: Collection[int] = (),
    random_state: int = 0,
    deadline: Deadline | None = None,
    policy: SearchPolicy = DEFAULT_POLICY,
    limits: Limits | None = None,
) -> tuple[Mixture, ...]:
    """Choose between the best single strategy and a blend.

    Sees: the scored rows, by out-of-fold probabilities only.

    Parameters
    ----------
    judge : Judge
        Judge of the scored rows.
    results : mapping of int to Scored
        Results by trial, of which a network is fitted. Only fitted strategies can join a blend.
    partners : collection of int, optional
        Trials of tree ensembles; they can join a blend but are never the result alone.
    deep : collection of int, optional
        Partners whose trees have no limit of leaves. Where few rare rows give partners half of the
        weight, they share it only if that improves the likelihood by more than its error.
    random_state : int
        Seed of the bags.
    deadline : Deadline, optional
        Time after which no further bag is started. Without a deadline no clock is read.
    policy : SearchPolicy, optional
        Size limit of a blend, and the work for its weights.
    limits : Limits, optional
        Limits that the strategies of a blend keep together; each strategy alone keeps them.

    Returns
    -------
    tuple of one or two Mixtures
        The result of the networks alone and, where partners join, the mixture with them.
    """
    deadline, limits = deadline or Deadline(), limits or Limits()
    fitted = {number: result for number, result in results.items() if result.fitted is not None}
    networks = {number: result for number, result in fitted.items() if number not in partners}
    trees = sorted(fitted.keys() - networks.keys())
    # Weighing a blend costs work in proportion to the rows times the classes of the metric.
    n_cells = len(judge.y) * len(judge.metric.classes)
    affordable = policy.result.blend_work // (policy.result.blend_steps * n_cells)
    number = int(np.clip(affordable, policy.result.min_candidates, _MAX_CANDIDATES))
    order = ranked(networks)
    alone = Mixture.single(judge, results, order[0])
    if len(np.unique(judge.group)) < 2:
        # Weights cannot be cross-fitted with a single group of rows.
        return (alone,)

    def weighing(numbers: Sequence[int], deadline: Deadline) -> _Weighing:
        bags = _draw_bags(np.isin(numbers, trees), n_cells, random_state, policy)
        shares = _shares(results, numbers, limits)
        return _Weighing(numbers, bags, deadline, policy, np.isin(numbers, trees), shares)

    half = deadline.fraction(0.5) if trees else deadline
    candidates = sorted(order[:number])
    if len(candidates) > 1 and not half.expired:
        alone = _blended(judge, results, weighing(candidates, half)) or alone
    # The result of the networks is the baseline: partners join only where they gain over it.
    joined = None
    if trees and rare_rows(judge) < policy.sizes.few_rare_rows:
        joined = _halved(judge, results, alone, trees, deep, limits)
    elif trees and not deadline.expired:
        joined = _blended(judge, results, weighing(sorted([*candidates, *trees]), deadline), alone)
    if joined is None or joined.weights.keys().isdisjoint(trees):
        return (alone,)
    return alone, joined


def rare_rows(judge: Judge) -> int:
    """Return the number of scored rows of the rarer classes."""
    return minority_count(np.bincount(judge.y, minlength=judge.metric.n_classes))


def _blended(
    judge: Judge, results: Results, weigh: _Weighing, baseline: Mixture | None = None
) -> Mixture | None:
    """Mix the candidates if that is better than a baseline, by default the best single network."""
    mixed, best_network = _cross_fitted(judge, results, weigh)
    gain = gain_over(judge, mixed.proba, best_network if baseline is None else baseline.proba)
    if gain <= _FLAT or not mixed.is_blend:
        return None
    if judge.metric.kind == "label":
        # The likelihood chose the weights, so the labels are compared separately: those of the
        # blend must not be worse than those of the baseline.
        if baseline is None:
            labelled = _best_of_others(judge, [results[number] for number in weigh.numbers])
        else:
            labelled = baseline.proba, baseline.labels(judge, results)
        gained, error = judge.compare((mixed.proba, mixed.labels(judge, results)), labelled)
        if gained < -error:
            return None
    return replace(mixed, gain=gain)


def _cross_fitted(judge: Judge, results: Results, weigh: _Weighing) -> tuple[Mixture, Floats]:
    """Choose weights from all rows, and cross-fit them and the best network part by part.

    Returns
    -------
    tuple of Mixture and ndarray of float64, shape (n, C)
        The mixture, and the probabilities of each row by the network that is best without its part.
    """
    numbers = weigh.numbers
    rows = _ScoredRows(judge, _stacked(results, numbers))
    crossed, alone = np.empty_like(rows.proba[0]), np.empty_like(rows.proba[0])
    # No rows are earlier than the first block of time, so its weights are equal.
    equal = np.full(len(numbers), 1.0 / len(numbers))
    by_part = []
    for part, (learn, use) in enumerate(judge.parts):
        view = _ScoredRows(judge, _stacked(results, numbers, part=part))
        weights, best = weigh.fit(view.take(learn)) if learn.any() else (equal, equal)
        by_part.append({n: float(w) for n, w in zip(numbers, weights) if w > 0})
        crossed[use], alone[use] = view.mix(weights)[use], view.mix(best)[use]
    # The deployed weights are chosen from all rows.
    weights, _ = weigh.fit(rows.take(np.ones(len(judge.y), dtype=bool)))
    order = [k for k in np.argsort(-weights, kind="stable") if weights[k] > 0]
    return Mixture({numbers[k]: float(weights[k]) for k in order}, by_part, crossed), alone


def gain_over(judge: Judge, proba: Floats, baseline: Floats) -> float:
    """Return the mean gain over other cross-fitted probabilities (n, C), part by part."""
    both = _ScoredRows(judge, np.stack([proba, baseline]))
    parts = [both.take(use) for learn, use in judge.parts if learn.any()]
    return float(np.mean([part.merit(part.proba[0]) - part.merit(part.proba[1]) for part in parts]))


def _best_of_others(judge: Judge, results: Sequence[Scored]) -> Prediction:
    """Return the predictions of each group by the strategy that is best on the other groups."""
    predictions = [(result.oof, result.likeliest) for result in results]
    proba, labels = np.empty_like(predictions[0][0]), np.empty_like(judge.y)
    for learn, use in judge.parts:
        best = 0
        if learn.any():
            # The metric of each strategy on the rows of the other groups decides for this group.
            learn_judge = judge.take(learn)
            values = [
                judge.metric(
                    learn_judge.y, proba_k[learn], labels_k[learn], weight=learn_judge.weight
                )
                for proba_k, labels_k in predictions
            ]
            best = int(np.argmax([judge.metric.utility(value) for value in values]))
        proba[use], labels[use] = (array[use] for array in predictions[best])
    return proba, labels


def _halved(
    judge: Judge,
    results: Results,
    alone: Mixture,
    partners: Sequence[int],
    deep: Collection[int],
    limits: Limits,
) -> Mixture | None:
    """Mix the result of the networks and the mean of the partners with equal weights."""

    def halved(weights: Mapping[int, float], joining: Sequence[int]) -> dict[int, float]:
        """Halve the weights of networks, and divide the other half among the partners."""
        half = {number: 0.5 * weight for number, weight in weights.items()}
        return half | dict.fromkeys(joining, 0.5 / len(joining))

    metric = judge.metric
    by_likelihood = judge.with_metric(
        get_metric("log_loss", n_classes=metric.n_classes, positive=metric.positive)
    )
    # Partners join in order while all strategies together keep the deployment limits.
    taken = _shares(results, list(alone.weights), limits).sum(axis=0)
    joining: list[int] = []
    joined: Mixture | None = None
    for number in sorted(partners, key=lambda number: (number in deep, number)):
        share = _shares(results, [number], limits)[0]
        if not (taken + share <= 1).all():
            continue
        weights = halved(alone.weights, [*joining, number])
        by_part = [halved(part_weights, [*joining, number]) for part_weights in alone.by_part]
        mixed = Mixture(
            dict(sorted(weights.items(), key=lambda item: -item[1])),
            by_part,
            np.empty_like(alone.proba),
            math.inf,
        )
        for part, (_, use) in enumerate(judge.parts):
            mixed.proba[use] = mixed.view(results, part)[use]
        if number in deep:
            labels = judge.y  # the likelihood reads no labels
            before = alone if joined is None else joined
            gained, error = by_likelihood.compare((mixed.proba, labels), (before.proba, labels))
            if gained <= error:
                continue
        joined, joining, taken = mixed, [*joining, number], taken + share
    return joined


def _shares(results: Results, numbers: Sequence[int], limits: Limits) -> Floats:
    """Return the shares of the deployment limits that each candidate takes, (K, 2)."""
    fitted = (results[number].fitted for number in numbers)
    return np.array([limits.shares(strategy) for strategy in fitted if strategy is not None])


def _stacked(results: Results, numbers: Sequence[int], *, part: int | None = None) -> Floats:
    """Stack out-of-fold probabilities (K, n, C), or those fitted without the labels of a part."""
    scored = [results[number] for number in numbers]
    views = [result.oof if part is None else result.view(part) for result in scored]
    return np.stack([np.asarray(proba, dtype=np.float64) for proba in views])


@dataclass(frozen=True, eq=False)
class _ScoredRows:
    """Scored rows and their probabilities by all candidates, (K, n, C)."""

    judge: Judge
    proba: Floats

    def take(self, mask: Mask) -> _ScoredRows:
        """Return a selection of rows, sorted by group so that a group is a slice without a copy."""
        rows = np.flatnonzero(mask)[np.argsort(self.judge.group[mask], kind="stable")]
        return _ScoredRows(self.judge.take(rows), self.proba[:, rows])

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
        return parts if min_rows >= _ENOUGH_ROWS else [slice(None)]

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


def _draw_bags(partner: Mask, n_cells: int, random_state: int, policy: SearchPolicy) -> list[Ints]:
    """Draw the candidates of each bag: about half of the networks, and all partners.

    Networks resemble each other, but in a bag without a partner nothing takes its place.
    """
    networks, partners = np.flatnonzero(~partner), np.flatnonzero(partner)
    n_drawn = max(min(len(networks), 5), -(-len(networks) // 2))
    size = n_drawn + len(partners)
    affordable = policy.result.blend_work // (n_cells * size * policy.result.blend_steps)
    number = int(np.clip(affordable, 1, _MAX_BAGS))
    random = stream(Purpose.BLEND_BAGS, random_state)
    drawn = (random.choice(networks, n_drawn, replace=False) for _ in range(number))
    return [np.sort(np.concatenate([bag, partners])) for bag in drawn]


@dataclass(frozen=True)
class _Weighing:
    """Bagged greedy selection.

    Attributes
    ----------
    numbers : sequence of K ints
        Trials of the candidates.
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

    numbers: Sequence[int]
    bags: Sequence[Ints]
    deadline: Deadline
    policy: SearchPolicy
    partner: Mask
    shares: Floats

    def fit(self, rows: _ScoredRows) -> tuple[Floats, Floats]:
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

    def _greedy(self, rows: _ScoredRows, members: Ints) -> Floats:
        """Add the best candidate repeatedly while the value increases; return weights (K,)."""
        counts, total, best = np.zeros(len(rows.proba)), np.zeros_like(rows.proba[0]), -np.inf
        for size in range(1, self.policy.result.blend_steps + 1):
            values = [rows.merit((total + rows.proba[member]) / size) for member in members]
            at = int(np.argmax(values))
            if values[at] <= best + _FLAT:
                break
            best, total = values[at], total + rows.proba[members[at]]
            counts[members[at]] += 1
            if self.deadline.expired:
                break
        return np.asarray(counts / counts.sum())
