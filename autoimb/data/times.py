"""Observation times of rows, as numbers that preserve order and distance."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from autoimb.data.groups import column_names, values_of_rows
from autoimb.data.values import ISO, date_formats, date_numbers, numbers_of
from autoimb.errors import OptionError, SchemaError
from autoimb.text import shown

__all__ = ["Times", "chunks", "read_times"]

Floats = NDArray[np.float64]

_SPAN = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[wdhm]?)")
_DAYS = {"w": 7.0, "d": 1.0, "h": 1 / 24, "m": 1 / 1_440}


@dataclass(frozen=True, eq=False)
class Times:
    """Observation times of the rows of a table.

    Attributes
    ----------
    values : ndarray of shape (n,), float64
        Days since 1970 for dates, the numbers themselves for numbers, or ranks of the combined
        values for several columns.
    dated : bool
        Whether the values are days.
    gap : float
        Time before the scored rows, in the same unit, from which no rows train.
    optional : tuple of str
        Time columns that are features and that rows to predict may lack.
    dropped : tuple of str
        Time columns that are not features.
    """

    values: Floats
    dated: bool
    gap: float = 0.0
    optional: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Times:
        """Return the times of some rows."""
        return replace(self, values=self.values[rows])

    def text(self, value: float) -> str:
        """Format a value as a number, or as a date with its time of day unless that is midnight."""
        if not self.dated:
            return f"{value:g}"
        seconds = np.datetime64(0, "s") + np.timedelta64(round(value * 86_400), "s")
        return str(seconds).removesuffix("T00:00:00").replace("T", " ")


def chunks(values: Floats, number: int) -> NDArray[np.int64]:
    """Divide rows into chunks of time with about equally many rows.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
        Observation time of each row; rows of one time are never separated.
    number : int
        Number of chunks.

    Returns
    -------
    ndarray of int64, shape (n,)
        Chunk of each row, from 0 in the order of time; fewer chunks if there are few times.
    """
    # A time belongs to the chunk in which the first of its rows falls.
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    n_earlier = np.cumsum(counts) - counts
    return np.asarray((n_earlier * number // max(len(values), 1))[place.reshape(-1)])


def read_times(
    time: object,
    frame: pd.DataFrame,
    further: pd.DataFrame | None = None,
    *,
    gap: object = None,
    keep: bool = False,
) -> Times | None:
    """Read the observation times of rows.

    Parameters
    ----------
    time : str, list of str, array-like of shape (n,) or None
        Names of columns, the most significant one first, or the values themselves: dates, text
        with dates in one format, or numbers. Instants with a time zone are compared in UTC.
    frame : DataFrame of n rows
    further : DataFrame of m rows or None
        Rows of an evaluation set, which need the same columns.
    gap : number, str, timedelta or None
        Gap in days or as text such as ``"7d"``; a number if times are numbers.
    keep : bool
        Whether the columns remain features without change. Otherwise only the recurring parts of
        date columns, such as the weekday, are features.

    Returns
    -------
    Times or None
        Times of the n + m rows; None without times.

    Raises
    ------
    SchemaError
        If the table lacks a named column, or a cell is neither a date nor a number.
    OptionError
        If a row has no time, if the number of times differs from the number of rows, if all times
        are equal, if the gap is invalid, or if the evaluation set is not later than the table.
    """
    if time is None:
        if gap is not None:
            raise OptionError(f"gap={shown(gap)} needs time=, the observation times of the rows.")
        return None
    columns = values_of_rows("time", time, frame, need="one")
    names, n_rows = column_names(time), len(frame)
    if further is not None:
        if not names:
            raise OptionError(
                "time= must name columns if there is an eval_set, whose rows need times as well; "
                "got an array."
            )
        for name, values in values_of_rows("time", time, further, need="one").items():
            columns[name] = pd.concat([columns[name], values], ignore_index=True)
    # Each column is converted to numbers; several columns are combined to ranks.
    read = {name: _numbers(values.reset_index(drop=True), name) for name, values in columns.items()}
    by_column = [numbers for numbers, _ in read.values()]
    numbers = by_column[0]
    if len(by_column) > 1:
        pairs = np.stack(by_column, axis=1)  # ordered by the first column, then the next ones
        rank = np.unique(pairs, axis=0, return_inverse=True)[1]
        numbers = rank.reshape(-1).astype(np.float64)
    if n_rows and (numbers[:n_rows] == numbers[0]).all():
        value = shown(next(iter(columns.values())).iloc[0])
        raise OptionError(f"time: all {n_rows} rows are of one time, {value}; 4 are needed.")
    # Rows of the evaluation set follow those of the table.
    early = int((numbers[n_rows:] <= numbers[:n_rows].max(initial=-np.inf)).sum())
    if early:
        raise OptionError(
            f"time: rows of the eval_set must be later than all rows of the table; {early} are not."
        )
    dated = len(by_column) == 1 and next(iter(read.values()))[1]
    features = tuple(name for name in names if keep or read[name][1])
    return Times(
        values=numbers,
        dated=dated,
        gap=_gap(gap, dated=dated, n_columns=len(by_column)),
        optional=features,
        dropped=tuple(name for name in names if name not in features),
    )


def _numbers(values: pd.Series, name: str) -> tuple[Floats, bool]:
    """Return the values of a column as days or numbers, and whether they are days."""
    with suppress(SchemaError):
        return numbers_of(values, name), False
    forms = date_formats(values, name)
    if not forms:
        raise SchemaError(
            f"Column {name!r} must hold dates of one format, or numbers, to provide the times of "
            f"rows; its first row holds {shown(values.iloc[0])}."
        )
    if len(forms) > 1 and ISO not in forms:
        raise SchemaError(
            f"Column {name!r}: its dates are of the format {forms[0]} and of {forms[1]} alike; "
            "write them as 2020-12-31."
        )
    (days,) = date_numbers(values, name, ("days",), forms[0])
    return days, True


def _gap(gap: object, *, dated: bool, n_columns: int) -> float:
    """Convert a gap to the unit of the times."""
    if gap is None:
        return 0.0
    if n_columns > 1:
        raise OptionError("gap= needs one column of time, whose values have a distance.")
    value = math.nan
    span = _SPAN.fullmatch(str(gap).strip())
    if isinstance(gap, timedelta) and dated:
        value = gap / timedelta(days=1)
    elif span is not None and (dated or not span["unit"]):
        value = float(span["number"]) * _DAYS[span["unit"] or "d"] if dated else float(span[0])
    if math.isnan(value) or value < 0:
        accepted = (
            "days, or text such as '7d' or '12h'" if dated else "a number, in the unit of time"
        )
        raise OptionError(f"gap must be {accepted}, and not below 0; got {shown(gap)}.")
    return value
