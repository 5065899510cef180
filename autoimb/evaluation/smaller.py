"""Smaller blends: of the parts of a blend that are nearly as good, the cheapest to predict.

The strategies of a blend differ by orders of magnitude in the time that they take to predict, and
most of the gain comes from a few of them. Strategies are dropped one by one, those first that have
the least weight for their time. The weights of the others are not fitted again, and their shares of
networks and of partners stay, so that a smaller blend has no more freedom than the blend has. It is
compared on rows that did not weigh it (`reports/design/blend.md`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

import numpy as np

from autoimb.assessment.judge import Judge, Prediction
from autoimb.assessment.metrics import get_metric
from autoimb.budget import Deadline
from autoimb.evaluation.blend import Mixture, Results, gain_over

__all__ = ["smaller"]

# Largest loss, in standard errors of the likelihood and of the metric (reports/design/blend.md).
_MAX_LOSS = 0.25


def smaller(
    judge: Judge,
    results: Results,
    mixtures: tuple[Mixture, ...],
    *,
    single: int,
    partners: Collection[int],
    seconds: Mapping[int, float],
    deadline: Deadline,
) -> tuple[Mixture, ...]:
    """Replace the result of `blend` by the cheapest mixture that is nearly as good.

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
    scores = [by.score(*_prediction(by, results, best)) for by in judges]

    def nearly_as_good(mixture: Mixture) -> bool:
        return all(
            score.utility - by.utility(_prediction(by, results, mixture)) <= _MAX_LOSS * score.error
            for by, score in zip(judges, scores)
        )

    def cost(mixture: Mixture) -> float:
        return sum(seconds[number] for number in mixture.weights)

    candidates = [Mixture.single(judge, results, single)]
    candidates += _parts(judge, results, best, partners, seconds)
    for mixture in sorted(candidates, key=cost):
        if deadline.expired or cost(mixture) >= cost(best):
            break
        if nearly_as_good(mixture):
            # The gain refers to what the mixture replaces, as that of the blend does.
            joined = not mixture.weights.keys().isdisjoint(partners)
            blended = best if joined else mixtures[0]
            gain = blended.gain + gain_over(judge, mixture.proba, blended.proba)
            return (*mixtures[: len(mixtures) - 1 if joined else 0], replace(mixture, gain=gain))
    return mixtures


def _parts(
    judge: Judge,
    results: Results,
    blended: Mixture,
    partners: Collection[int],
    seconds: Mapping[int, float],
) -> Iterator[Mixture]:
    """Yield the blend without one strategy, two, and so on, until two are left."""
    kept = list(blended.weights)
    while len(kept) > 2:
        networks = [number for number in kept if number not in partners]
        droppable = kept if len(networks) > 1 else [n for n in kept if n in partners]
        kept.remove(min(droppable, key=lambda number: blended.weights[number] / seconds[number]))
        part = Mixture(
            _restricted(blended.weights, kept, partners),
            [_restricted(weights, kept, partners) for weights in blended.by_part],
            np.empty_like(blended.proba),
        )
        for number, (_, use) in enumerate(judge.parts):
            part.proba[use] = part.view(results, number)[use]
        yield part


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
