"""Matched duels: their statistics, their folds, their turn in a study, and what they say."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from optuna.trial import FixedTrial
from scipy import stats

from autoimb.assessment.duels import (
    Duel,
    Gain,
    gain,
    holm,
    holm_tests,
    margin,
    row_multiple_needed,
    verdict,
)
from autoimb.assessment.judge import Judge
from autoimb.assessment.metrics import get_metric
from autoimb.assessment.uncertainty import Score
from autoimb.data.folds import duel_folds, plan_folds
from autoimb.evaluation.outcome import Infeasible
from autoimb.evaluation.task import Task, plan_duels
from autoimb.policy import Comparisons, SearchPolicy
from autoimb.runs.record import TrialRecord
from autoimb.search import propose
from autoimb.search.duels import duel_results
from autoimb.search.history import TrialHistory
from autoimb.search.propose import Agenda
from autoimb.space.draw import Space, draw
from autoimb.space.portfolio import duels_of, first_networks, methods_of
from reports.benchmarks.duels.duels import simulate
from tests.assessment.test_uncertainty import noisy, sample
from tests.support import studies
from tests.support.studies import material, resumed, study

POLICY = SearchPolicy()
SPACE = Space.restricted()
NETWORK = draw(FixedTrial(first_networks(SPACE)[0]), SPACE)
STUDIES = 200
MONTE_CARLO = 2 / math.sqrt(STUDIES)  # two errors of a share of studies, over its own deviation


# --- statistics -----------------------------------------------------------------------------------


def test_the_variance_counts_the_overlap_of_training_rows():
    differences = np.array([0.01, 0.03, -0.01, 0.02, 0.05])
    gained = Gain.of(differences, 1 / 4)
    error = math.sqrt((1 / 5 + 1 / 4) * differences.var(ddof=1))
    assert gained.value == pytest.approx(0.02)
    assert gained.error == pytest.approx(error)
    assert gained.interval == pytest.approx(stats.t.interval(0.95, 4, 0.02, error))
    assert gained.p_value == pytest.approx(2 * stats.t.sf(0.02 / error, 4))
    assert gained.p_equivalent(0.1) == pytest.approx(stats.t.sf(0.08 / error, 4))


def test_differences_that_are_all_the_same_leave_no_doubt():
    assert Gain(0.0, 0.0, 5).p_value == 1.0
    assert Gain(0.02, 0.0, 5).p_value == 0.0
    assert Gain(0.02, 0.0, 5).p_equivalent(0.02) == 0.5
    assert Gain(0.02, 0.0, 5).p_equivalent(0.01) == 1.0
    assert Gain(0.02, 0.0, 5).p_equivalent(0.03) == 0.0


def test_holm_corrects_for_the_tested_alone():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    corrected = holm([math.nan, 0.2, 0.01])
    assert math.isnan(corrected[0])
    assert corrected[1:] == pytest.approx([0.2, 0.02])
    assert holm([]) == []


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (0.05, 0.01, "helps"),
        (-0.05, 0.01, "hurts"),
        (0.001, 0.002, "makes no difference"),
        (0.0, 0.0, "makes no difference"),
        (0.001, 0.05, "not tested enough"),
        (math.nan, math.nan, "not tested enough"),
    ],
)
def test_each_word_has_its_evidence(value, error, expected):
    (finding,) = said_of(duel(value, error)).findings
    assert finding.word == expected
    assert ("no value on so few rows" in finding.sentence) == math.isnan(value)
    needed = row_multiple_needed(finding.duel.gain, 0.01, tests=1)
    assert (needed > 1) == (expected == "not tested enough")


def test_the_rows_that_would_tell_follow_the_border_in_the_family():
    """A loss of .9 errors is found at 2.94 errors where Holm corrects for 12 tests."""
    loss = Gain(-0.0130, 0.0145, 20)
    needed = [row_multiple_needed(loss, 0.01, tests=tests) for tests in (1, 12)]
    assert needed == pytest.approx([3.72, 10.78], abs=0.01)
    assert holm_tests([0.03, math.nan, 0.01, 0.2]) == [2, 0, 3, 1]
    open_ = said_of(duel(-0.0130, 0.0145, folds=20), *[duel(-0.012, 0.0145, folds=20)] * 11)
    assert "about 11 times as many rows would tell" in open_.findings[0].sentence


def test_rows_that_would_tell_of_an_ensemble_are_those_for_both_controls():
    better, even = Gain(0.03, 0.02, 15), Gain(0.001, 0.02, 15)
    needed = partial(row_multiple_needed, better, 0.01, tests=1)
    assert needed() == needed(matched=better) < needed(matched=even) < math.inf
    assert needed(matched=Gain(-0.01, 0.02, 15)) == math.inf


def test_the_margin_follows_the_control():
    assert margin(0.1) == 0.01
    assert margin(-0.6) == pytest.approx(0.03)


def predictions(n=900, rate=0.2):
    y, proba, _ = sample(n, rate)
    pair = [noisy(proba, amount, seed=1) for amount in (0.2, 1.5)]
    return y, np.arange(n) % 15, [(p, (p[:, 1] > 0.3).astype(np.int64)) for p in pair]


@pytest.mark.parametrize("name", ["average_precision", "log_loss", "f1"])
def test_a_gain_is_the_mean_of_what_the_folds_say(name):
    y, group, (method, control) = predictions()
    metric = get_metric(name, n_classes=2, positive=1)
    judge = Judge(metric, y, group)
    gained = gain(judge, method, control, test_share=1 / 14)
    assert gained.folds == 15
    assert gained.value > 0
    sign = 1 if metric.greater_is_better else -1
    difference = sign * (judge.score(*method).value - judge.score(*control).value)
    assert gained.value == pytest.approx(difference, abs=0.2 * gained.error)
    back = gain(judge, control, method, test_share=1 / 14)
    assert (back.value, back.error) == pytest.approx((-gained.value, gained.error))


def test_folds_of_few_rare_rows_are_pooled():
    y, group, (method, control) = predictions(n=150, rate=0.2)
    judge = Judge(get_metric("average_precision", n_classes=2, positive=1), y, group)
    assert judge.pooled
    without_group = [judge.metric(y[group != g], method[0][group != g]) for g in range(15)]
    expected = 15 * judge.metric(y, method[0]) - 14 * np.array(without_group)
    assert judge.pseudo_values(method) == pytest.approx(expected)
    assert gain(judge, method, control, test_share=1 / 14).error > 0


@pytest.mark.parametrize("methods", [1, 4])
def test_simulated_studies_are_wrong_as_seldom_as_promised(methods):
    share = partial(simulate, methods=methods, studies=STUDIES)
    assert share("none helps") <= 0.1 + MONTE_CARLO * math.sqrt(0.1 * 0.9)
    assert share("one helps") >= 0.78 - MONTE_CARLO * math.sqrt(0.78 * 0.22)
    for edge in ("at the edge", "far edge"):
        assert share(edge) <= 0.05 + MONTE_CARLO * math.sqrt(0.05 * 0.95)
    assert share("equal") > 0.8


# --- the verdict ----------------------------------------------------------------------------------


def duel(value, error, *, method="power(tau=0.5)", folds=15):
    gained = Gain(value, error, folds)
    return Duel("class_weight", "power", method, control=0.3, gain=gained, log_loss=gained)


def said_of(*duels):
    return verdict(duels, metric="average precision")


NOT = Duel("loss", "focal", "focal", "the time ended before its turn")
NEVER = Duel("resampling", "smote", "smote", "needs 6 rows", infeasible=True)


def test_the_first_sentence_answers_for_the_table():
    helps = said_of(duel(0.05, 0.01), duel(0.0, 0.002), NOT, NEVER)
    assert helps.sentence.startswith(
        "Special treatment of the rare class helps on this table: power"
    )
    assert "2 methods tested" in helps.sentence
    words = [finding.word for finding in helps.findings]
    assert words == ["helps", "makes no difference", "not tested", "infeasible"]
    assert all(math.isnan(finding.p_value) for finding in helps.findings[2:])
    no = said_of(duel(0.0, 0.002), duel(-0.05, 0.01))
    assert "does not help on this table" in no.sentence
    assert no.sentence.endswith("none is better; 1 no different, 1 worse.")
    unsure = said_of(duel(0.0, 0.002), duel(0.01, 0.05))
    assert "is not shown to help" in unsure.sentence
    assert unsure.sentence.endswith("; 1 no different, inconclusive for 1 (see the intervals).")
    assert "times as many rows" in unsure.findings[1].sentence
    assert "too few rows" not in unsure.sentence
    assert "was not tested on this table: the time ended" in said_of(NOT, NEVER).sentence
    assert "was not tested on this table." in said_of().sentence


def test_many_methods_need_more():
    better = duel(0.025, 0.01)
    assert said_of(better).findings[0].word == "helps"
    assert said_of(better, *[duel(0.0, 0.01)] * 9).findings[0].word == "not tested enough"


SINGLE = "the single network of the same work"


def ensemble(over_single, over_matched, error=0.005):
    """A self-paced ensemble, and what it gains over its two controls."""
    single, matched = (Gain(value, error, 20) for value in (over_single, over_matched))
    return Duel(
        *("ensemble", "self_paced", "self_paced(rounds=8, strength=0.8)"),
        control=0.3,
        gain=single,
        log_loss=single,
        matched=matched,
        control_name=SINGLE,
        matched_name="bagging of 8 networks",
    )


def test_an_ensemble_that_loses_against_the_single_network_does_not_help():
    """Its matched control shares one network's work among eight, and loses by more (.042)."""
    (finding,) = said_of(ensemble(-0.0088, 0.0332, error=0.009)).findings
    assert finding.word == "not tested enough"
    assert f"-0.0088 in average precision over {SINGLE}" in finding.sentence
    assert "+0.0332 over bagging of 8 networks" in finding.sentence
    (worse,) = said_of(ensemble(-0.03, 0.0332)).findings
    assert worse.word == "hurts"
    assert f"loses 0.0300 in average precision against {SINGLE}" in worse.sentence


def test_an_ensemble_helps_where_it_beats_both_controls():
    answer = said_of(ensemble(0.0150, 0.0332))
    assert [finding.word for finding in answer.findings] == ["helps"]
    over = (
        "gains 0.0332 and 0.0150 in average precision over bagging of 8 networks and over the "
        "single network of the same work (95 % intervals +0.0227 to +0.0437 and +0.0045 to +0.0255)"
    )
    assert over in answer.sentence
    assert over in answer.findings[0].sentence
    assert answer.findings[0].p_value == Gain(0.0150, 0.005, 20).p_value  # the larger of both


# --- rows and folds -------------------------------------------------------------------------------


def labels(rows, rare):
    return (np.arange(rows) < rare).astype(np.int64)


@pytest.mark.parametrize(("rare", "folds"), [(300, 20), (20, 10), (10, 5)])
def test_duels_have_folds_of_their_own(rare, folds):
    y = labels(2_000, rare)
    plan = plan_folds(y, random_state=0)
    duels = duel_folds(y, plan, random_state=1, policy=POLICY)
    assert len(duels.folds) == folds
    assert all((y[fold.score] == 1).sum() >= 2 for fold in duels.folds)
    assert sorted(np.concatenate([fold.score for fold in duels.folds])) == list(range(2_000))
    assert duels.test_share == pytest.approx(1 / (folds - 1), rel=0.02)
    scored = {tuple(fold.score) for fold in duels.folds}
    assert not scored & {tuple(fold.score) for fold in plan.folds}


def test_too_few_rare_rows_have_no_duels():
    y = labels(2_000, 9)
    assert duel_folds(y, plan_folds(y, random_state=0), random_state=1, policy=POLICY) is None


def test_splits_of_the_user_stay_and_a_hold_out_scores_nothing_in_duels():
    y = labels(300, 60)
    splits = [(np.arange(300)[np.arange(300) % 3 != k], np.arange(300)[k::3]) for k in range(3)]
    plan = plan_folds(y, cv=splits, random_state=0)
    duels = duel_folds(y, plan, random_state=1, policy=POLICY)
    assert [tuple(fold.score) for fold in duels.folds] == [tuple(f.score) for f in plan.folds]
    hold_out = plan_folds(y, random_state=0, eval_rows=np.arange(0, 300, 4))
    duels = duel_folds(y, hold_out, random_state=1, policy=POLICY)
    assert not np.isin(np.arange(0, 300, 4), duels.training).any()
    assert not np.isin(np.arange(0, 300, 4), duels.scored).any()


def test_large_tables_have_duels_on_some_rows():
    inputs = material()
    policy = SearchPolicy(comparisons=Comparisons(max_rows=60))
    study_of = Task(inputs.dataset, replace(inputs.plan, policy=policy), inputs.judge)
    duels = plan_duels(study_of)
    y = duels.dataset.y
    assert len(y) == len(duels.judge.y) == 60
    assert (y == 1).sum() == 20  # the rare ones whole
    weight = duels.dataset.weight
    assert weight[y == 0].sum() / weight[y == 1].sum() == pytest.approx(5.0)
    assert duels.plan.seed != inputs.plan.seed
    assert duels.plan.work == policy.comparisons.work


# --- their turn -----------------------------------------------------------------------------------

WITH = {"duels": True, "policy": SearchPolicy(comparisons=Comparisons(per_strategy=3.0))}


@pytest.fixture(scope="module")
def with_duels():
    """Return a study of eight strategies and all duels."""
    return study(n_trials=8, **WITH)


def methods_in(result):
    return [record.strategy for record, _ in result.duels.values()]


def test_all_methods_are_put_into_one_control(with_duels):
    control, *methods = methods_in(with_duels)
    assert control.is_control
    assert {method.network for method in methods} == {control.network}
    planned = duels_of(SPACE, control)
    assert [control, *methods] == [draw(FixedTrial(params), SPACE) for params in planned]
    first = min(r.number for r in with_duels.records if r.strategy.is_control)
    assert first < min(record.number for record, _ in with_duels.duels.values())


def test_a_duel_is_none_of_the_search(with_duels):
    without, result = study(n_trials=8), with_duels
    assert not without.duels
    assert len(result.records) == len(without.records) == 8
    assert not any(record.stage == "duel" for record in result.records)
    assert not result.duels.keys() & result.results.keys()
    assert all(scored.fitted is None for _, scored in result.duels.values())


def test_without_a_deadline_strategies_are_counted():
    first, second = (study(n_trials=8, duels=True) for _ in range(2))
    assert 1 < len(first.duels) <= 8 * POLICY.comparisons.per_strategy
    assert methods_in(first) == methods_in(second)
    assert [r.strategy for r in first.records] == [r.strategy for r in second.records]


def duel_fits(tried, duels, *, left):
    """Return whether a duel fits after trials of so many seconds, and duels by their seconds."""
    history, inputs = TrialHistory(), material()
    task = Task(inputs.dataset, inputs.plan, inputs.judge)
    agenda = Agenda(task=task, space=SPACE, profile=inputs.profile)
    scored = Score(0.5, 0.01, 0.5)
    method = draw(FixedTrial(duels_of(SPACE, NETWORK)[1]), SPACE)
    for number, seconds in enumerate([*tried, *duels]):
        stage = "network" if number < len(tried) else "duel"
        strategy = NETWORK if number <= len(tried) else method
        record = TrialRecord(number, stage, strategy, plan=f"{stage}.{number}")
        if seconds is not None:  # it has ended
            record = replace(record, status="complete", score=scored, seconds=seconds)
        history.records[number] = record
    return propose._duel_fits(history, agenda, left=left)


def test_duels_keep_within_their_share_and_their_time():
    three = [5.0] * 3
    assert duel_fits([10.0] * 9, three, left=100.0)
    assert not duel_fits([10.0] * 9, [*three, None], left=100.0)  # one runs
    assert not duel_fits([10.0] * 5, three, left=100.0)
    assert not duel_fits([10.0] * 9, three, left=6.0)
    assert not duel_fits([10.0] * 3, [], left=100.0)
    assert duel_fits([10.0] * 5, [], left=100.0)
    assert not duel_fits([], [], left=100.0)


def test_a_resumed_study_goes_on_with_its_duels(tmp_path, with_duels):
    first, second = (resumed(tmp_path, n_trials, **WITH) for n_trials in (4, 8))
    assert first.duels.keys() < second.duels.keys()
    assert set(methods_in(second)) == set(methods_in(with_duels))
    assert [r.score for r, _ in second.duels.values()][: len(first.duels)] == [
        r.score for r, _ in first.duels.values()
    ]
    assert all(scored is not None for _, scored in second.duels.values())


def test_one_strategy_alone_has_no_duels():
    assert not study(space=Space.of(NETWORK), n_trials=1, **WITH).duels


# --- what they say --------------------------------------------------------------------------------


def infeasible_smote(task, trial):
    if trial.strategy.resampling.name == "smote":
        return Infeasible("needs more rows.")
    return studies.evaluate(task, trial)


def test_each_method_of_the_space_is_told_of_once():
    task = studies.duels_of_material()
    result = study(n_trials=8, evaluate=infeasible_smote, **WITH)
    duels = duel_results(SPACE, result.duels, task)
    assert [(duel.component, duel.option) for duel in duels] == methods_of(SPACE)
    by_option = {duel.option: duel for duel in duels}
    assert by_option["smote"].infeasible
    assert by_option["smote"].reason == "needs more rows"
    assert by_option["power"].gain is not None
    control = next(
        scored for r, scored in result.duels.values() if r.strategy.ensemble.name == "single"
    )
    assert {duel.control for duel in duels if duel.gain is not None} == {control.score.value}
    assert by_option["power"].matched is None
    for name in ("balanced_bagging", "self_paced"):
        assert by_option[name].matched is not None
        assert by_option[name].control_name == SINGLE
        assert by_option[name].matched_name == "bagging of 8 networks"


def test_a_control_that_was_lost_compares_nothing_and_ends_nothing(with_duels):
    """Without its control no duel has a gain, and methods are filed all the same."""
    methods = {n: e for n, e in with_duels.duels.items() if not e[0].strategy.is_control}
    duels = duel_results(SPACE, methods, studies.duels_of_material())
    assert [(duel.component, duel.option) for duel in duels] == methods_of(SPACE)
    assert {duel.gain for duel in duels} == {None}


def test_what_had_no_turn_is_not_tested():
    task = studies.duels_of_material()
    result = study(n_trials=6, duels=True)
    duels = duel_results(SPACE, result.duels, task)
    tested = [duel for duel in duels if duel.gain is not None]
    assert 0 < len(tested) < len(duels)
    reasons = {duel.reason for duel in duels if duel.gain is None}
    assert reasons == {"the time ended before its turn"}
    for nothing, reason in (
        (None, "the rarest class has too few rows"),
        (task, "no control network has a score"),
    ):
        assert {duel.reason for duel in duel_results(SPACE, {}, nothing)} == {reason}
