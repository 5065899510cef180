"""The search as a function: the request, the choice, the result."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from optuna.trial import FixedTrial

from autoimb.assessment.calibration import Calibrator
from autoimb.assessment.judge import Judge
from autoimb.assessment.uncertainty import Score
from autoimb.budget import Budget, Deadline
from autoimb.data.dataset import Dataset
from autoimb.data.sample import Sample
from autoimb.errors import BudgetError, RunError
from autoimb.evaluation import refit as refitting
from autoimb.evaluation.choose import Winner, choose
from autoimb.evaluation.outcome import Cut, Failed, Outcome, Scored
from autoimb.evaluation.trial import evaluate
from autoimb.pipeline.artifact import load, save
from autoimb.pipeline.fitted import FittedPipeline, FittedStrategy
from autoimb.policy import DEFAULT_POLICY, SearchPolicy, Sizes
from autoimb.report.facts import build_facts
from autoimb.runtime.worker import Evaluate
from autoimb.search.prepare import Planned, Prepared, Table, plan_study, prepare
from autoimb.search.refitting import prepare_refit
from autoimb.search.request import Request, class_costs, restricted_components
from autoimb.search.search import SearchResult, conclude, search
from autoimb.search.study import StudyResult
from autoimb.space.draw import Space, draw
from autoimb.space.portfolio import first_networks
from autoimb.space.strategy import Strategy
from autoimb.training.fit import Job
from autoimb.training.parts import Parts
from tests.support.tables import short_plan

QUICK = Request(n_trials=2, time_budget=None, cv=2, components=(("network", ("mlp",)),))


def table(n_rows: int = 150) -> tuple[pd.DataFrame, pd.Series]:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"a": rng.normal(size=n_rows), "b": rng.choice(["x", "y"], n_rows), "c": 1.0}
    )
    return frame, pd.Series((frame["a"] + rng.normal(size=n_rows) > 1.3).astype(int))


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare(Table(*table()), QUICK)


def found(request: Request = QUICK, evaluate: Evaluate = evaluate) -> SearchResult:
    return search(
        prepare(Table(*table()), request),
        budget=Budget.start(request.time_budget),
        evaluate=evaluate,
    )


@pytest.fixture(scope="module")
def result() -> SearchResult:
    return found()


def test_where_only_ensembles_are_allowed_a_trial_has_more_work(prepared: Prepared) -> None:
    asked = replace(QUICK, components=(*QUICK.components, ("ensemble", ("self_paced", "boosting"))))
    usual = plan_study(prepared, time_budget=30.0).plan
    ensembles = plan_study(replace(prepared, request=asked), time_budget=30.0).plan
    more = ensembles.effort.operations / usual.effort.operations
    assert more == pytest.approx(np.sqrt(3))  # three rounds at least


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


def test_the_fingerprint_is_of_what_makes_searches_the_same(prepared: Prepared) -> None:
    def fingerprint(request: Request, prepared: Prepared) -> str:
        return request.fingerprint(prepared.dataset, prepared.target.classes.tolist())

    own = fingerprint(QUICK, prepared)
    limits = {"time_budget": 60.0, "n_trials": 9, "n_jobs": 2, "verbose": 1, "data": "b.csv"}
    assert fingerprint(replace(QUICK, **limits), prepared) == own
    for change in (
        {"metric": "f1"},
        {"random_state": 1},
        {"costs": (1.0, 2.0)},
        {"cv": 3},
        MATRIX_IN_LOSS,
    ):
        assert fingerprint(replace(QUICK, **change), prepared) != own
    frame, y = table()
    frame.loc[0, "a"] += 1.0
    assert fingerprint(QUICK, prepare(Table(frame, y), QUICK)) != own
    frame, y = table()
    assert fingerprint(QUICK, prepare(Table(frame, y), QUICK)) == own
    assert fingerprint(QUICK, prepare(Table(frame, [f"{label}" for label in y]), QUICK)) != own


def test_a_program_that_plans_otherwise_has_another_fingerprint(prepared: Prepared) -> None:
    def fingerprint(dataset: Dataset, policy: SearchPolicy = DEFAULT_POLICY) -> str:
        return QUICK.fingerprint(dataset, ["a", "b"], policy=policy)

    dataset = prepared.dataset
    own = fingerprint(dataset)
    assert fingerprint(dataset, SearchPolicy(sizes=Sizes(min_columns=255))) != own
    narrower = replace(dataset, layout=structs.replace(dataset.layout, screened=1))
    assert fingerprint(narrower) != own
    assert fingerprint(replace(dataset), replace(DEFAULT_POLICY)) == own


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
    made = prepare(Table(frame, y), replace(QUICK, costs="balanced"))
    assert made.costs is not None
    mass = np.array(made.costs.class_costs) * np.bincount(y)
    assert mass[0] == pytest.approx(mass[1])
    planned = plan_study(made, time_budget=None)
    assert planned.plan.class_costs == made.costs.class_costs
    assert planned.judge.costs == made.costs.matrix


def test_eval_rows_never_train() -> None:
    frame, y = table(200)
    train = Table(frame[:140], y[:140], eval_set=(frame[140:][["c", "b", "a"]], y[140:]))
    made = prepare(train, replace(QUICK, cv=None))
    (fold,) = made.folds.folds
    assert list(fold.train) == list(range(140))
    assert set(fold.choose) | set(fold.score) == set(range(140, 200))
    np.testing.assert_array_equal(made.dataset.columns.numbers[:, 0], frame["a"])


def test_weights_have_mean_one() -> None:
    frame, y = table()
    weight = np.where(np.arange(len(y)) < 10, 0.0, 4.0)
    made = prepare(Table(frame, y, weight), QUICK)
    np.testing.assert_array_equal(made.dataset.weight, np.ones(len(y) - 10))


# --- the choice -----------------------------------------------------------------------------------


def strategy(*, costs: bool = False, **params: Any) -> Strategy:
    space = Space.restricted(costs=costs)
    methods = {"class_weight": "costs"} if costs else {}
    return draw(FixedTrial(first_networks(space)[0] | methods | params), space)


FOCAL = {"loss": "focal", "loss.focal.gamma": 1.0}


Trial = tuple[Strategy, Scored]


def trial(made: Strategy, proba: np.ndarray, **fields: Any) -> Trial:
    value = float(proba[:5].mean())
    score = Score(value, 0.01, (value,), False, value)
    kept: dict[str, Any] = {"fitted": "networks"} | fields
    return made, Scored(score, np.column_stack([1 - proba, proba]), **kept)


def chosen(prepared: Prepared, *trials: Trial, numbers: tuple[int, ...] | None = None) -> Winner:
    named = dict(zip(numbers or range(len(trials)), trials))
    return choose(
        plan_study(prepared, time_budget=None).judge,
        {number: made for number, (made, _) in named.items()},
        {number: result for number, (_, result) in named.items()},
        random_state=0,
        deadline=Deadline(),
    )


def test_none_is_the_answer_where_no_method_beats_it_by_more_than_its_error(
    prepared: Prepared,
) -> None:
    y = prepared.dataset.y
    noise = np.random.default_rng(0).normal(size=len(y))
    guess = 1 / (1 + np.exp(-(y + noise)))
    nearly = 1 / (1 + np.exp(-(y + noise + 0.01 * np.sin(np.arange(len(y))))))
    sure = 1 / (1 + np.exp(-(6 * y + noise - 3)))
    control, equal = trial(strategy(), guess), trial(strategy(**FOCAL), nearly)
    winner = chosen(prepared, control, equal)
    assert winner.single == 0
    assert winner.is_control
    better = chosen(prepared, control, trial(strategy(**FOCAL), sure))
    assert better.single == 1
    assert not better.is_control
    assert better.blend.numbers == (1,)
    assert chosen(prepared, equal, numbers=(1,)).single == 1


def test_none_wins_a_tie(prepared: Prepared) -> None:
    y = prepared.dataset.y
    guess = 1 / (1 + np.exp(-(y + np.random.default_rng(0).normal(size=len(y)))))
    assert chosen(prepared, trial(strategy(**FOCAL), guess), trial(strategy(), guess)).single == 1


@pytest.mark.slow
def test_the_best_of_many_equal_methods_is_seldom_chosen(prepared: Prepared) -> None:
    """Chance alone makes the best of ten better than the control nearly always."""
    y, random = prepared.dataset.y, np.random.default_rng(0)
    treated = 0
    for _ in range(20):
        noises = random.normal(size=(11, len(y)))
        guesses = [1 / (1 + np.exp(-(2 * y + noise))) for noise in noises]
        equal = [trial(strategy(**FOCAL), guess) for guess in guesses[1:]]
        treated += not chosen(prepared, trial(strategy(), guesses[0]), *equal).is_control
    assert treated <= 6


def test_the_result_has_its_networks(prepared: Prepared) -> None:
    """A file of networks that was torn takes its trial out of the choice, not the search."""
    y = prepared.dataset.y
    sure = 1 / (1 + np.exp(-(6 * y + np.random.default_rng(0).normal(size=len(y)) - 3)))
    torn, whole = trial(strategy(), sure, fitted=None), trial(strategy(), np.full(len(y), 0.5))
    assert chosen(prepared, torn, whole).single == 1
    with pytest.raises(BudgetError, match="complete"):
        chosen(prepared, torn)


def test_costs_of_the_user_are_no_imbalance_method() -> None:
    assert strategy(costs=True).is_control
    assert strategy().is_control
    assert not strategy(costs=True, **FOCAL).is_control


def searched(ended: Callable[[Scored], Outcome]) -> SearchResult:
    """Search where each trial ends otherwise than it did."""

    def otherwise(job: Job, judge: Judge) -> Outcome:
        outcome = evaluate(job, judge)
        assert isinstance(outcome, Scored)
        return ended(outcome)

    return found(replace(QUICK, n_trials=3), otherwise)


def test_without_a_complete_trial_what_the_deadline_left_is_the_result() -> None:
    cut = searched(lambda whole: Cut("the deadline passed", whole))
    assert [record.status for record in cut.records] == ["timeout"] * 3
    assert np.isfinite(cut.pipeline.predict_proba(table()[0])).all()


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
    lost = StudyResult((), {}, "the loss of it", parts=cast(Parts, None))
    with pytest.raises(RunError, match=r"completed\. The search was interrupted by the loss of it"):
        conclude(cast(Planned, None), lost, None, budget=Budget.start(10.0), timing={})


# --- the whole ------------------------------------------------------------------------------------


def test_the_result_holds_together(result: SearchResult) -> None:
    frame, y = table()
    assert [record.status for record in result.records] == ["complete"] * 2
    facts = build_facts(result)
    assert facts.verdict == f"{result.verdict.sentence} {result.winner.sentence}"
    assert {row["name"] for row in facts.scores} >= {"winner", "logistic regression"}
    assert result.best_score.value > y.mean()
    assert list(result.pipeline.classes_) == [0, 1]
    assert result.pipeline.info["score"] == result.best_score.value
    gain = result.best_score.gain_of_mean
    assert gain is not None
    assert abs(gain) < 0.1
    assert [column.kind for column in result.pipeline.schema.columns][2] == "constant"
    counts = result.pipeline.thresholds.counts.sum(axis=0)
    np.testing.assert_array_equal(counts, np.bincount(y))
    assert np.isfinite(result.pipeline.predict_proba(frame)).all()
    assert not result.interrupted


def test_out_of_fold_probabilities_are_those_of_the_folds_own_networks(
    prepared: Prepared,
) -> None:
    """The pipeline's members of a fold give the rows of that fold what the search scored."""
    one = replace(QUICK, n_trials=1)  # a blend's rows are mixed by cross-fitted weights
    result = found(one)
    pipeline, proba = result.pipeline, result.winner.blend.proba
    (fitted,) = pipeline.strategies
    frame, _ = table()
    for number, fold in enumerate(prepared.folds.folds):
        own = replace(pipeline, strategies=(alone(fitted, number),), weights=(1.0,))
        order = np.argsort(own.predict_proba(frame.iloc[fold.score])[:, 1])
        assert np.all(np.diff(proba[fold.score, 1][order]) > -1e-6)


def alone(fitted: FittedStrategy, fold: int) -> FittedStrategy:
    """The members of one fold, uncalibrated."""
    packs = []
    for pack in fitted.packs:
        mine = pack.fold == fold
        own = replace(
            pack,
            fold=pack.fold[mine],
            weight=pack.weight[mine],
            log_prior=pack.log_prior[mine],
            state={name: values[mine] for name, values in pack.state.items()},
        )
        packs += [own] if mine.any() else []
    return replace(fitted, packs=tuple(packs), calibrator=Calibrator.identity(2))


def test_on_several_repeats_a_row_is_scored_by_the_networks_that_did_not_see_it(
    prepared: Prepared, result: SearchResult
) -> None:
    frame, _ = table()
    dataset, folds = prepared.dataset, prepared.folds
    plan = short_plan(dataset, folds).at(1.0, confirm=True)
    strategy = draw(FixedTrial(first_networks(Space.restricted())[0]), Space.restricted())
    judge = plan_study(prepared, time_budget=None).judge
    outcome = evaluate(Job(strategy, plan, Parts(dataset, folds, seed=plan.seed)), judge)
    assert isinstance(outcome, Scored)
    assert outcome.fitted is not None
    read = {int(fold) for pack in outcome.fitted.packs for fold in pack.fold}
    assert read == set(range(4 * len(folds.folds)))
    assert len(outcome.trace.checkpoints) == 4 * len(folds.folds)
    assert outcome.score.gain_of_mean is not None
    assert all(one.score.gain_of_mean is None for one in result.study.results.values())
    wanted, seen = np.zeros((len(dataset.y), 2)), np.zeros(len(dataset.y))
    encoders = Parts(dataset, folds, seed=plan.seed).encoders(len(folds.every))
    for number, fold in enumerate(folds.every):
        rows = np.setdiff1d(np.arange(len(dataset.y)), fold.train)
        own = replace(
            result.pipeline,
            encoders=encoders,
            strategies=(alone(outcome.fitted, number),),
            weights=(1.0,),
            calibrator=Calibrator.identity(2),
        )
        wanted[rows] += own.predict_proba(frame.iloc[rows])
        seen[rows] += 1
    assert set(seen) == {4}
    raw = outcome.oof if outcome.finishing is None else outcome.finishing.raw
    np.testing.assert_allclose(raw, wanted / 4, rtol=1e-4, atol=1e-6)


def refit(pipeline: FittedPipeline) -> FittedPipeline:
    planned = prepare_refit(pipeline, QUICK, Sample(*table()), time_budget=QUICK.time_budget)
    return refitting.refit(pipeline, planned.basis)


def test_a_pipeline_of_several_repeats_is_exported_with_their_encoders(
    result: SearchResult, tmp_path: Path
) -> None:
    frame, _ = table()
    confirmed = tuple(replace(strategy, confirmed=True) for strategy in result.pipeline.strategies)
    pipeline = refit(replace(result.pipeline, strategies=confirmed))
    assert len(pipeline.encoders) == 4 * QUICK.cv
    assert {strategy.confirmed for strategy in pipeline.strategies} == {True}
    save(pipeline, tmp_path / "p.autoimb")
    again = load(tmp_path / "p.autoimb")
    np.testing.assert_array_equal(again.predict_proba(frame), pipeline.predict_proba(frame))


def test_refit_on_the_same_rows_gives_the_same_pipeline(result: SearchResult) -> None:
    frame, _ = table()
    again = refit(result.pipeline)
    np.testing.assert_array_equal(again.predict_proba(frame), result.pipeline.predict_proba(frame))
    assert again.weights == result.pipeline.weights
