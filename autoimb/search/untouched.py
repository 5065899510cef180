"""Test rows that nothing sees but the last line of the report."""

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

__all__ = ["GivenTest", "Tested", "Untouched", "held_out", "hold_out"]

Labels = pd.Series | NDArray[Any]
Weight = NDArray[np.float64] | None
Weighed = tuple[pd.DataFrame, Labels, Weight]
GivenTest = tuple[pd.DataFrame, Labels] | Weighed  # without: all are 1


def held_out(
    y: NDArray[Any],
    share: float,
    *,
    random_state: int,
    cluster: NDArray[np.int64] | None = None,
    time: NDArray[np.float64] | None = None,
) -> NDArray[np.bool_]:
    """Draw the rows to hold out, class by class; no value of a column is looked at.

    Where rows come in groups, whole groups are held out, about the share of each class; where they
    have times, the latest rows.

    Parameters
    ----------
    y : ndarray of shape (n,)
        The labels.
    share : float
        Of each class; at least one of its rows stays.
    random_state : int
        The same seed and labels give the same rows.
    cluster : ndarray of int64, shape (n,), or None
        The group of each row.
    time : ndarray of float64, shape (n,), or None
        When each row was observed; rows of one time are not parted.

    Returns
    -------
    ndarray of bool, shape (n,)

    Raises
    ------
    OptionError
        Where that is no row.
    """
    if time is not None:
        first = np.sort(time)[min(round((1.0 - share) * len(y)), len(y) - 1)]
        late = time >= first
        if late.all():
            raise OptionError(f"holdout={share} of the rows by time is all: give a smaller share.")
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
        raise OptionError(f"holdout={share} of {len(y)} rows is none: give a larger share.")
    return mask


def hold_out(
    table: GivenTest,
    retained: NDArray[np.bool_],
    share: float,
    *,
    random_state: int,
    cluster: NDArray[np.int64] | None = None,
    time: NDArray[np.float64] | None = None,
) -> tuple[Weighed, NDArray[np.bool_]]:
    """Part the rows of a table into those of a test and those that stay.

    Parameters
    ----------
    whole : tuple of DataFrame, labels and weights or None
        All n rows.
    kept : ndarray of bool, shape (n,)
        Rows of a weight above 0; no other is held out or stays.
    share : float
    random_state, cluster, time
        As in `held_out`.

    Returns
    -------
    tuple of DataFrame, labels and weights or None
        Of the test.
    ndarray of bool, shape (n,)
        The rows that stay.
    """
    frame, y, weight = _weighed(table)
    mask = np.zeros(len(retained), dtype=bool)
    groups = None if cluster is None else cluster[: len(retained)][retained]
    times = None if time is None else time[: len(retained)][retained]
    mask[retained] = held_out(
        np.asarray(y)[retained], share, random_state=random_state, cluster=groups, time=times
    )
    test_weight = None if weight is None else np.asarray(weight, dtype=np.float64)[mask]
    return (frame.loc[mask], np.asarray(y)[mask], test_weight), retained & ~mask


def _weighed(test: GivenTest) -> Weighed:
    return test if len(test) == 3 else (*test, None)


@dataclass(frozen=True, eq=False)
class Untouched:
    """Rows that neither train nor choose anything.

    Attributes
    ----------
    frame : DataFrame of shape (n, p)
        The columns of the training table, as they came.
    codes : ndarray of int64, shape (n,)
        Class codes.
    weight : ndarray of float64, shape (n,), or None
    digest : str
        Of all rows: a resumed search has the same.
    n_given : int
        Rows before `at_most`.
    """

    frame: pd.DataFrame
    codes: NDArray[np.int64]
    weight: NDArray[np.float64] | None
    digest: str
    n_given: int

    @classmethod
    def of(cls, test: GivenTest, schema: Schema, classes: NDArray[Any]) -> Self:
        """Check that the rows can be predicted and scored, before anything is trained.

        Parameters
        ----------
        given : tuple of DataFrame, labels and, where there are any, weights
        schema : Schema
            Of the training rows.
        classes : ndarray of shape (C,)
            Of the training rows.

        Returns
        -------
        Untouched

        Raises
        ------
        InputError
            Naming the column or label that is none of the training rows.
        """
        frame, y, weight = _weighed(test)
        try:
            columns, codes = parse(frame, schema), match_labels(y, classes)
        except InputError as error:
            raise type(error)(f"In the test rows: {error}") from error
        digest = hashlib.sha256(repr(columns.vocabularies).encode())
        for array in (columns.numbers, columns.codes, codes, weight):
            digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
        return cls(frame, codes, weight, digest.hexdigest()[:16], len(codes))

    def at_most(self, max_rows: int) -> Self:
        """Keep so many rows, the rarer classes whole as far as possible; the others weigh more."""
        random = stream(Purpose.TEST_ROWS, 0, index=1)
        rows, scale = subsample(self.codes, np.arange(len(self.codes)), max_rows, random)
        if len(rows) == len(self.codes):
            return self
        weight = scale if self.weight is None else self.weight[rows] * scale
        return replace(self, frame=self.frame.iloc[rows], codes=self.codes[rows], weight=weight)

    def predicted(self, pipeline: FittedPipeline, judge: Judge) -> Tested:
        """Predict the rows, by the pipeline as it is exported.

        Parameters
        ----------
        pipeline : FittedPipeline
        judge : Judge
            Of the search: gives metric and costs.

        Returns
        -------
        Tested
        """
        proba = pipeline.predict_proba(self.frame)
        one_group = np.zeros(len(self.codes), dtype=np.int64)
        test_judge = replace(
            judge, y=self.codes, group=one_group, weight=self.weight, cluster=None, period=None
        )
        return Tested(test_judge, (proba, pipeline.rule.apply(proba)), self.n_given)


@dataclass(frozen=True, eq=False)
class Tested:
    """What a pipeline says of untouched rows.

    Attributes
    ----------
    judge : Judge
        Of these rows, in one group.
    prediction : tuple of ndarray
        Probabilities (n, C) and labels (n,).
    n_given : int
        Rows that were given; of very many some are predicted.
    """

    judge: Judge
    prediction: Prediction
    n_given: int

    @property
    def score(self) -> Score:
        """By the metric of the search; its error is of a jackknife over rows."""
        return self.judge.score(*self.prediction)
