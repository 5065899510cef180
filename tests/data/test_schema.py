"""Kinds of columns, and parsing of their values. `tests.support.odd_columns` has more of them."""

import datetime
import decimal
import fractions

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoimb.data.schema import Schema, infer_schema, parse
from autoimb.errors import SchemaError, TableError

N = 120
DATES = {"kinds": {"a": "date"}}
FRAME = pd.DataFrame(
    {
        "n": [1.0, 2.0, np.nan],
        "c": ["x", "y", "x"],
        "k": [5, 5, 5],
        "when": ["2013-01-01", "2014-01-01", "2013-01-01"],
    }
)
SCHEMA, _ = infer_schema(FRAME)


def column_of(values, **kinds):
    """Parse a table of one column."""
    frame = pd.DataFrame({"a": values})
    schema, _ = infer_schema(frame, kinds=kinds or None)
    return parse(frame, schema)


# --- kinds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("a", np.array([1, 2.5, None], dtype=object), "numeric"),
        ("a", ["02139", "10001", "60601"], "categorical"),
        ("a", pd.to_datetime(["2013-01-01", None, "2013-05-01"]), "date"),
        ("a", ["2013-01-01 10:00", None, "2013-02-01T12:00:30.5Z", "2013-02-01"], "date"),
        ("a", ["2013-01-01", "2013-13-41", "2013-01-01"], "categorical"),
        ("a", ["2013", "2014", "2015"], "categorical"),
        ("a", ["a", "a", "a"], "constant"),
        ("a", ["a", None, "a"], "categorical"),
        ("customer_id", np.arange(N), "identifier"),
        ("PassengerId", np.arange(N), "identifier"),
        ("Unnamed: 0", np.arange(N), "identifier"),
        ("id_of_order", np.arange(N), "identifier"),
        ("paid", np.arange(N), "numeric"),
        ("customer_id", np.arange(99), "numeric"),
        ("customer_id", np.arange(N) + 0.5, "numeric"),
        ("name", [f"name {i}" for i in range(N - 1)] + ["name 0"], "identifier"),
        ("name", [f"name {i // 2}" for i in range(N)], "categorical"),
        ("name", [f"name {i}" for i in range(49)], "categorical"),
        ("name", pd.Categorical([f"name {i}" for i in range(N)]), "categorical"),
        ("when", pd.date_range("2020-01-01", periods=N).astype(str), "date"),
    ],
)
def test_kinds_are_inferred(name, values, kind):
    schema, _ = infer_schema(pd.DataFrame({name: values, "x": np.arange(len(values)) % 7.0}))
    assert schema.columns[0].kind == kind


def test_notices_name_dropped_columns_and_text_of_numbers():
    frame = pd.DataFrame(
        {
            "id": np.arange(N),
            "same": 1,
            "empty": None,
            "price": [f"{i}.5" for i in range(N - 1)] + ["?"],
            "x": np.arange(N) % 5,
        }
    )
    schema, notices = infer_schema(frame)
    assert [column.name for column in schema.features] == ["x"]
    assert notices == (
        "Dropped 2 constant column(s), one value in every row: 'same', 'empty'; "
        "kinds={'same': ...} keeps one.",
        "Dropped 2 identifier column(s), different in (nearly) every row: 'id', 'price'; "
        "kinds={'id': ...} keeps one.",
        "Text with many levels that looks like numbers: 'price'; "
        "kinds={'price': 'numeric'} takes one as numbers.",
    )


def test_declared_kinds_take_precedence():
    frame = pd.DataFrame(
        {"zip": [1, 2, 1], "day": [20130101, 20130102, 20130102], "n": ["1", "2.5", None]}
    )
    kinds = {"zip": "categorical", "day": "date", "n": "numeric"}
    schema, notices = infer_schema(frame, kinds=kinds, target="y")
    assert not notices
    columns = parse(frame, schema)
    assert columns.vocabularies == (("1", "2"),)
    assert columns.number_names == ("day.days", "day.day", "day.weekday", "n")
    np.testing.assert_array_equal(columns.numbers[:, 0], [15706, 15707, 15707])
    np.testing.assert_array_equal(columns.numbers[:, 3], [1, 2.5, np.nan])
    assert msgspec.json.decode(msgspec.json.encode(schema), type=Schema) == schema
    schema, _ = infer_schema(frame.assign(y=1), kinds={"zip": "identifier"}, target="y")
    assert [column.name for column in schema.features] == ["day", "n"]


@pytest.mark.parametrize(
    ("values", "kinds", "message"),
    [
        ([1, 1], None, r"No column is left to learn from: 'a' \(constant\)"),
        (["13/02/2020", "02/13/2020"], {"a": "date"}, "'a' must hold dates"),
    ],
)
def test_invalid_kinds_are_refused(values, kinds, message):
    with pytest.raises(SchemaError, match=message):
        infer_schema(pd.DataFrame({"a": values}), kinds=kinds)


def test_cells_that_are_not_values_raise_type_errors():
    frame = pd.DataFrame({"a": np.array([1, {"foo": "bar"}], dtype=object)})
    with pytest.raises(SchemaError, match="'a' holds a dict in row 1") as caught:
        infer_schema(frame)
    assert isinstance(caught.value, TypeError)


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        [1.0, None, 3.0],
        pd.array([1, None, 3], dtype="int64[pyarrow]"),
        np.array([decimal.Decimal(1), None, fractions.Fraction(3)], dtype=object),
        pd.to_timedelta([1, None, 3], unit="s"),
    ],
)
def test_numbers_of_every_type_become_floats(values):
    columns = column_of(values)
    assert columns.numbers.dtype == np.float64
    np.testing.assert_array_equal(columns.numbers, [[1], [np.nan], [3]])


@pytest.mark.parametrize(
    ("values", "vocabulary", "codes"),
    [
        (np.array(["b", None, "a"], dtype=object), ("a", "b"), [1, -1, 0]),
        (pd.array(["b", None, "a"], dtype="string[pyarrow]"), ("a", "b"), [1, -1, 0]),
        (pd.Categorical(["b", None, "a"], categories=["c", "b", "a"]), ("a", "b"), [1, -1, 0]),
        (pd.Series([True, False], dtype="boolean"), ("False", "True"), [1, 0]),
        ([2, 1], ("1", "2"), [1, 0]),
        (pd.Categorical([2, 1]), ("1", "2"), [1, 0]),
        (np.array([1, "1", "b"], dtype=object), ("1", "b"), [0, 0, 1]),
        # Halves of a surrogate pair are not valid Unicode.
        (pd.Series(["\ud800", "b"], dtype=object), (r"\ud800", "b"), [0, 1]),
    ],
)
def test_levels_are_compared_by_their_text(values, vocabulary, codes):
    columns = column_of(values, a="categorical")
    assert columns.vocabularies == (vocabulary,)
    assert columns.codes.dtype == np.int32
    assert columns.codes[:, 0].tolist() == codes


@given(st.lists(st.one_of(st.none(), st.text(max_size=3)), min_size=1, max_size=30))
def test_codes_and_vocabulary_restore_the_text(texts):
    frame = pd.DataFrame({"a": pd.Series(texts, dtype=object), "b": np.arange(len(texts))})
    schema, _ = infer_schema(frame, kinds={"a": "categorical", "b": "numeric"})
    columns = parse(frame, schema)
    (vocabulary,) = columns.vocabularies
    assert list(vocabulary) == sorted({text for text in texts if text is not None})
    restored = [vocabulary[code] if code >= 0 else None for code in columns.codes[:, 0]]
    assert restored == texts


SPANS = [datetime.timedelta(days=1), None, datetime.timedelta(hours=1)]
TIMES = [datetime.time(0, 0, 5), None, datetime.time(23)]


@pytest.mark.parametrize(
    ("values", "others", "seconds"),
    [
        (pd.Series(SPANS), ["1 days 00:00:00", None, "01:00:00"], [86_400, np.nan, 3_600]),
        (pd.Series(SPANS, dtype=object), [86_400, None, 3_600], [86_400, np.nan, 3_600]),
        (pd.Series(TIMES, dtype=object), ["00:00:05", None, "23:00:00"], [5, np.nan, 82_800]),
    ],
)
def test_durations_and_times_of_day_are_seconds(values, others, seconds):
    schema, _ = infer_schema(pd.DataFrame({"a": values}))
    assert (schema.columns[0].kind, schema.columns[0].form) == ("numeric", "duration")
    for cells in (values, others):
        parsed = parse(pd.DataFrame({"a": cells}), schema)
        np.testing.assert_array_equal(parsed.numbers[:, 0], seconds)
    with pytest.raises(SchemaError, match="'a' must hold durations; row 1 holds 'soon'"):
        parse(pd.DataFrame({"a": ["01:00:00", "soon"]}), schema)


# --- dates ----------------------------------------------------------------------------------------

INSTANTS = ["2013-01-01 06:00", "2014-03-04 18:00"]


@pytest.mark.parametrize(
    "values",
    [
        pd.to_datetime(["2013-01-01 06:00", None, "2014-03-04 18:00"]),
        # Instants are converted to UTC.
        pd.to_datetime(["2013-01-01 15:00", None, "2014-03-05 03:00"]).tz_localize("Asia/Tokyo"),
        ["2013-01-01 06:00", None, "2014-03-04T18:00:00Z"],
        ["2013-01-01 15:00+09:00", None, "2014-03-04T18:00:00Z"],
        [datetime.datetime(2013, 1, 1, 6), None, datetime.datetime(2014, 3, 4, 18)],
    ],
)
def test_dates_become_their_parts(values):
    columns = column_of(values)
    parts = ("days", "year", "month", "day", "hour")  # both are Tuesdays
    assert columns.number_names == tuple(f"a.{part}" for part in parts)
    np.testing.assert_array_equal(
        columns.numbers,
        [[15706.25, 2013, 1, 1, 6], [np.nan] * 5, [16133.75, 2014, 3, 4, 18]],
    )


@pytest.mark.parametrize(
    "without",
    [pd.to_datetime(INSTANTS), INSTANTS, [datetime.date(2013, 1, 1), datetime.date(2014, 3, 4)]],
    ids=["type", "text", "objects"],
)
@pytest.mark.parametrize(
    "with_zone",
    [
        pd.to_datetime(INSTANTS).tz_localize("Asia/Tokyo"),
        [f"{instant}+09:00" for instant in INSTANTS],
        [datetime.datetime.fromisoformat(f"{instant}Z") for instant in INSTANTS],
    ],
    ids=["type", "text", "objects"],
)
def test_dates_have_a_time_zone_only_if_those_of_training_have_one(with_zone, without):
    for training, prediction, rule in (
        (with_zone, without, "with a time zone, as in training, not without one"),
        (without, with_zone, "without a time zone, as in training, not with one"),
    ):
        schema, _ = infer_schema(pd.DataFrame({"a": training}))
        rows = pd.DataFrame({"a": prediction})
        rows.loc[0, "a"] = None
        with pytest.raises(SchemaError, match=f"'a' must hold dates {rule}; row 1 holds '2014"):
            parse(rows, schema)
        assert np.isnan(parse(rows[:1], schema).numbers).all()


@pytest.mark.parametrize(
    ("texts", "form", "first"),
    [
        (["13/02/2020", "02/03/2020"], "%d/%m/%Y", (2020, 2, 13)),
        (["02/13/2020", "02/03/2020"], "%m/%d/%Y", (2020, 2, 13)),
        (["13.02.2020 10:30", "01.03.2021 00:00"], "%d.%m.%Y %H:%M", (2020, 2, 13)),
        (["13 Feb 2020", "1 Mar 2020"], "%d %b %Y", (2020, 2, 13)),
        (["20200213", "20210301"], "ISO8601", (2020, 2, 13)),
        ([20200213, 20210301], "ISO8601", (2020, 2, 13)),
    ],
)
def test_prediction_uses_the_date_format_of_training(texts, form, first):
    schema, notices = infer_schema(pd.DataFrame({"a": texts}), **DATES)
    assert schema.columns[0].form == form
    assert notices == ()
    for rows in ([0, 1], [1, 0], [0]):
        parsed = parse(pd.DataFrame({"a": [texts[row] for row in rows]}), schema)
        days = datetime.date(*first) - datetime.date(1970, 1, 1)
        assert int(parsed.numbers[rows.index(0), 0]) == days.days


def test_ambiguous_date_formats_are_noticed():
    schema, notices = infer_schema(pd.DataFrame({"a": ["01/02/2020", "02/03/2020"]}), **DATES)
    assert schema.columns[0].form == "%m/%d/%Y"
    assert "%d/%m/%Y alike" in notices[0]
    with pytest.raises(SchemaError, match="row 1 holds '13/02/2020', and 1 more rows do not"):
        parse(pd.DataFrame({"a": ["01/02/2020", "13/02/2020", "14/02/2020"]}), schema)


@pytest.mark.parametrize("word", ["now", " Today ", "10:30", "March"])
def test_dates_do_not_depend_on_the_clock(word):
    schema, _ = infer_schema(pd.DataFrame({"a": ["2020-01-01", "2020-01-02"]}))
    with pytest.raises(SchemaError, match="must hold dates"):
        parse(pd.DataFrame({"a": ["2020-01-01", word]}), schema)


# --- tables ---------------------------------------------------------------------------------------


def test_columns_are_read_by_name():
    parsed = parse(FRAME, SCHEMA)
    reordered = parse(FRAME[["when", "c", "n"]].assign(new="?"), SCHEMA)
    np.testing.assert_array_equal(parsed.numbers, reordered.numbers)
    np.testing.assert_array_equal(parsed.codes, reordered.codes)
    assert parsed.number_names == ("n", "when.days", "when.year", "when.weekday")
    assert parsed.category_names == ("c",)
    part = parsed.take(np.array([2, 0]))
    np.testing.assert_array_equal(part.numbers[:, 0], [np.nan, 1.0])
    assert part.vocabularies == (("x", "y"),)
    assert parse(FRAME.iloc[:0], SCHEMA).n_rows == 0
    text = parse(FRAME.assign(n=["1.5", None, "2"]), SCHEMA)
    np.testing.assert_array_equal(text.numbers[:, 0], [1.5, np.nan, 2])
    with pytest.raises(SchemaError, match="lacks 2 of the 3 columns that were learned from: 'c', "):
        parse(FRAME[["n"]], SCHEMA)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": ["1", "two", "3"]}, "Column 'n' must hold numbers; row 1 holds 'two'"),
        ({"n": pd.to_datetime(["2013-01-01"] * 3)}, "'n' must hold numbers; row 0 holds '2013"),
        ({"n": ["1", "inf", "2"]}, "Input X contains infinity .*: column 'n', row 1"),
        ({"when": ["2013-01-01", None, "soon"]}, "'when' must hold dates .*; row 2 holds 'so"),
    ],
)
def test_invalid_values_are_named(changes, message):
    with pytest.raises(SchemaError, match=message):
        parse(FRAME.assign(**changes), SCHEMA)


def test_arrays_are_read_by_position():
    array = np.array([[1.0, 2.0], [3.0, 5.0]])
    schema, _ = infer_schema(pd.DataFrame(array, columns=["x0", "x1"]))
    assert schema.positional
    for table in (
        array,
        array.tolist(),
        pd.DataFrame(array),
        pd.DataFrame(array, None, ["u", "v"]),
    ):
        np.testing.assert_array_equal(parse(table, schema).numbers, array)
    with pytest.raises(SchemaError, match="X has 3 features, but AutoImbClassifier is expecting 2"):
        parse(np.zeros((1, 3)), schema)
    with pytest.raises(TableError, match="Expected 2D array, got 1D array instead"):
        parse(np.zeros(2), schema)
    named, _ = infer_schema(pd.DataFrame(array, columns=["u", "v"]))
    np.testing.assert_array_equal(parse(array, named).numbers, array)
