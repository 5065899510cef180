import math

import numpy as np
import pytest

from autoimb.assessment.judge import Judge
from autoimb.assessment.metrics import get_metric
from autoimb.assessment.verdict import verdict

AP = get_metric("average_precision", n_classes=2, positive=1)


def predictions(*noises, n=800, rate=0.15, seed=0):
    """Labels, groups, and one prediction a noise: the less noise, the better."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < rate).astype(np.int64)
    z = rng.normal(0, 1, n) + 1.5 * y - 2
    result = []
    for noise in noises:
        p = 1 / (1 + np.exp(-(z + rng.normal(0, noise, n))))
        result.append((np.column_stack([1 - p, p]), (p > 0.3).astype(np.int64)))
    return y, np.arange(n) % 5, result


@pytest.mark.parametrize("name", ["average_precision", "f1", "log_loss"])
def test_a_better_method_helps(name):
    metric = get_metric(name, n_classes=2, positive=1)
    y, group, (method, none) = predictions(0.0, 3.0)
    result = verdict(
        Judge(metric, y, group), none=none, method=method, method_name="smote(strength=0.5)"
    )
    assert result.method_helps
    assert result.difference > result.error > 0
    assert "helps on this table" in result.sentence
    assert "smote(strength=0.5)" in result.sentence


def test_a_worse_method_does_not():
    y, group, (none, method) = predictions(0.0, 3.0)
    result = verdict(Judge(AP, y, group), none=none, method=method)
    assert not result.method_helps
    assert "does not help" in result.sentence
    assert "worse by" in result.sentence


def test_none_wins_a_tie():
    y, group, (none, _) = predictions(0.5, 0.5)
    result = verdict(Judge(AP, y, group), none=none, method=none)
    assert not result.method_helps
    assert "no different" in result.sentence


def test_equal_methods_seldom_help_however_many_are_tried():
    helped = {1: 0, 10: 0}
    for seed in range(30):
        y, group, (none, *methods) = predictions(*[1.0] * 11, n=400, seed=seed)
        best = max(
            methods, key=lambda p: np.mean([AP(y[group == g], p[0][group == g]) for g in range(5)])
        )
        for tried in helped:
            helped[tried] += verdict(
                Judge(AP, y, group), none=none, method=best, tried=tried
            ).method_helps
    assert helped[10] < helped[1]
    assert helped[10] <= 9


def test_missing_sides_are_said():
    y, group, (some,) = predictions(0.5)
    without_method = verdict(Judge(AP, y, group), none=some, method=None)
    assert not without_method.method_helps
    assert math.isnan(without_method.difference)
    assert "Only strategies without" in without_method.sentence
    assert "No strategy without" in verdict(Judge(AP, y, group), none=None, method=some).sentence
    assert "No strategy finished" in verdict(Judge(AP, y, group), none=None, method=None).sentence


def test_too_few_rows_are_said():
    y, group, (a, b) = predictions(0.5, 0.6, n=30, rate=0.0)
    result = verdict(Judge(AP, y, group), none=a, method=b)
    assert not result.method_helps
    assert "too few rows" in result.sentence


# --- the reference --------------------------------------------------------------------------------
