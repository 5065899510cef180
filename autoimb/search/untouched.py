"""The untouched test: held-out rows that only the last line of the report uses."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from autoimb.assessment.judge import Judge, Prediction
from autoimb.assessment.uncertainty import Score
from autoimb.data.folds import deal_groups
from autoimb.data.schema import Schema, parse
from autoimb.data.subsample import subsample
from autoimb.data.target import match_labels
from autoimb.errors import InputError, OptionError
from autoimb.pipeline.fitted import FittedPipeline
from autoimb.randomness import Purpose, stream

__all__ = ["TestRows", "Tested", "Untouched", "held_out"]

Labels = pd.Series | NDArray[Any]
# Columns, labels and, where there are any, weights.
TestRows = tuple[pd.DataFrame, Labels] | tuple[pd.DataFrame, Labels, NDArray[np.float64] | None]


def held_out(
    y: NDArray[Any],
    share: float,
    *,
    random_state: int,
    cluster: NDArray[np.int64] | None = None,
    time: NDArray[np.float64] | None = None,
) -> NDArray[np.bool_]:
    """Draw the rows to hold out, stratified by class; the values of columns are not used.

    Where rows have groups, whole groups are held out, with about the share of each class; where
    rows have times, the latest rows are held out.

    Parameters
    ----------
    y : ndarray of shape (n,)
        The labels.
    share : float
        Share of each class; at least one row of each class is not held out.
    random_state : int
        Seed; equal seeds and labels result in the same rows.
    cluster : ndarray of int64, shape (n,), or None
        Group of each row.
    time : ndarray of float64, shape (n,), or None
        Time of each row; rows of the same time are not separated.

    Returns
    -------
    ndarray of bool, shape (n,)
        Mask of the rows that are held out.

    Raises
    ------
    OptionError
        If the share selects no rows, or all rows by time.
    """
    if time is not None:
        # The latest rows are held out, from the time at which the share of the rows begins.
        first = np.sort(time)[min(round((1.0 - share) * len(y)), len(y) - 1)]
        late = time >= first
        if late.all():
            raise OptionError(
                f"holdout={share} selects all {len(y)} rows by time; use a smaller share."
            )
        return np.asarray(late)
    random, mask = stream(Purpose.TEST_ROWS, random_state), np.zeros(len(y), dtype=bool)
    codes = np.unique(y, return_inverse=True)[1]
    if cluster is not None:
        part = deal_groups(codes, cluster, np.array([1.0 - share, share]), random)
        return np.asarray(part == 1)
    for code in np.unique(codes):
        class_rows = np.flatnonzero(codes == code)
        number = min(round(share * len(class_rows)), len(class_rows) - 1)
        mask[random.choice(class_rows, number, replace=False)] = True
    if not mask.any():
        raise OptionError(f"holdout={share} selects no rows out of {len(y)}; use a larger share.")
    return mask


@dataclass(frozen=True, eq=False)
class Untouched:
    """Test rows, which are used neither for training nor for any choice.

    Attributes
    ----------
    frame : DataFrame of shape (n, p)
        Unparsed columns of the training table.
    codes : ndarray of int64, shape (n,)
        Class codes.
    weight : ndarray of float64, shape (n,), or None
    digest : str
        Digest of all rows, by which a resumed search checks that they are the same.
    n_given : int
        Number of rows before `at_most`.
    """

    frame: pd.DataFrame
    codes: NDArray[np.int64]
    weight: NDArray[np.float64] | None
    digest: str
    n_given: int

    @classmethod
    def of(cls, test: TestRows, schema: Schema, classes: NDArray[Any]) -> Self:
        """Check that the rows can be predicted and scored, before anything is trained.

        Parameters
        ----------
        test : tuple of DataFrame, labels and, where there are any, weights
        schema : Schema
            Schema of the training rows.
        classes : ndarray of shape (C,)
            Labels of the training rows.

        Returns
        -------
        Untouched

        Raises
        ------
        InputError
            If a column or label is not one of the training rows; the message names it.
        """
        frame, y, weight = test if len(test) == 3 else (*test, None)
        try:
            columns, codes = parse(frame, schema), match_labels(y, classes)
        except InputError as error:
            raise type(error)(f"In the test rows: {error}") from error
        # The digest covers all parsed values, so that a resumed search detects other rows.
        digest = hashlib.sha256(repr(columns.vocabularies).encode())
        for array in (columns.numbers, columns.codes, codes, weight):
            digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
        return cls(frame, codes, weight, digest.hexdigest()[:16], len(codes))

    def at_most(self, max_rows: int) -> Self:
        """Draw at most `max_rows` rows, with as many of the rarer classes as possible.

        The drawn rows of the other classes weigh more.
        """
        random = stream(Purpose.TEST_ROWS, 0, index=1)
        rows, scale = subsample(self.codes, np.arange(len(self.codes)), max_rows, random)
        if len(rows) == len(self.codes):
            return self
        weight = scale if self.weight is None else self.weight[rows] * scale
        return replace(self, frame=self.frame.iloc[rows], codes=self.codes[rows], weight=weight)

    def predicted(self, pipeline: FittedPipeline, judge: Judge) -> Tested:
        """Predict the rows by the exported pipeline.

        Parameters
        ----------
        pipeline : FittedPipeline
        judge : Judge
            Judge of the search, for its metric and costs.

        Returns
        -------
        Tested
        """
        proba = pipeline.predict_proba(self.frame)
        # All test rows are predicted by the same networks, so their scores need no groups.
        one_group = np.zeros(len(self.codes), dtype=np.int64)
        test_judge = replace(
            judge, y=self.codes, group=one_group, weight=self.weight, cluster=None, period=None
        )
        return Tested(test_judge, (proba, pipeline.rule.apply(proba)), self.n_given)


@dataclass(frozen=True, eq=False)
class Tested:
    """Predictions of test rows by a pipeline.

    Attributes
    ----------
    judge : Judge
        Judge of the test rows, in one group.
    prediction : tuple of ndarray
        Probabilities (n, C) and labels (n,).
    n_given : int
        Number of test rows; only a sample of very many rows is predicted.
    """

    judge: Judge
    prediction: Prediction
    n_given: int

    @property
    def score(self) -> Score:
        """Score by the metric of the search, with the error of a jackknife over rows."""
        return self.judge.score(*self.prediction)
