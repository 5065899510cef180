import datetime
import decimal
import fractions

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoimb.data.schema import Schema, infer_schema, parse
from autoimb.data.values import zone_named, zone_of
from autoimb.errors import SchemaError, TableError

N = 120


def kind_of(values, name="column", **kwargs):
    schema, _ = infer_schema(pd.DataFrame({name: values, "other": np.arange(len(values)) % 7.0}))
    return schema.columns[0].kind


def column_of(values, **kinds):
    """Parse a frame of one column that is to be kept."""
    frame = pd.DataFrame({"a": values})
    schema, _ = infer_schema(frame, kinds=kinds or None)
    return parse(frame, schema)


# --- kinds ---


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2, 3], "numeric"),
        ([1.5, None, 3.0], "numeric"),
        (np.array([1, 2.5, None], dtype=object), "numeric"),
        ([True, False, True], "categorical"),
        (["a", "b", None], "categorical"),
        (np.array(["a", "b", None], dtype=object), "categorical"),
        (["02139", "10001", "60601"], "categorical"),
        (pd.to_datetime(["2013-01-01", None, "2013-05-01"]), "date"),
        (["2013-01-01", None, "2013-02-01"], "date"),
        (["2013-01-01 10:00", "2013-02-01T12:00:30.5Z", "2013-02-01"], "date"),
        (["2013-01-01", "2013-13-41", "2013-01-01"], "categorical"),
        (["2013-01-01", "never", "2013-01-01"], "categorical"),
        (["2013", "2014", "2015"], "categorical"),
        (["a", "a", "a"], "constant"),
        ([np.nan, np.nan, np.nan], "constant"),
        (["a", None, "a"], "categorical"),
    ],
)
def test_kinds(values, kind):
    assert kind_of(values) == kind


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("customer_id", np.arange(N), "identifier"),
        ("ID", np.arange(N), "identifier"),
        ("PassengerId", np.arange(N), "identifier"),
        ("index", np.arange(N), "identifier"),
        ("Unnamed: 0", np.arange(N), "identifier"),
        ("id_of_order", np.arange(N), "identifier"),
        ("paid", np.arange(N), "numeric"),
        ("age", np.arange(N), "numeric"),
        ("customer_id", np.arange(99), "numeric"),
        ("customer_id", np.arange(N) // 2, "numeric"),
        ("customer_id", np.arange(N) + 0.5, "numeric"),
        ("name", [f"name {i}" for i in range(N)], "identifier"),
        ("name", [f"name {i}" for i in range(N - 1)] + ["name 0"], "identifier"),
        ("name", [f"name {i // 2}" for i in range(N)], "categorical"),
        ("name", [f"name {i}" for i in range(49)], "categorical"),
        ("name", pd.Categorical([f"name {i}" for i in range(N)]), "categorical"),
        ("when", pd.date_range("2020-01-01", periods=N).astype(str), "date"),
    ],
)
def test_identifiers(name, values, kind):
    assert kind_of(values, name) == kind


def test_dropped_columns_and_text_numbers_are_noticed():
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


def test_the_user_overrules():
    frame = pd.DataFrame(
        {"zip": [1, 2, 1], "day": [20130101, 20130102, 20130102], "n": ["1", "2.5", None]}
    )
    kinds = {"zip": "categorical", "day": "date", "n": "numeric"}
    schema, notices = infer_schema(frame, kinds=kinds)
    assert not notices
    columns = parse(frame, schema)
    assert columns.vocabularies == (("1", "2"),)
    assert columns.number_names == ("day.days", "day.day", "day.weekday", "n")
    np.testing.assert_array_equal(columns.numbers[:, 0], [15706, 15707, 15707])
    np.testing.assert_array_equal(columns.numbers[:, 3], [1, 2.5, np.nan])
    schema, notices = infer_schema(frame, kinds={"zip": "identifier"})
    assert [column.name for column in schema.features] == ["day", "n"]


def test_the_target_is_left_out():
    schema, _ = infer_schema(pd.DataFrame({"a": [1, 2], "y": [0, 1]}), target="y")
    assert (schema.names, schema.target) == (("a",), "y")


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ({"zipp": "numeric"}, "Unknown column in kinds 'zipp'. Did you mean 'zip'?"),
        ({"zip": "nominal"}, "Unknown kind of column 'zip' 'nominal'.*Choices: numeric, categ"),
    ],
)
def test_bad_kinds(kinds, message):
    with pytest.raises(SchemaError, match=message):
        infer_schema(pd.DataFrame({"zip": [1, 2]}), kinds=kinds)


def test_something_must_be_left():
    with pytest.raises(SchemaError, match=r"No column is left to learn from: 'a' \(constant\)"):
        infer_schema(pd.DataFrame({"a": [1, 1]}))


def test_cells_that_are_no_value():
    frame = pd.DataFrame({"a": np.array([1, {"foo": "bar"}], dtype=object)})
    with pytest.raises(SchemaError, match="'a' holds a dict in row 1") as caught:
        infer_schema(frame)
    assert isinstance(caught.value, TypeError)


def test_json_round_trip():
    frame = pd.DataFrame({"a": [1, 2], "when": pd.to_datetime(["2020-01-01", "2021-01-01"])})
    schema, _ = infer_schema(frame, target="y")
    assert msgspec.json.decode(msgspec.json.encode(schema), type=Schema) == schema


# --- values ---


@pytest.mark.parametrize(
    "values",
    [
        [1.0, None, 3.0],
        pd.array([1, None, 3], dtype="Int64"),
        pd.array([1, None, 3], dtype="Float64"),
        pd.array([1, None, 3], dtype="int64[pyarrow]"),
        np.array([1, None, 3.0], dtype=object),
        [decimal.Decimal(1), None, decimal.Decimal(3)],
        np.array([decimal.Decimal(1), None, fractions.Fraction(3)], dtype=object),
        pd.arrays.SparseArray([1, np.nan, 3]),
        np.array([1, np.nan, 3], dtype=">f8"),
        pd.to_timedelta([1, None, 3], unit="s"),
    ],
)
def test_numbers_of_every_type(values):
    columns = column_of(values)
    assert columns.numbers.dtype == np.float64
    np.testing.assert_array_equal(columns.numbers, [[1], [np.nan], [3]])


@pytest.mark.parametrize(
    "values",
    [
        ["b", None, "a", "b"],
        np.array(["b", None, "a", "b"], dtype=object),
        pd.array(["b", None, "a", "b"], dtype="string"),
        pd.array(["b", None, "a", "b"], dtype="string[pyarrow]"),
        pd.array(["b", None, "a", "b"], dtype=pd.ArrowDtype(__import__("pyarrow").string())),
        pd.Categorical(["b", None, "a", "b"], categories=["c", "b", "a"]),
    ],
)
def test_levels_of_every_type(values):
    columns = column_of(values)
    assert columns.vocabularies == (("a", "b"),)
    assert columns.codes.dtype == np.int32
    np.testing.assert_array_equal(columns.codes, [[1], [-1], [0], [1]])


@pytest.mark.parametrize("dtype", [bool, "boolean", object])
def test_booleans_have_the_same_levels(dtype):
    columns = column_of(pd.Series([True, False, True], dtype=dtype))
    assert columns.vocabularies == (("False", "True"),)
    np.testing.assert_array_equal(columns.codes, [[1], [0], [1]])


@pytest.mark.parametrize("values", [[1, 2], [1.0, 2.0], ["1", "2"], pd.Categorical([1, 2])])
def test_whole_numbers_have_the_same_text(values):
    assert column_of(values, a="categorical").vocabularies == (("1", "2"),)


def test_equal_texts_are_one_level():
    columns = column_of(np.array([1, "1", "b"], dtype=object))
    assert columns.vocabularies == (("1", "b"),)
    np.testing.assert_array_equal(columns.codes, [[0], [0], [1]])


@pytest.mark.parametrize(
    "values",
    [
        pd.to_datetime(["2013-01-01 06:00", None, "2014-03-04 18:00"]),
        pd.to_datetime(["2013-01-01 06:00", None, "2014-03-04 18:00"]).tz_localize("Asia/Tokyo"),
        ["2013-01-01 06:00", None, "2014-03-04T18:00:00Z"],
        [datetime.datetime(2013, 1, 1, 6), None, datetime.datetime(2014, 3, 4, 18)],
    ],
)
def test_dates_become_parts(values):
    columns = column_of(values)
    parts = ("days", "year", "month", "day", "hour")  # both are Tuesdays
    assert columns.number_names == tuple(f"a.{part}" for part in parts)
    np.testing.assert_array_equal(
        columns.numbers,
        [[15706.25, 2013, 1, 1, 6], [np.nan] * 5, [16133.75, 2014, 3, 4, 18]],
    )


def test_parts_stay_those_of_inference():
    frame = pd.DataFrame({"a": ["2013-01-01", "2013-01-02"]})
    schema, _ = infer_schema(frame)
    columns = parse(pd.DataFrame({"a": ["2020-02-03 10:00"]}), schema)
    assert columns.number_names == ("a.days", "a.day", "a.weekday")
    np.testing.assert_array_equal(columns.numbers[0, 1:], [3, 0])


@pytest.mark.skipif(pd.__version__ < "3", reason="pandas 2 parses text to nanoseconds only")
def test_far_dates():
    columns = column_of(["2013-01-01", "9999-12-31"])
    assert columns.numbers[1, 0] == 2932896


FRAME = pd.DataFrame(
    {"n": [1.0, 2.0, np.nan], "c": ["x", "y", "x"], "k": [5, 5, 5], "when": ["2013-01-01"] * 3}
)
FRAME.loc[1, "when"] = "2014-01-01"
SCHEMA, _ = infer_schema(FRAME)


def test_columns_may_move_come_and_be_dropped_ones():
    parsed = parse(FRAME, SCHEMA)
    other = parse(FRAME[["when", "c", "n"]].assign(new="?"), SCHEMA)
    np.testing.assert_array_equal(parsed.numbers, other.numbers)
    np.testing.assert_array_equal(parsed.codes, other.codes)
    assert parsed.number_names == ("n", "when.days", "when.year", "when.weekday")
    assert parsed.category_names == ("c",)


def test_take():
    parsed = parse(FRAME, SCHEMA).take(np.array([2, 0]))
    assert parsed.n_rows == 2
    np.testing.assert_array_equal(parsed.numbers[:, 0], [np.nan, 1.0])
    np.testing.assert_array_equal(parsed.codes[:, 0], [0, 0])
    assert parsed.vocabularies == (("x", "y"),)


def test_no_rows_are_no_error_here():
    assert parse(FRAME.iloc[:0], SCHEMA).n_rows == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": ["1", "two", "3"]}, "Column 'n' must hold numbers; row 1 holds 'two'"),
        ({"n": pd.Categorical(["1", "2", "x"])}, "Column 'n' must hold numbers; row 2 holds 'x'"),
        ({"n": pd.to_datetime(["2013-01-01"] * 3)}, "'n' must hold numbers; it holds dates"),
        ({"n": [1.0, 2.0, -np.inf]}, "Input X contains infinity .*: column 'n', row 2"),
        ({"n": ["1", "inf", "2"]}, "Input X contains infinity .*: column 'n', row 1"),
        (
            {"when": ["2013-01-01", None, "soon"]},
            "'when' must hold dates .*; row 2 holds 'so",
        ),
    ],
)
def test_bad_values_are_named(changes, message):
    with pytest.raises(SchemaError, match=message):
        parse(FRAME.assign(**changes), SCHEMA)


DATES = {"kinds": {"a": "date"}}


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
def test_dates_have_one_format_which_prediction_keeps(texts, form, first):
    schema, notices = infer_schema(pd.DataFrame({"a": texts}), **DATES)
    (column,) = schema.columns
    assert column.form == form
    assert notices == ()
    again = msgspec.json.decode(msgspec.json.encode(schema), type=Schema)
    for rows in ([0, 1], [1, 0], [0]):
        parsed = parse(pd.DataFrame({"a": [texts[row] for row in rows]}), again)
        days = datetime.date(*first) - datetime.date(1970, 1, 1)
        assert int(parsed.numbers[rows.index(0), 0]) == days.days


def test_dates_of_two_formats_are_refused_and_of_either_noticed():
    with pytest.raises(SchemaError, match="'a' must hold dates"):
        infer_schema(pd.DataFrame({"a": ["13/02/2020", "02/13/2020"]}), **DATES)
    schema, notices = infer_schema(pd.DataFrame({"a": ["01/02/2020", "02/03/2020"]}), **DATES)
    assert schema.columns[0].form == "%m/%d/%Y"
    assert "%d/%m/%Y alike" in notices[0]
    with pytest.raises(SchemaError, match="row 1 holds '13/02/2020', and 1 more rows do not"):
        parse(pd.DataFrame({"a": ["01/02/2020", "13/02/2020", "14/02/2020"]}), schema)


@pytest.mark.parametrize("word", ["now", "today", " Today ", "10:30", "March"])
def test_no_date_is_read_from_the_clock(word):
    for kinds in ({}, {"a": "date"}):
        schema, _ = infer_schema(pd.DataFrame({"a": ["2020-01-01", "2020-01-02"]}), kinds=kinds)
        with pytest.raises(SchemaError, match="must hold dates"):
            parse(pd.DataFrame({"a": ["2020-01-01", word]}), schema)


TIMES = [datetime.time(0, 0, 5), None, datetime.time(23)]


@pytest.mark.parametrize("dtype", [object, pd.ArrowDtype(pa.time32("s"))])
def test_times_of_day_are_seconds_since_midnight(dtype):
    frame = pd.DataFrame({"a": pd.Series(TIMES, dtype=dtype)})
    schema, _ = infer_schema(frame)
    for cells in (frame["a"], ["00:00:05", None, "23:00:00"]):
        numbers = parse(pd.DataFrame({"a": cells}), schema).numbers[:, 0]
        np.testing.assert_array_equal(numbers, [5, np.nan, 82_800])


def test_dates_of_arrow_are_in_the_time_of_their_zone():
    zoned = pd.to_datetime(["2020-01-01", "2020-07-01"]).tz_localize("Asia/Tokyo")
    arrow = pd.Series(zoned).astype(pd.ArrowDtype(pa.timestamp("us", "Asia/Tokyo")))
    np.testing.assert_array_equal(column_of(arrow).numbers, column_of(zoned).numbers)


SPANS = [datetime.timedelta(days=1), None, datetime.timedelta(hours=1)]


@pytest.mark.parametrize(
    "values",
    [
        pd.Series(SPANS),
        pd.Series(SPANS, dtype=object),
        pd.Series(SPANS, dtype=pd.ArrowDtype(pa.duration("us"))),
    ],
)
def test_durations_are_seconds_also_as_text(values):
    schema, _ = infer_schema(pd.DataFrame({"a": values}))
    assert (schema.columns[0].kind, schema.columns[0].form) == ("numeric", "duration")
    for cells in (values, ["1 days 00:00:00", None, "01:00:00"], [86400, None, 3600]):
        parsed = parse(pd.DataFrame({"a": cells}), schema)
        np.testing.assert_array_equal(parsed.numbers[:, 0], [86400, np.nan, 3600])
    with pytest.raises(SchemaError, match="'a' must hold durations; row 1 holds 'soon'"):
        parse(pd.DataFrame({"a": ["01:00:00", "soon"]}), schema)


def test_half_characters_are_written_out_in_levels_and_refused_in_names():
    half = pd.Series(["\ud800", "b", "b"], dtype=object)
    assert column_of(half).vocabularies == ((r"\ud800", "b"),)
    name = pd.Index(["\ud800"], dtype=object)
    with pytest.raises(TableError, match=r"name '\\ud800' is not valid Unicode text"):
        infer_schema(pd.DataFrame([[1], [2]], columns=name))


def test_text_of_numbers_is_numbers():
    parsed = parse(FRAME.assign(n=["1.5", None, "2"]), SCHEMA)
    np.testing.assert_array_equal(parsed.numbers[:, 0], [1.5, np.nan, 2])


def test_missing_columns_are_named():
    with pytest.raises(SchemaError, match="lacks 2 of the 3 columns that were learned from: 'c', "):
        parse(FRAME[["n"]], SCHEMA)


def test_arrays_go_by_position():
    array = np.array([[1.0, 2.0], [3.0, 5.0]])
    schema, _ = infer_schema(pd.DataFrame(array, columns=["x0", "x1"]))
    assert schema.positional
    for same in (
        array,
        array.tolist(),
        pd.DataFrame(array),
        pd.DataFrame(array, columns=["u", "v"]),
    ):
        np.testing.assert_array_equal(parse(same, schema).numbers, array)
    with pytest.raises(SchemaError, match="X has 3 features, but AutoImbClassifier is expecting 2"):
        parse(np.zeros((1, 3)), schema)
    with pytest.raises(TableError, match="Expected 2D array, got 1D array instead"):
        parse(np.zeros(2), schema)
    named, _ = infer_schema(pd.DataFrame(array, columns=["u", "v"]))
    np.testing.assert_array_equal(parse(array, named).numbers, array)


@given(st.lists(st.one_of(st.none(), st.text(max_size=3)), min_size=1, max_size=30))
def test_levels_give_the_text_back(texts):
    frame = pd.DataFrame({"a": pd.Series(texts, dtype=object), "b": np.arange(len(texts))})
    schema, _ = infer_schema(frame, kinds={"a": "categorical", "b": "numeric"})
    columns = parse(frame, schema)
    (vocabulary,) = columns.vocabularies
    assert list(vocabulary) == sorted({text for text in texts if text is not None})
    found = [vocabulary[code] if code >= 0 else None for code in columns.codes[:, 0]]
    assert found == texts


def test_the_same_instants_in_another_zone_are_the_same_dates():
    instants = pd.date_range("2020-03-01", periods=48, freq="7h", tz="America/New_York")
    schema, _ = infer_schema(pd.DataFrame({"a": instants}))
    assert schema.columns[0].zone == "America/New_York"
    wanted = parse(pd.DataFrame({"a": instants}), schema).numbers
    np.testing.assert_array_equal(wanted[:, -1], instants.hour)
    again = msgspec.json.decode(msgspec.json.encode(schema), type=Schema)
    for other in (
        instants.tz_convert("Asia/Tokyo"),
        instants.tz_convert("UTC"),
        instants.tz_convert("UTC").strftime("%Y-%m-%dT%H:%M:%SZ"),
        instants.strftime("%Y-%m-%d %H:%M:%S%z"),
        instants.tz_convert("Asia/Tokyo").astype(object),
        instants.tz_localize(None),  # without a zone it is wall time, as before
    ):
        np.testing.assert_array_equal(parse(pd.DataFrame({"a": other}), again).numbers, wanted)


@pytest.mark.parametrize(
    ("zone", "name"),
    [
        (datetime.UTC, "UTC"),
        (datetime.timezone(datetime.timedelta(hours=-5)), "UTC-05:00"),
        ("Asia/Kathmandu", "Asia/Kathmandu"),
    ],
)
def test_zones_have_names_that_are_read_again(zone, name):
    dates = pd.Series(pd.date_range("2020-01-01", periods=3, freq="5h", tz=zone))
    assert zone_of(dates) == name
    at = datetime.datetime(2020, 7, 1, tzinfo=datetime.UTC)
    assert at.astimezone(zone_named(name)).utcoffset() == at.astimezone(dates.dt.tz).utcoffset()


@pytest.mark.parametrize("name", ["", "Mars", "..", "/etc/localtime", "UTC+99:00", "America"])
def test_what_is_no_zone_is_refused(name):
    with pytest.raises(ValueError, match="is not a time zone"):
        zone_named(name)
