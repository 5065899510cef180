"""From chosen trials to the fitted pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.averaging import gain_of_mean
from autoimb.assessment.calibration import Calibrator, at_rates, for_all_networks
from autoimb.assessment.decision.rule import DecisionRule
from autoimb.assessment.decision.threshold import ThresholdCounts
from autoimb.assessment.judge import Judge
from autoimb.assessment.uncertainty import Score, defined
from autoimb.data.schema import Schema
from autoimb.data.subsample import subsample
from autoimb.evaluation.views import single_views
from autoimb.pipeline.fitted import FittedPipeline, FittedStrategy
from autoimb.pipeline.unfamiliar import ranges_of
from autoimb.policy import SearchPolicy
from autoimb.randomness import Purpose, stream
from autoimb.training.parts import Parts
from autoimb.training.plan import Plan

__all__ = ["Assembled", "Decided", "assemble", "gain_is_known"]


@dataclass(frozen=True, eq=False)
class Decided:
    """What was learned from the out-of-fold probabilities of a blend.

    Attributes
    ----------
    proba : ndarray of float64, shape (n, C)
        They, by `calibrator`.
    crossed : ndarray of float64, shape (n, C)
        They, each part by a calibrator that the other parts fitted.
    score : Score
        Of them, calibrated across parts.
    calibrator : Calibrator
        Fitted on all of them.
    rule : DecisionRule
        Fitted on `proba`.
    """

    proba: NDArray[np.float64]
    crossed: NDArray[np.float64]
    score: Score
    calibrator: Calibrator
    rule: DecisionRule


@dataclass(frozen=True, eq=False)
class Assembled:
    """A pipeline, and what the mean of its networks gains.

    Attributes
    ----------
    pipeline : FittedPipeline
    gain_of_mean : float or None
        Over what predicts an out-of-fold row, in the metric's own sign; None where it is not known,
        as with folds of the user's.
    """

    pipeline: FittedPipeline
    gain_of_mean: float | None


def assemble(
    parts: Parts,
    plan: Plan,
    judge: Judge,
    *,
    schema: Schema,
    classes: NDArray[Any],
    strategies: Sequence[FittedStrategy],
    weights: Sequence[float],
    decided: Decided,
) -> Assembled:
    """Put a pipeline together, and calibrate the mean of all its networks.

    With folds of the user's the calibrator stays that of single networks.

    Parameters
    ----------
    parts, plan : Parts, Plan
        Of the study. Sees: each encoder its fold's training rows only.
    judge : Judge
        Of the scored rows.
    schema : Schema
    classes : ndarray of shape (C,)
        The original labels.
    strategies, weights : sequences
        Of the blend.
    decided : Decided

    Returns
    -------
    Assembled
    """
    dataset = parts.dataset
    if plan.folds.deploys_last:  # which reads all rows in every repeat, by one encoder
        strategies = [_by_the_first_encoder(one) for one in strategies]
        encoders = parts.encoders(len(plan.folds.folds))[-1:]
    else:
        read = 1 + max(int(pack.fold.max()) for one in strategies for pack in one.packs)
        encoders = parts.encoders(read)
    pipeline = FittedPipeline(
        schema=schema,
        classes=classes,
        positive=dataset.positive,
        encoders=encoders,
        strategies=tuple(strategies),
        weights=tuple(weights),
        calibrator=decided.calibrator,
        rule=decided.rule,
        thresholds=ThresholdCounts.of(
            judge.y, decided.proba, dataset.positive, weight=judge.deployment.weight
        ),
        ranges=ranges_of(dataset.columns.numbers),
        info={
            "metric": judge.metric.name,
            "score": defined(decided.score.value),
            "error": defined(decided.score.error),
        },
    )
    if judge.rates is not None:
        return Assembled(_at_expected_rates(pipeline, parts, plan, judge.rates), None)
    if plan.folds.predefined or judge.cluster is not None:
        # The networks of other folds were trained on rows of the same group, which say nothing of
        # how far networks differ on new groups.
        return Assembled(pipeline, None)
    random = stream(Purpose.COMPARED_ROWS, 0)
    rows, scale = subsample(judge.y, np.arange(len(judge.y)), plan.policy.compared_rows, random)
    columns = dataset.columns.take(plan.folds.scored[rows])
    views = single_views(pipeline, plan.folds, columns)
    few = judge.take(rows)
    weight = scale if few.weight is None else few.weight * scale
    calibrator = for_all_networks(
        decided.calibrator, views, pipeline.blended(columns), weight=weight
    )
    gain = None
    if gain_is_known(judge, strategies, views, plan.policy):
        gain = gain_of_mean(
            replace(few, weight=weight),
            decided.proba[rows],
            decided.crossed[rows],
            decided.calibrator.apply(views),
            rule=decided.rule,
        )
    return Assembled(replace(pipeline, calibrator=calibrator), gain)


def _by_the_first_encoder(strategy: FittedStrategy) -> FittedStrategy:
    packs = tuple(replace(pack, fold=np.zeros_like(pack.fold)) for pack in strategy.packs)
    return replace(strategy, packs=packs)


def _at_expected_rates(
    pipeline: FittedPipeline, parts: Parts, plan: Plan, rates: Sequence[float]
) -> FittedPipeline:
    """Shift the calibrator until the mean probabilities of the newest rows are the expected rates.

    The rates of training rows, by which networks are biased, are those of all times.
    """
    dataset, period = parts.dataset, np.asarray(plan.folds.period)
    newest = np.flatnonzero(period == period.max())
    random = stream(Purpose.COMPARED_ROWS, 0)
    rows, scale = subsample(dataset.y, newest, plan.policy.compared_rows, random)
    calibrated = pipeline.calibrator.apply(pipeline.blended(dataset.columns.take(rows)))
    calibrator = at_rates(
        pipeline.calibrator,
        calibrated,
        np.asarray(rates),
        weight=dataset.weight[rows] * scale,
    )
    return replace(pipeline, calibrator=calibrator)


def gain_is_known(
    judge: Judge,
    strategies: Sequence[FittedStrategy],
    views: NDArray[np.float64],
    policy: SearchPolicy,
) -> bool:
    """Say whether the gain of the mean can be estimated, in so much work.

    It can of a ranking, and of a metric of confusion counts. Each row counts as every class, and is
    ranked by each. Probabilities that carry the user's costs do not say how often a row is of a
    class.
    """
    metric = judge.metric
    work = 4 * views.size * len(metric.classes)  # two amounts of noise, of either sign
    known = metric.counts is not None or (metric.kind == "ranking" and not metric.foreign)
    return known and strategies[0].class_costs is None and work <= policy.replay_work
