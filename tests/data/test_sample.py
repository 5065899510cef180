from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import autoimb.data.sample as sampling
from autoimb import read
from autoimb.data.memory import read_bytes
from autoimb.data.sample import Sample, reweighted
from autoimb.data.schema import infer_schema
from autoimb.errors import OptionError, SchemaError, TableError, TargetError
from autoimb.policy import SearchPolicy, Sizes
from tests.support.pipelines import table
from tests.support.tables import in_parts

POLICY = SearchPolicy(sizes=Sizes(min_training_rows=600))
LITTLE = 1_000  # bytes: as many rows as are drawn at least


def rows_of(n_rows: int = 3_000, rate: float = 0.05) -> pd.DataFrame:
    """Strings, numbers with NaN, dates, a boolean; a row's number, and a label that follows."""
    frame = table(n_rows, random_state=0)
    signal = np.random.default_rng(1).normal(size=n_rows) + 2 * (frame["colour"] == "red")
    return frame.assign(
        row=np.arange(n_rows) / 2,
        customer_id=np.arange(n_rows),
        nothing="same",
        y=np.where(signal > np.quantile(signal, 1 - rate), "yes", "no"),
    )


FRAME = rows_of()


def little(path: Path, **given: object) -> Sample:
    return read(path, "y", **{"max_memory": LITTLE, "policy": POLICY, **given})


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return in_parts(tmp_path_factory.mktemp("parts") / "t", FRAME, [700, 1_900])


def test_all_rare_rows_are_drawn_and_weights_give_back_the_counts(folder):
    rows = little(folder)
    counts = FRAME["y"].value_counts()
    assert rows.class_counts == counts.to_dict()
    assert len(rows.y) == 600
    assert rows.y.value_counts().to_dict() == {"yes": counts["yes"], "no": 600 - counts["yes"]}
    frame, y, weight = reweighted(rows)
    for label, count in counts.items():
        assert weight[y == label].sum() == pytest.approx(count, rel=1e-12)
    assert (weight[y == "yes"] == 1).all()
    # they are rows of the table, in its order
    number = (2 * frame["row"]).astype(int).to_numpy()
    assert (np.diff(number) > 0).all()
    pd.testing.assert_frame_equal(
        frame, FRAME.drop(columns="y").iloc[number].reset_index(drop=True)
    )


@pytest.mark.slow
@pytest.mark.parametrize(("ends", "cells"), [([], 300), ([1], 1_000), ([1_500, 1_500], 10**6)])
def test_what_is_drawn_depends_on_neither_parts_nor_pieces(
    folder, tmp_path, monkeypatch, ends, cells
):
    wanted = little(folder, random_state=3)
    monkeypatch.setattr(sampling, "CELLS", cells)
    got = little(in_parts(tmp_path / "t", FRAME, ends), random_state=3)
    pd.testing.assert_frame_equal(got.frame, wanted.frame)
    pd.testing.assert_series_equal(got.y, wanted.y)
    other = little(folder, random_state=4)
    assert not other.frame["row"].equals(wanted.frame["row"])


@pytest.mark.parametrize("kind", [".parquet", ".feather", ".csv"])
def test_the_kinds_are_those_of_the_whole_table(tmp_path, kind):
    rows = little(in_parts(tmp_path / "t", FRAME, [700, 1_900], kind))
    whole = in_parts(tmp_path / "whole", FRAME, [], kind) / f"part-00{kind}"
    everything = read(whole, "y", max_memory="1GB")
    assert everything.class_counts is None
    assert infer_schema(rows.frame)[0] == infer_schema(everything.frame)[0]
    assert rows.class_counts == everything.y.value_counts().to_dict()


def test_columns_reach_no_choice_of_rows(folder, tmp_path):
    """Law 1: the rows that are drawn, and so those that are scored, are told by labels alone."""
    wanted = little(folder)
    changed = FRAME.assign(amount=FRAME["amount"] * -3, colour="red", row=FRAME["row"] + 0.25)
    got = little(in_parts(tmp_path / "t", changed, [700, 1_900]))
    np.testing.assert_array_equal(got.frame["row"], wanted.frame["row"] + 0.25)


def test_a_table_in_parts_that_fits_is_read_whole(folder):
    rows = read(folder, "y", max_memory="1GB")
    assert rows.class_counts is None
    pd.testing.assert_frame_equal(rows.frame, FRAME.drop(columns="y"))


def test_text_that_looks_like_numbers_in_a_piece_is_text(tmp_path, monkeypatch):
    frame = FRAME.assign(code=["0815"] * 2_000 + ["A12"] * 1_000, flag=FRAME["y"] == "yes")
    monkeypatch.setattr(sampling, "CELLS", 5_000)
    rows = little(in_parts(tmp_path / "t", frame, [700], ".csv"))
    assert set(rows.frame["code"]) == {"0815", "A12"}
    assert rows.frame["flag"].dtype == bool
    assert rows.frame["row"].dtype == float


def test_categories_of_all_parts_are_one_set(tmp_path):
    folder = in_parts(tmp_path / "t", FRAME, [])
    for number, word in enumerate(["red", "green"], 1):
        part = FRAME.assign(colour=pd.Categorical([word] * len(FRAME)))
        part.to_parquet(folder / f"part-{number:02}.parquet")
    FRAME.assign(colour=pd.Categorical(FRAME["colour"])).to_parquet(folder / "part-00.parquet")
    rows = little(folder)
    assert set(rows.frame["colour"].cat.categories) == {"red", "green", "grün"}
    assert (rows.frame["colour"] == "green").sum() == pytest.approx(200, abs=50)


def test_rows_of_weight_zero_are_neither_counted_nor_drawn(tmp_path):
    weight = np.where(np.arange(3_000) % 3 == 0, 0.0, 2.0)
    folder = in_parts(tmp_path / "t", FRAME.assign(w=weight), [700, 1_900])
    rows = little(folder, weight="w")
    assert rows.class_counts == FRAME["y"][weight > 0].value_counts().to_dict()
    assert (rows.weight == 2).all()
    assert ((2 * rows.frame["row"]) % 3 != 0).all()
    _, y, total = reweighted(rows)
    assert total[y == "no"].sum() == pytest.approx(2 * rows.class_counts["no"])


BAD = {
    "target": ({"target": "z"}, TargetError, r"Unknown target column 'z'\. .*Choices: "),
    "weight": ({"weight": "z"}, SchemaError, r"Unknown weight column 'z'\. .*Choices: "),
    "weights": ({"weight": "amount"}, SchemaError, r"Rows from 0 on of '.*part-00.*numbers from 0"),
    "memory": ({"max_memory": "much"}, OptionError, "max_memory must be bytes, or text such as"),
    "classes": ({"target": "customer_id"}, TargetError, "more than 50 classes: is it"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_drawn_is_said_in_one_sentence(folder, name):
    given, error, message = BAD[name]
    given = {"target": "y", "max_memory": LITTLE, **given}
    policy = SearchPolicy(sizes=Sizes(min_training_rows=600, max_classes=50))
    with pytest.raises(error, match=message) as caught:
        read(folder, **given, policy=policy)
    assert "\n" not in str(caught.value)


def test_a_missing_label_is_named_with_its_part(tmp_path):
    frame = FRAME.copy()
    frame.loc[1_234, "y"] = None
    folder = in_parts(tmp_path / "t", frame, [700, 1_900])
    message = r"Rows from 0 on of '.*part-01.parquet': .* misses 1 of 1200 .* row 534"
    with pytest.raises(TargetError, match=message):
        little(folder)


def test_a_folder_without_rows_says_so(tmp_path):
    with pytest.raises(TableError, match=re.escape("0 sample(s)")):
        little(in_parts(tmp_path / "t", FRAME.head(0), [0]))


@pytest.mark.parametrize(
    ("given", "n_bytes"),
    [("4GB", 4 * 10**9), ("1.5 GiB", 3 * 2**29), ("500m", 5 * 10**8), (7, 7), ("64", 64)],
)
def test_amounts_of_memory(given, n_bytes):
    assert read_bytes(given) == n_bytes
