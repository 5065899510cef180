"""Predictions by the networks of single folds, whose mean is the prediction of new rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from autoimb.data.schema import Columns
from autoimb.pipeline.fitted import FittedPipeline, FittedStrategy

__all__ = ["single_views"]


def single_views(pipeline: FittedPipeline, columns: Columns) -> NDArray[np.float64]:
    """Predict rows by the networks of one fold at a time, as out-of-fold rows are predicted.

    Parameters
    ----------
    pipeline : FittedPipeline
        Pipeline with the networks of F folds.
    columns : Columns
        n rows to predict.

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
    """Return a strategy restricted to the networks, or trees, of a fold."""
    if strategy.trees:
        return replace(strategy, trees=(strategy.trees[fold],))
    return replace(strategy, packs=tuple(pack.of_folds([fold]) for pack in strategy.packs))
