"""The facts: what was tried, what it was worth, and nothing from rows that were not scored."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from autoimb.assessment.crossfit import stratified_groups
from autoimb.assessment.decision.rule import DecisionRule
from autoimb.assessment.duels import Gain
from autoimb.assessment.judge import Judge
from autoimb.assessment.metrics import get_metric
from autoimb.assessment.uncertainty import Reported
from autoimb.assessment.verdict import Duel, verdict
from autoimb.budget import Deadline
from autoimb.data.folds import Fold, FoldPlan
from autoimb.evaluation.outcome import Failed, Infeasible, Scored
from autoimb.evaluation.task import Task
from autoimb.report import curves
from autoimb.report.against import Standing
from autoimb.report.build import Facts, render
from autoimb.report.facts import STANDARD_METRICS, build_facts, leaderboard
from autoimb.report.formats import rule_in_words
from autoimb.runs.record import TrialRecord
from autoimb.search.search import SearchResult
from autoimb.search.select import Selection
from autoimb.search.study import StudyResult
from autoimb.space.components import COMPONENTS, CONTROL
from autoimb.space.option import Choice, Float, Int
from autoimb.space.strategy import Strategy
from tests.support.tables import dataset_of, short_plan

N, SCORED = 1300, 1200


def _choice(component, name):
    """An option with the first value of each of its ranges."""
    ranges = COMPONENTS[component][name].ranges.items()
    low = {k: r.low if isinstance(r, (Float, Int)) else r.values[0] for k, r in ranges}
    return Choice(name, tuple(low.items()))


def _strategy(**components):
    chosen = {
        component: components.get(component, CONTROL.get(component, COMPONENTS[component].names[0]))
        for component in COMPONENTS
    }
    return Strategy(**{component: _choice(component, name) for component, name in chosen.items()})


def _study(metric_name="average_precision", n_classes=2):
    """What was planned, and trials that cost nothing; the last rows are outside the folds."""
    rng = np.random.default_rng(0)
    rates = [0.9, 0.1] if n_classes == 2 else [0.7, 0.2, 0.1]
    y = rng.choice(n_classes, N, p=rates).astype(np.int64)
    dataset = dataset_of(pd.DataFrame({"noise": rng.normal(size=N)}), y)
    dataset = replace(dataset, positive=n_classes - 1)
    metric = get_metric(metric_name, n_classes=n_classes, positive=n_classes - 1)
    group = np.full(N, -1, dtype=np.int64)
    group[:SCORED] = stratified_groups(y[:SCORED], 3)
    inside, outside = np.arange(SCORED), group[:SCORED]
    folds = tuple(Fold(inside[outside != g], inside[outside == g], inside[:0]) for g in range(3))
    plan = short_plan(dataset, FoldPlan(folds, group))
    judge = Judge(metric, y[:SCORED], group[:SCORED], plan.folds.scored_weight(dataset.weight))
    said = [
        (_strategy(), 1.6),
        (_strategy(network="tabm"), 1.9),
        (_strategy(network="tabm", loss="focal"), 1.7),
        (_strategy(network="tabm", resampling="random_over"), 2.1),
    ]
    records, results = [], {}
    for number, (strategy, strength) in enumerate(said):
        logits = strength * np.eye(n_classes)[judge.y] + rng.normal(size=(SCORED, n_classes))
        logits += np.log(rates)
        proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        labels = judge.labels(proba)
        kept = labels if metric.kind == "label" else None
        result = Scored(judge.score(proba, labels), proba, labels=kept, seconds=1.5)
        records.append(TrialRecord(number, "search", strategy).ended(result))
        results[number] = result
    for outcome in (Failed("boom"), Infeasible("too few rows")):
        strategy = _strategy(resampling="smote")
        records.append(TrialRecord(len(records), "search", strategy).ended(outcome))
    profile = SimpleNamespace(
        n_rows=N,
        class_counts=tuple(np.bincount(y).tolist()),
        class_names=("no", "maybe", "yes") if n_classes == 3 else ("no", "yes"),
        positive=n_classes - 1,
        kinds={"numeric": 3, "date": 1},
        missing={"x": 7},
        cardinality={},
        notices=("x has gaps.",),
    )
    request = {"target": "churn", "metric": metric.name, "data": "table", "time_budget": 60.0}
    preparation = SimpleNamespace(
        task=Task(dataset, plan, judge),
        profile=profile,
        request=SimpleNamespace(to_json=lambda: request),
        notices=("x has gaps.", "d was read as a date."),
    )
    return preparation, StudyResult(tuple(records), results, "")


RULE = DecisionRule("offsets", (0.0, 1.5), name="tuned for f1")
UNLIMITED = dict.fromkeys(("counted_seconds", "counted_bytes", "max_seconds", "max_bytes"), None)


def _found(preparation, study, numbers=(3,), rule=RULE):
    """What a search of these trials that chose those numbers would give."""
    task = preparation.task
    proba = sum(study.results[n].oof for n in numbers) / len(numbers)
    labels = task.judge.labels(proba)
    score = task.judge.score(proba, labels)
    power = Duel(
        *("class_weight", "power", "power(tau=0.5)"),
        control=0.3,
        gain=Gain(0.05, 0.01, 15),
        log_loss=Gain(0.02, 0.01, 15),
    )
    duels = [power, Duel("loss", "focal", "focal", "the time ended before its turn")]
    value = score.value - 0.02
    reported = Reported(value, 0.03, value - 0.06, value + 0.06, score.value, 0.02, 200, True)
    return SearchResult(
        preparation=preparation,
        study=study,
        selection=Selection(
            single=numbers[0],
            is_control=False,
            weights=dict.fromkeys(numbers, 1 / len(numbers)),
            partner_share=0.0,
            proba=proba,
            labels=labels,
            networks=None,
            reported=reported,
            pipeline=SimpleNamespace(rule=rule, positive=task.dataset.positive),
        ),
        verdict=verdict(duels, metric="average precision"),
        timing={"searching": 2},
        deployed={"rows": 1000, "seconds": 0.02, "bytes": 1e6} | UNLIMITED,
    )


@pytest.fixture(scope="module")
def case():
    found = _found(*_study())
    return found, build_facts(found)


def test_the_asked_metric_comes_first_and_all_contenders_have_all(case):
    found, facts = case
    metrics = list(dict.fromkeys(row["metric"] for row in facts.scores))
    assert metrics[0] == found.preparation.task.judge.metric.name
    assert set(metrics) == set(STANDARD_METRICS)
    names = {"winner", "none", "prior", "logistic regression", "balanced random forest"}
    assert {(r["name"], r["metric"]) for r in facts.scores} == {
        (name, metric) for name in names for metric in metrics
    }
    assert {r["metric"] for r in facts.scores if not r["greater_is_better"]} == {
        "log_loss",
        "brier",
    }


def test_what_was_chosen_keeps_its_difference_from_the_winner(case):
    """The correction for the choice moves the best control as far as the winner."""
    found, facts = case
    judge, results = found.preparation.task.judge, found.study.results
    rare_rows = found.preparation.task.plan.policy.result.rare_rows_per_group
    scores = {row["name"]: row for row in facts.scores[:5]}
    control = max((results[n] for n in (0, 1)), key=lambda result: result.score.value)
    winner = (found.selection.proba, found.selection.labels)
    raw = [
        judge.reported_score(own, rare_rows).value
        for own in ((control.oof, judge.labels(control.oof)), winner)
    ]
    gap = scores["none"]["value"] - scores["winner"]["value"]
    assert scores["winner"]["value"] == found.selection.reported.value
    assert gap == pytest.approx(raw[0] - raw[1])


def test_a_contender_above_the_winner_is_within_error_or_ahead():
    def standing(difference, error):
        return Standing(0.4, 0.3, 0.5, difference, error).in_words()

    assert standing(-0.1, 0.01) == standing(0.0, 0.0) == ""
    assert standing(0.01, 0.01) == standing(0.02, 0.01) == "within error"
    assert standing(0.03, 0.01) == standing(0.01, 0.0) == "ahead"


def test_methods_are_written_with_what_their_duels_say(case):
    _, facts = case
    helps, untested = facts.methods
    assert helps["word"] == "helps"
    assert helps["low"] < helps["gain"] < helps["high"]
    assert helps["log_loss_gain"] == pytest.approx(0.02)
    assert helps["sentence"].startswith("power(tau=0.5) helps")
    assert untested["word"] == "not tested"
    assert untested["gain"] is untested["low"] is untested["log_loss_high"] is None
    assert facts.verdict.startswith("Special treatment of the rare class helps on this table")
    assert json.loads(json.dumps(facts.to_json()))["methods"][1]["p_value"] is None


def test_an_expired_deadline_leaves_the_reference_out(case):
    result, facts = case
    found = build_facts(result, deadline=Deadline.after(-1))
    assert found.methods[0] == facts.methods[0]
    assert found.scores == [row for row in facts.scores[:5] if row["name"] in ("winner", "prior")]
    assert set(found.curves) == {"winner", "none"}
    left_out = {row["name"]: row["reason"] for row in found.references if row["reason"]}
    assert left_out.pop("trees") == "no partner was grown"
    assert left_out == dict.fromkeys(
        ("logistic regression", "balanced random forest"), "there was no time left for it"
    )
    assert [row["name"] for row in facts.references if row["reason"]] == ["trees"]


def test_references_are_compared_with_the_reported_score_on_its_rows(case):
    found, facts = case
    proba, judge = found.selection.proba, found.preparation.task.judge
    prior = np.tile(np.bincount(judge.y) / SCORED, (SCORED, 1))
    winner = (proba, judge.labels(proba))
    (row,) = (row for row in facts.references if row["name"] == "prior")
    rate = np.bincount(judge.y)[1] / SCORED
    assert row["difference"] == pytest.approx(rate - found.selection.reported.value)
    assert row["error"] == pytest.approx(judge.compare((prior, judge.labels(prior)), winner)[1])
    assert row["difference"] < 0


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_reference_that_is_ahead_is_said_first(n_classes):
    """A column that gives the class away makes the plain models better than the result."""
    preparation, study = _study(n_classes=n_classes)
    y = preparation.task.dataset.y
    frame = pd.DataFrame({"leak": y + np.random.default_rng(1).normal(0, 0.2, N)})
    dataset = replace(dataset_of(frame, y), positive=n_classes - 1)
    preparation.task = replace(preparation.task, dataset=dataset)
    facts = build_facts(_found(preparation, study, rule=DecisionRule()))
    assert "Better than the result in average precision" in facts.verdict
    assert "logistic regression (by 0." in facts.verdict
    assert [row["code"] for row in facts.checks] == ["AIMB007"]
    page = render(facts)
    assert "AIMB007" in page
    assert "Plain reference ahead of the result." in page


def test_the_leaderboard_is_sorted_and_complete(case):
    found, facts = case
    assert len(facts.leaderboard) == len(found.records)
    complete = [row["score"] for row in facts.leaderboard[:4]]
    assert complete == sorted(complete, reverse=True)
    assert [row["status"] for row in facts.leaderboard[4:]] == ["failed", "infeasible"]
    reported = {3: found.selection.reported.value}
    assert facts.leaderboard == leaderboard(reversed(found.records), reported=reported)


def test_failures_have_reasons(case):
    _, facts = case
    assert [(row["trial"], row["status"], row["reason"]) for row in facts.failures] == [
        (4, "failed", "boom"),
        (5, "infeasible", "too few rows"),
    ]


def test_only_scored_rows_count(case):
    found, facts = case
    matrix = np.array(facts.confusion["matrix"])
    assert matrix.sum() == SCORED == facts.plan["rows_scored"]
    assert matrix.sum(axis=1).tolist() == np.bincount(found.preparation.task.judge.y).tolist()


def test_rows_never_scored_change_nothing_but_the_profile():
    """Turning the labels of rows outside the folds leaves every number as it was."""
    found = _found(*_study())
    before = build_facts(found)
    y = found.preparation.task.dataset.y
    y[SCORED:] = 1 - y[SCORED:]
    after = build_facts(found)
    assert replace(after, created="").to_json() == replace(before, created="").to_json()


def test_a_blend_names_its_strategies():
    facts = build_facts(_found(*_study(), numbers=(3, 1)))
    assert facts.winner["blend"]
    assert facts.winner["description"].startswith("A blend of 2 strategies")
    assert [s["trial"] for s in facts.winner["strategies"]] == [3, 1]
    assert Strategy.from_json(facts.winner["strategies"][0]["strategy"]).resampling.name == (
        "random_over"
    )


def test_facts_become_a_report(case):
    _, facts = case
    again = Facts.from_json(json.loads(json.dumps(facts.to_json(), allow_nan=False)))
    html = render(again)
    for said in ("helps on this table", "churn", "x has gaps.", "random_over", "boom"):
        assert said in html
    assert facts.notices == ["x has gaps.", "d was read as a date."]


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["f1", "balanced_accuracy", "log_loss"])
def test_several_classes(metric):
    rule = DecisionRule("offsets", (0.0, 0.5, 1.0), name="tuned")
    facts = build_facts(_found(*_study(metric, n_classes=3), rule=rule))
    assert len(facts.confusion["matrix"]) == 3
    assert facts.profile["positive"] == "yes"
    assert "yes × 2.72" in facts.winner["rule"]
    page = render(facts)
    assert "Finding class" in page
    assert "Positive class" in page


def test_interruption_and_costs_are_said():
    preparation, study = _study()
    task = preparation.task
    preparation.task = replace(
        task,
        plan=replace(task.plan, class_costs=(1.0, 1.0)),
        judge=replace(task.judge, costs=((0.0, 1.0), (5.0, 0.0))),
    )
    facts = build_facts(_found(preparation, replace(study, interrupted="the user")))
    assert any("weighted" in notice for notice in facts.notices)
    assert any("interrupted" in notice for notice in facts.notices)


def test_rules_in_words():
    names = ("no", "yes")
    assert rule_in_words(DecisionRule(), names, 1).startswith(
        "A row is labelled yes where its probability is at least 0.5"
    )
    costs = DecisionRule("costs", costs=((0.0, 1.0), (4.0, 0.0)), name="least expected cost")
    assert "at least 0.2" in rule_in_words(costs, names, 1)
    assert rule_in_words(DecisionRule(), ("a", "b", "c"), 2) == "Most probable class."


def test_curves_end_where_they_must():
    hit = np.array([True, False, True, False])
    proba = np.array([0.9, 0.8, 0.7, 0.1])
    curve = curves.precision_recall(hit, proba, np.ones(4))
    assert curve["recall"][0] == 0.5
    assert curve["precision"][0] == 1.0
    assert (curve["recall"][-1], curve["precision"][-1]) == (1.0, pytest.approx(2 / 3))
    constant = curves.precision_recall(hit, np.full(4, 0.5), np.ones(4))
    assert (constant["recall"], constant["precision"]) == ([1.0], [0.5])


def test_reliability_bins_hold_equal_expectations():
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


def test_the_winner_has_the_reported_score_alone(case):
    found, facts = case
    reported = found.selection.reported
    raw = reported.raw
    assert facts.reported["value"] == reported.value < facts.reported["raw"] == raw
    assert "by one network each" in facts.reported["averaging"]
    rows = {row["trial"]: row["reported"] for row in facts.leaderboard}
    assert rows.pop(3) == reported.value
    assert set(rows.values()) == {None}
    page = render(facts)
    interval = "(95 % interval {low:.3f} to {high:.3f})".format_map(facts.reported)
    score = f"{facts.reported['value']:.3f} {interval}"
    assert facts.result_lines[1] == f"Expected average precision on new data: {score}."
    assert facts.result_lines[1] in page
    assert f"{raw:.3f}" not in " ".join(
        [*facts.result_lines, page.partition("Leaderboard</h2>")[0]]
    )


def test_what_the_mean_of_all_networks_gains_is_said_where_it_is_in_the_score():
    found = _found(*_study())
    reported = replace(found.selection.reported, gain_of_mean=0.0071)
    facts = build_facts(replace(found, selection=replace(found.selection, reported=reported)))
    assert "estimated to gain (+0.0071) is included" in facts.reported["averaging"]
