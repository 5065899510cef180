"""Training in steps: the same networks as in one go, wherever and however often it is taken up."""

from __future__ import annotations

from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from autoimb.data.folds import plan_folds
from autoimb.data.profile import profile
from autoimb.data.schema import infer_schema
from autoimb.data.target import encode_target
from autoimb.evaluation.outcome import Scored
from autoimb.evaluation.task import Task
from autoimb.evaluation.trial import evaluate
from autoimb.policy import SearchPolicy, Suggestions, Training
from autoimb.runs.folder import RunFolder
from autoimb.runs.record import TrialRecord, standing
from autoimb.search.sampler import ENOUGH_STRATEGIES, Shown, as_strategies
from autoimb.search.study import StudySettings, run_study
from autoimb.space.components import COMPONENTS
from autoimb.space.draw import Space
from autoimb.training import fit as fitting
from autoimb.training.fit import Job
from autoimb.training.parts import Parts
from tests.support.studies import complete, judge_of
from tests.support.tables import chosen, dataset_of, mixed_table, short_plan, strategy_with

RUNGS = Training().rungs
NETWORK, LOSS, ENSEMBLE = (COMPONENTS[name] for name in ("network", "loss", "ensemble"))


@pytest.fixture(scope="module")
def given():
    """A table, and a plan of 32 checkpoints that no patience ends."""
    dataset = dataset_of(*mixed_table("binary"))
    folds = replace(plan_folds(dataset.y, cv=2, random_state=0), further=())
    return dataset, short_plan(dataset, folds, checkpoints=32, patience=1000)


def strategy_named(network="mlp", schedule="constant", *, ensemble=None, loss=None, **values):
    values = {"schedule": schedule, "dropout": 0.25, "embedding": "none"} | values
    others = {"ensemble": ensemble, "loss": loss}
    others = {name: choice for name, choice in others.items() if choice is not None}
    return strategy_with(network=chosen(NETWORK[network], 0.0, **values), **others)


def steps(strategy, given, rungs, parts=None, *, forget=False):
    """Evaluate a strategy at these rungs, one after the other, and return the last."""
    dataset, plan = given
    folds, judge = plan.folds, judge_of(dataset, plan)
    shared = Parts(dataset, folds, seed=plan.seed) if parts is None else parts
    for rung in rungs:
        own = Parts(dataset, folds, seed=plan.seed) if forget else shared
        outcome = evaluate(Job(strategy, plan.at(rung), own), judge)
        assert isinstance(outcome, Scored), outcome
    return outcome


def bytes_of(outcome):
    (pack,) = outcome.fitted.packs
    return [outcome.oof.tobytes(), *(array.tobytes() for array in pack.state.values())]


@pytest.mark.parametrize("network", NETWORK.names)
def test_in_steps_or_in_one_go_the_networks_are_the_same(network, given):
    strategy = strategy_named(network)
    whole = steps(strategy, given, [1.0])
    assert bytes_of(steps(strategy, given, RUNGS[:3])) == bytes_of(whole)
    assert bytes_of(steps(strategy, given, RUNGS[:3], forget=True)) == bytes_of(whole)
    assert bytes_of(steps(strategy, given, [0.25, 1.0])) == bytes_of(whole)
    assert whole.trace.curve == steps(strategy, given, RUNGS[:3]).trace.curve
    longer = steps(strategy, given, RUNGS)
    assert longer.trace.curve[:32] == whole.trace.curve
    assert len(longer.trace.curve) == 64


@pytest.fixture
def trained(monkeypatch):
    """The checkpoints of each training, in the order in which they begin."""
    trainings, train = [], fitting.train

    def recorded(*args, **named):
        trainings.append([])
        for checkpoint in train(*args, **named):
            trainings[-1].append(checkpoint)
            yield checkpoint

    monkeypatch.setattr(fitting, "train", recorded)
    return trainings


def test_another_process_goes_on_with_what_one_left(given, tmp_path, trained):
    strategy, (dataset, plan) = strategy_named(), given
    places = [Parts(dataset, plan.folds, seed=plan.seed, folder=tmp_path) for _ in range(2)]
    steps(strategy, given, [0.25], places[0])
    outcome = steps(strategy, given, [1.0], places[1])
    assert trained == [list(range(8)), list(range(8, 32))]
    assert bytes_of(outcome) == bytes_of(steps(strategy, given, [1.0]))


def test_a_search_trains_no_step_twice(given, tmp_path, trained):
    frame, y = mixed_table("binary")
    schema, _ = infer_schema(frame)
    dataset, plan = given

    def search(folder=None):
        return run_study(
            Task(dataset, plan, judge_of(dataset, plan)),
            Space.restricted(
                {"network": ["mlp"], "ensemble": ["single"], "loss": ["cross_entropy"]}
            ),
            profile=profile(frame, schema, encode_target(y == 1)),
            settings=StudySettings(n_trials=1),
            folder=folder,
        )

    in_memory = search()
    assert [(r.number, r.follows, r.rung) for r in in_memory.records] == [(1, 0, 1.0)]
    assert [step for training in trained for step in training] == list(range(32))
    with RunFolder.open(tmp_path, fingerprint="0" * 16) as folder:
        in_folder = search(folder)
    assert [step for training in trained for step in training] == 2 * list(range(32))
    assert in_folder.records[0].score == in_memory.records[0].score
    assert bytes_of(in_folder.results[1]) == bytes_of(in_memory.results[1])


def test_a_patience_that_began_in_one_step_ends_in_the_next(given):
    dataset, plan = given
    patient = dataset, replace(plan, effort=replace(plan.effort, patience=2))
    strategy = strategy_named(learning_rate=0.03, width=128)
    whole = steps(strategy, patient, [4.0])
    assert whole.trace.ended
    assert len(whole.trace.curve) < 64
    again = steps(strategy, patient, RUNGS)
    assert (again.trace.curve, again.trace.ended) == (whole.trace.curve, True)
    assert bytes_of(again) == bytes_of(whole)


ANEW = {
    "a cosine": strategy_named(schedule="cosine"),
    "four cycles": strategy_named("realmlp", "coslog4"),
    "rounds": strategy_named(ensemble=chosen(ENSEMBLE["boosting"], 0.0)),
}


@pytest.mark.parametrize("strategy", ANEW.values(), ids=ANEW)
def test_what_depends_on_how_far_it_goes_begins_anew(strategy, given, trained):
    dataset, plan = given
    parts = Parts(dataset, plan.folds, seed=plan.seed)
    outcome = steps(strategy, given, [0.25, 1.0], parts)
    assert {first for first, *_ in trained} == {0}
    own = steps(strategy, given, [1.0])
    assert outcome.oof.tobytes() == own.oof.tobytes()
    assert not outcome.trace.ended


# --- what is complete, and what the sampler sees --------------------------------------------------


def record(number, rung, *, ended=False, before=None):
    dataset = dataset_of(*mixed_table("binary"))
    outcome = complete(strategy_with(), dataset)
    outcome = replace(outcome, trace=replace(outcome.trace, ended=ended))
    strategy = strategy_with()
    return TrialRecord.of(
        number, outcome, stage="network", strategy=strategy, rung=rung, before=before
    )


def test_complete_is_the_planned_work_or_what_its_own_patience_ended():
    assert record(0, 0.25).status == "partial"
    assert record(0, 0.25, ended=True).status == "complete"
    assert record(0, 1.0).status == "complete"


def test_a_strategy_has_one_line_with_the_time_of_all_its_rungs():
    low = record(0, 0.25)
    high = record(3, 1.0, before=low)
    assert high.seconds == pytest.approx(2 * low.seconds)
    assert standing([low, record(1, 0.25), high]) == (record(1, 0.25), high)
    lost = replace(high, status="failed", score=None)
    assert standing([low, lost]) == (low, lost)


def trial_at(number, rung, value, follows=None, status="partial"):
    held = {"rung": rung, "status": status} | ({} if follows is None else {"follows": follows})
    place = {"x": optuna.distributions.FloatDistribution(0.0, 1e3)}
    made = create_trial(value=value, params={"x": float(number)}, distributions=place)
    made.user_attrs.update(held)
    made.number = number
    return made


def test_the_sampler_sees_each_strategy_once_at_the_highest_rung_that_ten_reached():
    few = [trial_at(i, 0.25, 0.1 * i) for i in range(ENOUGH_STRATEGIES - 1)]
    high = [trial_at(100 + i, 1.0, 5.0 + i, follows=i, status="complete") for i in range(3)]
    seen = as_strategies([*few, *high])
    # nine at a quarter: not enough at any rung, so the lowest serves
    assert [trial.value for trial in seen] == [0.1 * i for i in range(9)]
    many = [trial_at(i, 0.25, 0.1 * i) for i in range(12)]
    high = [trial_at(100 + i, 1.0, 5.0 + i, follows=i, status="complete") for i in range(10)]
    seen = as_strategies([*many, *high])
    assert [trial.value for trial in seen[:10]] == [5.0 + i for i in range(10)]
    assert [trial.state for trial in seen[10:]] == [TrialState.PRUNED] * 2
    assert [trial.intermediate_values for trial in seen[10:]] == [{4: 1.0}, {4: 1.1}]


def test_a_strategy_that_its_patience_ended_has_reached_every_rung():
    many = [trial_at(i, 0.25, 0.1 * i, status="complete") for i in range(10)]
    assert {trial.state for trial in as_strategies(many)} == {TrialState.COMPLETE}


def valued(n_strategies):
    """Strategies of which every second one is better than those before, at the planned work."""
    return [trial_at(i, 1.0, i * (-1.0) ** i, status="complete") for i in range(n_strategies)]


def test_up_to_the_window_the_sampler_sees_every_strategy():
    policy = SearchPolicy(suggestions=Suggestions(sampler_best=3, sampler_newest=17))
    trials = valued(20)
    assert [t.value for t in as_strategies(trials, policy)] == [t.value for t in trials]


def test_of_very_many_strategies_the_sampler_sees_the_best_and_the_newest():
    policy = SearchPolicy(suggestions=Suggestions(sampler_best=3, sampler_newest=5))
    seen = [trial.params["x"] for trial in as_strategies(valued(20), policy)]
    assert seen == [10.0, 12.0, 14.0, 15.0, 16.0, 17.0, 18.0, 19.0]
    on_their_way = [trial_at(100 + i, 0.25, 0.1 * i) for i in range(20)]
    seen = [trial.params["x"] for trial in as_strategies([*valued(12), *on_their_way], policy)]
    assert seen == [6.0, 8.0, 10.0, 115.0, 116.0, 117.0, 118.0, 119.0]
    assert Suggestions().sampler_best >= 25  # of which Optuna's TPE makes its model of good ones


def test_the_sampler_is_shown_trials_as_if_they_had_been_added():
    trials = [trial_at(i, 1.0, float(i % 7), status="complete") for i in range(30)]

    def checked(trial):
        kept = ("state", "value", "params", "distributions", "intermediate_values")
        return create_trial(**{name: getattr(trial, name) for name in kept})

    def drawn(**storage):
        sampler = optuna.samplers.TPESampler(seed=0)
        seen = optuna.create_study(direction="maximize", sampler=sampler, **storage)
        if not storage:
            seen.add_trials(checked(trial) for trial in as_strategies(trials))
        return seen.ask().suggest_float("x", 0.0, 1e3)

    assert drawn(storage=Shown(as_strategies(trials))) == drawn()
