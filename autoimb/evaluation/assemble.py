"""Calibration of the result, and assembly of the fitted pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.averaging import gain_of_mean
from autoimb.assessment.calibration import Calibrator, at_rates, fit_calibrator, for_all_networks
from autoimb.assessment.decision import DecisionRule, ThresholdCounts
from autoimb.assessment.judge import Judge
from autoimb.data.dataset import Dataset
from autoimb.data.folds import Rows
from autoimb.data.schema import Columns, Schema
from autoimb.data.subsample import subsample
from autoimb.evaluation.task import Task
from autoimb.pipeline.fitted import FittedPipeline, FittedStrategy
from autoimb.pipeline.unfamiliar import ranges_of
from autoimb.randomness import Purpose, stream

__all__ = ["Calibration", "assemble", "at_counted_rates", "calibrate"]

# Scored rows, evenly over the classes, on which networks are compared with their mean
# (reports/design/calibration.md).
_COMPARED_ROWS = 1_000

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Calibration:
    """Calibrated out-of-fold predictions.

    Attributes
    ----------
    calibrator : Calibrator
        Calibrator fitted on all rows, at the expected rates of the classes.
    proba : ndarray of float64, shape (n, C)
        Probabilities of each part of the rows, calibrated by a calibrator that was fitted on the
        other parts.
    labels : ndarray of int64, shape (n,)
        Cross-fitted labels.
    deployed : ndarray of float64, shape (n, C)
        Probabilities of all rows, calibrated by `calibrator`. The calibrators of the parts differ,
        so the decision rule for new rows is fitted on these.
    """

    calibrator: Calibrator
    proba: Floats
    labels: NDArray[np.int64]
    deployed: Floats


def calibrate(
    judge: Judge,
    proba: Floats,
    view: Callable[[int], Floats],
    *,
    class_costs: tuple[float, ...] | None,
) -> Calibration:
    """Calibrate out-of-fold probabilities by vector scaling.

    Parameters
    ----------
    judge : Judge
        Judge of the rows.
    proba : ndarray of float64, shape (n, C)
        Out-of-fold probabilities.
    view : callable
        Function of the number of a part; returns the probabilities of all rows, fitted without the
        labels of that part.
    class_costs : tuple of C floats, or None
        Class costs that the probabilities include. The rows of a class have this weight in the fit,
        so that calibration preserves the costs.

    Returns
    -------
    Calibration
    """
    weight = np.ones(len(judge.y)) if judge.weight is None else judge.weight
    if class_costs is not None:
        weight = weight * np.asarray(class_costs)[judge.y]
        weight = weight / weight.mean()
    views, crossed = [], np.empty_like(proba)
    for part, (learn, use) in enumerate(judge.parts):
        part_view = view(part)
        fitted = fit_calibrator(judge.y[learn], part_view[learn], weight=weight[learn])
        views.append(fitted.apply(part_view))
        crossed[use] = views[part][use]
    labels = judge.labels(views.__getitem__)
    if judge.rates is not None:
        # New rows are expected to have other class rates than the scored rows, so the deployed
        # calibrator is fitted with the weights of the expected rates.
        deployed = judge.deployment.weight
        weight = weight * np.asarray(deployed) / (1.0 if judge.weight is None else judge.weight)
    calibrator = fit_calibrator(judge.y, proba, weight=weight)
    return Calibration(calibrator, crossed, labels, calibrator.apply(proba))


def assemble(
    task: Task,
    strategies: Sequence[FittedStrategy],
    weights: Sequence[float],
    *,
    schema: Schema,
    classes: NDArray[Any],
    calibration: Calibration,
    rule: DecisionRule,
) -> tuple[FittedPipeline, float | None]:
    """Assemble a pipeline, and calibrate the mean of all its networks.

    With user-defined folds the calibrator remains that of the out-of-fold probabilities.

    Parameters
    ----------
    task : Task
        Rows, plan and judge of the study. Sees: each encoder its fold's training rows only.
    strategies, weights : sequences
        Fitted strategies of the result, and the weights of their probabilities.
    schema : Schema
    classes : ndarray of shape (C,)
        The original labels.
    calibration : Calibration
    rule : DecisionRule
        Decision rule fitted on ``calibration.deployed``.

    Returns
    -------
    tuple of FittedPipeline and (float or None)
        The pipeline, and the gain of the mean over the networks that predict an out-of-fold row,
        with the sign of the metric; None where it cannot be estimated, for example with
        user-defined folds.
    """
    dataset, plan, judge = task.dataset, task.plan, task.judge
    if plan.folds.deploys_last:
        # Only the last fold is deployed, which trains on all rows.
        strategies = [_by_the_first_encoder(strategy) for strategy in strategies]
        encoders = task.parts.encoders[-1:]
    else:
        encoders = task.parts.encoders
    pipeline = FittedPipeline(
        schema=schema,
        classes=classes,
        positive=dataset.positive,
        encoders=encoders,
        strategies=tuple(strategies),
        weights=tuple(weights),
        calibrator=calibration.calibrator,
        rule=rule,
        thresholds=ThresholdCounts.of(
            judge.y, calibration.deployed, dataset.positive, weight=judge.deployment.weight
        ),
        ranges=ranges_of(dataset.columns.numbers),
        info={"metric": judge.metric.name},
    )
    if judge.rates is not None:
        return _at_expected_rates(pipeline, task, judge.rates), None
    if plan.folds.predefined or judge.cluster is not None:
        # The networks of other folds were trained on rows of the same group, so their predictions
        # do not show how far networks differ on new groups.
        return pipeline, None
    # The calibrator was fitted on predictions of single networks, but new rows are predicted by the
    # mean of all networks. It is therefore adapted on rows that have both kinds of predictions.
    random = stream(Purpose.COMPARED_ROWS, 0)
    rows, scale = subsample(judge.y, np.arange(len(judge.y)), _COMPARED_ROWS, random)
    columns = dataset.columns.take(plan.folds.scored[rows])
    views = _single_views(pipeline, columns)
    compared = judge.take(rows)
    weight = scale if compared.weight is None else compared.weight * scale
    calibrator = for_all_networks(
        calibration.calibrator, views, pipeline.blended(columns), weight=weight
    )
    gain, metric = None, judge.metric
    # The gain is estimated for rankings and for metrics of confusion counts, within the work that
    # the policy allows: two amounts of noise, each with either sign, are evaluated for each row and
    # class. It counts each row as every class, by the probabilities of the classes; probabilities
    # that include the user's costs are not class frequencies.
    estimable = metric.counts is not None or (metric.kind == "ranking" and not metric.foreign)
    work = 4 * views.size * len(metric.classes)
    if estimable and strategies[0].class_costs is None and work <= plan.policy.result.replay_work:
        gain = gain_of_mean(
            replace(compared, weight=weight),
            calibration.deployed[rows],
            calibration.proba[rows],
            calibration.calibrator.apply(views),
            rule=rule,
        )
    return replace(pipeline, calibrator=calibrator), gain


def _by_the_first_encoder(strategy: FittedStrategy) -> FittedStrategy:
    """Return a strategy whose networks all read the rows by the first encoder."""
    packs = tuple(replace(pack, fold=np.zeros_like(pack.fold)) for pack in strategy.packs)
    return replace(strategy, packs=packs)


def _at_expected_rates(
    pipeline: FittedPipeline, task: Task, rates: Sequence[float]
) -> FittedPipeline:
    """Shift the calibrator until the mean probabilities of the newest rows are the expected rates.

    The networks are biased towards the class rates of their training rows, which cover all times.
    """
    dataset, period = task.dataset, np.asarray(task.plan.folds.period)
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


def at_counted_rates(
    pipeline: FittedPipeline, dataset: Dataset, unseen: Rows, judge: Judge, proba: Floats
) -> FittedPipeline:
    """Shift a pipeline's calibrator so that the mean probabilities are the rates of the classes.

    A few scored rows of a common class represent many rows, so their mean probabilities have a
    sampling error, whereas the rates were counted. The mean is therefore taken over unseen rows. A
    class with fewer unseen than scored rows is represented by its out-of-fold probabilities.

    Parameters
    ----------
    pipeline : FittedPipeline
    dataset : Dataset
        All rows in memory, whose weights have the rates of the classes.
    unseen : ndarray of int64
        Rows that no trial used.
    judge : Judge
        Judge of the scored rows.
    proba : ndarray of float64, shape (n, C)
        Out-of-fold probabilities of the scored rows, by the calibrator from which that of the
        pipeline was derived.

    Returns
    -------
    FittedPipeline
    """
    n_classes, y, weight = dataset.n_classes, dataset.y[unseen], dataset.weight[unseen]
    mass = np.bincount(dataset.y, dataset.weight, n_classes).astype(np.float64)
    shares = mass / mass.sum()
    scored_weight = np.ones(len(judge.y)) if judge.weight is None else judge.weight
    counts = [np.bincount(codes, minlength=n_classes) for codes in (y, judge.y)]
    by_unseen = counts[0] >= counts[1]
    from_unseen, from_scored = by_unseen[y], ~by_unseen[judge.y]
    new = pipeline.calibrator.apply(pipeline.blended(dataset.columns.take(unseen)))
    codes = np.concatenate([y[from_unseen], judge.y[from_scored]])
    row_weight = np.concatenate([weight[from_unseen], scored_weight[from_scored]])
    # Rescale the weights so that each class has its share of the table.
    row_weight *= shares[codes] / np.bincount(codes, row_weight, n_classes)[codes]
    calibrated = np.concatenate([new[from_unseen], proba[from_scored]])
    calibrator = at_rates(pipeline.calibrator, calibrated, shares, weight=row_weight)
    return replace(pipeline, calibrator=calibrator)


def _single_views(pipeline: FittedPipeline, columns: Columns) -> NDArray[np.float64]:
    """Predict rows by the networks of one fold at a time, as out-of-fold rows are predicted.

    Returns
    -------
    float64 ndarray of shape (F, n, C)
        Probabilities by the networks of each fold, without calibration.
    """
    views = []
    for fold in range(len(pipeline.encoders)):
        strategies = tuple(_of_fold(strategy, fold) for strategy in pipeline.strategies)
        views.append(replace(pipeline, strategies=strategies).blended(columns))
    return np.stack(views)


def _of_fold(strategy: FittedStrategy, fold: int) -> FittedStrategy:
    """Return a strategy restricted to the networks, or boosted trees, of a fold.

    Forests remain whole, as out of fold as many trees predict a row as of a new one.
    """
    if any(trees.bagged for trees in strategy.trees):
        return strategy
    if strategy.trees:
        return replace(strategy, trees=(strategy.trees[fold],))
    return replace(strategy, packs=tuple(pack.of_folds([fold]) for pack in strategy.packs))
