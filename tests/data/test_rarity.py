"""Rules for few rare rows look at what the metric rests on, not at one tiny class of several."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from autoimb.assessment.metrics import get_metric
from autoimb.data.folds import duel_folds, plan_folds
from autoimb.data.rarity import minority_count
from autoimb.evaluation import trial
from autoimb.policy import DEFAULT_POLICY, SearchPolicy, Training
from tests.support.tables import dataset_of, short_plan


@pytest.mark.parametrize(
    ("counts", "count"),
    [
        ((900, 40), 40),
        ((900, 0), 0),
        ((7,), 7),
        ((2_000, 2_000, 20), 1_010),
        ((900, 300, 200, 2), 200),
    ],
)
def test_the_count_is_the_median_of_all_classes_but_the_largest(counts, count):
    assert minority_count(counts) == count
    assert minority_count(np.array(counts)) == count


def labels(*counts):
    return np.repeat(np.arange(len(counts)), counts)


def test_folds_follow_the_rarer_classes_together():
    plan = plan_folds(labels(10_000, 8_000, 20), random_state=0)
    assert len(plan.folds) == 3
    y = labels(2_000, 2_000, 5)
    plan = plan_folds(y, random_state=0)
    found = duel_folds(y, plan, random_state=1, policy=DEFAULT_POLICY)
    assert found is not None
    assert len(found.folds) == DEFAULT_POLICY.comparisons.folds


@pytest.mark.parametrize(
    ("counts", "few"), [((500, 300, 20), False), ((800, 40, 20), True), ((800, 90), True)]
)
def test_work_and_checkpoints_follow_the_rarer_classes_together(counts, few):
    y = labels(*counts)
    dataset = dataset_of(pd.DataFrame({"x": np.arange(len(y)) * 1.0}), y)
    plan = short_plan(dataset, plan_folds(y, random_state=0))
    plan = replace(plan, policy=SearchPolicy(training=Training(rare_rows_for_metric=100)))
    metric = get_metric("average_precision", n_classes=len(counts), positive=1)
    proba = np.full((len(y), len(counts)), 1 / len(counts))
    value = trial._measure(metric, plan)(y, proba, np.ones(len(y)))
    by_loss = -1.01 * np.log(len(counts))
    assert (value == pytest.approx(by_loss)) == few
