"""Calibration of a mixture, and the networks of a pipeline one at a time."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import log_loss

from autoimb.assessment.calibration import Calibrator
from autoimb.assessment.crossfit import stratified_groups
from autoimb.assessment.judge import Judge
from autoimb.assessment.metrics import get_metric
from autoimb.data.schema import parse
from autoimb.evaluation.assemble import _single_views, calibrate
from tests.support.pipelines import N_FOLDS, pipeline, table


def case(*, n=4000, sharpness=1.0, seed=0, metric="log_loss"):
    """A judge, probabilities that are wrong by their sharpness, and the true ones."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-2.5, 1.5, n)
    true = 1 / (1 + np.exp(-logits))
    y = (rng.random(n) < true).astype(np.int64)
    wrong = 1 / (1 + np.exp(-sharpness * logits))
    judge = Judge(get_metric(metric, n_classes=2, positive=1), y, stratified_groups(y, 5))
    return judge, np.column_stack([1 - wrong, wrong]), np.column_stack([1 - true, true])


@pytest.mark.parametrize("sharpness", [0.6, 1.0, 1.7])
def test_probabilities_are_calibrated_and_scored_as_they_are(sharpness):
    judge, wrong, true = case(sharpness=sharpness)
    result = calibrate(judge, wrong, lambda part: wrong, class_costs=None)
    assert result.calibrator.slope == pytest.approx(1 / sharpness, abs=0.1)
    assert log_loss(judge.y, result.proba) < log_loss(judge.y, true) + 0.002
    np.testing.assert_array_equal(result.deployed, result.calibrator.apply(wrong))


def test_costs_are_not_calibrated_away():
    judge, wrong, true = case(n=20_000)
    costs = (1.0, 12.0)
    carrying = wrong * costs / (wrong * costs).sum(axis=1, keepdims=True)
    result = calibrate(judge, carrying, lambda part: carrying, class_costs=costs)
    np.testing.assert_allclose(result.proba, carrying, atol=0.04)
    away = calibrate(judge, carrying, lambda part: carrying, class_costs=None)
    np.testing.assert_allclose(away.proba, true, atol=0.04)


# --- the networks of single folds -----------------------------------------------------------------

PIPELINE = pipeline()
ROWS = parse(table(40, random_state=2), PIPELINE.schema)


def test_the_mean_of_the_views_is_what_a_new_row_gets():
    plain = replace(PIPELINE.strategies[0], calibrator=Calibrator.identity(2))
    single = replace(PIPELINE, strategies=(plain,), weights=(1.0,))
    views = _single_views(single, ROWS)
    assert views.shape == (N_FOLDS, 40, 2)
    assert np.ptp(views, axis=0).max() > 1e-3
    np.testing.assert_allclose(views.mean(axis=0), single.blended(ROWS), rtol=1e-6)


def test_a_view_of_a_blend_has_a_network_of_each_strategy():
    views = _single_views(PIPELINE, ROWS)
    apart = [
        _single_views(replace(PIPELINE, strategies=(strategy,), weights=(1.0,)), ROWS)
        for strategy in PIPELINE.strategies
    ]
    np.testing.assert_allclose(views, 0.7 * apart[0] + 0.3 * apart[1], rtol=1e-6)
