"""What the answer of a search does not depend on: names, units of a power of two, kinds of labels.

The order of rows, of columns and of the classes' names is another draw, as another seed is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from autoimb import AutoImbClassifier
from tests.support.searches import minimal_work
from tests.support.tables import mixed_table

FRAME, Y = mixed_table("binary")
NEW, _ = mixed_table("binary", 60, seed=5)
SEARCH: dict[str, Any] = {
    "n_trials": 2,
    "cv": 2,
    "time_budget": None,
    "partners": "small_trees",
    "random_state": 0,
}


def answer(frame: pd.DataFrame, y: Any, new: pd.DataFrame, **given: Any) -> np.ndarray:
    """Search with two networks, then predict new rows."""
    with minimal_work():
        clf = AutoImbClassifier(**SEARCH).fit(frame, y, **given)
    return clf.predict_proba(new)


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    return answer(FRAME, Y, NEW)


FRAMES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "units": lambda frame: frame.assign(amount=frame["amount"] / 1024, count=frame["count"] * 8),
    "names of columns": lambda frame: frame.rename(columns=lambda name: f"a {name[::-1]}"),
    "names of levels": lambda frame: frame.assign(shop="no. " + frame["shop"]),
    "index": lambda frame: frame.set_index(frame.index[::-1] * 7),
}


@pytest.mark.parametrize("changed", FRAMES.values(), ids=FRAMES)
def test_the_answer_does_not_depend_on(
    changed: Callable[[pd.DataFrame], pd.DataFrame], expected: np.ndarray
) -> None:
    np.testing.assert_array_equal(answer(changed(FRAME), Y, changed(NEW)), expected)


@pytest.mark.parametrize(
    "labels", [np.array(["all is well", "fraud"])[Y], Y == 1], ids=["names", "flags"]
)
def test_the_answer_does_not_depend_on_the_kind_of_labels(
    labels: np.ndarray, expected: np.ndarray
) -> None:
    np.testing.assert_array_equal(answer(FRAME, labels, NEW), expected)


@pytest.mark.slow
def test_weights_count_by_their_ratios() -> None:
    weight = np.random.default_rng(0).choice([0.5, 1.0, 2.0], len(Y))
    once, fourfold = (answer(FRAME, Y, NEW, sample_weight=w) for w in (weight, 4 * weight))
    np.testing.assert_array_equal(once, fourfold)
