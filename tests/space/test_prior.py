"""Law 4: after every method with a formula, probabilities are those of the real distribution."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from scipy.special import expit

from autoimb.data.folds import plan_folds
from autoimb.evaluation.outcome import Scored
from autoimb.space.components import COMPONENTS
from autoimb.space.option import Choice
from tests.support.tables import (
    OPTIONS,
    chosen,
    dataset_of,
    outcome_of,
    short_plan,
    strategy_with,
)

RATE = 0.01
NETWORK = chosen(
    COMPONENTS["network"]["mlp"], 0.0, embedding="none", learning_rate=3e-3, weight_decay=1e-3
)
METHODS = {
    "none": {},
    "random_over": {"resampling": Choice("random_over", (("strength", 1.0),))},
    "random_under": {"resampling": Choice("random_under", (("strength", 1.0),))},
    "batch_balancing": {"resampling": Choice("batch_balancing", (("strength", 1.0), ("floor", 1)))},
    "power": {"class_weight": Choice("power", (("tau", 1.0),))},
    "balanced_bagging": {
        "ensemble": Choice("balanced_bagging", (("members", 5), ("strength", 1.0)))
    },
    "logit_adjusted": {"loss": Choice("logit_adjusted", (("tau", 1.0),))},
    "focal": {"loss": Choice("focal", (("gamma", 2.0),))},
}


def simulated(rows, seed):
    """Rows whose true probabilities are known and average to 1 %."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 4))
    signal = 1.2 * x[:, 0] - 0.8 * x[:, 1]
    truth = expit(signal + brentq(lambda shift: expit(signal + shift).mean() - RATE, -20.0, 5.0))
    # systematic draws, so that the labels have the rate and not just nearly so
    order = np.argsort(truth, kind="stable")
    steps = np.floor(np.cumsum(truth[order]) + random.uniform())
    y = np.zeros(rows, dtype=np.int64)
    y[order] = np.diff(steps, prepend=0.0).astype(np.int64).clip(0, 1)
    return pd.DataFrame(x, columns=list("abcd")), y, truth


@pytest.mark.parametrize("method", METHODS)
def test_the_mean_probability_is_the_true_rate(method):
    frame, y, truth = simulated(24_000, seed=0)
    assert y.mean() == pytest.approx(RATE, rel=0.02)
    data = dataset_of(frame, y)
    plan = short_plan(data, plan_folds(y, random_state=0, cv=3), checkpoints=8, patience=8)
    strategy = strategy_with(**METHODS[method], network=NETWORK)
    assert strategy.exact
    outcome = outcome_of(strategy, data, plan, "log_loss")
    assert isinstance(outcome, Scored), outcome.reason
    # Before any calibrator, which would mend a wrong prior.
    proba = (outcome.oof if outcome.finishing is None else outcome.finishing.raw)[:, 1]
    assert proba.mean() == pytest.approx(RATE, rel=0.10), outcome.fitted.packs[0].log_prior
    # and they rank as the truth does
    assert pd.Series(proba).corr(pd.Series(truth), method="spearman") > 0.8


def test_options_without_a_formula_are_calibrated():
    calibrated = {option.name for _, option in OPTIONS if not option.exact}
    resampling = {"smote", "smote_enn", "smote_tomek", "tomek_links", "cluster_centroids"}
    assert calibrated == resampling | {"boosting", "rus_boost", "easy_ensemble", "self_paced"}
