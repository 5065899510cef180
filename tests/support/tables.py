"""Small tables, and strategies from the option tables, for the tests of every option."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from msgspec import structs

import autoimb.training.fit as fitting
from autoimb.assessment.judge import Judge
from autoimb.assessment.metrics import get_metric
from autoimb.budget import Deadline
from autoimb.data.dataset import Dataset
from autoimb.data.encoding.layout import plan_layout
from autoimb.data.folds import FoldPlan, plan_folds
from autoimb.data.schema import infer_schema, parse
from autoimb.evaluation.outcome import Outcome, Scored
from autoimb.evaluation.task import Task, Trial
from autoimb.evaluation.task import judge_of as judge_of_folds
from autoimb.evaluation.trial import evaluate
from autoimb.nn.network import NetworkSpec
from autoimb.pipeline.fitted import FittedStrategy
from autoimb.policy import SearchPolicy, Training
from autoimb.space.components import COMPONENTS, CONTROL
from autoimb.space.option import Choice, Float, Int, Option, Range, Value
from autoimb.space.strategy import Strategy, partner
from autoimb.training.fit import Trained, train_strategy
from autoimb.training.members import MemberRows, Members
from autoimb.training.parts import Parts
from autoimb.training.plan import Outline, Plan
from autoimb.training.schedule import Schedule
from tests.support.pipelines import table

SHARES = {"binary": (0.85, 0.15), "multiclass": (0.6, 0.25, 0.15)}
OPTIONS = [(component, option) for component in COMPONENTS.values() for option in component]
ONE_TRIAL: dict[str, Any] = {
    "n_trials": 1,
    "time_budget": None,
    "network": "mlp",
    "partners": None,
    "random_state": 0,
}  # parameters of the smallest search
PLAINEST = {
    "resampling": "none",
    "class_weight": "none",
    "loss": "cross_entropy",
    "ensemble": "single",
}  # its options, where nothing else is tested
OPTION_IDS = [f"{component.name}-{option.name}" for component, option in OPTIONS]


def in_parts(folder: Path, frame: pd.DataFrame, ends: list[int], kind: str = ".parquet") -> Path:
    """Write a table as files in a folder that end at these rows."""
    folder.mkdir(parents=True)
    for number, (start, end) in enumerate(zip([0, *ends], [*ends, len(frame)])):
        part, path = (
            frame.iloc[start:end].reset_index(drop=True),
            folder / f"part-{number:02}{kind}",
        )
        if kind == ".csv":
            part.to_csv(path, index=False)
        else:
            getattr(part, f"to_{kind[1:]}")(path)
    return folder


def calibrated_rows(
    n_rows: int, prior: Sequence[float], *, seed: int = 0, spread: float = 1.5
) -> tuple[np.ndarray, np.ndarray]:
    """Return codes that include every class, and the probabilities they are drawn from."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, spread, (n_rows, len(prior))) + np.log(prior)
    proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = (rng.random((n_rows, 1)) > proba.cumsum(axis=1)).sum(axis=1).clip(max=len(prior) - 1)
    y[: len(prior)] = np.arange(len(prior))
    return y.astype(np.int64), proba


def mixed_table(kind: str, n_rows: int = 200, *, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Return rows with strings, numbers, NaN, a date and a boolean, and dependent labels."""
    frame = table(n_rows, random_state=seed)
    random = np.random.default_rng([seed, 1])
    signal = np.log(frame["amount"].fillna(1.0)) + 1.5 * (frame["colour"] == "red")
    order = np.argsort(signal.to_numpy() + random.normal(0.0, 0.5, n_rows))
    shares = SHARES[kind]
    ends = np.round(np.cumsum(shares) * n_rows).astype(int)
    y = np.zeros(n_rows, dtype=np.int64)
    y[order] = np.searchsorted(ends, np.arange(n_rows), side="right")
    return frame, y


def patients(n_rows: int = 240) -> tuple[pd.DataFrame, pd.Series]:
    """Return the same rows as those of patients, a seventh of whom are sick."""
    frame, y = mixed_table("binary", n_rows)
    return frame, pd.Series(np.where(y == 1, "sick", "well"), name="state")


def dataset_of(frame: pd.DataFrame, y: np.ndarray) -> Dataset:
    schema, _ = infer_schema(frame)
    columns = parse(frame, schema)
    counts = np.bincount(y)
    layout = plan_layout(columns, n_classes=len(counts))
    return Dataset(
        columns=columns,
        y=y,
        weight=np.ones(len(y)),
        n_classes=len(counts),
        positive=int(counts.argmin()),
        # Columns of many levels have both encodings.
        layout=structs.replace(layout, embedded=plan_layout(columns).embedded),
    )


def short_plan(
    dataset: Dataset, folds: FoldPlan | int = 2, *, checkpoints: int = 2, patience: int = 9
) -> Plan:
    """Return a plan with a number of checkpoints, whatever their cost, and random folds."""
    if isinstance(folds, int):
        folds = plan_folds(dataset.y, cv=folds, random_state=0)
    training = Training(checkpoints_by_rows=((math.inf, checkpoints, patience),), min_checkpoints=1)
    return Plan(
        folds=folds,
        outline=Outline.of(dataset),
        operations=1e15,
        seed=0,
        policy=SearchPolicy(training=training),
    )


def parts_of(dataset: Dataset, plan: Plan) -> Parts:
    return Parts(dataset, plan.folds, seed=plan.seed)


def judge_of(dataset: Dataset, plan: Plan, metric: str = "average_precision") -> Judge:
    """Return the judge of the rows that a plan scores."""
    measured = get_metric(metric, n_classes=dataset.n_classes, positive=dataset.positive)
    return judge_of_folds(dataset, plan.folds, measured)


def outcome_of(
    strategy: Strategy,
    dataset: Dataset,
    plan: Plan,
    metric: str = "average_precision",
) -> Outcome:
    """Evaluate a strategy without a deadline."""
    return evaluate(Task(dataset, plan, judge_of(dataset, plan, metric)), Trial(strategy))


def small_trees(name: str = "small_trees", *, min_samples_leaf: int = 1) -> FittedStrategy:
    """Fit a partner on the table of `pipelines`, so that its pipeline can hold it."""
    frame = table()
    y = (frame["amount"].fillna(0) > 1.5).to_numpy().astype(np.int64)
    dataset = dataset_of(frame, y)
    strategy = partner(name, costs=False, min_samples_leaf=min_samples_leaf)
    outcome = outcome_of(strategy, dataset, short_plan(dataset))
    assert isinstance(outcome, Scored)
    assert outcome.fitted is not None
    return outcome.fitted


def trained(strategy: Strategy, dataset: Dataset, plan: Plan) -> Trained:
    """Train a strategy with equal values for all checkpoints."""
    return train_strategy(
        strategy,
        plan,
        parts_of(dataset, plan),
        measure=lambda y, proba, weight: 0.0,
        deadline=Deadline(),
    )


@dataclass(frozen=True)
class FirstRound:
    """Start of a strategy's first round: the rows of its members, schedule and network."""

    rows: tuple[MemberRows, ...]
    schedule: Schedule
    network: NetworkSpec


def first_round(strategy: Strategy, dataset: Dataset, plan: Plan) -> FirstRound:
    """Prepare the training of a strategy in one round, without a step."""
    original, recorded, started = Members.member_rows, [], []

    def record(members: Members, position: int, number: int, row_state: np.ndarray) -> MemberRows:
        recorded.append(original(members, position, number, row_state))
        return recorded[-1]

    def no_training(network, pack, loss, schedule, **options):
        started.append((schedule, network.spec))
        return iter(())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Members, "member_rows", record)
        patch.setattr(fitting, "train", no_training)
        trained(strategy, dataset, plan)
    ((schedule, network),) = started
    return FirstRound(tuple(recorded), schedule, network)


def at(bounds: Range, share: float) -> Value:
    """Return the value at a share of a range: 0 is its low end, 1 its high end."""
    if not isinstance(bounds, Float | Int):
        return bounds.values[round(share * (len(bounds.values) - 1))]
    if bounds.log:
        value = bounds.low * (bounds.high / bounds.low) ** share
    else:
        value = bounds.low + (bounds.high - bounds.low) * share
    value = float(np.clip(value, bounds.low, bounds.high))
    return round(value) if isinstance(bounds, Int) else value


def chosen(option: Option, share: float = 0.5, **changes: Value) -> Choice:
    """Return an option with every parameter at a share of its range, except the changes."""
    values: dict[str, Any] = {key: at(bounds, share) for key, bounds in option.ranges.items()}
    return Choice(option.name, tuple((values | changes).items()))


def small_network() -> Choice:
    return chosen(COMPONENTS["network"]["mlp"], 0.0, learning_rate=3e-3)


def tiny_spec(**changes: Any) -> NetworkSpec:
    """Return the smallest network, with the named changes."""
    fields: dict[str, Any] = {
        "kind": "mlp",
        "width": 1,
        "depth": 1,
        "k": 1,
        "activation": "relu",
        "dropout": 0.0,
        "embedding_dim": 1,
        "ple": False,
        "n_inputs": 1,
        "cardinalities": (),
        "n_classes": 2,
        "body": "plain",
        "periodic": 0,
    }
    return NetworkSpec(**fields | changes)


def strategy_with(**choices: Choice) -> Strategy:
    """Return a control on a small network, with the named choices of components."""
    control = {component: Choice(name) for component, name in CONTROL.items()}
    return Strategy(**({**control, "network": small_network()} | choices))
