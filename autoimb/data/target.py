"""The target: its classes and their codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types

from autoimb.data.conversion import as_column
from autoimb.data.values import text_of
from autoimb.errors import TableError, TargetError, choices
from autoimb.text import shown

__all__ = ["Target", "check_few_numbers", "encode_target", "label_array", "match_labels"]

LABELS = "text, booleans or whole numbers"
MOST_NUMBERS = 20  # as classes; more are rather a quantity
LONGEST_LABEL = 10_000  # characters that a file of a pipeline holds of one
LARGEST_LABEL = 10**1_000  # Python reads no number of more than 4,300 digits from a file


@dataclass(frozen=True, eq=False)
class Target:
    """The target as class codes.

    Attributes
    ----------
    codes : ndarray of shape (n,), int64
        Position of each row's label in `classes`.
    classes : ndarray of shape (C,)
        The labels as the user gave them, in the order of ``numpy.unique``, of a type that holds
        them exactly. A declared category without a row is none.
    positive : int
        Code of the positive class: the rarest (the later one of equals) unless the user named it.
    notices : tuple of str
        What the user should know, for example classes of one or two rows.
    counts : ndarray of shape (C,), int64
        Rows per class, of the whole table where these are a sample of it.
    """

    codes: NDArray[np.int64]
    classes: NDArray[Any]
    positive: int
    notices: tuple[str, ...]
    counts: NDArray[np.int64]

    @property
    def sampled(self) -> NDArray[np.float64]:
        """The share of each class's rows that are here, shape (C,)."""
        return np.bincount(self.codes, minlength=len(self.classes)) / self.counts


def encode_target(
    y: object, *, positive: object = None, class_counts: Mapping[Any, int] | None = None
) -> Target:
    """Code the classes and check that they can be learned.

    A class with a single row is allowed: it trains in every fold but the one that scores it.
    Classes of one or two rows are named in the notices, because their scores say nothing.

    Parameters
    ----------
    y : Series, ndarray of shape (n,) or sequence
        Labels: text, booleans, whole numbers or categories.
    positive : label, optional
        The positive class, as a label or its text; by default the rarest one.
    class_counts : mapping of label to int, optional
        Where the rows are a sample, drawn class by class, the rows of each class in the whole
        table, by its label or the label's text.

    Returns
    -------
    Target

    Raises
    ------
    TargetError
        Missing or infinite values, numbers with fractions, labels that no file could hold or of
        mixed types, fewer than two classes, no class with two rows, an unknown `positive`, counts
        that are no whole numbers, not of these classes or below their rows.
    """
    labels = label_array(y)
    try:
        codes, uniques = pd.factorize(labels)
        _check_labels(uniques, codes)
        order = np.argsort(uniques, kind="stable")
    except TypeError as error:
        raise TargetError(f"The labels of the target must be of one type: {error}.") from None
    classes = np.asarray(uniques)[order].astype(labels.dtype)
    counts = np.bincount(codes, minlength=len(classes))[order].astype(np.int64)
    if len(classes) < 2:
        raise TargetError(
            f"The target has one class ({text_of(classes[0])!r} in all {len(labels)} rows); "
            "a classifier needs two."
        )
    if counts.max() < 2:
        raise TargetError(f"All {len(labels)} rows have different classes; is it an identifier?")
    if class_counts is not None:
        counts = _whole_counts(class_counts, classes, counts)
    if positive is None:
        code = len(counts) - 1 - int(np.argmin(counts[::-1]))
    else:
        code = _find_label(classes, positive, what="positive class")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    notices = _rare_notices(classes, counts)
    return Target(rank[codes].astype(np.int64), classes, code, notices, counts)


def check_few_numbers(classes: NDArray[Any]) -> None:
    """Refuse classes that are more than 20 numbers, as the target of a regression has.

    Raises
    ------
    TargetError
    """
    labels = classes.tolist()
    numbers = all(
        isinstance(label, int | float) and not isinstance(label, bool) for label in labels
    )
    if numbers and len(labels) > MOST_NUMBERS:
        raise TargetError(
            f"The target looks like a regression target: it has {len(labels)} different numbers, "
            f"from {shown(labels[0])} to {shown(labels[-1])}. If each of them is a class, give "
            "allow_many_classes=True (--allow-many-classes)."
        )


def _whole_counts(
    given: Mapping[Any, int], classes: NDArray[Any], least: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Order the counts of the whole table as the classes of the rows drawn from it."""
    if not isinstance(given, Mapping) or not all(map(_is_count, given.values())):
        raise TargetError(
            "class_counts must map each class to its rows in the whole table, whole numbers; "
            f"got {shown(given)}."
        )
    counts = np.zeros(len(classes), dtype=np.int64)
    for label, count in given.items():
        counts[_find_label(classes, label, what="class in class_counts")] = count
    low = np.flatnonzero(counts < least)
    if len(low):
        code = low[0]
        raise TargetError(
            "class_counts must hold the rows of each class in the whole table: of the class "
            f"{text_of(classes[code])!r} there are {least[code]} here, got {counts[code]}."
        )
    return counts


def _is_count(value: object) -> bool:
    return isinstance(value, Integral) and 0 <= int(value) < 2**63


def label_array(y: object) -> NDArray[Any]:
    """Give labels as one array that holds each of them exactly.

    Nothing goes through float: a nullable integer becomes an integer, a nullable boolean a
    boolean, text stays text, and categories become what they stand for.

    Parameters
    ----------
    y : Series, Index, array of pandas, NumPy or Arrow, sequence
        One label a row.

    Returns
    -------
    ndarray of shape (n,)
        Booleans, integers, whole floats, or text (as objects, or fixed in width where it came so).

    Raises
    ------
    TargetError
        No row, a missing or infinite label, numbers with fractions, dates, complex numbers, more
        than one column.
    """
    series = _target_series(y)
    _check_target_values(series)
    if isinstance(y, np.ndarray) and y.dtype.kind == "U":
        return y.reshape(len(y))
    if isinstance(series.dtype, pd.CategoricalDtype):
        return series.cat.categories.to_numpy()[series.cat.codes.to_numpy()]
    return series.to_numpy()


def _target_series(y: object) -> pd.Series:
    """Give labels as a column, objects as what they are."""
    if y is None:
        raise TargetError("AutoImbClassifier requires y to be passed, but the target y is None.")
    try:
        return as_column(y, "y")
    except TableError as error:
        raise TargetError(str(error)) from None


def _check_target_values(series: pd.Series) -> None:
    if not len(series):
        raise TargetError("The target has no rows.")
    missing = series.isna().to_numpy()
    if missing.any():
        raise TargetError(
            f"Input y contains NaN: the target misses {missing.sum()} of {len(series)} values, "
            f"the first in row {missing.argmax()}. Drop these rows or label them."
        )
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        dtype = dtype.categories.dtype
    if types.is_complex_dtype(dtype):
        raise TargetError("Complex data not supported: the target holds complex numbers.")
    for what, holds in (
        ("datetime", types.is_datetime64_any_dtype(dtype)),
        ("duration", types.is_timedelta64_dtype(dtype)),
    ):
        if holds:
            raise TargetError(f"Unknown label type: {what}. Classes must be {LABELS}.")
    if types.is_float_dtype(dtype):
        numbers = series.astype(np.float64).to_numpy()
        if np.isinf(numbers).any():
            raise TargetError(
                "Input y contains infinity or a value too large for dtype('float64')."
            )
        broken = numbers != np.floor(numbers)
        if broken.any():
            raise TargetError(
                f"Unknown label type: continuous. Classes must be {LABELS}; "
                f"the target holds {numbers[broken.argmax()]} in row {broken.argmax()}."
            )


def _check_labels(labels: NDArray[Any], codes: NDArray[np.intp]) -> None:
    """Refuse what no file could hold, such as decimals, dates, bytes and tuples."""
    for code, label in enumerate(labels.tolist()):
        problem = _why_no_label(label)
        if problem:
            row = int((codes == code).argmax())
            raise TargetError(
                f"Unknown label type: {problem}. Classes must be {LABELS}; "
                f"the target holds {repr(label)[:80]} in row {row}."
            )


def _why_no_label(label: object) -> str:
    label = label.item() if isinstance(label, np.generic) else label
    if isinstance(label, bytes) or not isinstance(label, str | int | float):
        return type(label).__name__
    if isinstance(label, str) and len(label) > LONGEST_LABEL:
        return f"text of more than {LONGEST_LABEL:,} characters"
    if isinstance(label, int) and abs(label) >= LARGEST_LABEL:
        return "a number of more than 1,000 digits"
    return ""


def _find_label(classes: NDArray[Any], label: object, *, what: str) -> int:
    labels = classes.tolist()
    if label in labels:
        return int(labels.index(label))
    texts = [text_of(each) for each in labels]
    if text_of(label) not in texts:
        raise TargetError(choices(what, label, texts))
    return texts.index(text_of(label))


def _rare_notices(classes: NDArray[Any], counts: NDArray[np.int64]) -> tuple[str, ...]:
    rare = [f"{text_of(classes[code])!r} ({counts[code]})" for code in np.where(counts < 3)[0]]
    if not rare:
        return ()
    return (f"Classes with one or two rows, whose scores say nothing: {', '.join(rare)}.",)


def match_labels(labels: object, classes: NDArray[Any]) -> NDArray[np.int64]:
    """Code the labels of other rows by known classes.

    Parameters
    ----------
    labels : Series, ndarray of shape (n,) or sequence
        Labels of the same type as the classes, or their text.
    classes : ndarray of shape (C,)
        The classes of a `Target`.

    Returns
    -------
    ndarray of shape (n,), int64
        Positions in `classes`.

    Raises
    ------
    TargetError
        A missing label, or one that is no class.
    """
    series = _target_series(labels)
    codes, uniques = pd.factorize(series)
    if (codes < 0).any():
        raise TargetError(f"The target misses a label in row {int((codes < 0).argmax())}.")
    places = [_find_label(classes, label, what="label") for label in list(uniques)]
    return np.array(places, dtype=np.int64)[codes]
