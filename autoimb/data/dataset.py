"""All training rows of a study as arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from autoimb.data.encoding.layout import Layout
from autoimb.data.schema import Columns
from autoimb.data.times import Times

__all__ = ["Dataset"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Unfitted arrays of all training rows of a study.

    Attributes
    ----------
    columns : Columns
        Typed values of the features.
    y : ndarray of shape (n,), int64
        Class codes.
    weight : ndarray of shape (n,), float64
        Sample weights of the user, scaled to a mean of 1.
    n_classes, positive : int
        Number of classes, and code of the positive class.
    layout : Layout
        Which category columns are one-hot and which are embedded.
    sampled_shares : ndarray of shape (C,), float64, or None
        Share of each class's rows in the user's table that this data set contains, where it is a
        sample of that table. The weights of the sampled rows compensate for the missing ones.
    labels : tuple of C str
        Text of each class label, by code.
    cluster : ndarray of shape (n,), int64, or None
        Group of each row as defined by the user; None without groups.
    times : Times or None
        Observation times of the rows; None without times.
    """

    columns: Columns
    y: NDArray[np.int64]
    weight: NDArray[np.float64]
    n_classes: int
    positive: int
    layout: Layout
    sampled_shares: NDArray[np.float64] | None = None
    labels: tuple[str, ...] = ()
    cluster: NDArray[np.int64] | None = None
    times: Times | None = None

    @property
    def time(self) -> NDArray[np.float64] | None:
        """Observation time of each row as a number."""
        return None if self.times is None else self.times.values

    @cached_property
    def training_weight(self) -> NDArray[np.float64]:
        """Weights of the rows in training; recent rows weigh more where rows have times.

        The weight of a row halves with each half of the time span that the row is older than the
        newest one. The sum of the weights stays the same.
        """
        if self.times is None:
            return self.weight
        values = self.times.values
        span = values.max() - values.min()
        # Age from 0 to 1 in time spans; equal times have age 0.
        age = (values.max() - values) / (span if span > 0 else 1.0)
        weight = self.weight * 0.5 ** (2.0 * age)
        return np.asarray(weight * (self.weight.sum() / weight.sum()))

    def take(self, rows: NDArray[np.int64]) -> Dataset:
        """Return the data set restricted to some rows, with unchanged weights."""
        return replace(
            self,
            columns=self.columns.take(rows),
            y=self.y[rows],
            weight=self.weight[rows],
            cluster=None if self.cluster is None else self.cluster[rows],
            times=None if self.times is None else self.times.take(rows),
        )
