"""Conversion of a column's values to numbers, dates or levels; errors name the cell."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from datetime import time
from decimal import Decimal
from itertools import product
from numbers import Complex, Real
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types

from autoimb.errors import CellError, SchemaError

__all__ = [
    "DATE_PARTS",
    "DURATION",
    "FORMATS",
    "ISO",
    "DatePart",
    "date_formats",
    "date_numbers",
    "factorize",
    "floats_of",
    "is_duration",
    "levels_of",
    "numbers_of",
    "parse_dates",
    "text_of",
    "zoned",
]

DatePart = Literal["days", "year", "month", "day", "weekday", "hour"]
DATE_PARTS: tuple[DatePart, ...] = get_args(DatePart)
ISO = "ISO8601"
DURATION = "duration"
_DAYS = (
    *("%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%d.%m.%Y", "%m-%d-%Y", "%d-%m-%Y"),
    *("%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%m/%d/%y", "%d/%m/%y", "%d.%m.%y"),
)
_TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
FORMATS = (ISO, *(day + time for day, time in product(_DAYS, _TIMES)))
_CLOCK = ("now", "today")  # text for which pandas returns the current time
_ZONE = re.compile(r"[T ].*([Zz]|[+-]\d\d(:?\d\d)?)\s*$")  # at the end of a time of day

Floats = NDArray[np.float64]
Objects = NDArray[np.object_]


def numbers_of(series: pd.Series, name: str, form: str = "") -> Floats:
    """Convert a column to finite numbers, with NaN for missing values.

    Parameters
    ----------
    series : Series of shape (n,)
        Numbers, booleans, durations or times of day (in seconds), or text with numbers.
    name : str
        Name of the column, for errors.
    form : str
        `DURATION` if text contains durations.

    Returns
    -------
    ndarray of shape (n,), float64

    Raises
    ------
    SchemaError
        If a value is text that is not a number, a date, or infinite. The error names the first row.
    """
    values = _read_numbers(series, name, form)
    infinite = np.isinf(values)
    if infinite.any():
        raise SchemaError(
            f"Input X contains infinity or a value too large for dtype('float64'): column "
            f"{name!r}, row {infinite.argmax()}. Replace it by a number or by NaN."
        )
    return values


def _read_numbers(series: pd.Series, name: str, form: str) -> Floats:
    dtype = series.dtype
    if types.is_timedelta64_dtype(dtype):
        return np.asarray(series.dt.total_seconds(), dtype=np.float64)
    with np.errstate(over="ignore"):  # numbers beyond the range of floats become infinity
        if isinstance(dtype, np.dtype) and dtype.kind in "biuf":
            return np.array(series.to_numpy(), dtype=np.float64)
        if types.is_numeric_dtype(dtype) or types.is_bool_dtype(dtype):
            return series.to_numpy(dtype=np.float64, na_value=np.nan)
        codes, levels = factorize(series, name)
        durations = form == DURATION or is_duration(series)
        values = _seconds(levels) if durations else floats_of(levels)
    _refuse(np.isnan(values), codes, levels, f"Column {name!r} must hold {form or 'number'}s")
    return np.append(values, np.nan)[codes]


def _seconds(levels: Objects) -> Floats:
    spans = [str(level) if isinstance(level, time) else level for level in levels]
    parsed = pd.TimedeltaIndex(pd.to_timedelta(pd.Index(spans, dtype=object), errors="coerce"))
    return np.asarray(parsed.total_seconds(), dtype=np.float64)


def floats_of(levels: Objects) -> Floats:
    """Convert numbers and text with numbers to float, and other values to NaN."""
    numbers = pd.Series([_as_float(level) for level in levels], dtype=object)
    return pd.to_numeric(numbers, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)


def _as_float(level: object) -> object:
    """Convert a number to float, or infinity if it is too large; return other values unchanged."""
    if not isinstance(level, Real | Decimal):
        return level
    try:
        return float(level)
    except OverflowError:
        return math.inf


def is_duration(series: pd.Series) -> bool:
    """Return whether a column contains durations or times of day, which count from midnight."""
    if types.is_object_dtype(series.dtype):
        return types.infer_dtype(series, skipna=True) in {"timedelta", "timedelta64", "time"}
    return types.is_timedelta64_dtype(series.dtype)


def factorize(series: pd.Series, name: str) -> tuple[NDArray[np.intp], Objects]:
    """Return codes of shape (n,), -1 for missing, and the distinct values as they appear."""
    mixed = types.is_object_dtype(series.dtype)
    try:
        # Objects are passed as an array, since pandas 2 would convert their levels to floats or
        # dates.
        codes, levels = pd.factorize(series.to_numpy() if mixed else series)
        objects = np.asarray(levels, dtype=object)
    except TypeError:  # for values that Python cannot hash or compare, which are named below
        codes = np.arange(len(series), dtype=np.intp)
        objects = np.asarray(series, dtype=object)
    if mixed or isinstance(series.dtype, pd.CategoricalDtype):
        for code, level in enumerate(objects):
            if not _is_value(level):
                raise CellError(
                    f"Column {name!r} holds a {type(level).__name__} in row "
                    f"{int((codes == code).argmax())}; as argument must be a string, a number or "
                    "a date in each cell."
                )
    return codes, objects


def _is_value(cell: object) -> bool:
    """Return whether a cell is a single value with its own text, and not a complex number."""
    if isinstance(cell, str | bytes | Real):
        return True
    if isinstance(cell, Iterable | Complex) or type(cell).__repr__ is object.__repr__:
        return False
    try:
        hash(cell)
    except TypeError:
        return False
    return True


def _refuse(failed: NDArray[np.bool_], codes: NDArray[np.intp], levels: Objects, rule: str) -> None:
    """Raise an error that names the first row of failed levels and counts the others."""
    if failed.any():
        wrong = np.append(failed, False)[codes]  # code -1, a missing cell, selects the last one
        row, count = int(wrong.argmax()), int(wrong.sum())
        further = f", and {count - 1} more rows do not" if count > 1 else ""
        raise SchemaError(f"{rule}; row {row} holds {str(levels[codes[row]])[:80]!r}{further}.")


def date_numbers(
    series: pd.Series,
    name: str,
    parts: tuple[str, ...],
    form: str = ISO,
    with_zone: bool | None = None,
) -> Iterator[Floats]:
    """Yield parts of dates as numbers; instants with a time zone are converted to UTC.

    Parameters
    ----------
    series : Series of shape (n,)
        Dates, periods, or text or whole numbers (20130101) that represent dates.
    name : str
        Name of the column, for errors.
    parts : tuple of str
        Parts from `DATE_PARTS`; "days" are days since 1970 with their fraction.
    form : str
        Format of dates that are text: one of `FORMATS`, the same for all cells.
    with_zone : bool or None
        Whether all dates must have a time zone (True) or must not have one (False).

    Yields
    ------
    ndarray of shape (n,), float64
        One array for each part, with NaN for missing dates.

    Raises
    ------
    SchemaError
        If a value is not a date of the format, or contradicts `with_zone`. The error names its row
        and counts such values.
    """
    dates, codes = _read_dates(series, name, form, with_zone)
    for part in parts:
        if part == "days":
            # NumPy computes the days, since pandas would convert the year 9999 to nanoseconds.
            since = dates.to_numpy().astype("datetime64[us]") - np.datetime64(0, "us")
            values = since / np.timedelta64(1, "D")
        else:
            values = getattr(dates, "day_of_week" if part == "weekday" else part)
        # The last entry is that of code -1, a missing value.
        yield np.append(np.asarray(values, dtype=np.float64), np.nan)[codes]


def _read_dates(
    series: pd.Series, name: str, form: str, with_zone: bool | None
) -> tuple[pd.DatetimeIndex, NDArray[np.intp]]:
    """Return dates, and the position of each row among them, -1 for missing."""
    codes, levels = _date_levels(series, name)
    positions = np.arange(len(series))
    if isinstance(series.dtype, pd.PeriodDtype):
        dates = pd.DatetimeIndex(series.dt.to_timestamp())
    elif types.is_datetime64_any_dtype(series.dtype):
        dates = pd.DatetimeIndex(pd.to_datetime(series, utc=True).dt.tz_localize(None))
    else:
        dates, positions = parse_dates(levels, form), codes
        rule = f"Column {name!r} must hold dates of the format {form}"
        _refuse(np.asarray(dates.isna()), codes, levels, rule)
    if with_zone is not None:
        kinds = ("with", "without") if with_zone else ("without", "with")
        rule = f"Column {name!r} must hold dates {kinds[0]} a time zone, as in training, not "
        _refuse(_have_zones(levels) != with_zone, codes, levels, f"{rule}{kinds[1]} one")
    return dates, positions


def _has_date_type(series: pd.Series) -> bool:
    dtype = series.dtype
    return isinstance(dtype, pd.PeriodDtype) or types.is_datetime64_any_dtype(dtype)


def zoned(series: pd.Series, name: str) -> bool | None:
    """Return whether dates have a time zone; None if only some have one, or without any date."""
    zones = set(_have_zones(_date_levels(series, name)[1]).tolist())
    return zones.pop() if len(zones) == 1 else None


def _have_zones(levels: Objects) -> NDArray[np.bool_]:
    """Return whether each date, as text or as an object, has a time zone."""
    zones = (
        _ZONE.search(level) if isinstance(level, str) else getattr(level, "tzinfo", None)
        for level in levels
    )
    return np.array([zone is not None for zone in zones], dtype=bool)


def _date_levels(series: pd.Series, name: str) -> tuple[NDArray[np.intp], Objects]:
    """Return codes and levels; the first date is the level of all if the dates have one type."""
    if _has_date_type(series):
        first = np.asarray(series.dropna().iloc[:1], dtype=object)
        return np.where(series.isna(), -1, 0), first
    codes, levels = factorize(series, name)
    if types.is_numeric_dtype(series.dtype):
        levels = np.array([text_of(level) for level in levels], dtype=object)
    return codes, levels


def date_formats(series: pd.Series, name: str) -> tuple[str, ...]:
    """Return the formats in which all cells of a column are dates, the most usual one first.

    Parameters
    ----------
    series : Series of shape (n,)
        Dates, periods, text or whole numbers.
    name : str
        Name of the column, for errors.

    Returns
    -------
    tuple of str
        Formats from `FORMATS`. If day and month cannot be distinguished there are two of them, the
        first with the month before the day.
    """
    if _has_date_type(series):
        return (ISO,)
    _, levels = _date_levels(series, name)
    # The first level excludes most formats, before all levels are parsed.
    candidates = [form for form in FORMATS if not parse_dates(levels[:1], form).isna().any()]
    return tuple(form for form in candidates if not parse_dates(levels, form).isna().any())


def parse_dates(levels: Objects, form: str) -> pd.DatetimeIndex:
    """Parse text of a format and date objects; values that are not dates become NaT."""
    values = pd.Index([None if _reads_clock(level) else level for level in levels], dtype=object)
    parsed = pd.to_datetime(values, format=form, utc=True, errors="coerce")
    return parsed.tz_localize(None)


def _reads_clock(level: object) -> bool:
    return isinstance(level, str) and level.strip().lower() in _CLOCK


def levels_of(series: pd.Series, name: str) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Convert a column to codes of its levels.

    Parameters
    ----------
    series : Series of shape (n,)
        Text, numbers, dates, or objects with distinct text.
    name : str
        Name of the column, for errors.

    Returns
    -------
    codes : ndarray of shape (n,), int32
        Positions in the vocabulary; -1 is a missing value.
    vocabulary : tuple of str
        Sorted texts that occur in the column; 1, 1.0 and "1" have the same text.
    """
    codes, levels = factorize(series, name)
    # Several levels may have the same text.
    texts = [text_of(level) for level in levels]
    vocabulary = sorted(set(texts))
    position = {text: place for place, text in enumerate(vocabulary)}
    # The last entry is that of code -1, a missing value.
    positions = np.array([*(position[text] for text in texts), -1], dtype=np.int32)
    return positions[codes], tuple(vocabulary)


def text_of(level: object) -> str:
    """Convert a level or a label to text that can be stored; whole floats become integers."""
    if isinstance(level, float | np.floating) and float(level).is_integer():
        return str(int(level))
    if isinstance(level, int) and level.bit_length() > 10_000:
        return hex(level)  # Python limits the number of decimal digits
    return str(level).encode(errors="backslashreplace").decode()  # escapes invalid Unicode
