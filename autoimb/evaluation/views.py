"""Predictions by the networks of single folds, whose mean is the prediction of new rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from autoimb.data.folds import FoldPlan
from autoimb.data.schema import Columns
from autoimb.pipeline.fitted import FittedPipeline, FittedStrategy

__all__ = ["single_views"]

Rows = NDArray[np.int64]


def single_views(
    pipeline: FittedPipeline, folds: FoldPlan, columns: Columns
) -> NDArray[np.float64]:
    """Predict rows by the networks of one fold of each repeat, as out-of-fold rows are predicted.

    Parameters
    ----------
    pipeline : FittedPipeline
    folds : FoldPlan
        Folds on which the strategies were trained.
    columns : Columns
        n rows to predict.

    Returns
    -------
    float64 ndarray of shape (V, n, C)
        Probabilities of V views, without calibration. V is the largest number of folds that a
        strategy has in a repeat; a strategy with fewer folds uses some of its networks in several
        views.
    """
    by_strategy = [_by_repeat(strategy, folds) for strategy in pipeline.strategies]
    # Strategies with fewer folds than views use their folds in turn.
    views = []
    for view in range(max(len(repeat) for repeats in by_strategy for repeat in repeats)):
        strategies = (
            _of_folds(strategy, np.array([repeat[view % len(repeat)] for repeat in repeats]))
            for strategy, repeats in zip(pipeline.strategies, by_strategy)
        )
        views.append(replace(pipeline, strategies=tuple(strategies)).blended(columns))
    return np.stack(views)


def _by_repeat(strategy: FittedStrategy, folds: FoldPlan) -> list[Rows]:
    """Return the folds on which a strategy was trained, one array for each repeat."""
    if strategy.trees:
        # Partners are trained on a single repeat.
        return [np.arange(len(strategy.trees))]
    lengths = [len(repeat_folds) for repeat_folds in (folds.folds, *folds.further)]
    repeat = np.repeat(np.arange(len(lengths)), lengths)
    # Folds are numbered through all repeats, so the repeat changes between consecutive numbers.
    trained = np.unique(np.concatenate([pack.fold for pack in strategy.packs]))
    return np.split(trained, np.flatnonzero(np.diff(repeat[trained])) + 1)


def _of_folds(strategy: FittedStrategy, folds: Rows) -> FittedStrategy:
    """Return a strategy restricted to the networks, or trees, of the given folds."""
    if strategy.trees:
        return replace(strategy, trees=tuple(strategy.trees[fold] for fold in folds))
    return replace(strategy, packs=tuple(pack.of_folds(folds) for pack in strategy.packs))
