"""Tables and weights in memory. `tests.support.odd_tables` has more of them."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from autoimb.data.table import frame_of, read_table, row_weights, split_target
from autoimb.errors import TargetError

FRAME = pd.DataFrame({"age": [30, 41, 52], "city": ["Rome", "Oslo", "Bonn"]})


def test_frames_share_their_data():
    frame = pd.DataFrame({1: [1.0, 2.0], "b": ["x", "y"]}, index=[7, 9])
    table = read_table(frame)
    assert list(table.columns) == ["1", "b"]
    assert list(table.index) == [7, 9]
    assert list(frame.columns) == [1, "b"]
    assert np.shares_memory(table["1"].to_numpy(), frame[1].to_numpy())


def test_arrays_get_names_and_objects_get_types():
    table = read_table(np.array([[1, "a", 0.5], [2, "b", None]], dtype=object))
    assert list(table.columns) == ["x0", "x1", "x2"]
    assert table["x0"].dtype == np.int64
    assert table["x2"].dtype == np.float64
    assert frame_of([[1, "a"], [2, "b"]])["x0"].dtype == np.int64


def test_tables_of_other_libraries_are_converted():
    table = pa.table({"a": [1, 2]})
    for source in (table, table.to_reader(), pl.DataFrame(table)):
        assert read_table(source).to_dict("list") == {"a": [1, 2]}
    records = np.array([(1, "x"), (2, "y")], dtype=[("a", int), ("b", "U1")])
    assert read_table(records).to_dict("list") == {"a": [1, 2], "b": ["x", "y"]}


def test_consecutive_numbers_are_not_names():
    frame = pd.DataFrame([[1, 2], [3, 4]], columns=[1, 0])
    assert frame_of(frame).to_dict("list") == {"x1": [1, 3], "x0": [2, 4]}
    assert list(frame_of(frame.set_axis([2019, 2020], axis=1)).columns) == ["2019", "2020"]


def test_weights_may_be_numbers_of_any_type():
    for weights in ([1, 2.5], ["1", "2.5"], pa.array([1, 2.5]), pd.array([1, 2.5], "Float32")):
        assert row_weights(weights, 2).tolist() == [1.0, 2.5]
    assert row_weights(None, 2) is None


def test_the_target_is_separated():
    features, target = split_target(FRAME, "city")
    assert list(features.columns) == ["age"]
    assert target.name == "city"
    with pytest.raises(TargetError, match=r"Unknown target column 'citty'. Did you mean 'city'?"):
        split_target(FRAME, "citty")
    with pytest.raises(TargetError, match="no column other than the target"):
        split_target(FRAME[["age"]], "age")
