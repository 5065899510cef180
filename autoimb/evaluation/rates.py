"""The level of what is deployed, by rows of a sample that no network of its study has seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.calibration import at_rates
from autoimb.assessment.judge import Judge
from autoimb.data.dataset import Dataset
from autoimb.data.folds import Rows
from autoimb.data.schema import Columns
from autoimb.pipeline.fitted import FittedPipeline
from autoimb.randomness import Purpose, stream

__all__ = ["Unseen", "at_counted_rates"]


@dataclass(frozen=True, eq=False)
class Unseen:
    """Rows of a table that its study left out.

    Attributes
    ----------
    columns : Columns
    y : ndarray of shape (n,), int64
        Class codes.
    weight : ndarray of shape (n,), float64
        How much a row counts among those of its class.
    shares : ndarray of shape (C,), float64
        Of the weight of the whole table, that each class has.
    """

    columns: Columns
    y: NDArray[np.int64]
    weight: NDArray[np.float64]
    shares: NDArray[np.float64]

    @classmethod
    def of(cls, dataset: Dataset, study_rows: Rows, *, max_rows: int, random_state: int) -> Self:
        """Draw rows of the classes as they weigh in the table, as far as the study left any out.

        So they tell a mean over the table best; evenly over the classes they would tell it by few
        rows of the common ones.

        Parameters
        ----------
        dataset : Dataset
            All rows in memory.
        seen : ndarray of int64
            Those of the study.
        most : int
        random_state : int
        """
        unused = np.setdiff1d(np.arange(len(dataset.y)), study_rows)
        mass = np.bincount(dataset.y, dataset.weight, dataset.n_classes).astype(np.float64)
        shares = mass / mass.sum()
        random, drawn = stream(Purpose.UNSEEN_ROWS, random_state), []
        for code, share in enumerate(shares):
            class_rows = unused[dataset.y[unused] == code]
            number = min(round(share * max_rows), len(class_rows))
            drawn.append(random.choice(class_rows, number, replace=False))
        rows = np.sort(np.concatenate(drawn))
        return cls(dataset.columns.take(rows), dataset.y[rows], dataset.weight[rows], shares)


def at_counted_rates(
    pipeline: FittedPipeline, unseen: Unseen, judge: Judge, proba: NDArray[np.float64]
) -> FittedPipeline:
    """Shift a pipeline's calibrator so that the mean probabilities are the rates of the classes.

    The scored rows of a common class are few and stand for many, so their mean has an error that
    the rates, which were counted, do not have. A class of which the study left out fewer rows than
    it scores is looked at out of fold instead.

    Parameters
    ----------
    pipeline : FittedPipeline
    unseen : Unseen
    judge : Judge
        Of the scored rows.
    proba : ndarray of float64, shape (n, C)
        Of the scored rows, out of fold, by the calibrator that the pipeline's comes from.

    Returns
    -------
    FittedPipeline
    """
    n_classes = len(unseen.shares)
    weight = np.ones(len(judge.y)) if judge.weight is None else judge.weight
    counts = [np.bincount(y, minlength=n_classes) for y in (unseen.y, judge.y)]
    by_unseen = counts[0] >= counts[1]
    from_unseen, from_scored = by_unseen[unseen.y], ~by_unseen[judge.y]
    new = pipeline.calibrator.apply(pipeline.blended(unseen.columns))
    y = np.concatenate([unseen.y[from_unseen], judge.y[from_scored]])
    row_weight = np.concatenate([unseen.weight[from_unseen], weight[from_scored]])
    row_weight *= unseen.shares[y] / np.bincount(y, row_weight, n_classes)[y]
    calibrated = np.concatenate([new[from_unseen], proba[from_scored]])
    calibrator = at_rates(pipeline.calibrator, calibrated, unseen.shares, weight=row_weight)
    return replace(pipeline, calibrator=calibrator)
