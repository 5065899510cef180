"""Calibration of what averaging and blending give."""

import numpy as np
import pytest
from sklearn.metrics import log_loss

from autoimb.assessment.crossfit import stratified_groups
from autoimb.assessment.judge import Judge
from autoimb.assessment.metrics import get_metric
from autoimb.evaluation.calibrated import calibrated


def case(*, n=4000, sharpness=1.0, seed=0, metric="log_loss"):
    """A judge, probabilities that are wrong by their sharpness, and the true ones."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-2.5, 1.5, n)
    true = 1 / (1 + np.exp(-logits))
    y = (rng.random(n) < true).astype(np.int64)
    given = 1 / (1 + np.exp(-sharpness * logits))
    judge = Judge(get_metric(metric, n_classes=2, positive=1), y, stratified_groups(y, 5))
    return judge, np.column_stack([1 - given, given]), np.column_stack([1 - true, true])


@pytest.mark.parametrize("sharpness", [0.6, 1.0, 1.7])
def test_probabilities_are_calibrated_and_scored_as_they_are(sharpness):
    judge, given, true = case(sharpness=sharpness)
    found = calibrated(judge, given, lambda part: given, class_costs=None)
    assert found.calibrator.slope == pytest.approx(1 / sharpness, abs=0.1)
    assert log_loss(judge.y, found.proba) < log_loss(judge.y, true) + 0.002
    assert found.score.value == judge.score(found.proba, found.labels).value
    np.testing.assert_array_equal(found.deployed, found.calibrator.apply(given))


def test_each_part_is_calibrated_by_what_the_others_teach():
    judge, given, _ = case(sharpness=1.7)
    seen = []

    def view(part):
        seen.append(part)
        return given

    found = calibrated(judge, given, view, class_costs=None)
    assert sorted(seen) == list(range(len(judge.parts)))
    for learn, use in judge.parts:
        own = judge.take(learn)
        alone = calibrated(
            own, given[learn], lambda part, rows=learn: given[rows], class_costs=None
        )
        np.testing.assert_allclose(found.proba[use], alone.calibrator.apply(given[use]))


def test_costs_are_not_calibrated_away():
    judge, given, true = case(n=20_000)
    costs = (1.0, 12.0)
    carrying = given * costs / (given * costs).sum(axis=1, keepdims=True)
    found = calibrated(judge, carrying, lambda part: carrying, class_costs=costs)
    np.testing.assert_allclose(found.proba, carrying, atol=0.04)
    away = calibrated(judge, carrying, lambda part: carrying, class_costs=None)
    np.testing.assert_allclose(away.proba, true, atol=0.04)
