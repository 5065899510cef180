"""Calibration of deployed pipelines to class rates, on rows that no network was trained on."""

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
    """Rows of a table that are not part of its study.

    Attributes
    ----------
    columns : Columns
    y : ndarray of shape (n,), int64
        Class codes.
    weight : ndarray of shape (n,), float64
        Weights of the rows; their scale matters within a class only.
    shares : ndarray of shape (C,), float64
        Share of each class in the weight of the whole table.
    """

    columns: Columns
    y: NDArray[np.int64]
    weight: NDArray[np.float64]
    shares: NDArray[np.float64]

    @classmethod
    def of(cls, dataset: Dataset, study_rows: Rows, *, max_rows: int, random_state: int) -> Self:
        """Draw unused rows of each class in proportion to its weight in the table.

        Proportional numbers estimate a mean over the table with the smallest error; with equal
        numbers the mean would depend on a few rows of the common classes.

        Parameters
        ----------
        dataset : Dataset
            All rows in memory.
        study_rows : ndarray of int64
            Positions of the rows of the study.
        max_rows : int
            Largest number of rows to draw.
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

    A few scored rows of a common class represent many rows, so their mean probabilities have a
    sampling error, whereas the rates were counted. The mean is therefore taken over unseen rows. A
    class with fewer unseen than scored rows is represented by its out-of-fold probabilities.

    Parameters
    ----------
    pipeline : FittedPipeline
    unseen : Unseen
    judge : Judge
        Judge of the scored rows.
    proba : ndarray of float64, shape (n, C)
        Out-of-fold probabilities of the scored rows, by the calibrator from which that of the
        pipeline was derived.

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
    # Rescale the weights so that each class has its share of the table.
    row_weight *= unseen.shares[y] / np.bincount(y, row_weight, n_classes)[y]
    calibrated = np.concatenate([new[from_unseen], proba[from_scored]])
    calibrator = at_rates(pipeline.calibrator, calibrated, unseen.shares, weight=row_weight)
    return replace(pipeline, calibrator=calibrator)
