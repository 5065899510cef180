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
    """All training rows of a study, as evaluation sees them; nothing in it is fitted.

    Attributes
    ----------
    columns : Columns
        The features, typed.
    y : ndarray of shape (n,), int64
        Class codes.
    weight : ndarray of shape (n,), float64
        The user's sample weights, of mean 1.
    n_classes, positive : int
        Number of classes; code of the positive one.
    layout : Layout
        Which category columns are one-hot and which are embedded.
    kept : ndarray of shape (C,), float64, or None
        Where the user's table has more rows than these: the share of each class's rows that are
        here. Their weights make up for the others.
    labels : tuple of C str
        The text of each class's label, by code.
    cluster : ndarray of shape (n,), int64, or None
        The user's group of each row; None where there are no groups.
    times : Times or None
        When each row was observed; None where the user did not say.
    """

    columns: Columns
    y: NDArray[np.int64]
    weight: NDArray[np.float64]
    n_classes: int
    positive: int
    layout: Layout
    kept: NDArray[np.float64] | None = None
    labels: tuple[str, ...] = ()
    cluster: NDArray[np.int64] | None = None
    times: Times | None = None

    @property
    def time(self) -> NDArray[np.float64] | None:
        """When each row was observed, as a number."""
        return None if self.times is None else self.times.values

    @cached_property
    def training_weight(self) -> NDArray[np.float64]:
        """What rows weigh in training: later ones more, where they have times.

        A row that is half of the time span older counts half.
        """
        if self.times is None:
            return self.weight
        values = self.times.values
        span = values.max() - values.min()
        age = (values.max() - values) / (span if span > 0 else 1.0)
        weight = self.weight * 0.5 ** (2.0 * age)
        return np.asarray(weight * (self.weight.sum() / weight.sum()))

    def take(self, rows: NDArray[np.int64]) -> Dataset:
        """Keep some rows, with their weights as they are."""
        return replace(
            self,
            columns=self.columns.take(rows),
            y=self.y[rows],
            weight=self.weight[rows],
            cluster=None if self.cluster is None else self.cluster[rows],
            times=None if self.times is None else self.times.take(rows),
        )
