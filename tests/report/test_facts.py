"""The facts: what was tried, what it was worth, and nothing from rows that were not scored."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from autoimb.assessment.decision import DecisionRule
from autoimb.assessment.references import REFERENCES
from autoimb.budget import Deadline
from autoimb.report import against, curves
from autoimb.report.against import Standing
from autoimb.report.build import render
from autoimb.report.facts import STANDARD_METRICS, build_facts, leaderboard
from autoimb.space.strategy import Strategy
from tests.report.cases import ROWS, SCORED, result_of, study_of
from tests.support.tables import dataset_of


def test_the_asked_metric_comes_first_and_all_contenders_have_all(case_result, case_facts):
    metrics = list(dict.fromkeys(row["metric"] for row in case_facts.scores))
    assert metrics[0] == case_result.preparation.task.judge.metric.name
    assert set(metrics) == set(STANDARD_METRICS)
    names = {"winner", "none", "prior", "logistic regression", "balanced random forest"}
    assert {(r["name"], r["metric"]) for r in case_facts.scores} == {
        (name, metric) for name in names for metric in metrics
    }
    lower = {row["metric"] for row in case_facts.scores if not row["greater_is_better"]}
    assert lower == {"log_loss", "brier"}


def test_what_was_chosen_keeps_its_difference_from_the_winner(case_result, case_facts):
    """The correction for the choice moves the best control as far as the winner."""
    judge, results = case_result.preparation.task.judge, case_result.study.results
    rare_rows = case_result.preparation.task.plan.policy.result.rare_rows_per_group
    scores = {row["name"]: row["value"] for row in case_facts.scores[:5]}
    control = max((results[n] for n in (0, 1)), key=lambda result: result.score.value)
    selection = case_result.selection
    pair = (control.oof, judge.labels(control.oof)), (selection.proba, selection.labels)
    none, winner = (judge.reported_score(prediction, rare_rows).value for prediction in pair)
    assert scores["winner"] == case_result.selection.reported.value
    assert scores["none"] - scores["winner"] == pytest.approx(none - winner)


def test_the_best_control_is_not_compared_with_itself(case_result):
    best = max((0, 1), key=lambda number: case_result.study.results[number].score.value)
    selection = replace(case_result.selection, single=best, weights={best: 1.0})
    facts = build_facts(replace(case_result, selection=selection), deadline=Deadline())
    assert "none" not in {row["name"] for row in facts.scores}


def test_a_contender_above_the_winner_is_within_error_or_ahead():
    def standing(difference, error):
        return Standing(0.4, 0.3, 0.5, difference, error).in_words()

    assert standing(-0.1, 0.01) == standing(0.0, 0.0) == ""
    assert standing(0.01, 0.01) == standing(0.02, 0.01) == "within error"
    assert standing(0.03, 0.01) == standing(0.01, 0.0) == "ahead"


def test_methods_have_the_results_of_their_comparisons(case_facts):
    helps, untested = case_facts.methods
    assert helps["word"] == "helps"
    assert helps["low"] < helps["gain"] < helps["high"]
    assert helps["log_loss_gain"] == pytest.approx(0.02)
    assert helps["sentence"].startswith("power(tau=0.5) helps")
    assert untested["word"] == "not tested"
    assert untested["gain"] is untested["low"] is untested["log_loss_high"] is None
    assert case_facts.verdict.startswith("Special treatment of the rare class helps on this table")
    assert json.loads(json.dumps(case_facts.to_json()))["methods"][1]["p_value"] is None


def test_an_expired_deadline_leaves_the_references_out(case_result, case_facts):
    facts = build_facts(case_result, deadline=Deadline.after(-1))
    assert facts.methods[0] == case_facts.methods[0]
    assert facts.scores == [
        row for row in case_facts.scores[:5] if row["name"] in ("winner", "prior")
    ]
    assert set(facts.curves) == {"winner", "none"}
    reasons = {row["name"]: row["reason"] for row in facts.references if row["reason"]}
    assert reasons.pop("trees") == "no partner was grown"
    assert reasons == dict.fromkeys(
        ("logistic regression", "balanced random forest"), "there was no time left for it"
    )
    assert [row["name"] for row in case_facts.references if row["reason"]] == ["trees"]


def test_references_are_compared_with_the_reported_score_on_its_rows(case_result, case_facts):
    proba, judge = case_result.selection.proba, case_result.preparation.task.judge
    prior = np.tile(np.bincount(judge.y) / SCORED, (SCORED, 1))
    winner = (proba, judge.labels(proba))
    (row,) = (row for row in case_facts.references if row["name"] == "prior")
    assert row["difference"] == pytest.approx(prior[0, 1] - case_result.selection.reported.value)
    assert row["error"] == pytest.approx(judge.compare((prior, judge.labels(prior)), winner)[1])
    assert row["difference"] < 0


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_reference_that_is_ahead_is_named_in_the_verdict(n_classes, monkeypatch):
    """A column that gives the class away makes a plain model better than the result."""
    monkeypatch.setattr(against, "REFERENCES", REFERENCES[:1])
    preparation, study = study_of(n_classes=n_classes)
    y = preparation.task.dataset.y
    frame = pd.DataFrame({"leak": y + np.random.default_rng(1).normal(0, 0.2, ROWS)})
    dataset = replace(dataset_of(frame, y), positive=n_classes - 1)
    preparation.task = replace(preparation.task, dataset=dataset)
    facts = build_facts(result_of(preparation, study, rule=DecisionRule()))
    assert "Better than the result in average precision" in facts.verdict
    assert "logistic regression (by 0." in facts.verdict
    assert [row["code"] for row in facts.checks] == ["AIMB007"]
    assert "Plain reference ahead of the result." in render(facts)


def test_the_leaderboard_is_sorted_and_complete(case_result, case_facts):
    scores = [row["score"] for row in case_facts.leaderboard[:4]]
    assert scores == sorted(scores, reverse=True)
    assert [row["status"] for row in case_facts.leaderboard[4:]] == ["failed", "infeasible"]
    reported = dict.fromkeys(case_result.selection.weights, case_result.selection.reported.value)
    assert case_facts.leaderboard == leaderboard(reversed(case_result.records), reported=reported)


def test_only_scored_rows_count(case_result, case_facts):
    matrix = np.array(case_facts.confusion["matrix"])
    assert matrix.sum() == SCORED == case_facts.plan["rows_scored"]
    assert matrix.sum(axis=1).tolist() == np.bincount(case_result.preparation.task.judge.y).tolist()


def test_rows_never_scored_change_nothing_but_the_profile(case_facts):
    """Turning the labels of rows outside the folds leaves every number as it was."""
    result = result_of(*study_of())
    y = result.preparation.task.dataset.y
    y[SCORED:] = 1 - y[SCORED:]
    after = build_facts(result)
    assert replace(after, created="").to_json() == replace(case_facts, created="").to_json()


@pytest.mark.usefixtures("minimal_work")
def test_a_blend_names_its_strategies():
    winner = build_facts(result_of(*study_of(), numbers=(3, 1))).winner
    assert winner["blend"]
    assert winner["description"].startswith("A blend of 2 strategies")
    assert [strategy["trial"] for strategy in winner["strategies"]] == [3, 1]
    strategy = Strategy.from_json(winner["strategies"][0]["strategy"])
    assert strategy.resampling.name == "random_over"


@pytest.mark.usefixtures("minimal_work")
@pytest.mark.parametrize("metric", ["f1", "log_loss"])
def test_several_classes(metric):
    rule = DecisionRule("offsets", (0.0, 0.5, 1.0), name="tuned")
    facts = build_facts(result_of(*study_of(metric, n_classes=3), rule=rule))
    assert facts.scores[0]["name"] == "winner"
    assert all(facts.scores[0][key] == facts.reported[key] for key in ("value", "low", "high"))
    assert len(facts.confusion["matrix"]) == 3
    assert facts.profile["positive"] == "yes"
    assert "yes × 2.72" in facts.winner["rule"]
    assert "Finding class" in render(facts)


@pytest.mark.usefixtures("minimal_work")
def test_interruption_and_costs_are_noticed():
    preparation, study = study_of()
    task = preparation.task
    preparation.task = replace(
        task,
        plan=replace(task.plan, class_costs=(1.0, 1.0)),
        judge=replace(task.judge, costs=((0.0, 1.0), (5.0, 0.0))),
    )
    rule = DecisionRule("costs", costs=((0.0, 1.0), (4.0, 0.0)), name="least expected cost")
    study = replace(study, interrupted="the user")
    facts = build_facts(result_of(preparation, study, rule=rule))
    assert "labelled yes where its probability is at least 0.2" in facts.winner["rule"]
    assert facts.notices[:2] == ["x has gaps.", "d was read as a date."]
    assert any("weighted" in notice for notice in facts.notices)
    assert any("interrupted" in notice for notice in facts.notices)


def test_curves_end_where_they_must():
    hit = np.array([True, False, True, False])
    curve = curves.precision_recall(hit, np.array([0.9, 0.8, 0.7, 0.1]), np.ones(4))
    assert (curve["recall"][0], curve["precision"][0]) == (0.5, 1.0)
    assert (curve["recall"][-1], curve["precision"][-1]) == (1.0, pytest.approx(2 / 3))
    constant = curves.precision_recall(hit, np.full(4, 0.5), np.ones(4))
    assert (constant["recall"], constant["precision"]) == ([1.0], [0.5])


def test_reliability_bins_have_equal_expectations():
    rng = np.random.default_rng(0)
    proba = rng.beta(0.3, 6, size=20_000)
    hit = rng.random(20_000) < proba
    bins = curves.reliability(hit, proba, np.ones(20_000))
    assert len(bins) == 8
    assert sum(b["count"] for b in bins) == 20_000
    mass = [b["predicted"] * b["count"] for b in bins]
    assert max(mass) < 1.1 * min(mass)
    for b in bins:
        error = np.sqrt(b["predicted"] * (1 - b["predicted"]) / b["count"])
        assert abs(b["observed"] - b["predicted"]) < 4 * error
    assert curves.reliability(hit[:30], np.full(30, 0.01), np.ones(30)) == []


def test_the_winner_has_the_reported_score_alone(case_result, case_facts):
    reported = case_result.selection.reported
    raw = case_facts.reported["raw"]
    assert case_facts.reported["value"] == reported.value < raw == reported.raw
    rows = {row["trial"]: row["reported"] for row in case_facts.leaderboard}
    assert rows == dict.fromkeys(rows) | {3: reported.value}
    interval = "(95 % interval {low:.3f} to {high:.3f})".format_map(case_facts.reported)
    score = f"{case_facts.reported['value']:.3f} {interval}"
    assert case_facts.result_lines[1] == f"Expected average precision on new data: {score}."
    before_leaderboard = render(case_facts).partition("Leaderboard</h2>")[0]
    assert case_facts.result_lines[1] in before_leaderboard
    assert f"{raw:.3f}" not in " ".join([*case_facts.result_lines, before_leaderboard])


@pytest.mark.usefixtures("minimal_work")
def test_the_gain_of_averaging_networks_is_described(case_result, case_facts):
    assert "by one network each" in case_facts.reported["averaging"]
    selection = case_result.selection
    selection = replace(selection, reported=replace(selection.reported, gain_of_mean=0.0071))
    facts = build_facts(replace(case_result, selection=selection))
    assert "estimated to gain (+0.0071) is included" in facts.reported["averaging"]
