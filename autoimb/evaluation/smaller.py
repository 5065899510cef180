"""Smaller blends: of the parts of a blend that are as good, the cheapest to predict.

The strategies of a blend differ by orders of magnitude in the time that they take to predict, and
most of the gain comes from a few of them. Strategies are dropped one by one, those first that have
the least weight for their time. The weights of the others are not fitted again, and their shares of
networks and of partners stay, so that a smaller blend has no more freedom than the blend has. It is
compared on rows that did not weigh it. A few rare rows cannot tell parts of a blend apart; in that
case the networks with the most weight stay (`reports/design/blend.md`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

import numpy as np

from autoimb.assessment.judge import Judge, Prediction
from autoimb.assessment.metrics import get_metric
from autoimb.budget import Deadline
from autoimb.evaluation.blend import Mixture, Results, gain_over, rare_rows
from autoimb.policy import DEFAULT_POLICY, SearchPolicy

__all__ = ["smaller"]

# Number of networks in a blend where few rare rows cannot compare its parts.
_MAX_NETWORKS = 5


def smaller(
    judge: Judge,
    results: Results,
    mixtures: tuple[Mixture, ...],
    *,
    single: int,
    partners: Collection[int],
    seconds: Mapping[int, float],
    deadline: Deadline,
    policy: SearchPolicy = DEFAULT_POLICY,
) -> tuple[Mixture, ...]:
    """Replace the result of `blend` by the cheapest mixture that is as good.

    Sees: the scored rows, by out-of-fold probabilities only.

    Parameters
    ----------
    judge : Judge
        Judge of the scored rows.
    results : mapping of int to Scored
        Results by trial.
    mixtures : tuple of one or two Mixtures
        The networks alone and, where partners join, the mixture with them.
    single : int
        The single strategy that may take the place of a blend.
    partners : collection of int
        Trials of tree ensembles; a network remains in any case.
    seconds : mapping of int to float
        Seconds of each strategy to predict.
    deadline : Deadline
        Time after which the result remains as it is.
    policy : SearchPolicy, optional
        Number of rare rows that are few.

    Returns
    -------
    tuple of one or two Mixtures
    """
    best = mixtures[-1]
    if not best.is_blend:
        return mixtures
    metric = judge.metric
    log_loss = get_metric("log_loss", n_classes=metric.n_classes, positive=metric.positive)
    judges = (judge.with_metric(log_loss), judge)

    def cost(numbers: Collection[int]) -> float:
        return sum(seconds[number] for number in numbers)

    if rare_rows(judge) < policy.sizes.few_rare_rows:
        networks = [number for number in best.weights if number not in partners]
        candidates, goals = [best.weights.keys() - networks[_MAX_NETWORKS:]], [-math.inf] * 2
    else:
        candidates = [{single}, *_parts(best, partners, seconds)]
        goals = [by.utility(_prediction(by, results, best)) for by in judges]
    for numbers in sorted(candidates, key=cost):
        if deadline.expired or cost(numbers) >= cost(best.weights):
            break
        mixture = _part(judge, results, best, numbers, partners)
        utilities = (by.utility(_prediction(by, results, mixture)) for by in judges)
        if all(utility >= goal for utility, goal in zip(utilities, goals)):
            # The gain refers to what the mixture replaces, as that of the blend does.
            joined = not mixture.weights.keys().isdisjoint(partners)
            blended = best if joined else mixtures[0]
            gain = blended.gain + gain_over(judge, mixture.proba, blended.proba)
            return (*mixtures[: len(mixtures) - 1 if joined else 0], replace(mixture, gain=gain))
    return mixtures


def _parts(
    blended: Mixture, partners: Collection[int], seconds: Mapping[int, float]
) -> Iterator[set[int]]:
    """Yield the strategies of a blend without one of them, two, and so on, until two are left."""
    kept = set(blended.weights)
    while len(kept) > 2:
        networks = kept.difference(partners)
        droppable = kept if len(networks) > 1 else kept - networks
        kept = kept - {min(droppable, key=lambda number: blended.weights[number] / seconds[number])}
        yield kept


def _part(
    judge: Judge,
    results: Results,
    blended: Mixture,
    numbers: Collection[int],
    partners: Collection[int],
) -> Mixture:
    """Return the mixture of some strategies of a blend, or of a strategy that is not in it."""
    part = Mixture(
        _restricted(blended.weights, numbers, partners),
        [_restricted(weights, numbers, partners) for weights in blended.by_part],
        np.empty_like(blended.proba),
    )
    for number, (_, use) in enumerate(judge.parts):
        part.proba[use] = part.view(results, number)[use]
    return part


def _restricted(
    weights: Mapping[int, float], kept: Collection[int], partners: Collection[int]
) -> dict[int, float]:
    """Return the weights of some strategies; networks and partners keep their shares.

    Strategies without a weight share that of their kind equally.
    """
    restricted: dict[int, float] = {}
    for of_partners in (False, True):
        kind = {number: w for number, w in weights.items() if (number in partners) == of_partners}
        left = [number for number in kept if (number in partners) == of_partners]
        share, total = sum(kind.values()), sum(kind.get(number, 0.0) for number in left)
        for number in left:
            part = kind.get(number, 0.0) / total if total > 0 else 1 / len(left)
            restricted[number] = share * part
    # If no partner is left, the networks have the whole weight.
    total = sum(restricted.values())
    restricted = {number: w / total for number, w in restricted.items() if w > 0}
    return dict(sorted(restricted.items(), key=lambda item: -item[1]))


def _prediction(judge: Judge, results: Results, mixture: Mixture) -> Prediction:
    """Return cross-fitted probabilities, and labels where the metric judges them."""
    if judge.metric.kind == "label":
        return mixture.proba, mixture.labels(judge, results)
    return mixture.proba, mixture.proba.argmax(axis=1)
