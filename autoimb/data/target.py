"""Encoding of the target: classes and their codes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from autoimb.data.table import as_column
from autoimb.data.values import text_of
from autoimb.errors import TargetError, choices
from autoimb.text import shown

__all__ = [
    "Target",
    "check_few_numbers",
    "encode_target",
    "label_array",
    "label_codes",
    "match_labels",
]

LABELS = "text, booleans or whole numbers"
MAX_NUMBERS = 20  # different numbers as classes; a target with more is probably a quantity
LONGEST_LABEL = 10_000  # characters that a pipeline file stores
LARGEST_LABEL = 10**1_000  # Python parses no number of more than 4,300 digits


@dataclass(frozen=True, eq=False)
class Target:
    """Class codes, classes and class counts of a target.

    Attributes
    ----------
    codes : ndarray of shape (n,), int64
        Position of each row's label in `classes`.
    classes : ndarray of shape (C,)
        Labels of the user in the order of ``numpy.unique``, in a type that represents them exactly.
        Declared categories without rows are not included.
    positive : int
        Code of the positive class: the class that the user named, or the rarest one (the last of
        equally rare classes).
    notices : tuple of str
        Messages to the user, for example about classes of one or two rows.
    counts : ndarray of shape (C,), int64
        Number of rows of each class. For a sample they are the counts of the whole table.
    """

    codes: NDArray[np.int64]
    classes: NDArray[Any]
    positive: int
    notices: tuple[str, ...]
    counts: NDArray[np.int64]

    @property
    def sampled(self) -> NDArray[np.float64]:
        """Share of each class's rows that were sampled, shape (C,)."""
        return np.bincount(self.codes, minlength=len(self.classes)) / self.counts


def encode_target(
    y: object, *, positive: object = None, class_counts: Mapping[Any, int] | None = None
) -> Target:
    """Encode labels as class codes and check that the classes can be learned.

    A class with a single row is allowed; it trains in every fold except the one that scores it.
    The notices name classes of one or two rows, because the scores of these are meaningless.

    Parameters
    ----------
    y : Series, ndarray of shape (n,) or sequence
        Labels, which are text, booleans, whole numbers or categories.
    positive : label, optional
        Label of the positive class, or its text; the rarest class by default.
    class_counts : mapping of label to int, optional
        Number of rows of each class in the whole table, by label or by its text, if the rows are a
        sample that was drawn class by class.

    Returns
    -------
    Target

    Raises
    ------
    TargetError
        Under the conditions of `label_codes`; if there are fewer than two classes, or no class has
        two rows; if `positive` is unknown; or if counts are not whole numbers, belong to other
        classes, or are below the number of rows.
    """
    codes, classes = label_codes(y)
    counts = np.bincount(codes, minlength=len(classes)).astype(np.int64)
    if len(classes) < 2:
        raise TargetError(
            f"The target has one class ({text_of(classes[0])!r} in all {len(codes)} rows); "
            "a classifier needs two."
        )
    if counts.max() < 2:
        raise TargetError(f"All {len(codes)} rows have different classes; is it an identifier?")
    if class_counts is not None:
        counts = _whole_counts(class_counts, classes, counts)
    # The search in reversed order selects the last of equally rare classes.
    if positive is None:
        code = len(counts) - 1 - int(np.argmin(counts[::-1]))
    else:
        code = _find_label(classes, positive, role="positive class")
    rare = [f"{text_of(classes[c])!r} ({counts[c]})" for c in np.flatnonzero(counts < 3)]
    notice = f"Classes with one or two rows, whose scores are meaningless: {', '.join(rare)}."
    return Target(codes, classes, code, (notice,) if rare else (), counts)


def check_few_numbers(classes: NDArray[Any]) -> None:
    """Check that the classes are not more than 20 numbers, as in a regression target.

    Raises
    ------
    TargetError
        If there are more than 20 classes, all of which are numbers.
    """
    labels = classes.tolist()
    numbers = all(
        isinstance(label, int | float) and not isinstance(label, bool) for label in labels
    )
    if numbers and len(labels) > MAX_NUMBERS:
        raise TargetError(
            f"The target looks like a regression target: it has {len(labels)} different numbers, "
            f"from {shown(labels[0])} to {shown(labels[-1])}. If each of them is a class, give "
            "allow_many_classes=True (--allow-many-classes)."
        )


def _whole_counts(
    class_counts: Mapping[Any, int], classes: NDArray[Any], sampled_counts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the class counts of the whole table by class code, after checking them."""
    if not isinstance(class_counts, Mapping) or not all(map(_is_count, class_counts.values())):
        raise TargetError(
            "class_counts must map each class to its rows in the whole table, whole numbers; "
            f"got {shown(class_counts)}."
        )
    counts = np.zeros(len(classes), dtype=np.int64)
    for label, count in class_counts.items():
        counts[_find_label(classes, label, role="class in class_counts")] = count
    low = np.flatnonzero(counts < sampled_counts)
    if len(low):
        code = low[0]
        raise TargetError(
            "class_counts must hold the rows of each class in the whole table: of the class "
            f"{text_of(classes[code])!r} there are {sampled_counts[code]} here, got {counts[code]}."
        )
    return counts


def _is_count(value: object) -> bool:
    return isinstance(value, Integral) and 0 <= int(value) < 2**63


def label_codes(y: object) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return the class code of each row, (n,), and the labels in the order of their codes, (C,).

    Raises
    ------
    TargetError
        If a label is missing, infinite, fractional, or cannot be stored in a file, as decimals,
        dates, bytes and tuples; or if the labels are of mixed types.
    """
    labels = label_array(y)
    try:
        codes, levels = pd.factorize(labels)
        # The objects of pandas are checked, since NumPy converts dates to integers.
        for code, label in enumerate(pd.Series(levels).tolist()):
            if problem := _why_no_label(label):
                row = int((codes == code).argmax())
                raise TargetError(
                    f"Unknown label type: {problem}. Classes must be {LABELS}; the target holds "
                    f"{repr(label)[:80]} in row {row}."
                )
        order = np.argsort(levels, kind="stable")
    except TypeError as error:
        raise TargetError(f"The labels of the target must be of one type: {error}.") from None
    return np.argsort(order)[codes].astype(np.int64), np.asarray(levels)[order].astype(labels.dtype)


def _why_no_label(label: object) -> str:
    """Return why a file cannot store a label; empty if it can."""
    label = label.item() if isinstance(label, np.generic) else label
    if not isinstance(label, str | int | float):
        return type(label).__name__
    if isinstance(label, float) and not label.is_integer():
        return "continuous" if math.isfinite(label) else "infinity"
    if isinstance(label, str) and len(label) > LONGEST_LABEL:
        return f"text of more than {LONGEST_LABEL:,} characters"
    if isinstance(label, int) and abs(label) >= LARGEST_LABEL:
        return "a number of more than 1,000 digits"
    return ""


def label_array(y: object) -> NDArray[Any]:
    """Convert labels to an array that represents each of them exactly.

    No value is converted through float: nullable integers become integers, nullable booleans become
    booleans, text remains text, and categories become their values.

    Parameters
    ----------
    y : Series, Index, array of pandas, NumPy or Arrow, sequence
        One label per row.

    Returns
    -------
    ndarray of shape (n,)
        Labels, as text of fixed width if `y` is such an array.

    Raises
    ------
    TargetError
        If there are no rows, or if a label is missing.
    TableError
        If the labels are not one-dimensional.
    """
    if y is None:
        raise TargetError("AutoImbClassifier requires y to be passed, but the target y is None.")
    series = as_column(y, "y")
    if not len(series):
        raise TargetError("The target has no rows.")
    missing = series.isna().to_numpy()
    if missing.any():
        raise TargetError(
            f"Input y contains NaN: the target misses {missing.sum()} of {len(series)} values, "
            f"the first in row {missing.argmax()}. Drop these rows or label them."
        )
    if isinstance(y, np.ndarray) and y.dtype.kind == "U":
        return y.reshape(len(y))
    return series.to_numpy()


def _find_label(classes: NDArray[Any], label: object, *, role: str) -> int:
    labels = classes.tolist()
    if label in labels:
        return int(labels.index(label))
    texts = [text_of(known_label) for known_label in labels]
    if text_of(label) not in texts:
        raise TargetError(choices(role, label, texts))
    return texts.index(text_of(label))


def match_labels(labels: object, classes: NDArray[Any]) -> NDArray[np.int64]:
    """Encode the labels of new rows by the classes of a fitted target.

    Parameters
    ----------
    labels : Series, ndarray of shape (n,) or sequence
        Labels of the type of the classes, or their text.
    classes : ndarray of shape (C,)
        Classes of a `Target`.

    Returns
    -------
    ndarray of shape (n,), int64
        Positions in `classes`.

    Raises
    ------
    TargetError
        If a label is missing or is not one of the classes.
    """
    codes, uniques = pd.factorize(label_array(labels))
    places = [_find_label(classes, label, role="label") for label in uniques.tolist()]
    return np.array(places, dtype=np.int64)[codes]
