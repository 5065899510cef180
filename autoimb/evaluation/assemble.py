"""From chosen trials to the fitted pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.calibration import Calibrator, for_all_networks
from autoimb.assessment.decision.rule import DecisionRule
from autoimb.assessment.decision.threshold import ThresholdCounts
from autoimb.assessment.judge import Judge
from autoimb.assessment.uncertainty import Score
from autoimb.data.schema import Schema
from autoimb.data.subsample import subsample
from autoimb.evaluation.views import single_views
from autoimb.pipeline.fitted import FittedPipeline, FittedStrategy
from autoimb.randomness import Purpose, stream
from autoimb.training.parts import Parts
from autoimb.training.plan import Plan

__all__ = ["Decided", "assemble"]


@dataclass(frozen=True, eq=False)
class Decided:
    """What was learned from the out-of-fold probabilities of a blend.

    Attributes
    ----------
    proba : ndarray of float64, shape (n, C)
        They, by `calibrator`.
    score : Score
        Of them, calibrated across parts.
    calibrator : Calibrator
        Fitted on all of them.
    rule : DecisionRule
        Fitted on `proba`.
    """

    proba: NDArray[np.float64]
    score: Score
    calibrator: Calibrator
    rule: DecisionRule


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
) -> FittedPipeline:
    """Put a pipeline together, and calibrate the mean of all its networks.

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
    FittedPipeline
    """
    dataset = parts.dataset
    read = 1 + max(int(pack.fold.max()) for one in strategies for pack in one.packs)
    pipeline = FittedPipeline(
        schema=schema,
        classes=classes,
        positive=dataset.positive,
        encoders=parts.encoders(read),
        strategies=tuple(strategies),
        weights=tuple(weights),
        calibrator=decided.calibrator,
        rule=decided.rule,
        thresholds=ThresholdCounts.of(
            judge.y, decided.proba, dataset.positive, weight=judge.weight
        ),
        info={
            "metric": judge.metric.name,
            "score": decided.score.value,
            "error": decided.score.error,
        },
    )
    weight = np.ones(len(judge.y)) if judge.weight is None else judge.weight
    random = stream(Purpose.COMPARED_ROWS, 0)
    rows, scale = subsample(judge.y, np.arange(len(judge.y)), plan.policy.compared_rows, random)
    columns = dataset.columns.take(plan.folds.scored[rows])
    calibrator = for_all_networks(
        decided.calibrator,
        single_views(pipeline, plan.folds, columns),
        pipeline.blended(columns),
        weight=weight[rows] * scale,
    )
    return replace(pipeline, calibrator=calibrator)
