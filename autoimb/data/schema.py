"""Kinds of the columns, and parsing of their values to typed arrays; nothing is fitted."""

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
    zoned,
)
from autoimb.errors import SchemaError, check_choice
from autoimb.text import BriefRepr

__all__ = ["ID_NAME", "KINDS", "Column", "Columns", "Kind", "Schema", "infer_schema", "parse"]

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
    """Name and inferred kind of one column, with the format of its dates.

    Attributes
    ----------
    name : str
    kind : Kind
    parts : tuple of str
        Parts of a date that are features; empty for other kinds and for dates that are not used.
    form : str
        Format of dates or durations that are written as text; otherwise empty.
    with_zone : bool or None
        Whether dates have a time zone, which prediction then requires; None for other kinds, and
        for dates of which only some have one.
    """

    name: str
    kind: Kind
    parts: tuple[DatePart, ...]
    form: str
    with_zone: bool | None

    def __post_init__(self) -> None:
        if self.form not in ("", DURATION, *FORMATS):
            raise SchemaError(f"{self.form!r} is not a format of dates or durations.")

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of the numeric features of the column."""
        if self.kind == "numeric":
            return (self.name,)
        return tuple(f"{self.name}.{part}" for part in self.parts)


class Schema(BriefRepr, Struct, frozen=True, forbid_unknown_fields=True):
    """Columns of a table in its order, without the target.

    Attributes
    ----------
    columns : tuple of Column
    target : str or None
        Name of the target column, if the table had one.
    optional : tuple of str
        Columns that rows may lack; their values are then missing.
    """

    columns: tuple[Column, ...]
    target: str | None
    optional: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns."""
        return tuple(column.name for column in self.columns)

    @property
    def features(self) -> tuple[Column, ...]:
        """Columns that networks and trees learn from."""
        return tuple(
            column
            for column in self.columns
            if column.kind not in DROPPED and (column.parts or column.kind != "date")
        )

    @property
    def positional(self) -> bool:
        """Return whether the schema was inferred from an array, whose columns are numbered."""
        return self.names == tuple(f"x{position}" for position in range(len(self.columns)))


@dataclass(frozen=True, eq=False, repr=False)
class Columns(BriefRepr):
    """Values of the features as arrays.

    Attributes
    ----------
    numbers : ndarray of shape (n, p), float64
        Numeric columns and parts of dates. NaN is a missing value; infinity does not occur.
    codes : ndarray of shape (n, q), int32
        Positions in the vocabularies; -1 is a missing value.
    vocabularies : tuple of q tuples of str
        Levels of each categorical column in the rows that were parsed, sorted as text.
    number_names, category_names : tuple of str
        Names of the p numbers and of the q categorical columns.
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
        """Return the values of some rows, with the same vocabularies."""
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
    """Infer the kind of each column, without looking at the labels.

    Numbers, including Python numbers in an ``object`` column, are numeric. Text, categories and
    booleans are categorical; so is text that looks like numbers, because codes such as "02139" do.
    Dates, and text that is an ISO date in every row, are dates. Durations and times of day are
    numeric. Text that the user declares as dates must have one format in all rows, which
    prediction then requires. *Constants* and *identifiers* are dropped with a notice. A constant
    has one value in all rows, or no value at all. An identifier is text that differs in 99 % of at
    least 50 rows, or whole numbers that differ in all of at least 100 rows under a name such as
    ``id``, ``customer_id``, ``index`` or ``uuid``.

    Parameters
    ----------
    frame : DataFrame of shape (n, p)
        All rows of the table.
    kinds : mapping of str to str, optional
        Kinds that the user declares, by column name: one of `KINDS`; "constant" and "identifier"
        drop the column.
    target : str, optional
        Name of the target; a column of that name is left out.
    optional : tuple of str, optional
        Columns that rows to predict may lack.
    recurring : bool, optional
        Retain a part of a date only if each of its values occurs in two or more periods: a month
        in two years, a day of the month in two months, a weekday in two weeks, an hour on two days.
        Any other part counts time, as days and years do, so that new rows have new values.

    Returns
    -------
    schema : Schema
    notices : tuple of str

    Raises
    ------
    SchemaError
        If `kinds` has an unknown column or kind, or if no column is left.
    CellError
        If a cell is neither text, number nor date.
    """
    frame = read_table(frame)
    declared = dict(kinds or {})
    names = [name for name in frame.columns if name != target]
    for name, kind in declared.items():
        check_choice("column in kinds", name, names, SchemaError)
        check_choice(f"kind of column {name!r}", kind, KINDS, SchemaError)
    columns = []
    for name in names:
        kind = cast(Kind, declared[name]) if name in declared else _infer_kind(frame[name], name)
        columns.append(_column(frame[name], name, kind, recurring=recurring))
    schema = Schema(tuple(columns), target, optional)
    if not schema.features:
        dropped = ", ".join(f"{column.name!r} ({column.kind})" for column in columns[:20])
        raise SchemaError(f"No column is left to learn from: {dropped}. Keep one by kinds=...")
    return schema, _notices(frame, schema, declared)


def _column(series: pd.Series, name: str, kind: Kind, *, recurring: bool) -> Column:
    """Return a column with the parts and the format that prediction applies to its values."""
    if kind == "date":
        form = next(iter(date_formats(series, name)), ISO)
        parts = _date_parts(series, name, form, recurring=recurring)
        return Column(name, kind, parts, form, zoned(series, name))
    form = DURATION if kind == "numeric" and is_duration(series) else ""
    return Column(name, kind, (), form, None)


def _infer_kind(series: pd.Series, name: str) -> Kind:
    kind = _natural_kind(series, name)
    missing = series.isna().to_numpy()
    if missing.all() or (not missing.any() and bool((series == series.iloc[0]).all())):
        return "constant"
    if types.is_integer_dtype(series.dtype):
        long = len(series) >= 100 and not missing.any()
        return "identifier" if long and ID_NAME.search(name) and series.is_unique else kind
    # The share of distinct text refers to the present values.
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
    inferred = types.infer_dtype(levels, skipna=True)
    if all(isinstance(level, Real | Decimal) and not isinstance(level, bool) for level in levels):
        return "numeric"
    if inferred in {"datetime", "datetime64", "date"}:
        return "date"
    if inferred == "string" and all(ISO_DATE.fullmatch(level) for level in levels):
        return "date" if not parse_dates(levels, ISO).isna().any() else "categorical"
    return "categorical"


def _date_parts(
    series: pd.Series, name: str, form: str, *, recurring: bool
) -> tuple[DatePart, ...]:
    """Return the parts of dates that vary, or of which each value recurs in two periods."""
    parts = dict(zip(DATE_PARTS, date_numbers(series, name, DATE_PARTS, form)))
    present = ~np.isnan(parts["days"])
    values = {part: numbers[present] for part, numbers in parts.items()}
    if not recurring:
        return tuple(part for part, v in values.items() if len(np.unique(v)) > 1) or ("days",)
    days = np.floor(values["days"])
    # The period within which each part of a date can recur.
    periods: dict[DatePart, NDArray[np.float64]] = {
        "month": values["year"],
        "day": values["year"] * 12 + values["month"],
        "weekday": np.floor((days + 3) / 7),  # 1970 began on a Thursday
        "hour": days,
    }
    recurrent: list[DatePart] = []
    for part, period in periods.items():
        # Each value once for every period in which it occurs.
        pairs = np.unique(np.stack([values[part], period], axis=1), axis=0)[:, 0]
        levels, times = np.unique(pairs, return_counts=True)
        if len(levels) > 1 and times.min() > 1:
            recurrent.append(part)
    return tuple(recurrent)


def _notices(frame: pd.DataFrame, schema: Schema, declared: dict[str, str]) -> tuple[str, ...]:
    notices = []
    for kind, rule in (
        ("constant", "one value in every row"),
        ("identifier", "different in (nearly) every row"),
    ):
        names = [column.name for column in schema.columns if column.kind == kind]
        names = [name for name in names if name not in declared]
        if names:
            keep = f"kinds={{{names[0]!r}: ...}} keeps one"
            notices.append(
                f"Dropped {len(names)} {kind} column(s), {rule}: {_listed(names)}; {keep}."
            )
    counting = [
        column.name for column in schema.columns if column.kind == "date" and not column.parts
    ]
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
    # Text that looks numeric is not converted silently, since codes such as "02139" are text.
    looks = [
        column.name
        for column in schema.columns
        if column.name not in declared
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
    """Return whether text has more than 24 levels, of which 90 % are numbers."""
    levels = np.asarray(series.dropna().unique(), dtype=object)
    return len(levels) > 24 and bool((~np.isnan(floats_of(levels))).mean() >= 0.9)


# --- values ----------------------------------------------------------------------------------


def parse(frame: Any, schema: Schema) -> Columns:
    """Parse a table to typed arrays according to a schema.

    Parameters
    ----------
    frame : DataFrame or ndarray of shape (n, p), dict, Series or list of dicts
        A DataFrame, a dict or Series (one row) or a list of dicts is read by column name: the order
        is free, unknown columns are ignored, and dropped columns may be absent. An array is read by
        position. So is a DataFrame without any known name if the schema was inferred from an array.
    schema : Schema
        Kinds and formats of the columns.

    Returns
    -------
    Columns
        Values of the n rows. A numeric column accepts text that contains numbers. Whole numbers of
        a categorical column have the same text as integers and as floats ("1").

    Raises
    ------
    SchemaError
        If columns are missing, text is neither the number nor the date that is required, a value
        is infinite, or an array has another number of columns.
    """
    frame = _select(frame_of(table_of_rows(frame), schema.names), schema)
    number_columns = [column for column in schema.features if column.kind != "categorical"]
    category_columns = [column for column in schema.features if column.kind == "categorical"]
    number_names = tuple(name for column in number_columns for name in column.numbers)
    # The arrays are allocated once and filled column by column to limit the peak of memory.
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
    lacking = [column.name for column in schema.features if column.name not in names]
    if not lacking:
        return frame
    # A table without any known name is read by position if the schema came from an array.
    same_width = frame.shape[1] == len(schema.columns)
    if schema.positional and same_width and not names & set(schema.names):
        return frame.set_axis(list(schema.names), axis=1)
    raise SchemaError(
        f"The table lacks {len(lacking)} of the {len(schema.features)} columns that were learned "
        f"from: {_listed(lacking)}."
    )


def _values(series: pd.Series, column: Column) -> Iterator[NDArray[np.float64]]:
    if column.kind == "date":
        return date_numbers(series, column.name, column.parts, column.form, column.with_zone)
    return iter((numbers_of(series, column.name, column.form),))
