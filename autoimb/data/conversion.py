"""What other libraries hold, in the types that pandas computes with."""

from __future__ import annotations

import warnings
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa

from autoimb.errors import TableError

__all__ = ["as_column", "in_pandas", "is_native", "native_column"]

_PANDAS_HOLDS = (  # of Arrow's types: nothing of theirs may go through float
    *(pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean),
    *(pa.types.is_string, pa.types.is_large_string),
)


def as_column(values: object, what: str) -> pd.Series:
    """Give one value a row as a column, objects as what they are.

    Parameters
    ----------
    values : Series, Index, array of pandas, NumPy or Arrow, sequence
        What a masked array hides is missing; a column vector is a column, with scikit-learn's
        warning.
    what : str
        What was given, for the error.

    Returns
    -------
    Series of shape (n,)

    Raises
    ------
    TableError
        What is not of one dimension, half a character, or what pandas can't hold.
    """
    try:
        column = native_column(pd.Series(_one_dimensional(values, what)), what)
        return column.infer_objects() if column.dtype == object else column
    except UnicodeEncodeError as error:
        raise TableError(f"{what} holds {error.object[:80]!r}, no Unicode text.") from None


def _one_dimensional(values: Any, what: str) -> Any:
    values = in_pandas(values, what)
    if isinstance(values, pd.Series | pd.Index | pd.api.extensions.ExtensionArray):
        return values
    try:
        array = values if isinstance(values, np.ma.MaskedArray) else np.asarray(values)
    except ValueError as error:
        raise TableError(
            f"{what} should be a 1d array, got lists inside instead: {error}"
        ) from None
    if array.ndim == 2 and array.shape[1] == 1:
        from sklearn.exceptions import DataConversionWarning

        message = f"A column-vector {what} was passed when a 1d array was expected."
        warnings.warn(message, DataConversionWarning, stacklevel=6)
        return values.iloc[:, 0] if isinstance(values, pd.DataFrame) else array.ravel()
    if array.ndim != 1 or array.dtype.names:
        got = f"an array of shape {array.shape}" if array.ndim else f"a {type(values).__name__}"
        raise TableError(f"{what} should be a 1d array, got {got} instead.")
    return array


def in_pandas(source: Any, what: str) -> Any:
    """Give what another library's table or column is in pandas; all else as it is.

    Parameters
    ----------
    source : object
        Asked for ``to_pandas``, then for the PyCapsule interface of Arrow.
    what : str
        What was given, for the error.

    Returns
    -------
    DataFrame or Series, of as many rows and columns, or what was given

    Raises
    ------
    TableError
        What its library can't convert.
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
        raise TableError(f"{what} is a {kind} that pandas can't hold: {error}.") from None
    return source


def is_native(dtype: object) -> bool:
    """Whether pandas computes with a column of this type, and does not only carry it."""
    if isinstance(dtype, pd.ArrowDtype):
        return any(holds(dtype.pyarrow_dtype) for holds in _PANDAS_HOLDS)
    if isinstance(dtype, np.dtype):
        return dtype.isnative and dtype.kind not in "SV"
    return not isinstance(dtype, pd.SparseDtype)


def native_column(series: pd.Series, name: str) -> pd.Series:
    """Give a column in a type that pandas computes with.

    Sparse cells become dense, bytes objects, the order of bytes that of the machine, and what Arrow
    holds what pandas reads it as from a file; Arrow's numbers, booleans and text stay.

    Parameters
    ----------
    series : Series of shape (n,)
    name : str
        What it is, for the error.

    Returns
    -------
    Series of shape (n,)
        With the same index; the column itself where it is native already.

    Raises
    ------
    TableError
        What pandas can't hold, such as nanoseconds of a time of day.
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
