"""What the columns are, and their values as typed arrays; nothing here is fitted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from numbers import Real
from typing import Any, Literal, cast, get_args

import numpy as np
import pandas as pd
from msgspec import Struct
from numpy.typing import NDArray
from pandas.api import types

from autoimb.data.table import frame_of, read_table, table_of_rows
from autoimb.data.values import (
    DATE_PARTS,
    DURATION,
    FORMATS,
    ISO,
    DatePart,
    date_formats,
    date_numbers,
    factorize,
    floats_of,
    is_duration,
    levels_of,
    numbers_of,
    parse_dates,
    zone_named,
    zone_of,
)
from autoimb.errors import SchemaError, choices
from autoimb.text import BriefRepr

__all__ = ["KINDS", "Column", "Columns", "Kind", "Schema", "infer_schema", "parse"]

Kind = Literal["numeric", "categorical", "date", "constant", "identifier"]
KINDS: tuple[Kind, ...] = get_args(Kind)
DROPPED: tuple[Kind, ...] = ("constant", "identifier")

ID_NAME = re.compile(
    r"(?i:(?:^|[\s_.-])(?:id|idx|index|uuid|guid)$|^(?:id|uuid|guid)[\s_.-]"
    r"|^row[\s_.-]?(?:id|no|nr|num|number)?$|^unnamed: \d+$)"
    r"|[a-z]I[dD]$"
)
ISO_DATE = re.compile(
    r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:?\d{2})?)?"
)


class Column(Struct, frozen=True, forbid_unknown_fields=True):
    """One column, as inference found it.

    Attributes
    ----------
    name : str
    kind : Kind
    parts : tuple of str
        Of a date, those that varied; none where it is not learned from.
    form : str
        How text holds a date or a duration: the format of all cells; else empty.
    zone : str
        Of a date, the time zone of the column, which other zones are converted to; else empty.
    """

    name: str
    kind: Kind
    parts: tuple[DatePart, ...]
    form: str
    zone: str

    def __post_init__(self) -> None:
        if self.form not in ("", DURATION, *FORMATS):
            raise SchemaError(f"No text is read in the form {self.form!r}.")
        if self.zone:
            zone_named(self.zone)

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of the numbers that it gives."""
        if self.kind == "numeric":
            return (self.name,)
        return tuple(f"{self.name}.{part}" for part in self.parts)


class Schema(BriefRepr, Struct, frozen=True, forbid_unknown_fields=True):
    """The columns of a table, in its order and without the target.

    Attributes
    ----------
    columns : tuple of Column
    target : str or None
        Name of the target column, where the table had one.
    optional : tuple of str
        Columns that rows may lack; they are missing there.
    """

    columns: tuple[Column, ...]
    target: str | None
    optional: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns."""
        return tuple(column.name for column in self.columns)

    @property
    def kept(self) -> tuple[Column, ...]:
        """The columns that are learned from."""
        return tuple(
            column
            for column in self.columns
            if column.kind not in DROPPED and (column.parts or column.kind != "date")
        )

    @property
    def positional(self) -> bool:
        """Whether the schema came from an array, whose columns have no names of their own."""
        return self.names == tuple(f"x{position}" for position in range(len(self.columns)))


@dataclass(frozen=True, eq=False, repr=False)
class Columns(BriefRepr):
    """The kept columns as arrays.

    Attributes
    ----------
    numbers : ndarray of shape (n, p), float64
        Numeric columns and parts of dates; NaN is missing, nothing is infinite.
    codes : ndarray of shape (n, q), int32
        Positions in the vocabularies; -1 is missing.
    vocabularies : tuple of q tuples of str
        The levels of each category column in the rows that were parsed, sorted as text.
    number_names, category_names : tuple of str
        Names of the p and of the q columns.
    """

    numbers: NDArray[np.float64]
    codes: NDArray[np.int32]
    vocabularies: tuple[tuple[str, ...], ...]
    number_names: tuple[str, ...]
    category_names: tuple[str, ...]

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.numbers)

    def take(self, rows: NDArray[np.int64]) -> Columns:
        """Give these rows, with the same vocabularies."""
        return replace(self, numbers=self.numbers[rows], codes=self.codes[rows])


# --- inference -------------------------------------------------------------------------------


def infer_schema(
    frame: pd.DataFrame,
    *,
    kinds: Mapping[str, str] | None = None,
    target: str | None = None,
    optional: tuple[str, ...] = (),
    recurring: bool = False,
) -> tuple[Schema, tuple[str, ...]]:
    """Infer what each column is; labels are not looked at.

    Numbers, also Python numbers in an ``object`` column, are numeric. Text, categories and
    booleans are categorical: also text that looks like numbers, because codes like "02139" do.
    Dates, and text that is an ISO date in every row, are dates; durations and times of day are
    numbers. Text that the user calls a date must be of one format in every row, which prediction
    keeps. Dropped with a notice are *constants* (one value and nothing missing, or nothing at all)
    and *identifiers*: text that is different in 99 % of at least 50 rows, and whole numbers that
    are different in all of at least 100 rows and are called like one (``id``, ``customer_id``,
    ``index``, ``uuid``).

    Parameters
    ----------
    frame : DataFrame of shape (n, p)
        All rows of the table.
    kinds : mapping of str to str, optional
        Kinds that the user knows better, by column name: one of `KINDS`; "constant" and
        "identifier" drop the column.
    target : str, optional
        Name of the target; a column of that name is left out.
    optional : tuple of str, optional
        Columns that rows to predict may lack.
    recurring : bool, optional
        Keep a part of a date only where each of its values occurs in two periods or more: a month
        in two years, a day of the month in two months, a weekday in two weeks, an hour on two days.
        Otherwise it counts time, as days and years do, and new rows have values of their own.

    Returns
    -------
    schema : Schema
    notices : tuple of str

    Raises
    ------
    SchemaError
        An unknown column or kind in `kinds`; no column is left.
    CellError
        A cell that is neither text, number nor date.
    """
    frame = read_table(frame)
    wanted = dict(kinds or {})
    names = [name for name in frame.columns if name != target]
    for name, kind in wanted.items():
        if name not in names:
            raise SchemaError(choices("column in kinds", name, names))
        if kind not in KINDS:
            raise SchemaError(choices(f"kind of column {name!r}", kind, KINDS))
    columns = []
    for name in names:
        kind = cast(Kind, wanted[name]) if name in wanted else _infer_kind(frame[name], name)
        columns.append(_column(frame[name], name, kind, recurring=recurring))
    schema = Schema(tuple(columns), target, optional)
    if not schema.kept:
        dropped = ", ".join(f"{column.name!r} ({column.kind})" for column in columns[:20])
        raise SchemaError(f"No column is left to learn from: {dropped}. Keep one by kinds=...")
    return schema, _notices(frame, schema, wanted)


def _column(series: pd.Series, name: str, kind: Kind, *, recurring: bool) -> Column:
    """Fix what prediction must obey: the parts, format and zone of dates, durations."""
    if kind == "date":
        form = next(iter(date_formats(series, name)), ISO)
        varying = _recurring_parts if recurring else _varying_parts
        return Column(name, kind, varying(series, name, form), form, zone_of(series))
    form = DURATION if kind == "numeric" and is_duration(series) else ""
    return Column(name, kind, (), form, "")


def _infer_kind(series: pd.Series, name: str) -> Kind:
    kind = _natural_kind(series, name)
    missing = series.isna().to_numpy()
    if missing.all() or (not missing.any() and bool((series == series.iloc[0]).all())):
        return "constant"
    if types.is_integer_dtype(series.dtype):
        long = len(series) >= 100 and not missing.any()
        return "identifier" if long and ID_NAME.search(name) and series.is_unique else kind
    n_present = int(len(series) - missing.sum())
    if kind == "categorical" and _is_text(series) and n_present >= 50:
        return "identifier" if series.nunique() >= 0.99 * n_present else kind
    return kind


def _is_text(series: pd.Series) -> bool:
    return types.is_object_dtype(series.dtype) or types.is_string_dtype(series.dtype)


def _natural_kind(series: pd.Series, name: str) -> Kind:
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype) or types.is_bool_dtype(dtype):
        return "categorical"
    if types.is_numeric_dtype(dtype) or is_duration(series):
        return "numeric"
    if types.is_datetime64_any_dtype(dtype) or isinstance(dtype, pd.PeriodDtype):
        return "date"
    _, levels = factorize(series, name)
    found = types.infer_dtype(levels, skipna=True)
    if all(isinstance(level, Real | Decimal) and not isinstance(level, bool) for level in levels):
        return "numeric"
    if found in {"datetime", "datetime64", "date"}:
        return "date"
    if found == "string" and all(ISO_DATE.fullmatch(level) for level in levels):
        return "date" if not parse_dates(levels, ISO).isna().any() else "categorical"
    return "categorical"


def _varying_parts(series: pd.Series, name: str, form: str) -> tuple[DatePart, ...]:
    parts: list[DatePart] = []
    for part, values in zip(DATE_PARTS, date_numbers(series, name, DATE_PARTS, form)):
        present = values[~np.isnan(values)]
        if len(present) and (present != present[0]).any():
            parts.append(part)
    return tuple(parts) or ("days",)


def _recurring_parts(series: pd.Series, name: str, form: str) -> tuple[DatePart, ...]:
    values = dict(zip(DATE_PARTS, date_numbers(series, name, DATE_PARTS, form)))
    known = ~np.isnan(values["days"])
    days = np.floor(values["days"][known])
    months = values["year"][known] * 12 + values["month"][known]
    periods: dict[DatePart, NDArray[np.float64]] = {
        "month": values["year"][known],
        "day": months,
        "weekday": np.floor((days + 3) / 7),  # 1970 began on a Thursday
        "hour": days,
    }
    parts = []
    for part, period in periods.items():
        own = values[part][known]
        pairs = np.unique(np.stack([own, period], axis=1), axis=0)[:, 0]
        levels, times = np.unique(pairs, return_counts=True)
        if len(levels) > 1 and times.min() > 1:
            parts.append(part)
    return tuple(parts)


def _notices(frame: pd.DataFrame, schema: Schema, wanted: dict[str, str]) -> tuple[str, ...]:
    notices = []
    for kind, rule in (
        ("constant", "one value in every row"),
        ("identifier", "different in (nearly) every row"),
    ):
        names = [each.name for each in schema.columns if each.kind == kind]
        names = [name for name in names if name not in wanted]
        if names:
            keep = f"kinds={{{names[0]!r}: ...}} keeps one"
            notices.append(
                f"Dropped {len(names)} {kind} column(s), {rule}: {_listed(names)}; {keep}."
            )
    counting = [each.name for each in schema.columns if each.kind == "date" and not each.parts]
    if counting:
        notices.append(
            f"Not learned from, as new rows are later than all of these dates: {_listed(counting)}."
        )
    for column in schema.columns:
        forms = date_formats(frame[column.name], column.name) if column.kind == "date" else ()
        if forms[:1] not in ((), (ISO,)) and len(forms) > 1:
            notices.append(
                f"Dates of {column.name!r} are of the format {forms[0]} and of {forms[1]} alike: "
                "taken as the first; write them as 2020-12-31 to be sure."
            )
    looks = [
        column.name
        for column in schema.columns
        if column.name not in wanted
        and column.kind in ("categorical", "identifier")
        and _is_text(frame[column.name])
        and _looks_numeric(frame[column.name])
    ]
    if looks:
        notices.append(
            f"Text with many levels that looks like numbers: {_listed(looks)}; "
            f"kinds={{{looks[0]!r}: 'numeric'}} takes one as numbers."
        )
    return tuple(notices)


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names[:20])) + (", ..." if len(names) > 20 else "")


def _looks_numeric(series: pd.Series) -> bool:
    """Whether nearly all of more levels than a code has are numbers."""
    levels = np.asarray(series.dropna().unique(), dtype=object)
    return len(levels) > 24 and bool((~np.isnan(floats_of(levels))).mean() >= 0.9)


# --- values ----------------------------------------------------------------------------------


def parse(frame: Any, schema: Schema) -> Columns:
    """Turn a table into typed arrays, as the schema says.

    Parameters
    ----------
    frame : DataFrame or ndarray of shape (n, p), dict, Series or list of dicts
        A DataFrame is read by name: the order is free, other columns are ignored, dropped ones may
        be absent. So are a dict or a Series, which are one row, and a list of dicts. An array is
        read by position, and so is a DataFrame with no known name where the schema came from an
        array.
    schema : Schema
        What the columns are.

    Returns
    -------
    Columns
        Of n rows. A number column takes text that holds numbers; whole numbers of a category
        column have the same text as integers and as floats ("1").

    Raises
    ------
    SchemaError
        Missing columns, text where a number or a date is due, infinite values, an array of another
        width.
    """
    frame = _select(frame_of(table_of_rows(frame), schema.names), schema)
    number_columns = [column for column in schema.kept if column.kind != "categorical"]
    category_columns = [column for column in schema.kept if column.kind == "categorical"]
    number_names = tuple(name for column in number_columns for name in column.numbers)
    numbers = np.empty((len(frame), len(number_names)), dtype=np.float64)
    for position, values in enumerate(
        values for column in number_columns for values in _values(frame[column.name], column)
    ):
        numbers[:, position] = values
    codes = np.empty((len(frame), len(category_columns)), dtype=np.int32)
    vocabularies = []
    for position, column in enumerate(category_columns):
        codes[:, position], vocabulary = levels_of(frame[column.name], column.name)
        vocabularies.append(vocabulary)
    category_names = tuple(column.name for column in category_columns)
    return Columns(numbers, codes, tuple(vocabularies), number_names, category_names)


def _select(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    names = set(frame.columns)
    absent = [name for name in schema.optional if name not in names]
    if absent:
        frame, names = frame.assign(**dict.fromkeys(absent)), names | set(absent)
    lacking = [column.name for column in schema.kept if column.name not in names]
    if not lacking:
        return frame
    same_width = frame.shape[1] == len(schema.columns)
    if schema.positional and same_width and not names & set(schema.names):
        return frame.set_axis(list(schema.names), axis=1)
    raise SchemaError(
        f"The table lacks {len(lacking)} of the {len(schema.kept)} columns that were learned "
        f"from: {_listed(lacking)}."
    )


def _values(series: pd.Series, column: Column) -> Iterator[NDArray[np.float64]]:
    if column.kind == "date":
        return date_numbers(series, column.name, column.parts, column.form, column.zone)
    return iter((numbers_of(series, column.name, column.form),))
