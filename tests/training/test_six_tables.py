"""Every option on two of six kinds of tables: it trains, or is infeasible with a reason.

The tables of an option follow from its position, so that every table has a third of the options
of each component. The cells where an option cannot run are a list here, each with its reason, and
all of them are run. How options are exported is tested in
`tests.space.test_options`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pandas as pd
import pytest

import autoimb.training.fit as fitting
from autoimb.data.profile import Profile, profile
from autoimb.data.schema import infer_schema
from autoimb.data.target import encode_target
from autoimb.evaluation.outcome import Infeasible, Outcome, Scored
from autoimb.evaluation.task import Task, Trial
from autoimb.evaluation.trial import evaluate
from autoimb.space.components import COMPONENTS
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
# (option, table) and the beginning of the reason; the class depends on the random rows.
INFEASIBLE = {
    ("smote", "50 classes"): f"smote {FEW}",
    ("tomek_links", "50 classes"): f"tomek_links {LOSES}",
    ("smote_enn", "50 classes"): f"smote_enn {FEW}",
    ("smote_tomek", "50 classes"): f"smote_tomek {FEW}",
    ("cluster_centroids", "50 classes"): f"cluster_centroids {FEW}",
}


def numbers(y: np.ndarray, columns: int, *, seed: int = 0) -> pd.DataFrame:
    """Return numbers of which the first three, or all, depend on the class."""
    random = np.random.default_rng([seed, 2])
    x = random.normal(size=(len(y), columns))
    informative = min(columns, 3)
    x[:, :informative] += random.normal(0.0, 1.5, (y.max() + 1, informative))[y]
    return pd.DataFrame(x, columns=[f"x{i}" for i in range(columns)])


def gathered(y: np.ndarray, columns: int) -> pd.DataFrame:
    """Return numbers such that the rows of the last class are near each other, among the rest.

    Then they have neighbours of both classes, whichever rows a fold omits.
    """
    frame = numbers(y, columns)
    last = y == y.max()
    frame[last] = frame[last].mean() + 0.3 * (frame[last] - frame[last].mean())
    return frame


def labels(*sizes: int) -> np.ndarray:
    """Return classes of these sizes, in random order."""
    y = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(len(sizes)).permutation(y)


def fifty_sizes() -> list[int]:
    """Return the sizes of 50 classes, from 24 down to 4, of which there are many.

    A method that drops rows then always drops all rows of a class in some fold.
    """
    return [max(round(24 * (1 / 6) ** (c / 30)), 4) for c in range(50)]


TABLES = {
    "binary mixed": lambda: mixed_table("binary", 120),
    "multiclass": lambda: mixed_table("multiclass", 120),
    "6 minority rows": lambda: (gathered(y := labels(114, 6), 4), y),
    "one feature": lambda: (numbers(y := labels(90, 30), 1), y),
    "300 features": lambda: (numbers(y := labels(80, 20), 300), y),
    "50 classes": lambda: (numbers(y := labels(*fifty_sizes()), 5), y),
}
FOLDS = {"6 minority rows": 5}  # two on the others


def cells(*, exact: bool = False) -> pytest.MarkDecorator:
    """Run a test on the tables of every option, or of those with a closed-form prior."""
    tables, chosen_cells = list(TABLES), []
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
    """A table and its plan, with two equal tasks, and one with weights of the user."""

    profile: Profile
    plan: Plan
    task: Task
    equal_task: Task
    weighted_task: Task


@cache
def material(table: str) -> Material:
    frame, y = TABLES[table]()
    dataset = dataset_of(frame, y)
    plan = short_plan(dataset, FOLDS.get(table, 2), checkpoints=1)
    plan = replace(plan, class_costs=tuple(1.0 + c for c in range(dataset.n_classes)))
    schema, _ = infer_schema(frame)
    weight = np.random.default_rng(7).uniform(0.2, 1.8, len(y))
    tasks = (
        Task(data, plan, judge_of(data, plan, "log_loss"))
        for data in (dataset, dataset, replace(dataset, weight=weight))
    )
    counts = profile(frame, schema, encode_target(y))
    return Material(counts, plan, *tasks)


def outcome_of(strategy: Strategy, case: Material, task: Task) -> Outcome:
    """Evaluate a strategy as a study does, which starts no infeasible one."""
    reason = infeasible(strategy, case.profile)
    if reason is not None:
        return Infeasible(reason)
    return evaluate(task, Trial(strategy))


def forced(component: Component, option: Option) -> Strategy:
    """Return a strategy with an option in the middle of its ranges, and the fewest networks."""
    few = {key: bounds.low for key, bounds in option.ranges.items() if key in ("rounds", "members")}
    return strategy_with(**{component.name: chosen(option, 0.5, **few)})


def states(outcome: Scored) -> list[dict[str, bytes]]:
    return [{k: v.tobytes() for k, v in pack.state.items()} for pack in outcome.fitted.packs]


@cells()
def test_an_option_trains_or_gives_a_reason(component: Component, option: Option, table: str):
    case, strategy = material(table), forced(component, option)
    outcome = outcome_of(strategy, case, case.task)
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
    # The same seed gives the same result, from rows that are resampled anew.
    again = outcome_of(strategy, case, case.equal_task)
    assert outcome.oof.tobytes() == again.oof.tobytes()
    assert states(outcome) == states(again)
    # The user's weights reach the networks.
    weighed = outcome_of(strategy, case, case.weighted_task)
    assert isinstance(weighed, Scored), weighed.reason
    assert states(weighed) != states(outcome)


def check_priors(strategy: Strategy, case: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare with the rows, weights and shares that reach the trainer."""
    packs, train = [], fitting.train

    def recorded(network, pack, *args, **options):
        packs.append(pack)
        return train(network, pack, *args, **options)

    monkeypatch.setattr(fitting, "train", recorded)
    data, tau = case.weighted_task.dataset, strategy.loss.values.get("tau", 0.0)
    fitted = outcome_of(strategy, case, case.weighted_task).fitted
    assert len(packs) == len(fitted.packs)
    for pack, trained in zip(packs, fitted.packs):
        for m, fold in enumerate(trained.fold):
            y, weight = pack.y.numpy()[pack.rows[m]], pack.weights[m]
            counts = np.bincount(y, minlength=data.n_classes)
            share = counts / len(y) if pack.shares[m] is None else pack.shares[m]
            mass = share * np.bincount(y, weight, data.n_classes) / np.maximum(counts, 1)
            train_rows = case.plan.folds.folds[fold].train
            prior = np.bincount(data.y[train_rows], data.weight[train_rows], data.n_classes)
            assert (mass > 0.0).all()
            expected = np.log(prior) - (1.0 - tau) * np.log(mass)
            log_prior = trained.log_prior[m]
            np.testing.assert_allclose(
                log_prior - log_prior.mean(), expected - expected.mean(), atol=1e-9
            )


@cells(exact=True)
def test_priors_are_corrected_by_what_networks_are_given(
    component: Component, option: Option, table: str, monkeypatch: pytest.MonkeyPatch
):
    """Law 4, with row weights of the user."""
    check_priors(forced(component, option), material(table), monkeypatch)


@pytest.mark.parametrize("table", ["binary mixed", "multiclass"])
@pytest.mark.parametrize(
    ("component", "name"),
    [("class_weight", "power"), ("ensemble", "bagging"), ("loss", "logit_adjusted")],
)
def test_the_prior_of_balanced_batches_is_corrected_beside_another_option(
    component: str, name: str, table: str, monkeypatch: pytest.MonkeyPatch
):
    strategy = forced(COMPONENTS[component], COMPONENTS[component][name])
    balanced = chosen(COMPONENTS["resampling"]["batch_balancing"])
    check_priors(replace(strategy, resampling=balanced), material(table), monkeypatch)
