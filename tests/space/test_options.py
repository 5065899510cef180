"""Conformance: what every option must do, generated from the tables of the components.

A new option is tested here as an entry of its component. Only the options of a control and `costs`,
which the user's costs force, are named in this file.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from autoimb import AutoImbClassifier
from autoimb.data.folds import plan_folds
from autoimb.data.profile import profile
from autoimb.data.schema import infer_schema
from autoimb.data.target import encode_target
from autoimb.evaluation.outcome import Scored
from autoimb.space.components import COMPONENTS, CONTROL
from autoimb.space.option import Choice, Component, Option
from autoimb.space.strategy import Strategy
from tests.support.programs import python
from tests.support.searches import minimal_work
from tests.support.tables import (
    OPTION_IDS,
    OPTIONS,
    SHARES,
    chosen,
    dataset_of,
    mixed_table,
    short_plan,
    strategy_with,
)
from tests.support.tables import outcome_of as evaluated

N_ROWS = 150
LABELS = {"binary": np.array(["no", "yes"]), "multiclass": np.array(["a", "b", "c"])}
KINDS = tuple(SHARES)
every_option = pytest.mark.parametrize(("component", "option"), OPTIONS, ids=OPTION_IDS)
# Every option with a kind of table, in turn, so that both kinds have options of every component.
KIND_OF = {(c.name, o.name): KINDS[i % 2] for i, (c, o) in enumerate(OPTIONS)}


# --- through the front door -----------------------------------------------------------------------


def raw_rows() -> pd.DataFrame:
    """Return rows with new levels and ranges, and missing values in every column."""
    frame, _ = mixed_table("binary", 60, seed=9)
    frame = frame.astype({"colour": object, "shop": object})
    frame.loc[:9, "colour"] = "ultraviolet"
    frame.loc[5:19, "shop"] = "shop 12345"
    frame.loc[20:24, "amount"] = 1e9
    frame.loc[25:29, "count"] = -(10**6)
    frame.loc[30:34, "colour"] = None
    frame.loc[35:39, "amount"] = np.nan
    frame.loc[40:44, "day"] = pd.NaT
    frame.loc[45:49, "currency"] = "CHF"
    return frame[list(frame.columns[::-1])]  # a pipeline takes columns by their names


Fit = Callable[[str, str], AutoImbClassifier]


@pytest.fixture(scope="module")
def fitted() -> Fit:
    """Return a function that fits the classifier with one option forced, once for all tests."""

    @cache
    def fit(component: str, name: str) -> AutoImbClassifier:
        forced = {**CONTROL, "network": "mlp", component: name}
        if forced["class_weight"] == "costs":
            forced["class_weight"] = "balanced"
        kind = KIND_OF[component, name]
        frame, y = mixed_table(kind, N_ROWS)
        model = AutoImbClassifier(
            n_trials=1,
            time_budget=None,
            cv=2,
            partners=None,
            random_state=0,
            metric="f1",
            **forced,
        )
        with minimal_work():
            return model.fit(frame, LABELS[kind][y])

    return fit


@every_option
def test_a_forced_option_fits_and_predicts(component: Component, option: Option, fitted: Fit):
    model, kind = fitted(component.name, option.name), KIND_OF[component.name, option.name]
    assert getattr(model.best_strategy_, component.name).name == option.name
    for unchanged, name in CONTROL.items():
        if unchanged != component.name:
            assert getattr(model.best_strategy_, unchanged).name == name
    for strategy in model.pipeline_.strategies:
        assert strategy.strategy[component.name]["name"] == option.name
    rows = raw_rows()
    proba = model.pipeline_.predict_proba(rows)
    assert proba.shape == (len(rows), len(LABELS[kind]))
    assert np.isfinite(proba).all()
    assert proba.min() >= 0
    np.testing.assert_allclose(proba.sum(1), 1.0, atol=1e-9)
    assert set(model.pipeline_.predict(rows)) <= set(LABELS[kind])
    frame, _ = mixed_table(kind, N_ROWS)
    assert len(np.unique(model.predict_proba(frame)[:, 0])) > 20
    assert np.isfinite(model.best_score_)


LOADER = """
import json, sys
from pathlib import Path
import numpy as np
from autoimb import load
from autoimb.data.table import read_table

folder, table = Path(sys.argv[1]), sys.argv[2]
frame = read_table(table)
for path in sorted(folder.glob("*.autoimb")):
    pipeline = load(path)
    np.savez(path.with_suffix(".npz"),
             proba=pipeline.predict_proba(frame), labels=pipeline.predict(frame).astype(str))
heavy = {"optuna", "imblearn", "sklearn.ensemble", "matplotlib"} & set(sys.modules)
print(json.dumps(sorted(heavy)))
"""


def test_every_exported_option_predicts_the_same_in_a_new_process(fitted: Fit, tmp_path: Path):
    rows = raw_rows()
    rows.to_csv(tmp_path / "rows.csv", index=False)
    models = {}
    for (component, option), name in zip(OPTIONS, OPTION_IDS):
        models[name] = fitted(component.name, option.name)
        models[name].export(tmp_path / f"{name}.autoimb")
    done = python("-c", LOADER, tmp_path, tmp_path / "rows.csv")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
    for name, model in models.items():
        with np.load(tmp_path / f"{name}.npz") as loaded:
            proba, labels = model.pipeline_.predict_proba(rows), model.pipeline_.predict(rows)
            np.testing.assert_allclose(loaded["proba"], proba, atol=1e-6, err_msg=name)
            np.testing.assert_array_equal(loaded["labels"], labels.astype(str), err_msg=name)


# --- one option at a time -------------------------------------------------------------------------


def forced(component: Component, choice: Choice) -> Strategy:
    return strategy_with(**{component.name: choice})


@cache
def material(kind: str):
    frame, y = mixed_table(kind, N_ROWS)
    dataset = dataset_of(frame, y)
    plan = short_plan(dataset, plan_folds(y, cv=2, random_state=0), checkpoints=1)
    costs = tuple(1.0 + c for c in range(dataset.n_classes))
    return dataset, replace(plan, class_costs=costs)


def outcome_of(strategy: Strategy, kind: str) -> Scored:
    outcome = evaluated(strategy, *material(kind), "log_loss")
    assert isinstance(outcome, Scored), outcome.reason
    return outcome


@every_option
def test_an_option_trains_at_both_ends_of_its_ranges(component: Component, option: Option):
    """`tests.training.test_six_tables` trains it in the middle."""
    for number, share in enumerate((0.0, 1.0)):
        # Larger networks would only take time.
        width = {"width": 32} if component.name == "network" else {}
        choice = chosen(option, share, **width)
        outcome = outcome_of(forced(component, choice), KINDS[number % 2])
        assert np.isfinite(outcome.oof).all(), choice
        assert outcome.fitted.strategy[component.name] == {
            "name": option.name,
            "params": choice.values,
        }


@every_option
def test_an_option_is_described(component: Component, option: Option):
    assert component[option.name] is option
    assert option.summary.endswith((".", ")", ")."))
    assert 10 < len(option.summary) < 120
    assert option.summary not in {o.summary for o in component if o is not option}
    assert component.summary.endswith(".")


@every_option
def test_an_option_is_feasible_on_a_common_table_or_gives_a_reason(
    component: Component, option: Option
):
    frame, y = mixed_table(KIND_OF[component.name, option.name], N_ROWS)
    schema, _ = infer_schema(frame)
    common = profile(frame, schema, encode_target(y))
    assert option.feasible(common) is None
    rare = replace(common, n_rows=10**7, minority_count=1)
    sentence = option.feasible(rare)
    assert sentence is None or (sentence.startswith(option.name) and sentence.endswith("."))
    assert (sentence is None) == (not option.rules)


def test_the_options_of_a_control_stand_first_and_need_nothing():
    for component, name in CONTROL.items():
        first = next(iter(COMPONENTS[component]))
        assert (first.name, dict(first.ranges), first.rules) == (name, {}, ())
        assert first.exact
