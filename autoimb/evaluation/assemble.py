"""From chosen trials to the fitted pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.decision.rule import DecisionRule
from autoimb.assessment.decision.threshold import ThresholdCounts
from autoimb.assessment.judge import Judge
from autoimb.assessment.uncertainty import Score
from autoimb.data.dataset import Dataset
from autoimb.data.encoding.encoder import Encoder
from autoimb.data.folds import Fold, FoldPlan
from autoimb.data.schema import Schema
from autoimb.pipeline.fitted import FittedPipeline, FittedStrategy

__all__ = ["assemble", "fit_encoders"]


def assemble(
    dataset: Dataset,
    folds: FoldPlan,
    judge: Judge,
    *,
    schema: Schema,
    classes: NDArray[Any],
    strategies: Sequence[FittedStrategy],
    weights: Sequence[float],
    decided: tuple[NDArray[np.float64], Score, DecisionRule],
) -> FittedPipeline:
    """Put a pipeline together.

    Parameters
    ----------
    dataset, folds : Dataset, FoldPlan
        Of the study. Sees: each encoder its fold's training rows only.
    judge : Judge
        Of the scored rows.
    schema : Schema
    classes : ndarray of shape (C,)
        The original labels.
    strategies, weights : sequences
        Of the blend.
    decided : tuple of ndarray (n, C), Score and DecisionRule
        The blend's out-of-fold probabilities, their score, and the rule fitted on them.

    Returns
    -------
    FittedPipeline
    """
    proba, score, rule = decided
    read = 1 + max(int(pack.fold.max()) for one in strategies for pack in one.packs)
    return FittedPipeline(
        schema=schema,
        classes=classes,
        positive=dataset.positive,
        encoders=fit_encoders(dataset, folds.every[:read]),
        strategies=tuple(strategies),
        weights=tuple(weights),
        rule=rule,
        thresholds=ThresholdCounts.of(judge.y, proba, dataset.positive, weight=judge.weight),
        info={"metric": judge.metric.name, "score": score.value, "error": score.error},
    )


def fit_encoders(dataset: Dataset, folds: Sequence[Fold]) -> tuple[Encoder, ...]:
    """Fit one encoder a fold. Sees: the fold's training rows only."""
    columns, layout, y, weight = dataset.columns, dataset.layout, dataset.y, dataset.weight
    return tuple(
        Encoder.fit(columns, fold.train, layout=layout, y=y, weight=weight) for fold in folds
    )
