"""Every option on two of six kinds of tables: it trains, or says in a sentence why it can't.

The tables of an option follow from its position, so that every table has a third of the options
of each component. The cells where an option can't run are a list here, each with its sentence, and
all of them are run; no option has more than two.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from msgspec import structs

import autoimb.training.fit as fitting
from autoimb import FittedPipeline
from autoimb.assessment.calibration import Calibrator
from autoimb.assessment.decision.rule import DecisionRule
from autoimb.assessment.decision.threshold import ThresholdCounts
from autoimb.data.folds import plan_folds
from autoimb.data.profile import Profile, profile
from autoimb.data.schema import infer_schema
from autoimb.data.target import encode_target
from autoimb.evaluation.outcome import Infeasible, Outcome, Scored
from autoimb.evaluation.task import Task, Trial
from autoimb.evaluation.trial import evaluate
from autoimb.pipeline.artifact import load, save
from autoimb.pipeline.unfamiliar import ranges_of
from autoimb.space.draw import infeasible
from autoimb.space.option import Component, Option
from autoimb.space.strategy import Strategy
from autoimb.training.plan import Plan
from tests.support.tables import (
    OPTION_IDS,
    OPTIONS,
    chosen,
    dataset_of,
    judge_of,
    mixed_table,
    short_plan,
    strategy_with,
)

FEW = "needs at least 6 rows of the rarest class in the table, got 4."
LOSES = "would drop every training row of class number"
# (option, table) and what it says, without numbers that follow from the draw
INFEASIBLE = {
    ("smote", "50 classes"): f"smote {FEW}",
    ("tomek_links", "50 classes"): f"tomek_links {LOSES}",
    ("smote_enn", "50 classes"): f"smote_enn {FEW}",
    ("smote_tomek", "50 classes"): f"smote_tomek {FEW}",
    ("cluster_centroids", "50 classes"): f"cluster_centroids {FEW}",
}
MOST = 2  # of the tables, on which an option may be infeasible


def numbers(y: np.ndarray, columns: int, *, seed: int = 0) -> pd.DataFrame:
    """Numbers of which the first three, or all, say something about the class."""
    random = np.random.default_rng([seed, 2])
    x = random.normal(size=(len(y), columns))
    told = min(columns, 3)
    x[:, :told] += random.normal(0.0, 1.5, (y.max() + 1, told))[y]
    return pd.DataFrame(x, columns=[f"x{i}" for i in range(columns)])


def gathered(y: np.ndarray, columns: int) -> pd.DataFrame:
    """Numbers of which the rows of the last class lie near each other, among others.

    Then each has both sorts of neighbours, whichever rows a fold leaves out.
    """
    frame = numbers(y, columns)
    own = y == y.max()
    frame[own] = frame[own].mean() + 0.3 * (frame[own] - frame[own].mean())
    return frame


def labels(*sizes: int) -> np.ndarray:
    """So many rows of each class, in random order."""
    y = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(len(sizes)).permutation(y)


def fifty_sizes() -> list[int]:
    """Rows of 50 classes, from 24 down to 4, which is what many of them have.

    Of so many classes with two rows in a fold, a method that drops rows loses one in any draw.
    """
    return [max(round(24 * (1 / 6) ** (c / 30)), 4) for c in range(50)]


MADE = {
    "binary mixed": lambda: mixed_table("binary", 120),
    "multiclass": lambda: mixed_table("multiclass", 120),
    "6 minority rows": lambda: (gathered(y := labels(114, 6), 4), y),
    "one feature": lambda: (numbers(y := labels(90, 30), 1), y),
    "300 features": lambda: (numbers(y := labels(80, 20), 300), y),
    "50 classes": lambda: (numbers(y := labels(*fifty_sizes()), 5), y),
}
FOLDS = {"6 minority rows": 5}  # in most others two are enough, and quick


def cells(*, exact: bool = False) -> pytest.MarkDecorator:
    """Run a test on the tables of every option, or of those with a closed-form prior."""
    tables, chosen_cells = list(MADE), []
    for i, ((component, option), name) in enumerate(zip(OPTIONS, OPTION_IDS)):
        of_option = {tables[i % 6], tables[(i + 1 + i // 6 % 5) % 6]}
        of_option |= {table for refused, table in INFEASIBLE if refused == option.name}
        if option.exact or not exact:
            chosen_cells += [
                pytest.param(component, option, table, id=f"{name}-{table}")
                for table in tables
                if table in of_option
            ]
    return pytest.mark.parametrize(("component", "option", "table"), chosen_cells)


@dataclass(frozen=True, eq=False)
class Material:
    """A table, and what its trials share: twice as it is, once with weights of the user."""

    frame: pd.DataFrame
    profile: Profile
    plan: Plan
    first: Task
    again: Task
    weighed: Task


@cache
def material(table: str) -> Material:
    frame, y = MADE[table]()
    dataset = dataset_of(frame, y)
    plan = short_plan(dataset, plan_folds(y, cv=FOLDS.get(table, 2), random_state=0), checkpoints=1)
    plan = replace(plan, class_costs=tuple(1.0 + c for c in range(dataset.n_classes)))
    schema, _ = infer_schema(frame)
    weight = np.random.default_rng(7).uniform(0.2, 1.8, len(y))
    first, again, weighed = (
        Task(data, plan, judge_of(data, plan, "log_loss"))
        for data in (dataset, dataset, replace(dataset, weight=weight))
    )
    counts = profile(frame, schema, encode_target(y))
    return Material(frame, counts, plan, first, again, weighed)


def outcome_of(strategy: Strategy, made: Material, task: Task) -> Outcome:
    """Evaluate as a study does: an infeasible one is not begun."""
    reason = infeasible(strategy, made.profile)
    if reason is not None:
        return Infeasible(reason)
    return evaluate(task, Trial(strategy))


def forced(component: Component, option: Option) -> Strategy:
    """An option in the middle of its ranges, with as few networks as it may have."""
    few = {key: bounds.low for key, bounds in option.ranges.items() if key in ("rounds", "members")}
    return strategy_with(**{component.name: chosen(option, 0.5, **few)})


def states(outcome: Scored) -> list[dict[str, bytes]]:
    return [{k: v.tobytes() for k, v in pack.state.items()} for pack in outcome.fitted.packs]


def pipeline_of(outcome: Scored, made: Material) -> FittedPipeline:
    data, folds = made.first.dataset, made.plan.folds
    schema, _ = infer_schema(made.frame)
    return FittedPipeline(
        schema=structs.replace(schema, target="class"),
        classes=np.arange(data.n_classes),
        positive=data.positive,
        encoders=tuple(made.first.encoder(fold) for fold in range(len(folds.folds))),
        strategies=(outcome.fitted,),
        weights=(1.0,),
        calibrator=Calibrator.identity(data.n_classes),
        rule=DecisionRule(),
        thresholds=ThresholdCounts.of(
            data.y[folds.scored],
            outcome.oof,
            data.positive,
            weight=data.weight[folds.scored],
        ),
        ranges=ranges_of(data.columns.numbers),
        info={},
    )


@cells()
def test_an_option_keeps_its_contract_or_says_why_not(
    component, option, table: str, tmp_path: Path
):
    made = material(table)
    strategy = forced(component, option)
    outcome = outcome_of(strategy, made, made.first)
    reason = INFEASIBLE.get((option.name, table))
    if reason is not None:
        assert isinstance(outcome, Infeasible)
        assert outcome.reason.startswith(reason)
        assert outcome.reason.endswith(".")
        return
    assert isinstance(outcome, Scored), outcome.reason
    assert np.isfinite(outcome.oof).all()
    assert outcome.oof.min() >= 0.0
    np.testing.assert_allclose(outcome.oof.sum(1), 1.0, atol=1e-9)
    # the same seed gives the same answer, from rows that are resampled anew
    again = outcome_of(strategy, made, made.again)
    assert outcome.oof.tobytes() == again.oof.tobytes()
    assert states(outcome) == states(again)
    # the user's weights reach it
    weighed = outcome_of(strategy, made, made.weighed)
    assert isinstance(weighed, Scored), weighed.reason
    assert states(weighed) != states(outcome)
    # and what is exported predicts the same
    pipeline = pipeline_of(outcome, made)
    save(pipeline, tmp_path / "a.autoimb")
    rows = made.frame[::7]
    proba = pipeline.predict_proba(rows)
    assert np.isfinite(proba).all()
    np.testing.assert_allclose(proba.sum(1), 1.0, atol=1e-9)
    assert load(tmp_path / "a.autoimb").predict_proba(rows).tobytes() == proba.tobytes()


@cells(exact=True)
def test_priors_are_corrected_by_what_networks_are_given(
    component, option, table: str, monkeypatch
):
    """Law 4: rows, weights and shares as they reach the trainer, with row weights of the user."""
    packs, train = [], fitting.train

    def recorded(network, pack, *others, **named):
        packs.append(pack)
        return train(network, pack, *others, **named)

    monkeypatch.setattr(fitting, "train", recorded)
    made, strategy = material(table), forced(component, option)
    data, tau = made.weighed.dataset, strategy.loss.values.get("tau", 0.0)
    fitted = outcome_of(strategy, made, made.weighed).fitted
    assert len(packs) == len(fitted.packs)
    for pack, got in zip(packs, fitted.packs):
        for m, fold in enumerate(got.fold):
            y, weight = pack.y.numpy()[pack.rows[m]], pack.weights[m]
            counts = np.bincount(y, minlength=data.n_classes)
            share = counts / len(y) if pack.shares[m] is None else pack.shares[m]
            mass = share * np.bincount(y, weight, data.n_classes) / np.maximum(counts, 1)
            train_rows = made.plan.folds.folds[fold].train
            prior = np.bincount(data.y[train_rows], data.weight[train_rows], data.n_classes)
            assert (mass > 0.0).all()
            wanted = np.log(prior) - (1.0 - tau) * np.log(mass)
            log_prior = got.log_prior[m]
            np.testing.assert_allclose(
                log_prior - log_prior.mean(), wanted - wanted.mean(), atol=1e-9
            )


def test_no_option_is_infeasible_on_more_than_two_of_the_six():
    assert {table for _, table in INFEASIBLE} <= MADE.keys()
    assert {name for name, _ in INFEASIBLE} <= {option.name for _, option in OPTIONS}
    assert max(Counter(name for name, _ in INFEASIBLE).values(), default=0) <= MOST
