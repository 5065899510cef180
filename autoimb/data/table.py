"""Conversion of tables and columns to pandas, and separation of the target and the weights."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence, Sized
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pandas.api import types

from autoimb.data.files import check_names, read_file
from autoimb.data.values import numbers_of
from autoimb.errors import SchemaError, TableError, TargetError, check_choice

__all__ = [
    "as_column",
    "check_lengths",
    "frame_of",
    "has_names",
    "in_pandas",
    "read_table",
    "row_weights",
    "split_target",
    "split_weight",
    "table_of_rows",
    "weighing_rows",
]

# Arrow types that pandas keeps, since a conversion through float could change their values.
_PANDAS_HOLDS = (
    *(pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean),
    *(pa.types.is_string, pa.types.is_large_string),
)

WIDEST = 1e12  # ratio of weights from which the small ones vanish in single precision
_MINIMUM = "while a minimum of 1 is required."


def frame_of(source: object, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Convert a table in memory to a DataFrame with text as column names.

    Parameters
    ----------
    source : DataFrame, ndarray of shape (n, p), nested list, or a table of another library
        Tables of pyarrow, polars and other libraries are converted by their method ``to_pandas`` or
        by the PyCapsule interface of Arrow. Structured arrays are tables as well.
    names : sequence of str, optional
        Names of the columns of an array; ``x0, x1, ...`` by default.

    Returns
    -------
    DataFrame
        Table that shares its data with `source` if that is a DataFrame, except for sparse columns
        and columns of Arrow types with which pandas does not compute.

    Raises
    ------
    TableError
        If the input is sparse, complex or not two-dimensional, or if column names are repeated or
        not valid text.
    SchemaError
        If the number of columns of an array differs from the number of names.
    """
    if hasattr(source, "toarray"):
        raise TableError(
            "Sparse data was passed for X, but dense data is required; "
            "use '.toarray()' to convert it."
        )
    source = in_pandas(source, "X")
    if isinstance(source, np.ndarray) and source.dtype.names:
        # Fields of several values become columns of arrays.
        fields = {name: source[name] for name in source.dtype.names}
        source = pd.DataFrame({n: f if f.ndim == 1 else list(f) for n, f in fields.items()})
    if isinstance(source, pd.DataFrame):
        frame = source.copy(deep=False)
        frame.columns = _texts(source.columns)
    else:
        frame = _frame_of_array(source, names)
    check_names(frame.columns)
    # Columns of types that pandas only stores are converted one by one.
    for name, dtype in frame.dtypes.items():
        if not _is_native(dtype):
            frame[name] = _native_column(frame[name], f"Column {name!r}")
        elif types.is_complex_dtype(dtype):
            raise TableError(f"Complex data not supported: column {name!r} is {dtype}.")
    return frame


def table_of_rows(source: Any) -> Any:
    """Convert rows that are mappings from column names to values to a table.

    Parameters
    ----------
    source : object
        One row as a dict or a Series, or several rows as a list of dicts. A name that a dict lacks
        is a missing value of its row.

    Returns
    -------
    DataFrame, or `source` if it is of another type
    """
    if isinstance(source, pd.Series):
        return pd.DataFrame([source.tolist()], columns=source.index)
    rows = [source] if isinstance(source, Mapping) else source
    if isinstance(rows, list) and rows and all(isinstance(row, Mapping) for row in rows):
        return pd.DataFrame(rows)
    return source


def has_names(source: object) -> bool:
    """Return whether the columns of a table have names other than consecutive numbers."""
    if isinstance(source, np.ndarray):
        return source.dtype.names is not None
    return isinstance(source, pd.DataFrame) and not _are_numbered(source.columns)


def _are_numbered(labels: pd.Index) -> bool:
    numbers = labels.tolist()
    return all(type(label) is int for label in numbers) and set(numbers) == set(range(len(numbers)))


def _texts(labels: pd.Index) -> pd.Index:
    """Convert column labels to text; consecutive numbers become ``x0, x1, ...`` as for arrays."""
    if _are_numbered(labels):
        return pd.Index([f"x{label}" for label in labels])
    names = [str(label) for label in labels]
    try:
        for name in names:
            name.encode()
    except UnicodeEncodeError as error:
        raise TableError(f"The column name {error.object!r} is not valid Unicode text.") from None
    return pd.Index(names)


def _frame_of_array(source: object, names: Sequence[str] | None) -> pd.DataFrame:
    try:
        array = np.asanyarray(source, dtype=object if isinstance(source, list | tuple) else None)
    except ValueError as error:
        raise TableError(f"X can't be read as an array: {error}") from error
    if array.ndim < 2:
        shape = "1D" if array.ndim else "scalar"
        kind = "" if array.ndim else f" X is a {type(source).__name__}; collect a lazy table first."
        raise TableError(
            f"Expected 2D array, got {shape} array instead. Reshape your data: "
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


def read_table(source: str | os.PathLike[str] | pd.DataFrame | NDArray[Any]) -> pd.DataFrame:
    """Read a table from a file, a DataFrame or an array.

    Parameters
    ----------
    source : str, path, DataFrame or ndarray of shape (n, p)
        CSV, TSV or TXT file, possibly packed as ``.gz .bz2 .xz .zip .zst``, whose separator is
        detected in the header; Parquet or Feather file; or table in memory.

    Returns
    -------
    DataFrame of shape (n, p)
        Table with text as column names, which are ``x0, x1, ...`` for an array.

    Raises
    ------
    TableError
        If there is no such file, if it is not a table file, or if the table has no rows, no
        columns, repeated names, or sparse or complex data.
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
    """Separate the target column from a table.

    Parameters
    ----------
    frame : DataFrame of shape (n, p + 1)
        Table that includes the target.
    target : str
        Name of the target column.

    Returns
    -------
    features : DataFrame of shape (n, p)
    target : Series of shape (n,)

    Raises
    ------
    TargetError
        If there is no such column, or no other column.
    """
    check_choice("target column", target, frame.columns, TargetError)
    if frame.shape[1] == 1:
        raise TargetError(f"The table has no column other than the target {target!r}.")
    return frame.drop(columns=[target]), frame[target]


def split_weight(
    frame: pd.DataFrame, name: str | None
) -> tuple[pd.DataFrame, NDArray[np.float64] | None]:
    """Separate the column of row weights from a table, if there is one.

    Parameters
    ----------
    frame : DataFrame of shape (n, p + 1)
        Table without the target.
    name : str or None
        Name of the weight column; None leaves the table unchanged.

    Returns
    -------
    features : DataFrame of shape (n, p)
    weight : ndarray of shape (n,) or None

    Raises
    ------
    SchemaError
        If there is no such column or no other column, or if a cell is not a finite number of at
        least 0.
    """
    if name is None:
        return frame, None
    check_choice("weight column", name, frame.columns, SchemaError)
    if frame.shape[1] == 1:
        raise SchemaError(
            f"The table has no column other than the weights {name!r} and the target."
        )
    return frame.drop(columns=[name]), _weights(frame[name], name)


def _weights(column: pd.Series, name: str) -> NDArray[np.float64]:
    weight = numbers_of(column, name)
    bad = ~(weight >= 0)
    if bad.any():
        row = int(bad.argmax())
        raise SchemaError(
            f"The weights {name!r} must be numbers from 0 on in every row; row {row} holds "
            f"{weight[row]:g}."
        )
    return weight


def row_weights(sample_weight: object, n_rows: int) -> NDArray[np.float64] | None:
    """Convert the weights of the user to numbers; None stays None.

    Parameters
    ----------
    sample_weight : Series, array of pandas, NumPy or Arrow, sequence, or None
        One number, boolean or text with a number for each row.
    n_rows : int
        Required number of weights.

    Returns
    -------
    ndarray of shape (n,) or None

    Raises
    ------
    TableError
        If the number of weights differs from `n_rows`, or a weight is complex.
    SchemaError
        If a weight is not a finite number of at least 0.
    """
    if sample_weight is None:
        return None
    column = as_column(sample_weight, "sample_weight")
    if len(column) != n_rows:
        raise TableError(
            f"sample_weight must have the shape ({n_rows},): one number for each row; "
            f"got ({len(column)},)."
        )
    if types.is_complex_dtype(column.dtype):
        raise TableError("Complex data not supported: sample_weight holds complex numbers.")
    return _weights(column, "sample_weight")


def check_lengths(X: Sized, y: Sized) -> None:
    """Check that there are as many labels as rows."""
    if len(X) != len(y):
        raise TableError(
            f"X and y have inconsistent numbers of samples: {len(X)} rows and {len(y)} labels; "
            "each row needs one."
        )


def weighing_rows(sample_weight: NDArray[Any] | None, n_rows: int) -> NDArray[np.bool_]:
    """Return the mask of the rows with weights above 0.

    Parameters
    ----------
    sample_weight : ndarray of shape (n,) or None
        Weights of at least 0; None weighs all rows equally.
    n_rows : int
        Number of rows.

    Returns
    -------
    ndarray of bool, shape (n,)

    Raises
    ------
    TableError
        If all weights are 0, if their sum is infinite, or if the ratio of two weights exceeds
        `WIDEST`.
    """
    if sample_weight is None:
        return np.ones(n_rows, dtype=bool)
    weight = np.asarray(sample_weight, dtype=np.float64)
    positive = weight > 0
    if not positive.any():
        raise TableError("sample_weight must not be zero in all rows.")
    # The sum of the weights must be finite as well.
    if weight.max() > np.finfo(np.float64).max / n_rows:
        raise TableError("sample_weight must have a finite sum; scale it down.")
    lowest, highest = weight[positive].min(), weight.max()
    if highest > WIDEST * lowest:
        raise TableError(
            f"sample_weight may be {WIDEST:g} times another at most: row {weight.argmax()} has "
            f"{highest:g}, another {lowest:g}. Give the small ones 0, which drops the row."
        )
    return np.asarray(positive)


# --- columns -------------------------------------------------------------------------------------


def as_column(values: object, name: str) -> pd.Series:
    """Convert a one-dimensional array-like to a Series, inferring the type of objects.

    Parameters
    ----------
    values : Series, Index, array of pandas, NumPy or Arrow, sequence
        One value per row. Masked values of a masked array are missing. A column vector is accepted
        with the warning of scikit-learn.
    name : str
        Name of the argument, for errors.

    Returns
    -------
    Series of shape (n,)

    Raises
    ------
    TableError
        If the values are not one-dimensional, contain invalid Unicode, or have a type that pandas
        does not support.
    """
    try:
        column = _native_column(pd.Series(_one_dimensional(values, name)), name)
        return column.infer_objects() if column.dtype == object else column
    except UnicodeEncodeError as error:
        text = error.object[:80]
        raise TableError(f"{name} contains {text!r}, not valid Unicode text.") from None


def _one_dimensional(values: Any, name: str) -> Any:
    values = in_pandas(values, name)
    if isinstance(values, pd.Series | pd.Index | pd.api.extensions.ExtensionArray):
        return values
    try:
        array = values if isinstance(values, np.ma.MaskedArray) else np.asarray(values)
    except ValueError as error:
        raise TableError(
            f"{name} should be a 1d array, got lists inside instead: {error}"
        ) from None
    if array.ndim == 2 and array.shape[1] == 1:
        from sklearn.exceptions import DataConversionWarning

        message = f"A column-vector {name} was passed when a 1d array was expected."
        warnings.warn(message, DataConversionWarning, stacklevel=5)
        return values.iloc[:, 0] if isinstance(values, pd.DataFrame) else array.ravel()
    if array.ndim != 1 or array.dtype.names:
        got = f"an array of shape {array.shape}" if array.ndim else f"a {type(values).__name__}"
        raise TableError(f"{name} should be a 1d array, got {got} instead.")
    return array


def in_pandas(source: Any, name: str) -> Any:
    """Convert a table or column of another library to pandas; return other objects unchanged.

    Parameters
    ----------
    source : object
        Object that is converted by its method ``to_pandas`` or by the PyCapsule interface of Arrow.
    name : str
        Name of the argument, for errors.

    Returns
    -------
    DataFrame, Series, or `source`

    Raises
    ------
    TableError
        If the conversion of the other library fails.
    """
    if isinstance(source, pd.DataFrame | pd.Series):
        return source
    try:
        if hasattr(source, "to_pandas"):
            return source.to_pandas()
        if hasattr(source, "__arrow_c_stream__"):
            return pa.table(source).to_pandas()
    except (pa.ArrowException, TypeError, ValueError) as error:
        kind = type(source).__name__
        raise TableError(f"{name} is a {kind} that pandas can't hold: {error}.") from None
    return source


def _is_native(dtype: object) -> bool:
    """Return whether pandas computes with values of a type, rather than only storing them."""
    if isinstance(dtype, pd.ArrowDtype):
        return any(holds(dtype.pyarrow_dtype) for holds in _PANDAS_HOLDS)
    if isinstance(dtype, np.dtype):
        return dtype.isnative and dtype.kind not in "SV"
    return not isinstance(dtype, pd.SparseDtype)


def _native_column(series: pd.Series, name: str) -> pd.Series:
    """Convert a column to a type with which pandas computes.

    Sparse columns become dense, bytes become objects, and the byte order becomes that of the
    machine. Numbers, booleans and text of Arrow are retained; other types of Arrow are converted as
    pandas converts them when it reads a file.

    Parameters
    ----------
    series : Series of shape (n,)
    name : str
        Description of the column, for errors.

    Returns
    -------
    Series of shape (n,)
        Column with the same index; `series` itself if its type is native.

    Raises
    ------
    TableError
        If pandas does not support the values, such as nanoseconds of a time of day.
    """
    dtype = series.dtype
    if _is_native(dtype):
        return series
    if isinstance(dtype, pd.SparseDtype):
        return pd.Series(np.asarray(series.array), index=series.index, name=series.name)
    if isinstance(dtype, np.dtype):
        return series.astype(object if dtype.kind in "SV" else dtype.newbyteorder("="))
    try:
        cells = pa.array(series.array).to_pandas()
    except (pa.ArrowException, ValueError) as error:
        raise TableError(f"{name} is {dtype}, which pandas can't hold: {error}.") from None
    return cast(pd.Series, cells.set_axis(series.index).rename(series.name))
