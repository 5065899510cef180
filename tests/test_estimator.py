"""The scikit-learn face."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import average_precision_score, log_loss
from sklearn.utils.estimator_checks import parametrize_with_checks

from autoimb import AutoImbClassifier, load
from autoimb.policy import Training
from autoimb.report import facts
from autoimb.report.build import Facts
from autoimb.runtime.pool import LOCAL, Backend
from tests.support.searches import minimal_work
from tests.support.tables import ONE_TRIAL, patients

QUICK = ONE_TRIAL | {"cv": 3}
MINI_BATCHES = "mini-batches: a row of weight 2 is not two rows, as they fall into other batches"


@pytest.fixture(autouse=True)
def _trained() -> Iterator[None]:
    """Train networks as usual, and minimize all other work."""
    with minimal_work(training=Training()):
        yield


@pytest.mark.usefixtures("minimal_work")
@parametrize_with_checks(
    [AutoImbClassifier(**QUICK)],
    expected_failed_checks=lambda _: {
        "check_sample_weight_equivalence_on_dense_data": MINI_BATCHES,
        "check_sample_weight_equivalence_on_sparse_data": MINI_BATCHES,
    },
)
def test_scikit_learn_protocol(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.usefixtures("minimal_work")
def test_what_is_fitted_for_the_report_is_fitted_while_the_backend_is_held(monkeypatch) -> None:
    held = [False]

    @contextlib.contextmanager
    def backend_for(name: str | None) -> Iterator[Backend]:
        held.append(True)
        yield LOCAL
        held.append(False)

    def build_facts(*args: Any, **how: Any) -> Facts:
        assert held[-1]
        return facts.build_facts(*args, **how)

    monkeypatch.setattr("autoimb.estimator.backend_for", backend_for)
    monkeypatch.setattr("autoimb.estimator.build_facts", build_facts)
    AutoImbClassifier(**QUICK).fit(*patients())
    assert held == [False, True, False]


@pytest.fixture(scope="module")
def fitted() -> AutoImbClassifier:
    X, y = patients()
    with minimal_work(training=Training()):
        return AutoImbClassifier(**QUICK | {"n_trials": 3}).fit(X, y)


def test_it_learns_and_says_what_it_found(fitted: AutoImbClassifier) -> None:
    X, y = patients()
    assert list(fitted.classes_) == ["sick", "well"]
    assert fitted.n_features_in_ == 7
    assert list(fitted.feature_names_in_) == list(X.columns)
    assert fitted.best_params_ == fitted.best_strategy_.to_json()
    assert fitted.best_params_["network"]["name"] == "mlp"
    assert fitted.best_score_ > 2 * (y == "sick").mean()
    assert set(fitted.predict(X)) == {"sick", "well"}
    board = fitted.leaderboard()
    assert len(board) == 3
    assert sorted(board["trial"]) == [record.number for record in fitted.records_]
    assert fitted.facts_.request["metric"] == "average_precision"
    assert list(board["status"]) == ["complete"] * 3
    assert board["score"].is_monotonic_decreasing


def test_a_row_may_be_a_dict_or_a_series(fitted: AutoImbClassifier) -> None:
    X, _ = patients()
    wanted = fitted.predict_proba(X[:5])
    rows = X[:5].to_dict("records")
    np.testing.assert_array_equal(fitted.predict_proba(rows), wanted)
    backwards = dict(reversed(rows[0].items()))
    for row in (rows[0], backwards, X.iloc[0]):
        np.testing.assert_allclose(fitted.predict_proba(row), wanted[:1], atol=1e-7)
        assert fitted.predict(row) == fitted.predict(X[:1])
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(rows[0] | {"another": 1})


def test_out_of_fold_predictions_have_the_score_before_the_replays(
    fitted: AutoImbClassifier,
) -> None:
    X, y = patients()
    oof = fitted.oof_
    assert list(oof.columns) == ["row", "fold", "proba_sick", "proba_well", "label"]
    assert oof["row"].tolist() == list(range(len(X)))
    assert set(oof["fold"]) == {0, 1, 2}
    np.testing.assert_allclose(oof["proba_sick"] + oof["proba_well"], 1)
    assert set(oof["label"]) <= {"sick", "well"}
    sick = y == "sick"
    folds = [own.index for _, own in oof.groupby("fold")]
    values = [average_precision_score(sick[own], oof["proba_sick"][own]) for own in folds]
    assert np.mean(values) == pytest.approx(fitted.facts_.reported["raw"])
    confusion = pd.crosstab(y, oof["label"]).to_numpy()
    assert fitted.facts_.confusion["matrix"] == confusion.tolist()


@pytest.mark.usefixtures("minimal_work")
def test_out_of_fold_predictions_are_of_the_rows_as_they_were_given() -> None:
    """Among rows of weight 0 and rows that are held out stand those that are searched."""
    X, y = patients()
    plain = AutoImbClassifier(**QUICK).fit(X, y)
    many, places = 3 * len(X), 3 * np.arange(len(X)) + 1
    X_more, y_more = X.loc[np.arange(many) // 3], y[np.arange(many) // 3]
    weight = np.zeros(many)
    weight[places] = 1.0
    model = clone(plain).fit(X_more, y_more, sample_weight=weight)
    oof = model.oof_
    assert oof["row"].tolist() == list(range(many))
    scored = oof.loc[places].reset_index(drop=True).drop(columns="row")
    pd.testing.assert_frame_equal(scored, plain.oof_.drop(columns="row"))
    assert oof.drop(index=places).drop(columns="row").isna().all(axis=None)
    held = clone(plain).set_params(holdout=0.25).fit(X, y)
    missing = held.oof_["label"].isna()
    assert missing.sum() == held.facts_.test["rows"]
    assert y[missing].value_counts().to_dict() == held.facts_.test["counts"]


def test_out_of_fold_predictions_of_an_evaluation_set_come_last(fitted: AutoImbClassifier) -> None:
    X, y = patients()
    model = clone(fitted).set_params(cv=None).fit(X[:160], y[:160], eval_set=(X[160:], y[160:]))
    oof = model.oof_
    assert len(oof) == len(X)
    assert oof["label"][:160].isna().all()
    assert oof["label"][160:].notna().sum() == 40  # the other half chooses the epoch


@pytest.mark.parametrize("labels", [[0, 1], [False, True], [0.0, 1.0]])
def test_out_of_fold_labels_may_be_missing(labels: list[Any], fitted: AutoImbClassifier) -> None:
    X, y = patients()
    coded = np.array(labels)[(y == "sick").astype(int)]
    model = clone(fitted).set_params(n_trials=1, holdout=0.2).fit(X, coded)
    known = model.oof_["label"].dropna()
    assert set(known.tolist()) <= set(labels)
    assert len(known) < len(X)
    assert f"proba_{labels[1]}" in model.oof_


def test_a_notebook_shows_what_was_found(fitted: AutoImbClassifier) -> None:
    page = fitted._repr_html_()
    low, high = fitted.score_interval_
    assert f"{low:.4f} to {high:.4f}" in page
    assert fitted.pipeline_.info["verdict"].partition("'")[0] in page
    assert "probability of" in page
    assert "n_trials" in page  # scikit-learn's parameters follow
    assert "Decision rule" not in clone(fitted)._repr_html_()


def test_score_is_the_metric_in_scikit_learns_sign(fitted: AutoImbClassifier) -> None:
    X, y = patients()
    by_loss = clone(fitted).set_params(metric="log_loss", n_trials=1).fit(X, y)
    assert by_loss.score(X, y) == pytest.approx(-log_loss(y, by_loss.predict_proba(X)))
    assert by_loss.best_score_ == -by_loss.pipeline_.info["score"] < 0


def test_what_an_error_on_each_row_costs_reaches_probabilities_and_labels() -> None:
    """Three of ten rows are sick in both wards; in one of them a miss is dear, in the other not."""
    rng = np.random.default_rng(4)
    X = pd.DataFrame({"ward": np.repeat(["east", "west"], 200), "noise": rng.normal(size=400)})
    y = pd.Series(np.where(np.arange(400) % 10 < 3, "sick", "well"))
    dear = X["ward"] == "east"
    costs = np.where(y == "well", 1.0, np.where(dear, 8.0, 0.2))
    plain = AutoImbClassifier(**QUICK, metric="accuracy").fit(X, y)
    assert set(plain.predict(X)) == {"well"}
    model = clone(plain).fit(X, y, sample_weight=costs)
    proba = model.predict_proba(X)[:, 0]
    assert proba[dear].mean() == pytest.approx(0.3 * 8 / (0.3 * 8 + 0.7), abs=0.1)
    assert proba[~dear].mean() == pytest.approx(0.3 * 0.2 / (0.3 * 0.2 + 0.7), abs=0.1)
    assert (model.predict(X)[dear] == "sick").mean() > 0.9
    assert (model.predict(X)[~dear] == "well").mean() > 0.9
    assert model.score(X, y, sample_weight=costs) > plain.score(X, y, sample_weight=costs) + 0.2


def test_rows_of_weight_zero_are_not_there() -> None:
    X, y = patients()
    kept = np.arange(len(y)) % 3 > 0
    weighted = AutoImbClassifier(**QUICK).fit(X, y, sample_weight=kept.astype(float))
    without = AutoImbClassifier(**QUICK).fit(X[kept], y[kept])
    np.testing.assert_array_equal(weighted.predict_proba(X), without.predict_proba(X))
    halves = [
        (np.arange(0, 240, 2), np.arange(1, 240, 2)),
        (np.arange(240) % 2 > 0, np.arange(0, 240, 2)),
    ]
    split = AutoImbClassifier(**QUICK | {"cv": halves})
    split.fit(X, y, sample_weight=kept.astype(float))
    counts = split.pipeline_.thresholds.counts.sum(axis=0)
    assert counts.tolist() == np.bincount(y[kept] == "well").tolist()


def test_class_weight_as_costs_moves_the_answer(fitted: AutoImbClassifier) -> None:
    X, y = patients()
    plain = (fitted.predict(X) == "sick").mean()
    model = clone(fitted).set_params(class_weight={"sick": 50.0}, n_trials=1).fit(X, y)
    assert model.best_params_["class_weight"]["name"] == "costs"
    assert (model.predict(X) == "sick").mean() > plain + 0.1
    balanced = clone(fitted).set_params(class_weight="balanced", n_trials=1).fit(X, y)
    assert balanced.predict_proba(X)[:, 0].mean() == pytest.approx(0.5, abs=0.2)


def test_export_report_and_pickle(fitted: AutoImbClassifier, tmp_path: Path) -> None:
    X, _ = patients()
    with pytest.raises(NotFittedError):
        clone(fitted).export(tmp_path / "none.autoimb")
    path = fitted.export(tmp_path / "new" / "pipeline.autoimb")
    for other in (load(path), pickle.loads(pickle.dumps(fitted))):
        np.testing.assert_array_equal(other.predict_proba(X), fitted.predict_proba(X))
    page = fitted.report(tmp_path / "new" / "report.html").read_text(encoding="utf-8")
    assert fitted.best_strategy_.network.name in page
