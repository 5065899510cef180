"""What a pipeline's networks say one at a time: new rows get the mean of what is here apart."""

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
    """Predict rows by the networks of one fold of each repeat, as out-of-fold rows are.

    Parameters
    ----------
    pipeline : FittedPipeline
    folds : FoldPlan
        That its strategies were trained on.
    columns : Columns
        n rows.

    Returns
    -------
    float64 ndarray of shape (V, n, C)
        As many views as the strategy with the most folds has folds in a repeat, not yet calibrated.
        One of fewer folds has some of its networks in several of them.
    """
    by_strategy = [_by_repeat(strategy, folds) for strategy in pipeline.strategies]
    views = []
    for view in range(max(len(repeat) for repeats in by_strategy for repeat in repeats)):
        strategies = (
            _of_folds(strategy, np.array([repeat[view % len(repeat)] for repeat in repeats]))
            for strategy, repeats in zip(pipeline.strategies, by_strategy)
        )
        views.append(replace(pipeline, strategies=tuple(strategies)).blended(columns))
    return np.stack(views)


def _by_repeat(strategy: FittedStrategy, folds: FoldPlan) -> list[Rows]:
    """Return the folds that a strategy was trained on, repeat by repeat."""
    if strategy.trees:  # of one repeat
        return [np.arange(len(strategy.trees))]
    lengths = [len(repeat_folds) for repeat_folds in (folds.folds, *folds.further)]
    repeat = np.repeat(np.arange(len(lengths)), lengths)
    trained = np.unique(np.concatenate([pack.fold for pack in strategy.packs]))
    return np.split(trained, np.flatnonzero(np.diff(repeat[trained])) + 1)


def _of_folds(strategy: FittedStrategy, folds: Rows) -> FittedStrategy:
    """Return the same strategy with the networks, or trees, of some folds alone."""
    if strategy.trees:
        return replace(strategy, trees=tuple(strategy.trees[fold] for fold in folds))
    return replace(strategy, packs=tuple(pack.of_folds(folds) for pack in strategy.packs))
