"""Read a table, and split the target off."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types

from autoimb.data.conversion import as_column, in_pandas, is_native, native_column
from autoimb.data.files import check_names, read_file
from autoimb.data.values import numbers_of
from autoimb.errors import SchemaError, TableError, TargetError, choices

__all__ = [
    "check_lengths",
    "frame_of",
    "has_names",
    "read_table",
    "row_weights",
    "split_target",
    "split_weight",
    "table_of_rows",
    "weighing_rows",
]

WIDEST = 1e12  # times: beyond, the small weights are nothing in single precision
_MINIMUM = "while a minimum of 1 is required."


def frame_of(source: object, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Give a table in memory as a DataFrame with text as column names.

    Parameters
    ----------
    source : DataFrame, ndarray of shape (n, p), nested list, or a table of another library
        pyarrow, polars and others that turn into pandas (``to_pandas``) or Arrow (the PyCapsule
        interface); records (a structured array) are a table too. Arrays are taken by position.
    names : sequence of str, optional
        Names for the columns of an array; by default ``x0, x1, ...``.

    Returns
    -------
    DataFrame
        Without a copy of the data where `source` is a DataFrame, but for sparse columns and those
        of Arrow's types that pandas only carries.

    Raises
    ------
    TableError
        Sparse, complex, or not two-dimensional input; names that are repeated or no text.
    SchemaError
        An array with another number of columns than `names`.
    """
    if hasattr(source, "toarray"):
        raise TableError(
            "Sparse data was passed for X, but dense data is required; "
            "use '.toarray()' to convert it."
        )
    source = in_pandas(source, "X")
    if isinstance(source, np.ndarray) and source.dtype.names:
        source = _frame_of_records(source)
    if isinstance(source, pd.DataFrame):
        frame = source.copy(deep=False)
        frame.columns = _texts(source.columns)
    else:
        frame = _frame_of_array(source, names)
    check_names(frame.columns)
    for name, dtype in frame.dtypes.items():
        if not is_native(dtype):
            frame[name] = native_column(frame[name], f"Column {name!r}")
        elif types.is_complex_dtype(dtype):
            raise TableError(f"Complex data not supported: column {name!r} is {dtype}.")
    return frame


def table_of_rows(source: Any) -> Any:
    """Return rows that are given by the names of their columns as a table.

    Parameters
    ----------
    source : object
        One row, a dict or a Series; or a list of dicts, where a name that some of them lack is a
        missing value there.

    Returns
    -------
    DataFrame, or `source` where it is anything else
    """
    if isinstance(source, pd.Series):
        return pd.DataFrame([source.tolist()], columns=source.index)
    rows = [source] if isinstance(source, Mapping) else source
    if isinstance(rows, list) and rows and all(isinstance(row, Mapping) for row in rows):
        return pd.DataFrame(rows)
    return source


def has_names(source: object) -> bool:
    """Whether the columns of a table have names, which are more than numbers from 0 on."""
    if isinstance(source, np.ndarray):
        return source.dtype.names is not None
    return isinstance(source, pd.DataFrame) and not _are_numbered(source.columns)


def _are_numbered(labels: pd.Index) -> bool:
    numbers = labels.tolist()
    return all(type(label) is int for label in numbers) and set(numbers) == set(range(len(numbers)))


def _texts(labels: pd.Index) -> pd.Index:
    """Write labels of columns as text; columns that are only numbered are those of an array."""
    if _are_numbered(labels):
        return pd.Index([f"x{label}" for label in labels])
    names = [str(label) for label in labels]
    try:
        for name in names:
            name.encode()
    except UnicodeEncodeError as error:
        raise TableError(f"The column name {error.object!r} is no Unicode text.") from None
    return pd.Index(names)


def _frame_of_records(records: NDArray[Any]) -> pd.DataFrame:
    """Give a structured array as a table; what a field holds several of is left to its column."""
    fields = {name: records[name] for name in records.dtype.names or ()}
    return pd.DataFrame({name: f if f.ndim == 1 else list(f) for name, f in fields.items()})


def _frame_of_array(source: object, names: Sequence[str] | None) -> pd.DataFrame:
    array = source if isinstance(source, np.ma.MaskedArray) else _as_array(source)
    if array.ndim < 2:
        given = "1D" if array.ndim else "scalar"
        kind = "" if array.ndim else f" X is a {type(source).__name__}; collect a lazy table first."
        raise TableError(
            f"Expected 2D array, got {given} array instead. Reshape your data: "
            "array.reshape(-1, 1) for one feature, array.reshape(1, -1) for one row." + kind
        )
    if array.ndim > 2:
        raise TableError(f"Found array with dim {array.ndim}; X must have 2: rows and columns.")
    if names is None:
        names = [f"x{position}" for position in range(array.shape[1])]
    if len(names) != array.shape[1]:
        raise SchemaError(
            f"X has {array.shape[1]} features, but AutoImbClassifier is expecting "
            f"{len(names)} features as input."
        )
    frame = pd.DataFrame(array, columns=pd.Index(list(names), dtype=object))
    return frame.infer_objects() if array.dtype == object else frame


def _as_array(source: object) -> NDArray[Any]:
    try:
        return np.asarray(source, dtype=object if isinstance(source, list | tuple) else None)
    except ValueError as error:
        raise TableError(f"X can't be read as an array: {error}") from error


def read_table(source: str | os.PathLike[str] | pd.DataFrame | NDArray[Any]) -> pd.DataFrame:
    """Read a table from a file, a DataFrame or an array.

    Parameters
    ----------
    source : str, path, DataFrame or ndarray of shape (n, p)
        A CSV, TSV or TXT file (the header tells the separator), also packed as ``.gz .bz2 .xz .zip
        .zst``; a Parquet or a Feather file; or a table in memory.

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


def split_weight(
    frame: pd.DataFrame, name: str | None
) -> tuple[pd.DataFrame, NDArray[np.float64] | None]:
    """Split the column of row weights off, where there is one.

    Parameters
    ----------
    frame : DataFrame of shape (n, p + 1)
        A table, the target split off.
    name : str or None
        The name of the column; None leaves the table as it is.

    Returns
    -------
    features : DataFrame of shape (n, p)
    weight : ndarray of shape (n,) or None

    Raises
    ------
    SchemaError
        No such column, no other column, or a cell that is no finite number from 0 on.
    """
    if name is None:
        return frame, None
    if name not in frame.columns:
        raise SchemaError(choices("weight column", name, frame.columns))
    if frame.shape[1] == 1:
        raise SchemaError(f"The table has no column beside the weights {name!r} and the target.")
    weight = numbers_of(frame[name], name)
    bad = np.isnan(weight) | (weight < 0)
    if bad.any():
        row = int(bad.argmax())
        got = "none" if np.isnan(weight[row]) else f"{weight[row]:g}"
        raise SchemaError(
            f"The weight column {name!r} must hold a number from 0 on in every row; row {row} "
            f"holds {got}."
        )
    return frame.drop(columns=[name]), weight


def row_weights(given: object, n_rows: int) -> NDArray[np.float64] | None:
    """Give the user's weights as numbers, NaN where one is missing; None stays None.

    Parameters
    ----------
    given : Series, array of pandas, NumPy or Arrow, sequence, or None
        One number, boolean or text of a number for each row.
    n_rows : int

    Returns
    -------
    ndarray of shape (n,) or None

    Raises
    ------
    TableError
        Not one number for each row, or a complex one.
    SchemaError
        Text that is no number, dates, or infinity.
    """
    if given is None:
        return None
    column = as_column(given, "sample_weight")
    if len(column) != n_rows:
        raise TableError(
            f"sample_weight must have the shape ({n_rows},): one number for each row; "
            f"got ({len(column)},)."
        )
    if types.is_complex_dtype(column.dtype):
        raise TableError("Complex data not supported: sample_weight holds complex numbers.")
    return numbers_of(column, "sample_weight")


def check_lengths(X: Sized, y: Sized) -> None:
    """Refuse rows and labels of different numbers."""
    if len(X) != len(y):
        raise TableError(
            f"X and y have inconsistent numbers of samples: {len(X)} rows and {len(y)} labels; "
            "each row needs one."
        )


def weighing_rows(given: NDArray[Any] | None, n_rows: int) -> NDArray[np.bool_]:
    """Tell which rows have a weight above 0.

    Parameters
    ----------
    given : ndarray of shape (n,) or None
        The user's weights; None weighs each row alike.
    n_rows : int

    Returns
    -------
    ndarray of bool, shape (n,)

    Raises
    ------
    TableError
        Negative or infinite weights, nothing but zeros, or such as differ by more than `WIDEST`.
    """
    if given is None:
        return np.ones(n_rows, dtype=bool)
    weight = np.asarray(given, dtype=np.float64)
    bad = ~np.isfinite(weight) | (weight < 0)
    if bad.any():
        row = int(bad.argmax())
        raise TableError(
            f"sample_weight must be finite and not negative; got {weight[row]} in row {row}."
        )
    kept = weight > 0
    if not kept.any():
        raise TableError("sample_weight must not be zero in all rows.")
    if weight.max() > np.finfo(np.float64).max / n_rows:
        raise TableError("sample_weight must have a finite sum; scale it down.")
    least, most = weight[kept].min(), weight.max()
    if most > WIDEST * least:
        raise TableError(
            f"sample_weight may be {WIDEST:g} times another at most: row {weight.argmax()} has "
            f"{most:g}, another {least:g}. Give the small ones 0, which drops the row."
        )
    return np.asarray(kept)
