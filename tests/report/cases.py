"""Results of searches that trained nothing, and the facts of a report from them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd

from autoimb.assessment.crossfit import stratified_groups
from autoimb.assessment.decision import DecisionRule
from autoimb.assessment.duels import Duel, Gain, verdict
from autoimb.assessment.uncertainty import Reported
from autoimb.data.folds import plan_folds
from autoimb.data.profile import profile
from autoimb.data.schema import infer_schema
from autoimb.data.target import encode_target
from autoimb.evaluation.outcome import Failed, Infeasible, Scored
from autoimb.evaluation.task import Task
from autoimb.runs.record import TrialRecord
from autoimb.search.search import SearchResult
from autoimb.search.select import Selection
from autoimb.search.study import StudyResult
from autoimb.space.components import COMPONENTS
from autoimb.space.strategy import Strategy
from tests.support.tables import chosen, dataset_of, judge_of, short_plan, strategy_with

ROWS, SCORED = 1300, 1200


def strategy_of(**names: str) -> Strategy:
    """Return a control on a small network, with the named options at their low ends."""
    choices = {name: chosen(COMPONENTS[name][option], 0.0) for name, option in names.items()}
    return strategy_with(**choices)


def study_of(
    metric_name: str = "average_precision", n_classes: int = 2
) -> tuple[SimpleNamespace, StudyResult]:
    """Return a preparation whose folds lack the last rows, and simulated trials."""
    rng = np.random.default_rng(0)
    names, rates = ("no", "yes"), [0.9, 0.1]
    if n_classes == 3:
        names, rates = ("maybe", "no", "yes"), [0.7, 0.2, 0.1]
    y = rng.choice(n_classes, ROWS, p=rates).astype(np.int64)
    frame = pd.DataFrame({"noise": rng.normal(size=ROWS), "x": np.arange(ROWS) % 50 + 0.5})
    frame.loc[:6, "x"] = np.nan
    frame["carrier"] = [f"c{number % 16}" for number in range(ROWS)]
    dataset = replace(dataset_of(frame, y), positive=n_classes - 1)
    group = stratified_groups(y[:SCORED], 3)
    splits = [(np.flatnonzero(group != g), np.flatnonzero(group == g)) for g in range(3)]
    plan = short_plan(dataset, plan_folds(y, cv=splits, random_state=0))
    judge = judge_of(dataset, plan, metric_name)
    trials = [
        (strategy_of(), 1.6),
        (strategy_of(network="tabm"), 1.9),
        (strategy_of(network="tabm", loss="focal"), 1.7),
        (strategy_of(network="tabm", resampling="random_over"), 2.1),
    ]
    records, results = [], {}
    for number, (strategy, strength) in enumerate(trials):
        logits = strength * np.eye(n_classes)[judge.y] + rng.normal(size=(SCORED, n_classes))
        logits += np.log(rates)
        proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        labels = judge.labels(proba)
        stored = labels if judge.metric.kind == "label" else None
        result = Scored(judge.score(proba, labels), proba, labels=stored, seconds=1.5)
        records.append(TrialRecord(number, "search", strategy).ended(result))
        results[number] = result
    for outcome in (Failed("boom"), Infeasible("too few rows")):
        strategy = strategy_of(resampling="smote")
        records.append(TrialRecord(len(records), "search", strategy).ended(outcome))
    request = {
        "target": "churn",
        "metric": judge.metric.name,
        "data": "table",
        "time_budget": 60.0,
        "components": [["network", ["mlp", "tabm"]]],
    }
    preparation = SimpleNamespace(
        task=Task(dataset, plan, judge),
        profile=profile(frame, infer_schema(frame)[0], encode_target(np.array(names)[y])),
        request=SimpleNamespace(to_json=lambda: request),
        notices=("x has gaps.", "d was read as a date."),
    )
    return preparation, StudyResult(tuple(records), results, "")


RULE = DecisionRule("offsets", (0.0, 1.5), name="tuned for f1")
UNLIMITED = dict.fromkeys(("counted_seconds", "counted_bytes", "max_seconds", "max_bytes"), None)


def result_of(
    preparation: SimpleNamespace,
    study: StudyResult,
    numbers: tuple[int, ...] = (3,),
    rule: DecisionRule = RULE,
) -> SearchResult:
    """Return the result of a search of these trials that chose the trials of these numbers."""
    task = preparation.task
    proba = sum(study.results[number].oof for number in numbers) / len(numbers)
    labels = task.judge.labels(proba)
    score = task.judge.score(proba, labels)
    power = Duel(
        *("class_weight", "power", "power(tau=0.5)"),
        control=0.3,
        gain=Gain(0.05, 0.01, 15),
        log_loss=Gain(0.02, 0.01, 15),
    )
    focal = Duel("loss", "focal", "focal", "the time ended before its turn")
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
        verdict=verdict([power, focal], metric="average precision"),
        timing={"searching": 252},
        deployed={"rows": 1000, "seconds": 0.02, "bytes": 1e6} | UNLIMITED,
    )
