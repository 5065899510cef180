"""The facts: what was tried, what it was worth, and nothing from rows that were not scored."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from autoimb.assessment.crossfit import deal
from autoimb.assessment.decision import DecisionRule, cross_fit_labels
from autoimb.assessment.metrics import get_metric
from autoimb.assessment.uncertainty import paired_difference, score
from autoimb.data.folds import Fold, FoldPlan
from autoimb.report import curves
from autoimb.report.build import Facts, render
from autoimb.report.words import rule_in_words
from autoimb.search.blend import Blend
from autoimb.search.budget import Deadline
from autoimb.search.evaluate import Outcome
from autoimb.search.facts import STANDARD_METRICS, Found, build_facts, leaderboard, versions
from autoimb.search.record import TrialRecord
from autoimb.space.option import Float, Int
from autoimb.space.rooms import PLAIN, ROOMS
from autoimb.space.strategy import Choice, Strategy

N, SCORED = 1300, 1200


def _choice(room, name):
    """An option with the first value of each of its ranges."""
    ranges = ROOMS[room][name].ranges.items()
    low = {k: r.low if isinstance(r, (Float, Int)) else r.values[0] for k, r in ranges}
    return Choice(name, tuple(low.items()))


def _strategy(**rooms):
    chosen = {room: rooms.get(room, PLAIN.get(room, ROOMS[room].names[0])) for room in ROOMS}
    return Strategy(**{room: _choice(room, name) for room, name in chosen.items()})


def _study(metric_name="average_precision", n_classes=2):
    rng = np.random.default_rng(0)
    rates = [0.9, 0.1] if n_classes == 2 else [0.7, 0.2, 0.1]
    y = rng.choice(n_classes, N, p=rates).astype(np.int64)
    metric = get_metric(metric_name, n_classes=n_classes, positive=n_classes - 1)
    group = np.full(N, -1, dtype=np.int64)
    group[:SCORED] = deal(y[:SCORED], 3)
    rows = np.arange(N)
    folds = tuple(Fold(rows[group != g], rows[group == g], rows[:0]) for g in range(3))
    plan = SimpleNamespace(
        folds=FoldPlan(folds, group), cost_matrix=None, cost_weights=None, device="cpu", seed=0
    )
    said = [
        (_strategy(), 1.6),
        (_strategy(network="tabm"), 1.9),
        (_strategy(network="tabm", loss="focal"), 1.7),
        (_strategy(network="tabm", resampling="random_over"), 2.1),
    ]
    records, outcomes = [], {}
    for number, (strategy, strength) in enumerate(said):
        logits = strength * np.eye(n_classes)[y[:SCORED]] + rng.normal(size=(SCORED, n_classes))
        logits += np.log(rates)
        proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        labels = cross_fit_labels(metric, y[:SCORED], proba, group[:SCORED])
        own = score(metric, y[:SCORED], proba, labels, group[:SCORED])
        kept = labels if metric.kind == "label" else None
        outcome = Outcome("complete", score=own, oof=proba, labels=kept, seconds=1.5)
        records.append(TrialRecord.of(number, outcome, stage="search", strategy=strategy))
        outcomes[number] = outcome
    for status, reason in (("failed", "boom"), ("pruned", ""), ("infeasible", "too few rows")):
        outcome = Outcome(status, reason)
        strategy = _strategy(resampling="smote")
        records.append(TrialRecord.of(len(records), outcome, stage="lever", strategy=strategy))
    counts = tuple(np.bincount(y).tolist())
    profile = SimpleNamespace(
        n_rows=N,
        class_counts=counts,
        class_names=("no", "maybe", "yes") if n_classes == 3 else ("no", "yes"),
        positive=n_classes - 1,
        kinds={"numeric": 3, "date": 1},
        missing={"x": 7},
        cardinality={},
        notices=("x has gaps.",),
    )
    request = {"target": "churn", "metric": metric.name, "data": "table", "time_budget": 60.0}
    prepared = SimpleNamespace(
        dataset=SimpleNamespace(y=y, weight=np.ones(N), positive=n_classes - 1),
        metric=metric,
        profile=profile,
        request=SimpleNamespace(to_json=lambda: request),
        notices=("x has gaps.", "d was read as a date."),
    )
    return prepared, plan, SimpleNamespace(records=records, outcomes=outcomes, interrupted=False)


def _found(prepared, plan, result, numbers=(3,)):
    weights = tuple(1 / len(numbers) for _ in numbers)
    proba = sum(w * result.outcomes[n].oof for n, w in zip(numbers, weights))
    y, group = prepared.dataset.y[plan.folds.scored], plan.folds.group[plan.folds.scored]
    labels = cross_fit_labels(prepared.metric, y, proba, group)
    own = score(prepared.metric, y, proba, labels, group)
    winner = Blend(numbers, weights, proba, labels, own, kept=len(numbers) > 1)
    rule = DecisionRule("offsets", (0.0, 1.5), name="tuned for f1")
    linear = np.tile(np.bincount(prepared.dataset.y) / N, (SCORED, 1))
    return Found(winner, rule, "It helps.", {"logistic regression": linear}, {"searching": 2})


@pytest.fixture(scope="module")
def case():
    study = _study()
    return study, build_facts(*study, _found(*study))


def test_the_asked_metric_comes_first_and_all_contenders_have_all(case):
    (prepared, *_), facts = case
    metrics = list(dict.fromkeys(row["metric"] for row in facts.scores))
    assert metrics[0] == prepared.metric.name
    assert set(metrics) == set(STANDARD_METRICS)
    names = {"winner", "none", "logistic regression"}
    assert {(r["name"], r["metric"]) for r in facts.scores} == {
        (name, metric) for name in names for metric in metrics
    }
    assert {r["metric"] for r in facts.scores if not r["greater_is_better"]} == {
        "log_loss",
        "brier",
    }


def test_none_is_the_best_strategy_without_a_lever(case):
    (_, _, result), facts = case
    plain = max(result.outcomes[n].score.value for n in (0, 1))
    row = next(r for r in facts.scores if r["name"] == "none")
    assert row["value"] == pytest.approx(plain)


def test_rooms_compare_with_the_plain_option(case):
    (prepared, plan, result), facts = case
    rooms = {(row["room"], row["option"]): row for row in facts.rooms}
    assert rooms["resampling", "none"]["trials"] == 3
    assert rooms["resampling", "none"]["difference_to_none"] is None
    assert rooms["resampling", "smote"] | {"summary": ""} == {
        "room": "resampling",
        "option": "smote",
        "summary": "",
        "trials": 0,
        "best": None,
        "error": None,
        "difference_to_none": None,
        "difference_error": None,
    }
    rows = plan.folds.scored
    one, other = result.outcomes[3], result.outcomes[1]
    expected = paired_difference(
        prepared.metric,
        prepared.dataset.y[rows],
        (one.oof, one.oof.argmax(axis=1)),
        (other.oof, other.oof.argmax(axis=1)),
        plan.folds.group[rows],
    )
    over = rooms["resampling", "random_over"]
    assert (over["difference_to_none"], over["difference_error"]) == pytest.approx(expected)
    assert rooms["loss", "focal"]["difference_to_none"] < 0
    assert rooms["network", "tabm"]["difference_to_none"] > 0
    assert next(row["option"] for row in facts.rooms if row["room"] == "resampling") == "none"
    assert all(row["summary"] for row in facts.rooms)


def test_an_expired_deadline_leaves_the_differences_out(case):
    study, facts = case
    found = build_facts(*study, _found(*study), deadline=Deadline.after(-1))
    assert {row["difference_to_none"] for row in found.rooms} == {None}
    assert [row["best"] for row in found.rooms] == [row["best"] for row in facts.rooms]


def test_the_leaderboard_is_sorted_and_complete(case):
    (_, _, result), facts = case
    assert len(facts.leaderboard) == len(result.records)
    complete = [row["score"] for row in facts.leaderboard[:4]]
    assert complete == sorted(complete, reverse=True)
    assert [row["status"] for row in facts.leaderboard[4:]] == ["failed", "pruned", "infeasible"]
    assert facts.leaderboard == leaderboard(reversed(result.records))


def test_failures_have_reasons_and_pruned_trials_are_none(case):
    _, facts = case
    assert [(row["trial"], row["status"], row["reason"]) for row in facts.failures] == [
        (4, "failed", "boom"),
        (6, "infeasible", "too few rows"),
    ]


def test_only_scored_rows_count(case):
    (prepared, plan, _), facts = case
    matrix = np.array(facts.confusion["matrix"])
    assert matrix.sum() == SCORED == facts.plan["rows_scored"]
    scored = prepared.dataset.y[plan.folds.scored]
    assert matrix.sum(axis=1).tolist() == np.bincount(scored).tolist()


def test_rows_never_scored_change_nothing_but_the_profile():
    """Turning the labels of rows outside the folds leaves every number as it was."""
    study = _study()
    found = _found(*study)
    before = build_facts(*study, found)
    prepared = study[0]
    prepared.dataset.y[SCORED:] = 1 - prepared.dataset.y[SCORED:]
    after = build_facts(*study, found)
    assert replace(after, created="").to_json() == replace(before, created="").to_json()


def test_a_blend_names_its_strategies():
    study = _study()
    facts = build_facts(*study, _found(*study, numbers=(3, 1)))
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
    for said in ("It helps.", "churn", "x has gaps.", "random_over", "boom"):
        assert said in html
    assert facts.notices == ["x has gaps.", "d was read as a date."]


@pytest.mark.parametrize("metric", ["f1", "balanced_accuracy", "log_loss"])
def test_several_classes(metric):
    study = _study(metric, n_classes=3)
    found = replace(_found(*study), rule=DecisionRule("offsets", (0.0, 0.5, 1.0), name="tuned"))
    facts = build_facts(*study, found)
    assert len(facts.confusion["matrix"]) == 3
    assert facts.profile["positive"] == "yes"
    assert "yes × 2.72" in facts.winner["rule"]
    assert "Finding class" in render(facts)


def test_interruption_and_costs_are_said():
    prepared, plan, result = _study()
    plan.cost_weights, plan.cost_matrix = (1.0, 1.0), ((0.0, 1.0), (5.0, 0.0))
    result.interrupted = True
    facts = build_facts(prepared, plan, result, _found(prepared, plan, result))
    assert any("tilted" in notice for notice in facts.notices)
    assert any("interrupted" in notice for notice in facts.notices)


def test_rules_in_words():
    names = ("no", "yes")
    assert rule_in_words(DecisionRule(), names, 1).startswith(
        "A row is labelled yes where its probability is at least 0.5"
    )
    costs = DecisionRule("costs", costs=((0.0, 1.0), (4.0, 0.0)), name="least expected cost")
    assert "at least 0.2" in rule_in_words(costs, names, 1)
    assert rule_in_words(DecisionRule(), ("a", "b", "c"), 2) == "Most probable class."


def test_versions_are_strings():
    assert {"python", "numpy", "torch"} <= set(versions())


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
