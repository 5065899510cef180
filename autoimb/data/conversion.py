"""Conversion of data of other libraries to types with which pandas computes."""

from __future__ import annotations

import warnings
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa

from autoimb.errors import TableError

__all__ = ["as_column", "in_pandas", "is_native", "native_column"]

# Arrow types that pandas keeps, since a conversion through float could change their values.
_PANDAS_HOLDS = (
    *(pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean),
    *(pa.types.is_string, pa.types.is_large_string),
)


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
        column = native_column(pd.Series(_one_dimensional(values, name)), name)
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
        warnings.warn(message, DataConversionWarning, stacklevel=6)
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


def is_native(dtype: object) -> bool:
    """Return whether pandas computes with values of a type, rather than only storing them."""
    if isinstance(dtype, pd.ArrowDtype):
        return any(holds(dtype.pyarrow_dtype) for holds in _PANDAS_HOLDS)
    if isinstance(dtype, np.dtype):
        return dtype.isnative and dtype.kind not in "SV"
    return not isinstance(dtype, pd.SparseDtype)


def native_column(series: pd.Series, name: str) -> pd.Series:
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
    if is_native(dtype):
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
