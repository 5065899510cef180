"""Conformance: what every option must do, generated from the tables of the components.

A new option is tested here as an entry of its component. Only the options of a control and `costs`,
which the user's costs force, are named in this file.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from autoimb import AutoImbClassifier, load
from autoimb.data.folds import plan_folds
from autoimb.data.profile import profile
from autoimb.data.schema import infer_schema
from autoimb.data.target import encode_target
from autoimb.evaluation.outcome import Scored
from autoimb.space.components import COMPONENTS, CONTROL
from autoimb.space.option import Component, Option
from tests.support.searches import minimal_work
from tests.support.tables import (
    ONE_TRIAL,
    OPTION_IDS,
    OPTIONS,
    SHARES,
    chosen,
    dataset_of,
    mixed_table,
    outcome_of,
    short_plan,
    strategy_with,
)

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


def fitted(component: str, name: str) -> AutoImbClassifier:
    """Fit the classifier with one option forced."""
    forced = {**CONTROL, "network": "mlp", component: name}
    if forced["class_weight"] == "costs":
        forced["class_weight"] = "balanced"
    kind = KIND_OF[component, name]
    frame, y = mixed_table(kind, N_ROWS)
    model = AutoImbClassifier(**ONE_TRIAL | {"cv": 2, "metric": "f1"} | forced)
    with minimal_work():
        return model.fit(frame, LABELS[kind][y])


@every_option
def test_a_forced_option_fits_and_predicts(component: Component, option: Option, tmp_path: Path):
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
    loaded = load(model.export(tmp_path / "p.autoimb"))
    np.testing.assert_array_equal(loaded.predict_proba(rows), proba)
    np.testing.assert_array_equal(loaded.predict(rows), model.pipeline_.predict(rows))
    frame, _ = mixed_table(kind, N_ROWS)
    assert len(np.unique(model.predict_proba(frame)[:, 0])) > 20
    assert np.isfinite(model.best_score_)


# --- one option at a time -------------------------------------------------------------------------


@cache
def material(kind: str):
    frame, y = mixed_table(kind, N_ROWS)
    dataset = dataset_of(frame, y)
    plan = short_plan(dataset, plan_folds(y, cv=2, random_state=0), checkpoints=1)
    costs = tuple(1.0 + c for c in range(dataset.n_classes))
    return dataset, replace(plan, class_costs=costs)


@every_option
def test_an_option_trains_at_both_ends_of_its_ranges(component: Component, option: Option):
    """`tests.training.test_six_tables` trains it in the middle."""
    for number, share in enumerate((0.0, 1.0)):
        # Larger networks would only take time.
        width = {"width": 32} if component.name == "network" else {}
        choice = chosen(option, share, **width)
        strategy = strategy_with(**{component.name: choice})
        outcome = outcome_of(strategy, *material(KINDS[number % 2]), "log_loss")
        assert isinstance(outcome, Scored), outcome.reason
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
