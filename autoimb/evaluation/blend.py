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
from functools import partial

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.judge import Judge, Prediction
from autoimb.assessment.uncertainty import Score
from autoimb.budget import Deadline
from autoimb.data.rarity import minority_count
from autoimb.errors import BudgetError
from autoimb.evaluation.limits import Limits
from autoimb.evaluation.outcome import Scored, ranked
from autoimb.evaluation.weighing import FLAT, ScoredRows, Weighing, draw_bags
from autoimb.policy import DEFAULT_POLICY, SearchPolicy

__all__ = ["Blend", "blend"]

# Largest number of trials that are weighed for a blend.
_MAX_CANDIDATES = 25

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Blend:
    """The result of a search: a blend, or the best single strategy.

    Attributes
    ----------
    numbers : tuple of int
        Numbers of the trials, in order of decreasing weight.
    weights : tuple of float
        Weights of the trials' probabilities; they sum to 1.
    proba : ndarray of float64, shape (n, C)
        Out-of-fold probabilities; those of a blend are mixed by weights that the row's group did
        not influence.
    labels : ndarray of int64, shape (n,)
        Cross-fitted labels.
    score : Score
        Score of `proba` and `labels`.
    is_blend : bool
        Whether the result is a blend of several strategies.
    gain : float
        Cross-fitted gain over the best single strategy, in the mean log-likelihood plus, unless the
        metric is one of labels, the utility of the metric. 0 where no blend was tried. With
        partners it is the gain over the networks alone; infinite where partners have half of the
        weight whatever their gain.
    networks : Blend or None
        Result of the networks alone, where partners have a share.
    partner_share : float
        Share of the weight that partners have.
    by_part : tuple of dict of int to float
        Weights of a blend by trial, for each part of the rows; each part is mixed by weights that
        were chosen on the other parts.
    """

    numbers: tuple[int, ...]
    weights: tuple[float, ...]
    proba: Floats
    labels: Ints
    score: Score
    is_blend: bool
    gain: float = 0.0
    networks: Blend | None = None
    partner_share: float = 0.0
    by_part: tuple[Mapping[int, float], ...] = ()

    def view(self, results: Mapping[int, Scored], part: int) -> Floats:
        """Return the probabilities of all rows, (n, C), fitted without the labels of a part."""
        weights = self.by_part[part] if self.by_part else {self.numbers[0]: 1.0}
        return _mixed_view(results, weights, part)


def _mixed_view(results: Mapping[int, Scored], weights: Mapping[int, float], part: int) -> Floats:
    """Mix the views of trials by weights: probabilities fitted without the labels of a part."""
    views = [weight * results[number].view(part) for number, weight in weights.items()]
    return np.asarray(np.sum(views, axis=0), dtype=np.float64)


def blend(
    judge: Judge,
    results: Mapping[int, Scored],
    *,
    partners: Collection[int] = (),
    random_state: int = 0,
    deadline: Deadline | None = None,
    policy: SearchPolicy = DEFAULT_POLICY,
    limits: Limits | None = None,
) -> Blend:
    """Choose between the best single strategy and a blend.

    Sees: the scored rows, by out-of-fold probabilities only.

    Parameters
    ----------
    judge : Judge
        Judge of the scored rows.
    results : mapping of int to Scored
        Results by trial. Only those with a fitted strategy can join a blend.
    partners : collection of int, optional
        Trials of tree ensembles; they can join a blend but are never the result alone.
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
    Blend
        Several strategies, or one.

    Raises
    ------
    BudgetError
        Where no trial of a network was completed.
    """
    deadline, limits = deadline or Deadline(), limits or Limits()
    network_results = {
        number: result for number, result in results.items() if number not in partners
    }
    partner_numbers = sorted(n for n in partners if n in results and results[n].fitted is not None)
    of_networks = partial(
        _of_networks,
        judge,
        network_results,
        random_state=random_state,
        policy=policy,
        limits=limits,
    )
    if not partner_numbers:
        return of_networks(deadline=deadline)
    # The result of the networks is the baseline: partners join only where they gain over it.
    alone = of_networks(deadline=deadline.fraction(0.5))
    if len(np.unique(judge.group)) < 2:
        # Weights cannot be cross-fitted with a single group of rows.
        return alone
    counts = np.bincount(judge.y, minlength=judge.metric.n_classes)
    if minority_count(counts) < policy.sizes.few_rare_rows:
        return _halved(judge, results, alone, partner_numbers, limits)
    if deadline.expired:
        return alone
    # Weighing a blend costs work in proportion to the rows times the classes of the metric.
    n_cells = len(judge.y) * len(judge.metric.classes)
    numbers = sorted(
        [*_candidates(network_results, n_cells=n_cells, policy=policy), *partner_numbers]
    )
    bags = draw_bags(len(numbers), n_cells, random_state, policy)
    weigh = Weighing(
        bags, deadline, policy, np.isin(numbers, partner_numbers), _shares(results, numbers, limits)
    )
    mixed = _Mixed.of(judge, results, numbers, weigh)
    crossed, weights = mixed.crossed, mixed.weights
    gain = mixed.gain_over(judge, alone.proba)
    share = float(weights[weigh.partner].sum())
    if gain <= FLAT or share == 0.0:
        return alone
    labels = judge.labels(lambda part: mixed.view(results, part))
    if judge.metric.kind == "label":
        gained, error = judge.compare((crossed, labels), (alone.proba, alone.labels))
        if gained < -error:
            return alone
    best = mixed.blend(judge, labels, gain)
    return replace(best, networks=alone, partner_share=share)


def _of_networks(
    judge: Judge,
    results: Mapping[int, Scored],
    *,
    random_state: int,
    deadline: Deadline,
    policy: SearchPolicy,
    limits: Limits,
) -> Blend:
    """Choose between the best network and a blend of networks."""
    n_cells = len(judge.y) * len(judge.metric.classes)
    numbers = _candidates(results, n_cells=n_cells, policy=policy)
    best = ranked({number: results[number] for number in numbers})[0]
    rows = ScoredRows(judge, _stacked(results, numbers))
    single = partial(_single, judge, results[best], best)
    if len(numbers) < 2 or len(np.unique(judge.group)) < 2 or deadline.expired:
        return single()
    bags = draw_bags(len(numbers), n_cells, random_state, policy)
    none = np.zeros(len(numbers), dtype=bool)
    weigh = Weighing(bags, deadline, policy, none, _shares(results, numbers, limits))
    mixed = _Mixed.of(judge, results, numbers, weigh)
    gain = mixed.gain
    if gain <= FLAT or np.count_nonzero(mixed.weights) < 2:
        return replace(single(), gain=gain)
    labels = judge.labels(lambda part: mixed.view(results, part))
    if judge.metric.kind == "label":
        # The likelihood chose the weights, so the labels are compared separately: those of the
        # blend must not be worse than those of the best single strategy.
        baseline = _best_of_others(judge, rows.proba, [results[n] for n in numbers])
        gained, error = judge.compare((mixed.crossed, labels), baseline)
        if gained < -error:
            return replace(single(), gain=gain)
    return mixed.blend(judge, labels, gain)


def _halved(
    judge: Judge,
    results: Mapping[int, Scored],
    alone: Blend,
    partners: Sequence[int],
    limits: Limits,
) -> Blend:
    """Mix the result of the networks and the mean of the partners with equal weights."""
    # Partners join in order while all strategies together keep the deployment limits.
    taken = _shares(results, alone.numbers, limits).sum(axis=0)
    joining: list[int] = []
    for number in partners:
        share = _shares(results, [number], limits)[0]
        if (taken + share <= 1).all():
            joining.append(number)
            taken = taken + share
    if not joining:
        return alone

    def halved(weights: Mapping[int, float]) -> dict[int, float]:
        """Halve the weights of networks, and divide the other half among the partners."""
        half = {number: 0.5 * weight for number, weight in weights.items()}
        return half | dict.fromkeys(joining, 0.5 / len(joining))

    blend_weights = halved(dict(zip(alone.numbers, alone.weights)))
    network_parts = alone.by_part or ({alone.numbers[0]: 1.0},) * len(judge.parts)
    by_part = tuple(map(halved, network_parts))
    proba = np.empty_like(alone.proba)
    for part, (_, use) in enumerate(judge.parts):
        proba[use] = _mixed_view(results, by_part[part], part)[use]
    labels = judge.labels(lambda part: _mixed_view(results, by_part[part], part))
    numbers = sorted(blend_weights, key=lambda number: -blend_weights[number])
    return Blend(
        numbers=tuple(numbers),
        weights=tuple(blend_weights[number] for number in numbers),
        proba=proba,
        labels=labels,
        score=judge.score(proba, labels),
        is_blend=True,
        gain=math.inf,
        networks=alone,
        partner_share=0.5,
        by_part=by_part,
    )


@dataclass(frozen=True, eq=False)
class _Mixed:
    """Mixture of candidates: weights from all rows, and cross-fitted weights for each part.

    Attributes
    ----------
    numbers : sequence of K ints
        Numbers of the candidate trials.
    weights : float64 array of shape (K,)
        Weights from all rows.
    by_part : tuple of dict of int to float
        Weights by trial for each part of the rows, chosen on the other parts.
    crossed : float64 array of shape (n, C)
        Probabilities of each row, mixed by weights that its part did not influence.
    gain : float
        Cross-fitted gain over the best network alone, the mean over the parts.
    """

    numbers: Sequence[int]
    weights: Floats
    by_part: tuple[Mapping[int, float], ...]
    crossed: Floats
    gain: float

    @classmethod
    def of(
        cls, judge: Judge, results: Mapping[int, Scored], numbers: Sequence[int], weigh: Weighing
    ) -> _Mixed:
        """Choose the weights from all rows, and cross-fit them part by part."""
        rows = ScoredRows(judge, _stacked(results, numbers))
        gains, crossed, mixed = [], np.empty_like(rows.proba[0]), []
        for part, (learn, use) in enumerate(judge.parts):
            part_view = ScoredRows(judge, _stacked(results, numbers, part=part))
            if not learn.any():
                # No rows are earlier than the first block of time, so its weights are equal.
                equal = np.full(len(numbers), 1.0 / len(numbers))
                mixed.append(dict.fromkeys(numbers, float(equal[0])))
                crossed[use] = part_view.mix(equal)[use]
                continue
            chosen, used = part_view.take(learn), part_view.take(use)
            weights, alone = weigh.fit(chosen)
            mixed.append({n: float(w) for n, w in zip(numbers, weights) if w > 0})
            crossed[use] = part_view.mix(weights)[use]
            gains.append(used.merit(used.mix(weights)) - used.merit(used.mix(alone)))
        # The deployed weights are chosen from all rows.
        weights, _ = weigh.fit(rows.take(np.ones(len(judge.y), dtype=bool)))
        return cls(numbers, weights, tuple(mixed), crossed, float(np.mean(gains)))

    def view(self, results: Mapping[int, Scored], part: int) -> Floats:
        """Mix the probabilities of all rows, fitted without the labels of a part."""
        return _mixed_view(results, self.by_part[part], part)

    def gain_over(self, judge: Judge, proba: Floats) -> float:
        """Return the mean gain over other cross-fitted probabilities (n, C), part by part."""
        both = ScoredRows(judge, np.stack([self.crossed, proba]))
        parts = [both.take(use) for learn, use in judge.parts if learn.any()]
        return float(np.mean([p.merit(p.proba[0]) - p.merit(p.proba[1]) for p in parts]))

    def blend(self, judge: Judge, labels: Ints, gain: float) -> Blend:
        """Return the mixture as the result of blending."""
        order = [k for k in np.argsort(-self.weights, kind="stable") if self.weights[k] > 0]
        return Blend(
            numbers=tuple(self.numbers[k] for k in order),
            weights=tuple(float(self.weights[k]) for k in order),
            proba=self.crossed,
            labels=labels,
            score=judge.score(self.crossed, labels),
            is_blend=True,
            gain=gain,
            by_part=self.by_part,
        )


def _best_of_others(judge: Judge, stacked: Floats, results: Sequence[Scored]) -> Prediction:
    """Return the predictions of each group by the strategy that is best on the other groups."""
    predictions = list(zip(stacked, (np.asarray(result.labels) for result in results)))
    proba, labels = np.empty_like(stacked[0]), np.empty_like(judge.y)
    for learn, use in judge.parts:
        if not learn.any():
            proba[use], labels[use] = (array[use] for array in predictions[0])
            continue
        learn_judge = judge.take(learn)
        # The metric of each strategy on the rows of the other groups decides for this group.
        values = [
            judge.metric(learn_judge.y, proba_k[learn], labels_k[learn], weight=learn_judge.weight)
            for proba_k, labels_k in predictions
        ]
        best = int(np.argmax([judge.metric.utility(value) for value in values]))
        proba[use], labels[use] = (array[use] for array in predictions[best])
    return proba, labels


def _candidates(results: Mapping[int, Scored], *, n_cells: int, policy: SearchPolicy) -> list[int]:
    """Return the numbers of the best trials that can join; large tables allow fewer of them."""
    fitted = {number: result for number, result in results.items() if result.fitted is not None}
    if not fitted:
        raise BudgetError(
            "No trial was completed, so there is no result: give the search more time, "
            "or see the reasons in the leaderboard."
        )
    limits = policy.result
    affordable = limits.blend_work // (limits.blend_steps * n_cells)
    number = int(np.clip(affordable, limits.min_candidates, _MAX_CANDIDATES))
    return sorted(ranked(fitted)[:number])


def _shares(results: Mapping[int, Scored], numbers: Sequence[int], limits: Limits) -> Floats:
    """Return the shares of the deployment limits that each candidate takes, (K, 2)."""
    fitted = (results[number].fitted for number in numbers)
    return np.array([limits.shares(strategy) for strategy in fitted if strategy is not None])


def _stacked(
    results: Mapping[int, Scored], numbers: Sequence[int], *, part: int | None = None
) -> Floats:
    """Stack out-of-fold probabilities (K, n, C), or those fitted without the labels of a part."""
    scored = [results[number] for number in numbers]
    views = [result.oof if part is None else result.view(part) for result in scored]
    return np.stack([np.asarray(proba, dtype=np.float64) for proba in views])


def _single(judge: Judge, result: Scored, number: int) -> Blend:
    """Return the best single strategy as a result without a blend."""
    labels = judge.labels(result.view) if result.labels is None else result.labels
    proba = np.asarray(result.oof, dtype=np.float64)
    return Blend((number,), (1.0,), proba, labels, result.score, is_blend=False)
