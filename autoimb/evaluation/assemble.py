"""Assembly of the fitted pipeline from the chosen trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.averaging import gain_of_mean
from autoimb.assessment.calibration import Calibrator, at_rates, for_all_networks
from autoimb.assessment.decision import DecisionRule, ThresholdCounts
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

# Scored rows, evenly over the classes, on which networks are compared with their mean
# (reports/design/calibration.md).
_COMPARED_ROWS = 1_000


@dataclass(frozen=True, eq=False)
class Decided:
    """Calibration, score and decision rule from the out-of-fold probabilities of a blend.

    Attributes
    ----------
    proba : ndarray of float64, shape (n, C)
        Out-of-fold probabilities, calibrated by `calibrator`.
    crossed : ndarray of float64, shape (n, C)
        Out-of-fold probabilities, each part of the rows calibrated by a calibrator that was fitted
        on the other parts.
    score : Score
        Score of `crossed`.
    calibrator : Calibrator
        Calibrator fitted on all scored rows.
    rule : DecisionRule
        Decision rule fitted on `proba`.
    """

    proba: NDArray[np.float64]
    crossed: NDArray[np.float64]
    score: Score
    calibrator: Calibrator
    rule: DecisionRule


@dataclass(frozen=True, eq=False)
class Assembled:
    """A pipeline, and the gain of the mean over all of its networks.

    Attributes
    ----------
    pipeline : FittedPipeline
    gain_of_mean : float or None
        Gain over the networks that predict an out-of-fold row, with the sign of the metric; None
        where it cannot be estimated, for example with user-defined folds.
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
    """Assemble a pipeline, and calibrate the mean of all its networks.

    With user-defined folds the calibrator remains that of the out-of-fold probabilities.

    Parameters
    ----------
    parts, plan : Parts, Plan
        Encoded folds and plan of the study. Sees: each encoder its fold's training rows only.
    judge : Judge
        Judge of the scored rows.
    schema : Schema
    classes : ndarray of shape (C,)
        The original labels.
    strategies, weights : sequences
        Fitted strategies of the blend, and the weights of their probabilities.
    decided : Decided

    Returns
    -------
    Assembled
    """
    dataset = parts.dataset
    if plan.folds.deploys_last:
        # The last fold trains on all rows in every repeat, so one encoder serves all networks.
        strategies = [_by_the_first_encoder(strategy) for strategy in strategies]
        encoders = parts.encoders(len(plan.folds.folds))[-1:]
    else:
        n_encoders = 1 + max(
            int(pack.fold.max()) for strategy in strategies for pack in strategy.packs
        )
        encoders = parts.encoders(n_encoders)
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
        # The networks of other folds were trained on rows of the same group, so their predictions
        # do not show how far networks differ on new groups.
        return Assembled(pipeline, None)
    # The calibrator was fitted on predictions of single networks, but new rows are predicted by the
    # mean of all networks. It is therefore adapted on rows that have both kinds of predictions.
    random = stream(Purpose.COMPARED_ROWS, 0)
    rows, scale = subsample(judge.y, np.arange(len(judge.y)), _COMPARED_ROWS, random)
    columns = dataset.columns.take(plan.folds.scored[rows])
    views = single_views(pipeline, plan.folds, columns)
    compared = judge.take(rows)
    weight = scale if compared.weight is None else compared.weight * scale
    calibrator = for_all_networks(
        decided.calibrator, views, pipeline.blended(columns), weight=weight
    )
    gain = None
    if gain_is_known(judge, strategies, views, plan.policy):
        gain = gain_of_mean(
            replace(compared, weight=weight),
            decided.proba[rows],
            decided.crossed[rows],
            decided.calibrator.apply(views),
            rule=decided.rule,
        )
    return Assembled(replace(pipeline, calibrator=calibrator), gain)


def _by_the_first_encoder(strategy: FittedStrategy) -> FittedStrategy:
    """Return a strategy whose networks all read the rows by the first encoder."""
    packs = tuple(replace(pack, fold=np.zeros_like(pack.fold)) for pack in strategy.packs)
    return replace(strategy, packs=packs)


def _at_expected_rates(
    pipeline: FittedPipeline, parts: Parts, plan: Plan, rates: Sequence[float]
) -> FittedPipeline:
    """Shift the calibrator until the mean probabilities of the newest rows are the expected rates.

    The networks are biased towards the class rates of their training rows, which cover all times.
    """
    dataset, period = parts.dataset, np.asarray(plan.folds.period)
    # The newest rows resemble future rows most, so their mean probabilities are matched.
    newest = np.flatnonzero(period == period.max())
    random = stream(Purpose.COMPARED_ROWS, 0)
    rows, scale = subsample(dataset.y, newest, _COMPARED_ROWS, random)
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
    """Return whether the gain of the mean can be estimated within the work that the policy allows.

    The estimate exists for rankings and for metrics of confusion counts. It counts each row as
    every class, by the probabilities of the classes; probabilities that include the user's costs
    are not class frequencies, so they are excluded.
    """
    metric = judge.metric
    # Two amounts of noise, each with either sign, are evaluated for each row and class.
    work = 4 * views.size * len(metric.classes)
    estimable = metric.counts is not None or (metric.kind == "ranking" and not metric.foreign)
    return estimable and strategies[0].class_costs is None and work <= policy.result.replay_work
