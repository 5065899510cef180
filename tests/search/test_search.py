"""The search as a function: the request, the choice, the result."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from optuna.trial import FixedTrial

from autoimb.assessment.uncertainty import Score
from autoimb.budget import Budget
from autoimb.errors import RunError
from autoimb.evaluation.assemble import _of_fold
from autoimb.evaluation.outcome import Cut, Failed, Outcome, Scored
from autoimb.evaluation.task import Task, Trial
from autoimb.evaluation.trial import evaluate
from autoimb.policy import SearchPolicy, Sizes
from autoimb.report.facts import build_facts
from autoimb.runtime.worker import Evaluate
from autoimb.search.prepare import Preparation, Table, prepare
from autoimb.search.request import Request, class_costs, restricted_components
from autoimb.search.search import SearchResult, conclude, search
from autoimb.search.select import choose
from autoimb.search.study import StudyResult
from autoimb.space.draw import Space, draw
from autoimb.space.portfolio import first_networks
from autoimb.space.strategy import Strategy

QUICK = Request(n_trials=2, time_budget=None, cv=2, components=(("network", ("mlp",)),))


def table(n_rows: int = 150) -> tuple[pd.DataFrame, pd.Series]:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"a": rng.normal(size=n_rows), "b": rng.choice(["x", "y"], n_rows), "c": 1.0}
    )
    return frame, pd.Series((frame["a"] + rng.normal(size=n_rows) > 1.3).astype(int))


@pytest.fixture(scope="module")
def prepared() -> Preparation:
    return prepare(Table(*table()), QUICK)


def found(request: Request = QUICK, evaluate: Evaluate = evaluate) -> SearchResult:
    return search(
        prepare(Table(*table()), request),
        budget=Budget.start(request.time_budget),
        evaluate=evaluate,
    )


def test_where_only_ensembles_are_allowed_a_trial_has_more_work(prepared: Preparation) -> None:
    asked = replace(QUICK, components=(*QUICK.components, ("ensemble", ("self_paced", "boosting"))))
    usual, ensembles = (replace(prepared, request=request).task.plan for request in (QUICK, asked))
    ratio = ensembles.operations / usual.operations
    assert ratio == pytest.approx(np.sqrt(3))  # three rounds at least


# --- the request ----------------------------------------------------------------------------------

LABELS = st.none() | st.text(max_size=5) | st.integers() | st.booleans()


@given(
    target=st.none() | st.text(max_size=5),
    n_trials=st.integers(1, 1000),
    pos_label=LABELS,
    costs=st.none() | st.just("balanced") | st.tuples(st.floats(0, 9), st.floats(0, 9)),
    cv=st.none() | st.integers(2, 9),
)
def test_a_request_survives_json(**given: Any) -> None:
    request = Request(**given)
    assert Request.from_json(json.loads(json.dumps(request.to_json()))) == request


def test_a_callable_metric_and_a_splitter_become_names() -> None:
    def lift(y: Any, proba: Any) -> float:
        return 0.0

    written = Request(metric=lift, cv=iter([]), pos_label=np.int64(3)).to_json()
    assert written["metric"] == "lift"
    assert isinstance(written["cv"], str)
    assert written["pos_label"] == 3


MATRIX_IN_LOSS = {"costs": ((0.0, 2.0), (1.0, 0.0)), "cost_in_loss": True}


def test_the_fingerprint_is_of_what_makes_searches_the_same(prepared: Preparation) -> None:
    def asked(**changes: Any) -> str:
        return replace(prepared, request=replace(QUICK, **changes)).fingerprint

    fingerprint = prepared.fingerprint
    assert asked(time_budget=60.0, n_trials=9, n_jobs=2, verbose=1, data="b.csv") == fingerprint
    for change in (
        {"metric": "f1"},
        {"random_state": 1},
        {"costs": (1.0, 2.0)},
        {"cv": 3},
        {"max_artifact_mb": 5},
        MATRIX_IN_LOSS,
    ):
        assert asked(**change) != fingerprint
    frame, y = table()
    assert prepare(Table(frame, y), QUICK).fingerprint == fingerprint
    assert prepare(Table(frame, [f"{label}" for label in y]), QUICK).fingerprint != fingerprint
    frame.loc[0, "a"] += 1.0
    assert prepare(Table(frame, y), QUICK).fingerprint != fingerprint


def test_a_program_that_plans_otherwise_has_another_fingerprint(prepared: Preparation) -> None:
    dataset, policy = prepared.dataset, SearchPolicy(sizes=Sizes(min_columns=255))
    narrower = replace(dataset, layout=structs.replace(dataset.layout, screened=1))
    assert replace(prepared, policy=policy).fingerprint != prepared.fingerprint
    assert replace(prepared, dataset=narrower).fingerprint != prepared.fingerprint


def test_class_weight_is_a_name_or_costs() -> None:
    assert class_costs(None, ["a", "b"]) is None
    assert class_costs("power", ["a", "b"]) is None
    assert class_costs(["none", "power"], ["a", "b"]) is None
    assert class_costs("balanced", ["a", "b"]) == "balanced"
    assert class_costs({"b": 3}, ["a", "b"]) == (1.0, 3.0)
    assert class_costs({"1": 3}, [0, 1]) == (1.0, 3.0)
    assert class_costs(None, [0, 1], np.array([[0, 2], [1, 0]])) == ((0.0, 2.0), (1.0, 0.0))
    components = restricted_components({"network": "mlp", "loss": None, "resampling": ["none"]})
    assert components == (("network", ("mlp",)), ("resampling", ("none",)))


# --- preparing ------------------------------------------------------------------------------------


def test_balanced_costs_weigh_classes_alike() -> None:
    frame, y = table()
    preparation = prepare(Table(frame, y), replace(QUICK, costs="balanced"))
    assert preparation.costs is not None
    mass = np.array(preparation.costs.class_costs) * np.bincount(y)
    assert mass[0] == pytest.approx(mass[1])
    assert preparation.task.plan.class_costs == preparation.costs.class_costs
    assert preparation.task.judge.costs == preparation.costs.matrix


def test_eval_rows_never_train() -> None:
    frame, y = table(200)
    train = Table(frame[:140], y[:140], eval_set=(frame[140:][["c", "b", "a"]], y[140:]))
    preparation = prepare(train, replace(QUICK, cv=None))
    (fold,) = preparation.folds.folds
    assert list(fold.train) == list(range(140))
    assert set(fold.choose) | set(fold.score) == set(range(140, 200))
    np.testing.assert_array_equal(preparation.dataset.columns.numbers[:, 0], frame["a"])


# --- the choice -----------------------------------------------------------------------------------


def strategy(*, costs: bool = False, **params: Any) -> Strategy:
    space = Space.restricted(costs=costs)
    methods = {"class_weight": "costs"} if costs else {}
    return draw(FixedTrial(first_networks(space)[0] | methods | params), space)


FOCAL = {"loss": "focal", "loss.focal.gamma": 1.0}


Tried = tuple[Strategy, Scored]


def trial(strategy_: Strategy, proba: np.ndarray, **fields: Any) -> Tried:
    value = float(proba[:5].mean())
    score = Score(value, 0.01, value)
    members: dict[str, Any] = {"fitted": "networks"} | fields
    return strategy_, Scored(score, np.column_stack([1 - proba, proba]), **members)


def chosen(prepared: Preparation, *trials: Tried) -> int:
    strategies, results = (dict(enumerate(values)) for values in zip(*trials))
    return choose(prepared.task.judge, strategies, results)


def test_none_is_the_answer_where_no_method_beats_it_by_more_than_its_error(
    prepared: Preparation,
) -> None:
    y = prepared.dataset.y
    noise = np.random.default_rng(0).normal(size=len(y))
    guess = 1 / (1 + np.exp(-(y + noise)))
    nearly = 1 / (1 + np.exp(-(y + noise + 0.01 * np.sin(np.arange(len(y))))))
    sure = 1 / (1 + np.exp(-(6 * y + noise - 3)))
    control, equal = trial(strategy(), guess), trial(strategy(**FOCAL), nearly)
    assert chosen(prepared, control, equal) == 0
    assert chosen(prepared, control, trial(strategy(**FOCAL), sure)) == 1
    assert chosen(prepared, equal) == 0
    tie = trial(strategy(**FOCAL), guess)
    assert chosen(prepared, tie, control) == 1


def test_the_result_has_its_networks(prepared: Preparation) -> None:
    """A file of networks that was torn takes its trial out of the choice, not the search."""
    y = prepared.dataset.y
    sure = 1 / (1 + np.exp(-(6 * y + np.random.default_rng(0).normal(size=len(y)) - 3)))
    torn, whole = trial(strategy(), sure, fitted=None), trial(strategy(), np.full(len(y), 0.5))
    assert chosen(prepared, torn, whole) == 1


def test_costs_of_the_user_are_no_imbalance_method() -> None:
    assert strategy(costs=True).is_control
    assert strategy().is_control
    assert not strategy(costs=True, **FOCAL).is_control


def searched(ended: Callable[[Scored], Outcome]) -> SearchResult:
    """Search where each trial ends otherwise than it did."""

    def otherwise(task: Task, trial: Trial) -> Outcome:
        outcome = evaluate(task, trial)
        assert isinstance(outcome, Scored)
        return ended(outcome)

    return found(replace(QUICK, n_trials=3), otherwise)


@pytest.mark.usefixtures("minimal_work")
def test_without_a_complete_trial_what_the_deadline_left_is_the_result() -> None:
    cut = searched(lambda whole: Cut("the deadline passed", whole))
    assert [record.status for record in cut.records] == ["timeout"] * 3
    assert np.isfinite(cut.pipeline.predict_proba(table()[0])).all()


@pytest.mark.usefixtures("minimal_work")
@pytest.mark.parametrize(
    ("ended", "reason"),
    [
        (lambda _: Failed("ValueError: no"), r"3 × failed: ValueError: no"),
        (lambda _: Cut("the deadline passed"), r"3 × timeout: the deadline passed"),
        (lambda whole: replace(whole, fitted=None), r"3 × complete"),
    ],
)
def test_without_a_result_the_reasons_are_told(
    ended: Callable[[Scored], Outcome], reason: str
) -> None:
    with pytest.raises(RunError, match=rf"No trial was completed \({reason}\)\."):
        searched(ended)


def test_without_a_result_a_loss_is_told() -> None:
    lost = StudyResult((), {}, "the loss of it")
    with pytest.raises(RunError, match=r"completed\. The search was interrupted by the loss of it"):
        conclude(cast(Preparation, None), lost, budget=Budget.start(10.0), timing={})


# --- the whole ------------------------------------------------------------------------------------


def test_the_result_holds_together() -> None:
    result = found()
    reported, facts = result.selection.reported, build_facts(result)
    assert facts.verdict == f"{result.verdict.sentence} {result.selection.sentence}"
    assert {row["name"] for row in facts.scores} >= {"winner", "logistic regression"}
    assert result.pipeline.info["score"] == reported.value
    assert reported.gain_of_mean == pytest.approx(0.0, abs=0.1)
    counts = result.pipeline.thresholds.counts.sum(axis=0)
    np.testing.assert_array_equal(counts, np.bincount(table()[1]))


@pytest.mark.usefixtures("minimal_work")
def test_out_of_fold_probabilities_are_those_of_the_folds_own_networks(
    prepared: Preparation,
) -> None:
    """The pipeline's members of a fold give the rows of that fold what the search scored."""
    single = replace(QUICK, n_trials=1)  # a blend's rows are mixed by cross-fitted weights
    result = found(single)
    pipeline, proba = result.pipeline, result.selection.proba
    (fitted,) = pipeline.strategies
    frame, _ = table()
    for number, fold in enumerate(prepared.folds.folds):
        of_fold = replace(pipeline, strategies=(_of_fold(fitted, number),), weights=(1.0,))
        order = np.argsort(of_fold.predict_proba(frame.iloc[fold.score])[:, 1])
        assert np.all(np.diff(proba[fold.score, 1][order]) > -1e-6)
