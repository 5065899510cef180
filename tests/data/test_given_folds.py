"""Folds that the user gave, which hold together what random folds would tear apart."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GroupKFold, KFold

from autoimb import AutoImbClassifier
from autoimb.assessment.judge import Judge
from autoimb.assessment.metrics import get_metric
from autoimb.data.encoding.encoder import Encoder
from autoimb.evaluation.assemble import calibrate
from autoimb.partners.rows import Binned, FoldRows
from autoimb.runtime.shared import Shared, load
from autoimb.search.prepare import Preparation, Table, prepare
from autoimb.search.request import Request
from tests.support.tables import ONE_TRIAL


def copied_rows(
    n_entities: int, copies: int = 4, *, seed: int = 0
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Draw entities of whose rows all are alike, with their label; 13 % are positive."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(n_entities, 6))
    logit = 1.3 * x[:, 0] + x[:, 1] - 0.8 * x[:, 2] * x[:, 3] - 2.75
    y = (random.random(n_entities) < 1 / (1 + np.exp(-logit))).astype(np.int64)
    entity = np.repeat(np.arange(n_entities), copies)
    frame = pd.DataFrame(x[entity], columns=list("abcdef"))
    order = random.permutation(len(entity))
    return frame.iloc[order].reset_index(drop=True), y[entity][order], entity[order]


def patients(n_rows: int = 3_000) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Draw visits of 100 patients, whose number is a column as text and as a whole number."""
    random = np.random.default_rng(1)
    patient = random.integers(0, 100, n_rows)
    frame = pd.DataFrame(
        {
            "age": random.normal(size=n_rows),
            "patient": [f"p{number}" for number in patient],
            "number": patient,
            "ward": [f"w{number}" for number in random.integers(0, 40, n_rows)],
            "pills": random.integers(0, 9, n_rows),
        }
    )
    return frame, (random.random(n_rows) < 0.1 + 0.2 * (patient % 3 == 0)).astype(int), patient


def prepared_with(frame: pd.DataFrame, y: np.ndarray, splits: object) -> Preparation:
    kinds = {"number": "numeric"} if "number" in frame else None
    return prepare(Table(frame, y, kinds=kinds), Request(cv=splits, metric="average_precision"))


def test_levels_that_folds_separate_are_not_read() -> None:
    frame, y, patient = patients()
    apart = list(GroupKFold(5).split(frame, y, patient))
    mixed = list(KFold(5, shuffle=True, random_state=0).split(frame))
    for splits, statistics, integers in (
        (apart, (1,), (2,)),
        (apart[:1], (1,), (2,)),
        (mixed, (0, 1), (1, 2)),
        (mixed[:1], (0, 1), (1, 2)),
        (5, (0, 1), (1, 2)),
    ):
        prepared = prepared_with(frame, y, splits)
        layout = prepared.dataset.layout
        assert (layout.statistics, layout.integers) == (statistics, integers)
        notices = [notice for notice in prepared.notices if "'patient'" in notice]
        assert len(notices) == (statistics == (1,))
    # With several classes such levels are not embedded, and without other columns they are read.
    three = y + (np.arange(len(y)) % 9 == 0)
    assert prepared_with(frame, three, apart).dataset.layout.embedded == (1,)
    assert prepared_with(frame, three, 5).dataset.layout.embedded == (0, 1)
    assert prepared_with(frame[["patient"]], y, apart).dataset.layout.statistics == (0,)


def test_copies_that_folds_separate_get_no_statistics() -> None:
    frame, y, entity = copied_rows(1_000)
    apart = list(GroupKFold(5).split(frame, y, entity))
    mixed = list(KFold(5, shuffle=True, random_state=0).split(frame))
    for splits, repeated in ((apart, False), (mixed, True), (5, True)):
        assert prepared_with(frame, y, splits).dataset.layout.repeated == repeated


def test_what_is_left_out_reaches_neither_networks_nor_trees() -> None:
    frame, y, patient = patients()
    apart, encoded = list(GroupKFold(5).split(frame, y, patient)), []
    prepared = prepared_with(frame, y, apart)
    renamed = [name[::-1] for name in frame["patient"]]
    other = prepared_with(frame.assign(patient=renamed), y, apart)
    assert other.dataset.layout == prepared.dataset.layout
    for one in (prepared, other):
        data, train = one.dataset, one.folds.folds[0].train
        encoder = Encoder.fit(data.columns, train, layout=data.layout, y=data.y)
        x, _ = encoder.dense(encoder.transform(data.columns), ple=True)
        encoded.append(x)
    np.testing.assert_array_equal(*encoded)
    fold = prepared.folds.folds[0]
    rows = [FoldRows(one.dataset, fold, None, Binned) for one in (prepared, other)]
    np.testing.assert_array_equal(rows[0].inputs.x, rows[1].inputs.x)
    np.testing.assert_array_equal(rows[0].rows, rows[1].rows)


def test_the_judge_knows_whose_folds_they_are(tmp_path) -> None:
    frame, y, patient = patients()
    apart = list(GroupKFold(5).split(frame, y, patient))
    for splits in (apart, 5):
        shared = Shared.of(prepared_with(frame, y, splits).task, print, tmp_path)
        again, _ = load(shared.file)
        for task in (shared.task, again, again.duels):
            assert task is not None
            assert task.judge.drawn_by_class == (splits == 5)


def test_regions_of_unequal_rates_are_compared_by_one_calibration() -> None:
    random = np.random.default_rng(0)
    region = np.repeat([0, 1, 2, 3], 1_000)
    logit = np.array([-1.5, -4.0, -4.5, -5.0])[region] + 1.5 * random.normal(size=4_000)
    y = (random.random(4_000) < 1 / (1 + np.exp(-logit))).astype(np.int64)
    # networks that have not seen the first region expect a fifth of the odds there
    predicted = 1 / (1 + np.exp(-(logit - np.log(5) * (region == 0))))
    proba = np.stack([1 - predicted, predicted], axis=1)
    judge = Judge(
        get_metric("average_precision", n_classes=2, positive=1), y, region, drawn_by_class=False
    )
    found = calibrate(judge, proba, lambda part: proba, class_costs=None)
    true = average_precision_score(y, predicted)
    assert average_precision_score(y, found.proba[:, 1]) == pytest.approx(true, abs=0.01)
    for learn, use in judge.parts:
        np.testing.assert_array_equal(learn, ~use)
        assert set(region[use]) == set(region[learn]) == {0, 1, 2, 3}


def test_copies_held_together_are_scored_and_calibrated_as_new_ones() -> None:
    frame, y, entity = copied_rows(600)
    splits = list(GroupKFold(3).split(frame, y, entity))
    classifier = AutoImbClassifier(**ONE_TRIAL | {"n_trials": 2, "cv": splits}).fit(frame, y)
    new, truth, _ = copied_rows(20_000, 1, seed=1)
    proba = classifier.predict_proba(new)[:, 1]
    assert proba.mean() == pytest.approx(truth.mean(), rel=0.25)
    reported = classifier.facts_.reported
    assert reported["gain_of_mean"] is None
    true = average_precision_score(truth, proba)
    assert classifier.best_score_ - true <= 2 * reported["error"]
