"""Labels are returned as they were given, in a type that represents each of them exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from autoimb import AutoImbClassifier, load
from autoimb.data.target import encode_target, label_array, match_labels
from autoimb.errors import TargetError
from tests.support.tables import ONE_TRIAL, PLAINEST

BIG = 2**53 + 1  # the first whole number that no float represents
N_ROWS = 60
RARE = np.arange(N_ROWS) % 4 == 0
X = pd.DataFrame({"a": RARE + np.linspace(0, 0.1, N_ROWS)})
QUICK = ONE_TRIAL | PLAINEST | {"cv": 2}


def pair(rare: Any, common: Any, kind: Any = None) -> Any:
    """Return labels of a pandas type, or from a function of the list."""
    labels = [rare if is_rare else common for is_rare in RARE]
    return kind(labels) if callable(kind) else pd.Series(labels, dtype=kind)


# The type of the labels, the rare and the common one, and the type of the classes.
KINDS: dict[str, tuple[Any, Any, Any, str]] = {
    "nullable integer": ("Int64", BIG, BIG + 1, "int64"),
    "nullable unsigned": ("UInt64", 2**64 - 1, 2**63, "uint64"),
    "nullable boolean": ("boolean", True, False, "bool"),
    "nullable float": ("Float64", 1.0, 0.0, "float64"),
    "nullable text": ("string", "sick", "well", "object"),
    "categories of text": (pd.CategoricalDtype(list("cba")), "b", "a", "object"),
    "categories of integers": (
        lambda labels: pd.Series(labels, dtype="Int64").astype("category"),
        *(BIG, BIG + 1, "int64"),
    ),
    "a categorical": (lambda labels: pd.Categorical(labels, [1, 2, 3]), 2, 1, "int64"),
    "Arrow text": (pd.ArrowDtype(pa.string()), "ä", "b", "object"),
    "Arrow integer": (pd.ArrowDtype(pa.int64()), BIG, BIG + 1, "int64"),
    "Arrow dictionary": (
        pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string())),
        *("b", "a", "object"),
    ),
    "an Arrow array": (pa.array, BIG, BIG + 1, "int64"),
    "text": (None, "sick", "well", "object"),
    "text of a width": (np.array, "sick", "well", "<U4"),
    "a list": (list, BIG, BIG + 1, "int64"),
    "integers as objects": ("object", BIG, BIG + 1, "int64"),
    "integers beyond 64 bits": ("object", 2**70, 1, "object"),
    "booleans": (np.array, True, False, "bool"),
    "floats": (np.array, 2.0, -1.0, "float64"),
    "an index": (pd.Index, 7, 5, "int64"),
}


def case(name: str) -> tuple[Any, list[Any], str]:
    """Return labels of a kind, their classes, and the type of these."""
    kind, rare, common, dtype = KINDS[name]
    return pair(rare, common, kind), sorted([rare, common]), dtype


@pytest.mark.parametrize("name", KINDS)
def test_classes_are_the_labels(name: str) -> None:
    labels, classes, dtype = case(name)
    target = encode_target(labels)
    assert target.classes.tolist() == classes
    assert [type(label) for label in target.classes.tolist()] == [type(c) for c in classes]
    assert target.classes.dtype == np.dtype(dtype)
    assert target.codes.dtype == np.int64
    assert target.classes[target.codes].tolist() == list(label_array(labels))
    np.testing.assert_array_equal(match_labels(labels, target.classes), target.codes)


@pytest.mark.parametrize(
    "name", ["nullable integer", "nullable boolean", "Arrow dictionary", "text of a width"]
)
@pytest.mark.usefixtures("minimal_work")
def test_predictions_are_labels(name: str, tmp_path: Path) -> None:
    labels, classes, dtype = case(name)
    model = AutoImbClassifier(**QUICK).fit(X, labels)
    loaded = load(model.export(tmp_path / "p.autoimb"))
    for predictor in (model, model.pipeline_, loaded):
        assert predictor.classes_.tolist() == classes
        assert predictor.classes_.dtype == np.dtype(dtype)
        predicted = predictor.predict(X)
        assert predicted.dtype == np.dtype(dtype)
        assert set(predicted.tolist()) <= set(classes)
    assert np.isfinite(model.score(X, labels))


@pytest.mark.usefixtures("minimal_work")
def test_labels_of_other_rows_do_not_change_the_type() -> None:
    labels = pair(BIG, BIG + 1, "Int64")
    others = pair(BIG, BIG + 1, "UInt64")  # NumPy combines the two types to floats
    by_eval_set = AutoImbClassifier(**QUICK | {"cv": None}).fit(X, labels, eval_set=(X, others))
    # Rows of weight 0 are dropped.
    weight = np.where(np.arange(N_ROWS) < 2, 0.0, 1.0)
    by_weight = AutoImbClassifier(**QUICK).fit(X, labels, sample_weight=weight)
    for model in (by_eval_set, by_weight):
        assert model.classes_.tolist() == [BIG, BIG + 1]
        assert model.classes_.dtype == np.int64


def test_the_positive_class_is_the_rarest_or_the_named_one() -> None:
    labels = ["a"] * 3 + ["b"] * 2 + ["c"] * 2
    assert encode_target(labels).positive == 2
    assert encode_target(labels, positive="b").positive == 1
    assert encode_target([0, 1, 1], positive="1").positive == 1
    assert encode_target([0.0, 1.0, 1.0], positive="1").positive == 1
    assert encode_target([True, True, False], positive=True).positive == 1
    assert encode_target(pair(BIG, BIG + 1, "Int64"), positive=BIG + 1).positive == 1
    assert encode_target(pair(BIG, BIG + 1, "Int64"), positive=str(BIG)).positive == 0
    with pytest.raises(TargetError, match=r"Unknown positive class 'd'. Choices: a, b, c"):
        encode_target(labels, positive="d")


def test_labels_of_other_rows_are_matched() -> None:
    classes = np.array([0, 1])
    assert match_labels(pd.Series(["1", "0"]), classes).tolist() == [1, 0]
    assert match_labels(np.array([1.0, 0.0]), classes).tolist() == [1, 0]
    with pytest.raises(TargetError, match=r"Unknown label 2. Choices: 0, 1"):
        match_labels([0, 2], classes)
    with pytest.raises(TargetError, match="misses 1 of 2 values, the first in row 1"):
        match_labels([0.0, np.nan], classes)
