"""One column's values as numbers, dates or levels; a wrong cell is named."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from itertools import product
from numbers import Complex, Real
from typing import Literal, cast, get_args
from zoneinfo import ZoneInfo

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
    "date_formats",
    "date_numbers",
    "factorize",
    "floats_of",
    "is_duration",
    "levels_of",
    "numbers_of",
    "parse_dates",
    "text_of",
    "zone_named",
    "zone_of",
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
_CLOCK = ("now", "today")  # by which pandas reads the clock
_OFFSET = re.compile(r"(?:Z|UTC|[+-]\d{2}:?\d{2})$")  # at the end of the text of an instant

Floats = NDArray[np.float64]
Objects = NDArray[np.object_]


def numbers_of(series: pd.Series, name: str, form: str = "") -> Floats:
    """Give a column as finite numbers, NaN where they are missing.

    Parameters
    ----------
    series : Series of shape (n,)
        Numbers, booleans, durations and times of day (in seconds), or text that holds numbers.
    name : str
        The column, for the error.
    form : str
        `DURATION` where text holds durations.

    Returns
    -------
    ndarray of shape (n,), float64

    Raises
    ------
    SchemaError
        Text that is no number, dates, or infinity: with its first row.
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
    if types.is_datetime64_any_dtype(dtype):
        raise SchemaError(f"Column {name!r} must hold numbers; it holds dates ({dtype}).")
    with np.errstate(over="ignore"):  # beyond the floats is infinity
        if types.is_numeric_dtype(dtype) or types.is_bool_dtype(dtype):
            return series.to_numpy(dtype=np.float64, na_value=np.nan)
        codes, levels = factorize(series, name)
        spans = form == DURATION or is_duration(series)
        values = _seconds(levels) if spans else floats_of(levels)
    _refuse(np.isnan(values), codes, levels, f"Column {name!r} must hold {form or 'number'}s")
    return np.append(values, np.nan)[codes]


def _seconds(levels: Objects) -> Floats:
    spans = [str(level) if isinstance(level, time) else level for level in levels]
    parsed = pd.TimedeltaIndex(pd.to_timedelta(pd.Index(spans, dtype=object), errors="coerce"))
    return np.asarray(parsed.total_seconds(), dtype=np.float64)


def floats_of(levels: Objects) -> Floats:
    """Give numbers and text of numbers as float, NaN what is neither."""
    numbers = pd.Series([_as_float(level) for level in levels], dtype=object)
    return pd.to_numeric(numbers, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)


def _as_float(level: object) -> object:
    """Give a number as float, infinity where none can hold it; all else stays."""
    if not isinstance(level, Real | Decimal):
        return level
    try:
        return float(level)
    except OverflowError:
        return math.inf


def is_duration(series: pd.Series) -> bool:
    """Whether a column holds durations, or times of day: those since midnight."""
    if types.is_object_dtype(series.dtype):
        return types.infer_dtype(series, skipna=True) in {"timedelta", "timedelta64", "time"}
    return types.is_timedelta64_dtype(series.dtype)


def factorize(series: pd.Series, name: str) -> tuple[NDArray[np.intp], Objects]:
    """Give codes of shape (n,), -1 for missing, and the different values as they appear."""
    try:
        # an array of objects stays one: pandas 2 would make floats or dates of its levels
        values = series.to_numpy() if types.is_object_dtype(series.dtype) else series
        codes, levels = pd.factorize(values)
    except TypeError:  # what Python can't tell apart
        row, cell = next(each for each in enumerate(series) if not _is_value(each[1]))
        raise _no_value(cell, name, row) from None
    return codes, _checked(levels, codes, name)


def _checked(levels: pd.Index | Objects, codes: NDArray[np.intp], name: str) -> Objects:
    objects = np.asarray(levels, dtype=object)
    if levels.dtype == object:
        for code, level in enumerate(objects):
            if not _is_value(level):
                raise _no_value(level, name, int((codes == code).argmax()))
    return objects


def _is_value(cell: object) -> bool:
    """Whether a cell is one thing with a text of its own, and no complex number."""
    if isinstance(cell, str | bytes | Real):
        return True
    if isinstance(cell, Iterable | Complex) or type(cell).__repr__ is object.__repr__:
        return False
    try:
        hash(cell)
    except TypeError:
        return False
    return True


def _no_value(cell: object, name: str, row: int) -> CellError:
    return CellError(
        f"Column {name!r} holds a {type(cell).__name__} in row {row}; as argument must be a "
        "string, a number or a date in each cell."
    )


def _refuse(failed: NDArray[np.bool_], codes: NDArray[np.intp], levels: Objects, rule: str) -> None:
    """Refuse a column where levels failed: count its rows and show the first."""
    if failed.any():
        wrong = np.append(failed, False)[codes]  # the last is that of -1, a missing cell
        row, count = int(wrong.argmax()), int(wrong.sum())
        others = f", and {count - 1} more rows do not" if count > 1 else ""
        raise SchemaError(f"{rule}; row {row} holds {str(levels[codes[row]])[:80]!r}{others}.")


def date_numbers(
    series: pd.Series, name: str, parts: tuple[str, ...], form: str = ISO, zone: str = ""
) -> Iterator[Floats]:
    """Give parts of dates, in the wall time of a zone.

    Without a zone that is the wall time of the column's own zone, and text with an offset is UTC.

    Parameters
    ----------
    series : Series of shape (n,)
        Dates, periods, or text or whole numbers (20130101) that hold dates.
    name : str
        The column, for the error.
    parts : tuple of str
        Out of `DATE_PARTS`; "days" are days since 1970 with their fraction.
    form : str
        How text holds them, the same in each cell: one of `FORMATS`.
    zone : str
        The name of a zone, see `zone_named`: instants are converted to it. Dates without a zone
        are taken as wall time in it.

    Yields
    ------
    ndarray of shape (n,), float64
        One for each part, NaN where the date is missing.

    Raises
    ------
    SchemaError
        A value that is no date of that format, with its row, and how many there are.
    """
    dates = _read_dates(series, name, form, zone_named(zone) if zone else None)
    for part in parts:
        if part == "days":
            # not by pandas: its Timestamp would make nanoseconds of the year 9999
            since = dates.to_numpy().astype("datetime64[us]") - np.datetime64(0, "us")
            values = since / np.timedelta64(1, "D")
        else:
            values = getattr(dates.dt, "day_of_week" if part == "weekday" else part)
        yield np.asarray(values, dtype=np.float64)


def _read_dates(series: pd.Series, name: str, form: str, zone: tzinfo | None) -> pd.Series:
    if isinstance(series.dtype, pd.PeriodDtype):
        return cast(pd.Series, series.dt.to_timestamp())
    if isinstance(series.dtype, pd.DatetimeTZDtype) and zone is not None:
        return cast(pd.Series, series.dt.tz_convert(zone).dt.tz_localize(None))
    if isinstance(series.dtype, pd.DatetimeTZDtype) or types.is_datetime64_dtype(series.dtype):
        return cast(pd.Series, series.dt.tz_localize(None))
    codes, levels = _date_levels(series, name)
    parsed = parse_dates(levels, form)
    rule = f"Column {name!r} must hold dates of the format {form}"
    _refuse(np.asarray(parsed.isna()), codes, levels, rule)
    if zone is not None:
        converted = parsed.tz_localize(UTC).tz_convert(zone).tz_localize(None)
        parsed = parsed.where([not _is_instant(level) for level in levels], converted)
    return pd.Series(parsed).reindex(codes)  # -1 is no position: NaT


def _is_instant(level: object) -> bool:
    """Whether a date, or its text, has an offset from UTC."""
    if isinstance(level, str):
        return _OFFSET.search(level.strip()) is not None
    return isinstance(level, datetime) and level.tzinfo is not None


def zone_of(series: pd.Series) -> str:
    """Return the name of a column's time zone, which `zone_named` reads; empty where it has none.

    A zone that has no such name is written as its offset, or where that varies as UTC.
    """
    if not isinstance(series.dtype, pd.DatetimeTZDtype):
        return ""
    zone = series.dtype.tz
    try:
        zone_named(str(zone))
    except ValueError:
        offset = zone.utcoffset(None) or timedelta(0)
        return str(timezone(offset))
    return str(zone)


def zone_named(name: str) -> tzinfo:
    """Return the time zone of a name: of the IANA database, or UTC and an offset (UTC+05:30).

    Raises
    ------
    ValueError
        Where there is no such zone.
    """
    fixed = re.fullmatch(r"UTC([+-])([01]\d|2[0-3]):([0-5]\d)", name)
    if fixed is not None:
        sign, hours, minutes = fixed.groups()
        offset = timedelta(hours=int(hours), minutes=int(minutes))
        return timezone(-offset if sign == "-" else offset)
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not there, no name, or the name of a folder
        raise ValueError(f"{name!r} is no time zone that this machine knows.") from None


def _date_levels(series: pd.Series, name: str) -> tuple[NDArray[np.intp], Objects]:
    codes, levels = factorize(series, name)
    if types.is_numeric_dtype(series.dtype):
        levels = np.array([text_of(level) for level in levels], dtype=object)
    return codes, levels


def date_formats(series: pd.Series, name: str) -> tuple[str, ...]:
    """Return the formats by which every cell of a column is a date, the usual one first.

    Parameters
    ----------
    series : Series of shape (n,)
        Dates, periods, or text or whole numbers.
    name : str
        The column, for the error.

    Returns
    -------
    tuple of str
        Out of `FORMATS`; where day and month can't be told apart two of them, the month first.
    """
    if isinstance(series.dtype, pd.PeriodDtype) or types.is_datetime64_any_dtype(series.dtype):
        return (ISO,)
    _, levels = _date_levels(series, name)
    near = [form for form in FORMATS if not parse_dates(levels[:1], form).isna().any()]
    return tuple(form for form in near if not parse_dates(levels, form).isna().any())


def parse_dates(levels: Objects, form: str) -> pd.DatetimeIndex:
    """Parse text of a format, and date objects; NaT where it fails, and where it names no day."""
    given = pd.Index([None if _reads_clock(level) else level for level in levels], dtype=object)
    parsed = pd.to_datetime(given, format=form, utc=True, errors="coerce")
    return parsed.tz_localize(None)


def _reads_clock(level: object) -> bool:
    return isinstance(level, str) and level.strip().lower() in _CLOCK


def levels_of(series: pd.Series, name: str) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Give a column as levels.

    Parameters
    ----------
    series : Series of shape (n,)
        Text, numbers, dates, or objects that have a text of their own.
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
        levels = _checked(series.cat.categories, codes, name)
    else:
        codes, levels = factorize(series, name)
    texts = [text_of(level) for level in levels]
    occurs = np.bincount(codes + 1, minlength=len(levels) + 1)[1:] > 0
    vocabulary = sorted({text for text, used in zip(texts, occurs) if used})
    position = {text: number for number, text in enumerate(vocabulary)}
    lookup = np.array([*(position.get(text, -1) for text in texts), -1], dtype=np.int32)
    return lookup[codes], tuple(vocabulary)


def text_of(level: object) -> str:
    """Write a level or a label as text, a whole float like the integer, as a file can hold it."""
    if isinstance(level, float | np.floating) and float(level).is_integer():
        return str(int(level))
    if isinstance(level, int) and level.bit_length() > 10_000:
        return hex(level)  # Python writes no decimal digits of so large a number
    return str(level).encode(errors="backslashreplace").decode()  # half a character has no bytes
