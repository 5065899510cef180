"""Read a table, split the target off and code its classes."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types

from autoimb.data.files import check_names, read_file
from autoimb.data.values import text_of
from autoimb.errors import SchemaError, TableError, TargetError, choices

if TYPE_CHECKING:
    from autoimb.data.encoding import Layout
    from autoimb.data.schema import Columns

__all__ = [
    "Dataset",
    "Target",
    "encode_target",
    "frame_of",
    "match_labels",
    "read_table",
    "split_target",
]

_MINIMUM = "while a minimum of 1 is required."


@dataclass(frozen=True, eq=False)
class Target:
    """The target as class codes.

    Attributes
    ----------
    codes : ndarray of shape (n,), int64
        Position of each row's label in `classes`.
    classes : ndarray of shape (C,)
        The labels as the user gave them, in the order of ``numpy.unique``.
    positive : int
        Code of the positive class: the rarest (the later one of equals) unless the user named it.
    notices : tuple of str
        What the user should know, for example classes of one or two rows.
    """

    codes: NDArray[np.int64]
    classes: NDArray[Any]
    positive: int
    notices: tuple[str, ...] = ()

    @property
    def counts(self) -> NDArray[np.int64]:
        """Rows per class, shape (C,)."""
        return np.bincount(self.codes, minlength=len(self.classes)).astype(np.int64)


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
    """

    columns: Columns
    y: NDArray[np.int64]
    weight: NDArray[np.float64]
    n_classes: int
    positive: int
    layout: Layout
    kept: NDArray[np.float64] | None = None


# --- reading ---------------------------------------------------------------------------------


def frame_of(source: object, names: tuple[str, ...] | None = None) -> pd.DataFrame:
    """Give a table in memory as a DataFrame with text as column names.

    Parameters
    ----------
    source : DataFrame, ndarray of shape (n, p), nested list, or anything with ``to_pandas``
        A table; arrays are taken by position.
    names : tuple of str, optional
        Names for the columns of an array; by default ``x0, x1, ...``.

    Returns
    -------
    DataFrame
        Without a copy of the data where `source` is a DataFrame.

    Raises
    ------
    TableError
        Sparse, complex, or not two-dimensional input; repeated column names.
    SchemaError
        An array with another number of columns than `names`.
    """
    if hasattr(source, "toarray"):
        raise TableError(
            "Sparse data was passed for X, but dense data is required; "
            "use '.toarray()' to convert it."
        )
    if hasattr(source, "to_pandas"):
        source = source.to_pandas()
    if isinstance(source, pd.DataFrame):
        frame = source.copy(deep=False)
        frame.columns = pd.Index([str(name) for name in frame.columns])
    else:
        frame = _frame_of_array(source, names)
    check_names(frame.columns)
    for name, dtype in frame.dtypes.items():
        if types.is_complex_dtype(dtype):
            raise TableError(f"Complex data not supported: column {name!r} is {dtype}.")
    return frame


def _frame_of_array(source: object, names: tuple[str, ...] | None) -> pd.DataFrame:
    try:
        array = np.asarray(source, dtype=object if isinstance(source, list | tuple) else None)
    except ValueError as error:
        raise TableError(f"X can't be read as an array: {error}") from error
    if array.ndim < 2:
        given = "1D" if array.ndim else "scalar"
        raise TableError(
            f"Expected 2D array, got {given} array instead. Reshape your data: "
            "array.reshape(-1, 1) for one feature, array.reshape(1, -1) for one row."
        )
    if array.ndim > 2:
        raise TableError(f"Found array with dim {array.ndim}; X must have 2: rows and columns.")
    if names is None:
        names = tuple(f"x{position}" for position in range(array.shape[1]))
    if len(names) != array.shape[1]:
        raise SchemaError(
            f"X has {array.shape[1]} features, but AutoImbClassifier is expecting "
            f"{len(names)} features as input."
        )
    frame = pd.DataFrame(array, columns=pd.Index(names, dtype=object))
    return frame.infer_objects() if array.dtype == object else frame


def read_table(source: str | os.PathLike[str] | pd.DataFrame | NDArray[Any]) -> pd.DataFrame:
    """Read a table from a file, a DataFrame or an array.

    Parameters
    ----------
    source : str, path, DataFrame or ndarray of shape (n, p)
        A CSV, TSV or TXT file (the header tells the separator), a Parquet or a Feather file, each
        also packed as ``.gz .bz2 .xz .zip .zst``; or a table in memory.

    Returns
    -------
    DataFrame of shape (n, p)
        With text as column names; an array's columns are called ``x0, x1, ...``.

    Raises
    ------
    TableError
        No such file, not a table file, no rows, no columns, repeated names, sparse or complex data.
    """
    if isinstance(source, str | os.PathLike):
        frame = frame_of(read_file(Path(source)))
    else:
        frame = frame_of(source)
    if not frame.shape[1]:
        raise TableError(f"Found array with 0 feature(s) (shape={frame.shape}) {_MINIMUM}")
    if not frame.shape[0]:
        raise TableError(f"Found array with 0 sample(s) (shape={frame.shape}) {_MINIMUM}")
    return frame


# --- the target ------------------------------------------------------------------------------


def split_target(frame: pd.DataFrame, target: str) -> tuple[pd.DataFrame, pd.Series]:
    """Split the target column off.

    Parameters
    ----------
    frame : DataFrame of shape (n, p + 1)
        A table with the target in it.
    target : str
        The name of the target column.

    Returns
    -------
    features : DataFrame of shape (n, p)
    target : Series of shape (n,)

    Raises
    ------
    TargetError
        No such column, or no other column.
    """
    if target not in frame.columns:
        raise TargetError(choices("target column", target, frame.columns))
    if frame.shape[1] == 1:
        raise TargetError(f"The table has no column beside the target {target!r}.")
    return frame.drop(columns=[target]), frame[target]


def encode_target(y: object, *, positive: object = None) -> Target:
    """Code the classes and check that they can be learned.

    A class with a single row is allowed: it trains in every fold but the one that scores it.
    Classes of one or two rows are named in the notices, because their scores say nothing.

    Parameters
    ----------
    y : Series, ndarray of shape (n,) or sequence
        Labels: text, booleans, whole numbers or categories.
    positive : label, optional
        The positive class, as a label or its text; by default the rarest one.

    Returns
    -------
    Target

    Raises
    ------
    TargetError
        Missing or infinite values, numbers with fractions, labels of mixed types, fewer than two
        classes, no class with two rows, an unknown `positive`.
    """
    series = _target_series(y)
    _check_target_values(series)
    values = series.astype(series.cat.categories.dtype) if _is_category(series) else series
    try:
        codes, uniques = pd.factorize(values.to_numpy())
        order = np.argsort(uniques, kind="stable")
    except TypeError as error:
        raise TargetError(f"The labels of the target must be of one type: {error}.") from None
    classes = np.asarray(uniques)[order]
    counts = np.bincount(codes, minlength=len(classes))[order]
    if len(classes) < 2:
        raise TargetError(
            f"The target has one class ({text_of(classes[0])!r} in all {len(series)} rows); "
            "a classifier needs two."
        )
    if counts.max() < 2:
        raise TargetError(f"All {len(series)} rows have different classes; is it an identifier?")
    if positive is None:
        code = len(counts) - 1 - int(np.argmin(counts[::-1]))
    else:
        code = _find_label(classes, positive, what="positive class")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return Target(rank[codes].astype(np.int64), classes, code, _rare_notices(classes, counts))


def _target_series(y: object) -> pd.Series:
    if y is None:
        raise TargetError("AutoImbClassifier requires y to be passed, but the target y is None.")
    if isinstance(y, pd.Series):
        return y
    array = np.asarray(y)
    if array.ndim == 2 and array.shape[1] == 1:
        from sklearn.exceptions import DataConversionWarning

        message = "A column-vector y was passed when a 1d array was expected."
        warnings.warn(message, DataConversionWarning, stacklevel=3)
        array = array.ravel()
    if array.ndim != 1:
        raise TargetError(f"y should be a 1d array, got an array of shape {array.shape} instead.")
    return pd.Series(array)


def _is_category(series: pd.Series) -> bool:
    return isinstance(series.dtype, pd.CategoricalDtype)


def _check_target_values(series: pd.Series) -> None:
    if not len(series):
        raise TargetError("The target has no rows.")
    missing = series.isna().to_numpy()
    if missing.any():
        raise TargetError(
            f"Input y contains NaN: the target misses {missing.sum()} of {len(series)} values, "
            f"the first in row {missing.argmax()}. Drop these rows or label them."
        )
    if types.is_complex_dtype(series.dtype):
        raise TargetError("Complex data not supported: the target holds complex numbers.")
    if types.is_datetime64_any_dtype(series.dtype):
        raise TargetError("Unknown label type: datetime. Classes must be text or whole numbers.")
    if types.is_float_dtype(series.dtype):
        numbers = series.to_numpy(dtype=np.float64)
        if np.isinf(numbers).any():
            raise TargetError(
                "Input y contains infinity or a value too large for dtype('float64')."
            )
        broken = numbers != np.floor(numbers)
        if broken.any():
            raise TargetError(
                "Unknown label type: continuous. Classes must be text, booleans or whole numbers; "
                f"the target holds {numbers[broken.argmax()]} in row {broken.argmax()}."
            )


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
