"""Labels come back as they came: every class, and a type that holds each of them exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from autoimb import AutoImbClassifier, load
from autoimb.data.target import encode_target, label_array, match_labels
from tests.support.tables import ONE_TRIAL

BIG = 2**53 + 1  # the first whole number that no float holds
N_ROWS = 60
RARE = np.arange(N_ROWS) % 4 == 0
QUICK = ONE_TRIAL | {
    "resampling": "none",
    "class_weight": "none",
    "loss": "cross_entropy",
    "ensemble": "single",
    "cv": 2,
}


def pair(rare: Any, common: Any, dtype: Any = None) -> pd.Series:
    return pd.Series([rare if own else common for own in RARE], dtype=dtype)


def arrow(kind: pa.DataType) -> pd.ArrowDtype:
    return pd.ArrowDtype(kind)


KINDS: dict[str, tuple[Any, list[Any], str]] = {
    "nullable integer": (pair(BIG, BIG + 1, "Int64"), [BIG, BIG + 1], "int64"),
    "nullable unsigned": (pair(2**64 - 1, 2**63, "UInt64"), [2**63, 2**64 - 1], "uint64"),
    "nullable byte": (pair(2, 1, "Int8"), [1, 2], "int8"),
    "nullable boolean": (pair(True, False, "boolean"), [False, True], "bool"),
    "nullable float": (pair(1, 0, "Float64"), [0.0, 1.0], "float64"),
    "nullable text": (pair("sick", "well", "string"), ["sick", "well"], "object"),
    "categories of text": (
        pd.Series(pd.Categorical(pair("b", "a"), categories=["c", "b", "a"])),
        ["a", "b"],
        "object",
    ),
    "categories of integers": (
        pair(BIG, BIG + 1, "Int64").astype("category"),
        [BIG, BIG + 1],
        "int64",
    ),
    "a categorical": (pd.Categorical(pair(2, 1), categories=[1, 2, 3]), [1, 2], "int64"),
    "Arrow text": (pair("ä", "b", arrow(pa.string())), ["b", "ä"], "object"),
    "Arrow integer": (pair(BIG, BIG + 1, arrow(pa.int64())), [BIG, BIG + 1], "int64"),
    "Arrow boolean": (pair(True, False, arrow(pa.bool_())), [False, True], "bool"),
    "Arrow dictionary": (
        pair("b", "a", arrow(pa.dictionary(pa.int32(), pa.string()))),
        ["a", "b"],
        "object",
    ),
    "an Arrow array": (pa.array(pair(BIG, BIG + 1)), [BIG, BIG + 1], "int64"),
    "text": (pair("sick", "well"), ["sick", "well"], "object"),
    "text of a width": (pair("sick", "well").to_numpy().astype("U4"), ["sick", "well"], "<U4"),
    "a list": (pair(BIG, BIG + 1).tolist(), [BIG, BIG + 1], "int64"),
    "integers as objects": (pair(BIG, BIG + 1, object), [BIG, BIG + 1], "int64"),
    "integers beyond 64 bits": (pair(2**70, 1, object), [1, 2**70], "object"),
    "booleans": (RARE, [False, True], "bool"),
    "floats": (np.where(RARE, 2.0, -1.0), [-1.0, 2.0], "float64"),
    "an index": (pd.Index(pair(7, 5)), [5, 7], "int64"),
}


@pytest.mark.parametrize("name", KINDS)
def test_classes_are_the_labels_themselves(name: str) -> None:
    labels, classes, dtype = KINDS[name]
    target = encode_target(labels)
    assert target.classes.tolist() == classes
    assert [type(label) for label in target.classes.tolist()] == [type(c) for c in classes]
    assert target.classes.dtype == np.dtype(dtype)
    assert target.codes.dtype == np.int64
    assert target.classes[target.codes].tolist() == list(label_array(labels))
    np.testing.assert_array_equal(match_labels(labels, target.classes), target.codes)


@pytest.mark.parametrize(
    "name",
    [
        "nullable integer",
        "nullable boolean",
        "nullable text",
        "categories of text",
        "categories of integers",
        "Arrow text",
        "Arrow dictionary",
        "text of a width",
        "integers beyond 64 bits",
        "booleans",
    ],
)
@pytest.mark.usefixtures("least_work")
def test_predictions_are_labels_as_they_came_before_and_after_the_file(
    name: str, tmp_path: Path
) -> None:
    labels, classes, dtype = KINDS[name]
    X = pd.DataFrame({"a": RARE + np.linspace(0, 0.1, N_ROWS)})
    model = AutoImbClassifier(**QUICK).fit(X, labels)
    loaded = load(model.export(tmp_path / "p.autoimb"))
    for face in (model, model.pipeline_, loaded):
        assert face.classes_.tolist() == classes
        assert face.classes_.dtype == np.dtype(dtype)
        predicted = face.predict(X)
        assert predicted.dtype == np.dtype(dtype)
        assert set(predicted.tolist()) <= set(classes)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert np.isfinite(model.score(X, labels))


def test_labels_of_an_eval_set_do_not_widen_those_of_the_table() -> None:
    X = pd.DataFrame({"a": RARE + np.linspace(0, 0.1, N_ROWS)})
    y = pair(BIG, BIG + 1, "Int64")
    others = pair(BIG, BIG + 1, "UInt64")  # numpy joins the two types as float
    model = AutoImbClassifier(**QUICK | {"cv": None}).fit(X, y, eval_set=(X, others))
    assert model.classes_.tolist() == [BIG, BIG + 1]
    assert model.classes_.dtype == np.int64


def test_rows_of_weight_zero_take_nothing_from_the_labels() -> None:
    X = pd.DataFrame({"a": RARE + np.linspace(0, 0.1, N_ROWS)})
    weight = np.ones(N_ROWS)
    weight[:2] = 0
    model = AutoImbClassifier(**QUICK).fit(X, pair(BIG, BIG + 1, "Int64"), sample_weight=weight)
    assert model.classes_.tolist() == [BIG, BIG + 1]


def test_a_class_beyond_the_floats_can_be_named_the_positive_one() -> None:
    y = pair(BIG, BIG + 1, "Int64")
    assert encode_target(y, positive=BIG + 1).positive == 1
    assert encode_target(y, positive=str(BIG)).positive == 0
