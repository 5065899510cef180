"""The faces by convention: labels of the user, one strategy alone, costs, thresholds, options."""

from __future__ import annotations

import json
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
from sklearn import metrics as sk
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from autoimb import AutoImbClassifier, load
from autoimb.assessment.metrics import get_metric
from autoimb.cli import main
from autoimb.cli.app import app
from autoimb.errors import BudgetError, OptionError
from autoimb.pipeline.artifact import inspect
from autoimb.policy import Training
from autoimb.search.request import class_costs
from autoimb.space.components import COMPONENTS
from autoimb.space.reading import read_strategy
from autoimb.space.strategy import Choice, Strategy
from tests.support.searches import minimal_work
from tests.support.tables import ONE_TRIAL, small_network

QUICK = ONE_TRIAL | {"cv": 3}
TEXT = np.array(["sick", "well"])

Captured = pytest.CaptureFixture[str]


def table(n_rows: int = 180) -> tuple[pd.DataFrame, pd.Series]:
    """Return a number that tells who is sick, one that does not, and the labels."""
    rng = np.random.default_rng(0)
    signal = rng.normal(size=n_rows)
    sick = signal + 0.7 * rng.normal(size=n_rows) > 1.0
    frame = pd.DataFrame({"signal": signal, "noise": rng.normal(size=n_rows)})
    return frame, pd.Series(np.where(sick, "sick", "well"), name="state")


@pytest.fixture(scope="module")
def searched() -> AutoImbClassifier:
    with minimal_work():
        return AutoImbClassifier(**QUICK | {"n_trials": 8}).fit(*table())


# --- metrics of users see the labels --------------------------------------------------------------


def rows(n_classes: int = 2, n: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    y = np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, n - n_classes)])
    return y, rng.dirichlet(np.ones(n_classes), n), rng.integers(0, n_classes, n)


@pytest.mark.parametrize("label", ["sick", "well"])
@pytest.mark.parametrize(
    ("function", "method"),
    [
        (sk.f1_score, "predict"),
        (sk.brier_score_loss, "predict_proba"),
        (sk.average_precision_score, ("decision_function", "predict_proba")),
    ],
)
def test_a_scorer_of_a_label_judges_that_label(function: Any, method: Any, label: str) -> None:
    y, proba, labels = rows()
    code = list(TEXT).index(label)
    scorer = sk.make_scorer(function, response_method=method, pos_label=label)
    answer = labels == code if method == "predict" else proba[:, code]
    for positive in (0, 1):  # what the search takes for positive is none of the scorer's business
        metric = get_metric(scorer, n_classes=2, positive=positive, classes=TEXT)
        assert metric.kind == ("label" if method == "predict" else "probability")
        assert function.__name__ in metric.name
        assert metric(y, proba, labels) == pytest.approx(function(y == code, answer))


def test_a_scorer_without_a_label_is_told_to_name_one() -> None:
    with pytest.raises(OptionError, match=r"sees the labels 'sick', 'well'.*pos_label="):
        get_metric(sk.make_scorer(sk.f1_score), n_classes=2, positive=0, classes=TEXT)


SCORERS: dict[str, Callable[..., float]] = {
    "jaccard": sk.jaccard_score,
    "neg_brier_score": sk.brier_score_loss,
    "d2_brier_score": sk.d2_brier_score,
    "neg_log_loss": sk.log_loss,
}


@pytest.mark.parametrize("name", SCORERS)
@pytest.mark.parametrize("classes", [None, TEXT, np.array([-1, 1]), np.array([False, True])])
@pytest.mark.parametrize("positive", [0, 1])
def test_a_named_scorer_judges_the_positive_class_whatever_its_label(
    name: str, classes: Any, positive: int
) -> None:
    y, proba, labels = rows()
    weight = np.linspace(0.5, 2, len(y))
    metric = get_metric(name, n_classes=2, positive=positive, classes=classes)
    assert metric.kind == ("label" if name == "jaccard" else "probability")
    assert metric.greater_is_better
    answer = labels == positive if name == "jaccard" else proba[:, positive]
    expected = SCORERS[name](y == positive, answer, sample_weight=weight)
    sign = -1 if name.startswith("neg_") else 1
    assert metric(y, proba, labels, weight=weight) == pytest.approx(sign * expected)


def test_a_named_scorer_of_several_classes_sees_numbers_where_labels_are_numbers() -> None:
    y, proba, labels = rows(3)
    numbers = np.array([1, 2, 10])
    metric = get_metric("neg_mean_absolute_error", n_classes=3, positive=0, classes=numbers)
    expected = -sk.mean_absolute_error(numbers[y], numbers[labels])
    assert metric(y, proba, labels) == pytest.approx(expected)
    text = get_metric("roc_auc_ovr", n_classes=3, positive=0, classes=np.array(["a", "b", "c"]))
    assert text(y, proba) == pytest.approx(sk.roc_auc_score(y, proba, multi_class="ovr"))


@pytest.mark.usefixtures("minimal_work")
def test_the_estimator_gives_them_the_labels() -> None:
    X, y = table()

    def agreement(y_true: np.ndarray, labels: np.ndarray, pos_label: str) -> float:
        return float(((y_true == pos_label) == (labels == pos_label)).mean())

    scorer = sk.make_scorer(agreement, pos_label="sick")  # scikit-learn's own are slow to call
    model = AutoImbClassifier(**QUICK, metric=scorer).fit(X, y)
    assert model.score(X, y) == pytest.approx(sk.accuracy_score(y, model.predict(X)))
    assert model.score(X, y) == pytest.approx(scorer(model, X, y))


# --- costs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cost_in_loss", [False, True])
def test_a_cost_matrix_decides_labels_and_moves_no_probability(cost_in_loss: bool) -> None:
    matrix = np.array([[0.0, 1.0], [40.0, 0.0]])
    random = np.random.default_rng(0)
    X = pd.DataFrame(random.normal(size=(3_000, 3)), columns=["a", "b", "c"])
    y = np.where(X["a"] + X["b"] + random.normal(size=3_000) > 2.6, "yes", "no")
    rate = (y == "yes").mean()
    assert 0.05 < rate < 0.09
    search = QUICK | {"cost_matrix": matrix, "cost_in_loss": cost_in_loss}
    with minimal_work(training=Training()):
        model = AutoImbClassifier(**search).fit(X[:2_000], y[:2_000])
    name = model.best_params_["class_weight"]["name"]
    assert (name == "costs") == cost_in_loss
    known = (y[:2_000] == "yes").mean()
    assert model.oof_["proba_yes"].mean() == pytest.approx(known, rel=0.1)
    proba, labels = model.predict_proba(X), model.predict(X)
    assert proba[:, 1].mean() == pytest.approx(rate, rel=0.1)
    np.testing.assert_array_equal(labels == "yes", (proba @ matrix).argmin(axis=1) == 1)
    assert model.inspect()["threshold"] == pytest.approx(1 / 41)
    new = slice(2_000, None)

    def cost(given: np.ndarray) -> float:
        return float(matrix[(y == "yes")[new].astype(int), (given == "yes")[new].astype(int)].sum())

    others = [np.where(proba[:, 1] >= at, "yes", "no") for at in (0.0, 0.2, 0.5)]
    assert cost(labels) < min(map(cost, others))
    expected = -model.pipeline_.score(X[new], y[new], metric="expected_cost")
    assert expected == pytest.approx(cost(labels) / 1_000)


@pytest.mark.usefixtures("minimal_work")
def test_the_expected_cost_is_a_metric_of_a_search(tmp_path: Path, capsys: Captured) -> None:
    matrix = [[0, 1], [20, 0]]
    X, y = table()
    model = AutoImbClassifier(**QUICK, metric="expected_cost", cost_matrix=matrix).fit(X, y)
    low, high = model.score_interval_
    assert -20 < low < model.best_score_ < high < 0
    path = model.export(tmp_path / "p.autoimb")
    pipeline = load(path)
    assert pipeline.score(X, y) == pytest.approx(model.score(X, y))
    frame = pd.DataFrame(X).assign(target=y)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    words = ["evaluate", str(path), str(tmp_path / "rows.csv"), "--target", "target", "--json"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)["metrics"]["expected_cost"]
    assert told == pytest.approx(-pipeline.score(X, y))
    with pytest.raises(OptionError, match="needs the cost"):
        pipeline.with_threshold(0.5).score(X, y)


@pytest.mark.parametrize(
    ("class_weight", "cost_matrix", "words"),
    [
        ([[0, 1], [1, 0]], None, r"matrix of costs, of shape \(2, 2\), goes into cost_matrix="),
        (np.eye(2), None, "goes into cost_matrix="),
        ("balanced", np.eye(2), "cost_matrix= takes the place of class_weight=.*'balanced'"),
        ({"sick": 3}, np.eye(2), "give one of them"),
        (None, [[0, 1]], r"cost_matrix must have the shape \(2, 2\).*order sick, well"),
        (None, [[0, 1], [1]], r"shape \(2, 2\)"),
        (None, [[0, np.nan], [1, 0]], "cost in cost_matrix.*got nan"),
        (None, [[0, -1], [1, 0]], "cost in cost_matrix must be a finite number >= 0, got -1"),
        (None, [[0, "a"], [1, 0]], "cost in cost_matrix.*got 'a'"),
        (None, [[0, 0], [0, 0]], "one cost must be above 0"),
        (None, {"sick": 3}, r"shape \(2, 2\).*got \{'sick': 3\}"),
    ],
)
def test_costs_that_are_none(class_weight: Any, cost_matrix: Any, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        class_costs(class_weight, ["sick", "well"], cost_matrix)


# --- one strategy alone ---------------------------------------------------------------------------


def strategies(model: AutoImbClassifier) -> dict[int, Strategy]:
    return {record.number: record.strategy for record in model.records_}


def test_pandas_reads_a_leaderboard_file_without_being_told(tmp_path: Path) -> None:
    """By its defaults pandas would take some words for missing values: none is one of ours."""
    names = {name for component in COMPONENTS.values() for name in component.names}
    (tmp_path / "a.csv").write_text("name\n" + "\n".join(sorted(names)))
    assert set(pd.read_csv(tmp_path / "a.csv")["name"]) == names


@pytest.mark.usefixtures("minimal_work")
def test_a_line_scores_what_it_scored_in_the_search(searched: AutoImbClassifier) -> None:
    X, y = table()
    board = searched.leaderboard()
    for place, n_trials in ((0, None), (len(board) - 1, 5)):
        line = board.iloc[place]
        alone = clone(searched).set_params(network=None, strategy=line, n_trials=n_trials).fit(X, y)
        assert list(strategies(alone).values()) == [strategies(searched)[line["trial"]]]
        assert alone.leaderboard()["score"].tolist() == [line["score"]]
        assert alone.best_strategy_ == strategies(searched)[line["trial"]]


def given(**changed: Any) -> dict[str, Any]:
    """A strategy as plain values, some of them changed."""
    values = {
        "resampling": {"name": "smote", "params": {"strength": 0.5, "k_neighbors": 5}},
        "class_weight": {"name": "none", "params": {}},
        "loss": "focal(gamma=1.5)",
        "ensemble": {"name": "single"},
        "network": str(small_network()),
    }
    return {name: own for name, own in (values | changed).items() if own is not None}


def test_the_order_of_parameters_and_what_else_stands_there_say_nothing() -> None:
    strategy = read_strategy(given(trial=3, status="complete"))
    assert strategy.loss == Choice("focal", (("gamma", 1.5),))
    assert strategy.resampling.params == (("strength", 0.5), ("k_neighbors", 5))
    assert read_strategy(given(resampling="smote(k_neighbors=5, strength=5e-1)")) == strategy


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        (3, "must be a Strategy, its JSON, or one line of a leaderboard; got 3"),
        ("smote", "is no JSON.*'smote'"),
        (pd.DataFrame({"loss": ["focal", "logit_adjusted"]}), "a table of 2 rows"),
        (given(network=None), "got none of network"),
        (given(loss=7), "loss of a strategy must be a text.*got 7"),
        (given(loss="hinge"), "Unknown loss option 'hinge'"),
        (given(loss="focal"), "loss 'focal' takes the parameters gamma; got none"),
        (given(loss="focal(gama=1)"), "takes the parameters gamma; got gama"),
        (given(loss="focal(gamma=9)"), "gamma of loss 'focal' must be a number from 0.5 to 3"),
        (given(loss="focal(gamma=x)"), "got 'x'"),
        (given(loss={"name": "focal", "params": {"gamma": True}}), "got True"),
        (given(resampling="smote(strength=.5, k_neighbors=2.5)"), "a whole number.*got 2.5"),
        (given(ensemble="balanced_bagging(members=8, strength=0.8)"), "draws its own balanced"),
        (given(class_weight="power(tau=0.8)"), "sum to at most 1.*0.5, 0.8"),
    ],
)
def test_a_strategy_that_is_none(strategy: Any, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        read_strategy(strategy)


@pytest.mark.parametrize(
    ("params", "error", "words"),
    [
        ({"network": "mlp"}, OptionError, r"no component can be restricted.*network=\['mlp'\]"),
        ({"class_weight": "none"}, OptionError, "leave class_weight None"),
        ({"class_weight": "balanced"}, OptionError, "costs were given.*is 'none'"),
        ({"strategy": given(class_weight="costs")}, OptionError, "no such costs were given"),
        ({"n_trials": 0}, BudgetError, "at least 1"),
    ],
)
def test_what_does_not_go_with_one_strategy(
    params: dict[str, Any], error: type[Exception], words: str
) -> None:
    X, y = table()
    quick = QUICK | {"network": None, "strategy": given()}
    with pytest.raises(error, match=words):
        AutoImbClassifier(**quick | params).fit(X, y)


# --- the score, thresholds, the summary -----------------------------------------------------------


@pytest.mark.usefixtures("minimal_work")
def test_a_threshold_gives_a_fitted_copy(searched: AutoImbClassifier) -> None:
    X, y = table()
    before = searched.predict(X)
    other = searched.with_threshold("recall>=0.99")
    assert isinstance(other, AutoImbClassifier)
    assert (other.predict(X) == "sick").sum() > (before == "sick").sum()
    np.testing.assert_array_equal(
        other.predict(X), searched.pipeline_.with_threshold("recall>=0.99").predict(X)
    )
    np.testing.assert_array_equal(searched.predict(X), before)
    np.testing.assert_array_equal(other.predict_proba(X), searched.predict_proba(X))
    assert set(searched.with_threshold(1e-9).predict(X)) == {"sick"}
    by_label = clone(searched).set_params(metric="recall", n_trials=1).fit(X, y)
    assert by_label.with_threshold(1e-9).score(X, y) == 1.0
    with pytest.raises(NotFittedError):
        clone(searched).with_threshold(0.5)


def test_inspect_says_the_same_of_estimator_pipeline_and_file(
    searched: AutoImbClassifier, tmp_path: Path
) -> None:
    path = searched.export(tmp_path / "p.autoimb")
    said = inspect(path)
    size = said.pop("bytes")
    assert size == path.stat().st_size
    assert searched.inspect() == searched.pipeline_.inspect() == load(path).inspect() == said
    assert json.loads(json.dumps(said)) == said
    with pytest.raises(NotFittedError):
        clone(searched).inspect()


# --- the command line -----------------------------------------------------------------------------

FAST = ["--n-jobs=1", "--cv=2", "--n-trials=1", "--partners=none", "--quiet"]


def data_of(path: Path, **columns: Any) -> Path:
    X, y = table(120)
    X.assign(state=y, **columns).to_csv(path, index=False)
    return path


def options(command: str) -> dict[str, Any]:
    params = typer.main.get_command(app).commands[command].params  # type: ignore[attr-defined]  # a group's
    return {name: param for param in params for name in param.opts}


def test_options_are_named_like_the_parameters_and_the_older_names_still_serve() -> None:
    known = options("search")
    for name, older in (
        ("--n-trials", "--trials"),
        ("--n-jobs", "--jobs"),
        ("--random-state", "--seed"),
        ("--weight", "--sample-weight"),
    ):
        assert known[name] is known[older]
    words = {name.removeprefix("--").replace("-", "_") for name in known}
    face = set(AutoImbClassifier().get_params())
    # --kind one by one, --quiet, and functions
    assert face - words == {"kinds", "verbose", "callbacks"}
    assert "--weight" in options("refit")


def test_options_of_a_search_are_declared_by_the_estimator() -> None:
    methods = (AutoImbClassifier.__init__, AutoImbClassifier.fit)
    declared = {name: p for method in methods for name, p in signature(method).parameters.items()}
    known = {param.name: param for param in options("search").values()}
    for name in known.keys() & declared.keys() - {"n_jobs", "random_state", "time_budget"}:
        assert known[name].default == declared[name].default, name
    assert (known["n_jobs"].default, known["random_state"].default) == (-1, 0)


@pytest.mark.usefixtures("minimal_work")
def test_a_cost_matrix_and_a_strategy_from_the_command_line(tmp_path: Path) -> None:
    data, run = data_of(tmp_path / "a.csv"), tmp_path / "run"
    strategy = given(class_weight="costs")
    words = ["search", str(data), "--target", "state", "--strategy", json.dumps(strategy)]
    words += ["--cost-matrix", "[[0, 9], [1, 0]]", "--cost-in-loss", "--out", str(run)]
    assert main([*words, *FAST]) == 0
    request = json.loads((run / "run.json").read_text())["request"]
    assert request["costs"] == [[0.0, 9.0], [1.0, 0.0]]
    assert request["strategy"] == read_strategy(strategy).to_json()
    board = pd.read_csv(run / "leaderboard.csv")
    assert [read_strategy(line) for _, line in board.iterrows()] == [read_strategy(strategy)]
    assert main([*words, *FAST, "--resume"]) == 0
    assert len(pd.read_csv(run / "leaderboard.csv")) == 1


@pytest.mark.usefixtures("minimal_work")
def test_a_weight_column_weighs_and_is_no_feature(tmp_path: Path, capsys: Captured) -> None:
    X, y = table(120)
    weight = np.where(y == "sick", 4.0, 1.0)
    weight[:10] = 0
    data, run = data_of(tmp_path / "a.csv", w=weight), tmp_path / "run"
    words = ["search", str(data), "--target", "state", "--weight", "w", "--out", str(run)]
    assert main([*words, *FAST, "--network", "mlp"]) == 0
    pipeline = load(run / "pipeline.autoimb")
    assert list(pipeline.feature_names_in_) == ["signal", "noise"]
    assert json.loads((run / "run.json").read_text())["request"]["weight"] == "w"
    quick = QUICK | {"cv": 2}
    frame = pd.read_csv(data)
    model = AutoImbClassifier(**quick).fit(frame[["signal", "noise"]], y, sample_weight=weight)
    np.testing.assert_array_equal(pipeline.predict_proba(X), model.predict_proba(X))
    capsys.readouterr()
    evaluate = ["evaluate", str(run / "pipeline.autoimb"), str(data), "--target", "state"]
    assert main([*evaluate, "--sample-weight", "w"]) == 0
    said = dict(line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:])
    expected = sk.average_precision_score(
        y == "sick", pipeline.predict_proba(frame)[:, 0], sample_weight=weight
    )
    assert float(said["average_precision"]) == pytest.approx(expected, abs=1e-4)
    out = tmp_path / "new.autoimb"
    assert main(["refit", str(run), str(data), "-o", str(out)]) == 0
    np.testing.assert_array_equal(load(out).predict_proba(X), pipeline.predict_proba(X))
