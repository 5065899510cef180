"""References: plain models on the folds of a study."""

import math
from dataclasses import replace

import numpy as np
import pytest
from msgspec import structs

from autoimb.assessment.metrics import get_metric
from autoimb.assessment.references import (
    REFERENCES,
    Reference,
    Size,
    cross_validate,
    prior_reference,
)
from autoimb.data.encoding.encoder import Encoder
from autoimb.data.folds import plan_folds
from tests.support.tables import dataset_of, mixed_table


def table(*, n_classes=2):
    data = dataset_of(*mixed_table("binary" if n_classes == 2 else "multiclass", 400))
    if n_classes == 2:  # whole numbers have statistics, as in a larger table
        data = replace(data, layout=structs.replace(data.layout, integers=(1, 2, 3, 4, 5)))
    plan = plan_folds(data.y, random_state=0)
    encoders = [Encoder.fit(data.columns, fold.train, layout=data.layout) for fold in plan.folds]
    return data, plan, encoders


references = pytest.mark.parametrize("reference", REFERENCES, ids=lambda each: each.name)


@references
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_reference_learns_on_the_same_folds(n_classes, reference):
    data, plan, encoders = table(n_classes=n_classes)
    assert data.layout.embedded
    metric = get_metric("average_precision", n_classes=n_classes, positive=1)
    proba = cross_validate(reference, data, plan, encoders, steps=reference.min_steps)
    scored = plan.scored
    assert proba.shape == (len(scored), n_classes)
    assert proba.dtype == np.float64
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    chance = metric(data.y[scored], np.full_like(proba, 1 / n_classes))
    assert metric(data.y[scored], proba) > chance + 0.2
    rates = np.bincount(data.y) / len(data.y)
    np.testing.assert_allclose(proba.mean(axis=0), rates, atol=0.05)  # corrected for balancing
    again = cross_validate(reference, data, plan, encoders, steps=reference.min_steps)
    assert again.tobytes() == proba.tobytes()


@references
def test_a_scored_row_reaches_nothing_of_its_reference(reference):
    """Law 1: another label in a fold leaves what predicts the fold as it was, to the byte."""
    data, plan, encoders = table()
    before = cross_validate(reference, data, plan, encoders, steps=reference.min_steps)
    scored = plan.folds[0].score
    data.y[scored] = 1 - data.y[scored]
    after = cross_validate(reference, data, plan, encoders, steps=reference.min_steps)
    assert after[scored].tobytes() == before[scored].tobytes()
    assert after.tobytes() != before.tobytes()


def test_the_prior_knows_the_class_rates_alone():
    y, weight = np.array([0, 0, 1, 2]), np.array([1.0, 1.0, 1.0, 5.0])
    np.testing.assert_allclose(prior_reference(y, None, 3), np.tile([0.5, 0.25, 0.25], (4, 1)))
    np.testing.assert_allclose(prior_reference(y, weight, 3)[0], [0.25, 0.125, 0.625])


def test_a_reference_has_as_many_steps_as_there_is_time_for():
    reference = Reference("a", lambda steps, seed: None, 20, 100, seconds=lambda size: 0.1)
    size = Size(rows=1000, scored=200, rarest=10, classes=2, width=9)
    steps = [reference.affordable(size, 5, seconds) for seconds in (9, 10, 30, 99, math.inf, -1)]
    assert steps == [0, 20, 60, 100, 100, 0]


def test_a_class_that_a_fold_never_sees_is_impossible_there():
    data, plan, encoders = table()
    positive = np.flatnonzero(data.y == 1)
    train = plan.folds[0].train
    data.y[np.intersect1d(positive, train)] = 0
    proba = cross_validate(REFERENCES[0], data, plan, encoders, steps=200)
    first = np.isin(plan.scored, plan.folds[0].score)
    assert (proba[first, 1] == 0).all()
    assert (proba[first, 0] == 1).all()
    assert np.isfinite(proba).all()
