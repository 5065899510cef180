"""Screening: the columns that networks read where rows of the rarest class are few."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from msgspec import structs

from autoimb import AutoImbClassifier, load
from autoimb.cli.tables import text_columns
from autoimb.data.dataset import Dataset
from autoimb.data.encoding.encoder import Encoder
from autoimb.data.encoding.screening import Screen
from autoimb.data.folds import plan_folds
from autoimb.partners.reader import Reader
from autoimb.search.prepare import Table, prepare
from autoimb.search.request import Request
from autoimb.training.plan import Outline
from tests.support.pipelines import pipeline
from tests.support.tables import ONE_TRIAL, dataset_of, short_plan


def wide_dataset(*, rows: int = 300, kept: int | None = 5, seed: int = 0) -> Dataset:
    """Sixty numbers and thirty categories of noise, but for three numbers and a category."""
    random = np.random.default_rng(seed)
    y = (np.arange(rows) % 10 == 0).astype(np.int64)
    numbers = random.normal(size=(rows, 60))
    numbers[:, 7] += 2.0 * y  # another mean
    numbers[:, 8] *= 1.0 + 5.0 * y  # the same mean, another spread
    numbers[y == 1, 9] = np.where(random.random(y.sum()) < 0.8, np.nan, numbers[y == 1, 9])
    levels = random.integers(0, 3, size=(rows, 30))
    levels[:, 11] = np.where(random.random(rows) < 0.8, y, 2)
    frame = pd.DataFrame(numbers, columns=[f"n{j}" for j in range(60)])
    for j in range(30):
        frame[f"c{j}"] = pd.Series([f"level {level}" for level in levels[:, j]], dtype=object)
    dataset = dataset_of(frame, y)
    return replace(dataset, layout=structs.replace(dataset.layout, screened=kept))


def fitted(dataset: Dataset, rows: np.ndarray | None = None) -> Encoder:
    rows = np.arange(len(dataset.y)) if rows is None else rows
    return Encoder.fit(dataset.columns, rows, layout=dataset.layout, y=dataset.y)


def test_what_tells_the_class_is_kept_whether_by_its_mean_spread_missing_rows_or_levels():
    screen = fitted(wide_dataset()).screen
    assert {7, 8, 9} <= set(screen.numbers)
    assert 11 in screen.categories
    assert (len(screen.numbers), len(screen.categories)) == (5, 5)


def test_an_encoder_of_screened_columns_is_that_of_a_table_of_them():
    dataset = wide_dataset()
    encoder = fitted(dataset)
    alone = Encoder.fit(
        encoder.screen.columns(dataset.columns),
        np.arange(len(dataset.y)),
        layout=encoder.screen.layout(dataset.layout),
        y=dataset.y,
    )
    kept = encoder.screen.columns(dataset.columns)
    for ple in (False, True):
        mine = encoder.dense(encoder.transform(dataset.columns), ple=ple)
        np.testing.assert_array_equal(mine[0], alone.dense(alone.transform(kept), ple=ple)[0])
        assert mine[0].shape[1] == encoder.width(ple=ple)


def test_the_plan_counts_on_the_width_of_what_is_kept():
    dataset = wide_dataset()
    folds = plan_folds(dataset.y, cv=3, random_state=0)
    wide = Outline.of(replace(dataset, layout=structs.replace(dataset.layout, screened=None)))
    outline = short_plan(dataset, folds).outline
    assert outline.inputs[0] < wide.inputs[0] / 4
    assert all(
        fitted(dataset, fold.train).width(ple=False) <= outline.inputs[0] + 8
        for fold in folds.folds
    )


def few_rare_rows(rows: int, rare: int) -> tuple[pd.DataFrame, np.ndarray]:
    y = (np.arange(rows) % (rows // rare) == 0).astype(np.int64)
    numbers = np.random.default_rng(1).normal(size=(rows, 80))
    numbers[:, 70] += 3.0 * y
    return pd.DataFrame(numbers, columns=[f"n{j}" for j in range(80)]), y


@pytest.mark.parametrize(("rows", "rare", "read"), [(400, 40, 50), (400, 200, 80)])
def test_networks_read_fewer_columns_where_rare_rows_are_few(rows: int, rare: int, read: int):
    prepared = prepare(Table(*few_rare_rows(rows, rare)), Request())
    dataset, fold = prepared.dataset, prepared.folds.folds[0]
    encoder = fitted(dataset, fold.train)
    assert len(encoder.center) == read
    assert 70 in encoder.screen.numbers


@pytest.mark.usefixtures("minimal_work")
def test_what_was_screened_is_exported_and_loaded(tmp_path: Path):
    frame, y = few_rare_rows(200, 20)
    clf = AutoImbClassifier(**ONE_TRIAL).fit(frame, y)
    clf.report(tmp_path / "report.html")
    clf.export(tmp_path / "pipeline.autoimb")
    pipe = load(tmp_path / "pipeline.autoimb")
    read = [set(encoder.screen.numbers.tolist()) for encoder in pipe.encoders]
    assert all(len(own) == 50 and 70 in own for own in read)
    assert len(set(map(frozenset, read))) > 1  # each fold chose for itself
    np.testing.assert_array_equal(pipe.predict_proba(frame), clf.predict_proba(frame))


def test_levels_that_only_trees_read_stay_text():
    pipe = pipeline()
    encoders = tuple(
        replace(each, screen=replace(each.screen, categories=np.arange(0)), levels=())
        for each in pipe.encoders
    )
    reader = Reader(levels=(("02139",), (), ()), tables=(None,) * 3, numbers=0, shares=(None,) * 3)
    trees = replace(pipe.strategies[0], trees=(SimpleNamespace(reader=reader),))  # type: ignore[arg-type]  # only its levels are read
    assert text_columns(replace(pipe, encoders=encoders, strategies=(trees,))) == ["colour"]


@pytest.mark.parametrize("rows", [1, 12])
def test_rows_of_one_class_screen_as_well(rows: int):
    dataset = wide_dataset()
    none = np.flatnonzero(dataset.y == 0)[:rows]
    assert (
        len(Screen.fit(dataset.columns.take(none), dataset.y[none], layout=dataset.layout).numbers)
        == 5
    )


def test_a_tiny_class_beside_two_large_ones_screens_nothing():
    frame, y = few_rare_rows(4_000, 2_000)
    y[:20] = 2
    prepared = prepare(Table(frame, y), Request())
    assert len(fitted(prepared.dataset, prepared.folds.folds[0].train).center) == 80
