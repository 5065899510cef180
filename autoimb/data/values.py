"""One column's values as numbers, dates or levels; a wrong cell is named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types

from autoimb.errors import CellError, SchemaError

__all__ = [
    "DATE_PARTS",
    "date_numbers",
    "factorize",
    "levels_of",
    "numbers_of",
    "parse_dates",
    "text_of",
]

DATE_PARTS = ("days", "year", "month", "day", "weekday", "hour")

Floats = NDArray[np.float64]
Objects = NDArray[np.object_]


def numbers_of(series: pd.Series, name: str) -> Floats:
    """Give a column as finite numbers, NaN where they are missing.

    Parameters
    ----------
    series : Series of shape (n,)
        Numbers, booleans, durations (in seconds), or text that holds numbers.
    name : str
        The column, for the error.

    Returns
    -------
    ndarray of shape (n,), float64

    Raises
    ------
    SchemaError
        Text that is no number, dates, or infinity: with its first row.
    """
    values = _read_numbers(series, name)
    infinite = np.isinf(values)
    if infinite.any():
        raise SchemaError(
            f"Input X contains infinity or a value too large for dtype('float64'): column "
            f"{name!r}, row {infinite.argmax()}. Replace it by a number or by NaN."
        )
    return values


def _read_numbers(series: pd.Series, name: str) -> Floats:
    dtype = series.dtype
    if types.is_timedelta64_dtype(dtype):
        return np.asarray(series.dt.total_seconds(), dtype=np.float64)
    if types.is_datetime64_any_dtype(dtype):
        raise SchemaError(f"Column {name!r} must hold numbers; it holds dates ({dtype}).")
    if types.is_numeric_dtype(dtype) or types.is_bool_dtype(dtype):
        return series.to_numpy(dtype=np.float64, na_value=np.nan)
    codes, levels = factorize(series, name)
    parsed = pd.to_numeric(pd.Series(levels, dtype=object), errors="coerce")
    values = parsed.to_numpy(dtype=np.float64, na_value=np.nan)
    _refuse(np.isnan(values), codes, levels, f"Column {name!r} must hold numbers")
    return np.append(values, np.nan)[codes]


def factorize(series: pd.Series, name: str) -> tuple[NDArray[np.intp], Objects]:
    """Give codes of shape (n,), -1 for missing, and the different values as they appear."""
    try:
        codes, levels = pd.factorize(series)
    except TypeError:
        row, cell = next(each for each in enumerate(series) if not _hashable(each[1]))
        raise CellError(
            f"Column {name!r} holds a {type(cell).__name__} in row {row}; as argument must be a "
            "string, a number or a date in each cell."
        ) from None
    return codes, np.asarray(levels, dtype=object)


def _hashable(cell: object) -> bool:
    try:
        hash(cell)
    except TypeError:
        return False
    return True


def _refuse(failed: NDArray[np.bool_], codes: NDArray[np.intp], levels: Objects, rule: str) -> None:
    if failed.any():
        level = int(failed.argmax())  # levels stand in order of appearance
        row = int((codes == level).argmax())
        raise SchemaError(f"{rule}; row {row} holds {str(levels[level])[:80]!r}.")


def date_numbers(series: pd.Series, name: str, parts: tuple[str, ...]) -> Iterator[Floats]:
    """Give parts of dates, in the wall time of a column's own zone; text with an offset is UTC.

    Parameters
    ----------
    series : Series of shape (n,)
        Dates, periods, or text or whole numbers (20130101) that hold dates.
    name : str
        The column, for the error.
    parts : tuple of str
        Out of `DATE_PARTS`; "days" are days since 1970 with their fraction.

    Yields
    ------
    ndarray of shape (n,), float64
        One for each part, NaN where the date is missing.

    Raises
    ------
    SchemaError
        A value that is no date, with its row.
    """
    dates = _read_dates(series, name)
    for part in parts:
        if part == "days":
            # not by pandas: its Timestamp would make nanoseconds of the year 9999
            since = dates.to_numpy().astype("datetime64[us]") - np.datetime64(0, "us")
            values = since / np.timedelta64(1, "D")
        else:
            values = getattr(dates.dt, "day_of_week" if part == "weekday" else part)
        yield np.asarray(values, dtype=np.float64)


def _read_dates(series: pd.Series, name: str) -> pd.Series:
    if isinstance(series.dtype, pd.PeriodDtype):
        return cast(pd.Series, series.dt.to_timestamp())
    if isinstance(series.dtype, pd.DatetimeTZDtype) or types.is_datetime64_dtype(series.dtype):
        return cast(pd.Series, series.dt.tz_localize(None))
    codes, levels = factorize(series, name)
    if types.is_numeric_dtype(series.dtype):
        levels = np.array([text_of(level) for level in levels], dtype=object)
    parsed = parse_dates(levels)
    _refuse(np.asarray(parsed.isna()), codes, levels, f"Column {name!r} must hold dates")
    return pd.Series(parsed).reindex(codes)  # -1 is no position: NaT


def parse_dates(levels: Objects) -> pd.DatetimeIndex:
    """Parse text and date objects, ISO first; NaT where it fails."""
    given = cast(pd.Index, levels)  # what to_datetime takes is wider than its stubs
    parsed = pd.to_datetime(given, format="ISO8601", utc=True, errors="coerce")
    if parsed.isna().any():
        parsed = pd.to_datetime(given, format="mixed", utc=True, errors="coerce")
    return parsed.tz_localize(None)


def levels_of(series: pd.Series, name: str) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Give a column as levels.

    Parameters
    ----------
    series : Series of shape (n,)
        Anything hashable.
    name : str
        The column, for the error.

    Returns
    -------
    codes : ndarray of shape (n,), int32
        Positions in the vocabulary; -1 is missing.
    vocabulary : tuple of str
        The texts that occur, sorted; 1, 1.0 and "1" have the same text.
    """
    if isinstance(series.dtype, pd.CategoricalDtype):
        codes = np.asarray(series.cat.codes, dtype=np.intp)
        levels = np.asarray(series.cat.categories, dtype=object)
    else:
        codes, levels = factorize(series, name)
    texts = [text_of(level) for level in levels]
    occurs = np.bincount(codes + 1, minlength=len(levels) + 1)[1:] > 0
    vocabulary = sorted({text for text, used in zip(texts, occurs) if used})
    position = {text: number for number, text in enumerate(vocabulary)}
    lookup = np.array([*(position.get(text, -1) for text in texts), -1], dtype=np.int32)
    return lookup[codes], tuple(vocabulary)


def text_of(level: object) -> str:
    """Write a level or a label as text, a whole float like the integer."""
    if isinstance(level, float | np.floating) and float(level).is_integer():
        return str(int(level))
    return str(level)
