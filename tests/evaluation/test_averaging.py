"""What the mean of several networks gains over one of them, estimated without further labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, softmax

from autoimb.assessment.averaging import gain_of_mean, of_the_mean
from autoimb.assessment.judge import Judge
from autoimb.assessment.metrics import get_metric
from autoimb.assessment.uncertainty import Reported

NETWORKS, NOISE = 5, 0.8


def _two(positive):
    return np.stack([1 - positive, positive], axis=-1)


def _searched(seed, *, noise=NOISE, n=1_000, rate=0.08, metric="average_precision"):
    """Draw rows, what each network says of them, and what the calibrated answer of one is."""
    random = np.random.default_rng(seed)
    known = np.log(rate / (1 - rate)) + 1.5 * random.normal(size=n)
    y = (random.random(n) < expit(known)).astype(np.int64)
    networks = known + noise * random.normal(size=(NETWORKS, n))
    group = np.arange(n) % NETWORKS
    judge = Judge(get_metric(metric, n_classes=2, positive=1), y, group)
    one = networks[group, np.arange(n)]
    slope = 1.5**2 / (1.5**2 + noise**2)  # of the known on what one network says
    calibrated = slope * (networks - known.mean()) + known.mean()
    single = slope * (one - known.mean()) + known.mean()
    return judge, _two(expit(single)), _two(expit(calibrated)), networks


def _estimated(judge, single, views):
    return gain_of_mean(judge, single, single, views, rule=judge.fit_rule(single))


def _calibrated(judge, proba):
    """Return how often rows of like probability are positive."""
    place = np.argsort(np.argsort(proba)) * 500 // len(proba)
    return (np.bincount(place, judge.y) / np.bincount(place))[place]


@pytest.mark.parametrize(
    "metric", ["average_precision", "roc_auc", "f1", "balanced_accuracy", "mcc"]
)
def test_the_gain_is_near_the_true_one(metric):
    judge, single, _, networks = _searched(100, n=100_000, metric=metric)
    rule = judge.fit_rule(single)

    def value(logs):
        proba = _two(_calibrated(judge, logs))
        ranked = proba if judge.metric.counts is not None else _two(expit(logs))
        return judge.metric(judge.y, ranked, rule.apply(proba))

    single_value = np.mean([value(network) for network in networks])
    true = value(networks.mean(axis=0)) - single_value
    gains = [_estimated(*_searched(seed, metric=metric)[:3]) for seed in range(10)]
    assert true > 0.005
    assert 0.75 * true < np.mean(gains) < 1.15 * true
    assert np.std(gains) < 0.3 * true  # no draw of rare rows is in it


def test_no_label_is_read():
    judge, single, views, _ = _searched(0)
    other = replace(judge, y=1 - judge.y)
    assert _estimated(judge, single, views) == _estimated(other, single, views)


def test_networks_that_agree_gain_nothing():
    judge, single, views, _ = _searched(0, noise=0.0)
    assert _estimated(judge, single, views) == pytest.approx(0.0, abs=1e-9)
    assert _estimated(judge, single, views[:1]) == 0.0


@pytest.mark.parametrize("metric", ["average_precision", "f1"])
def test_no_gain_is_below_nothing(metric):
    """Where classes are far apart noise does no harm until it is twice as much."""
    y = (np.arange(1_000) % 20 == 0).astype(np.int64)
    known = np.where(y == 1, 4.0, -4.0)
    noise = np.where(np.arange(1_000) // 20 % 2 == 0, 3.0, -3.0)
    judge = Judge(get_metric(metric, n_classes=2, positive=1), y, np.zeros(1_000, dtype=np.int64))
    views = _two(expit(np.stack([known + noise, known - noise])))
    assert _estimated(judge, _two(expit(known)), views) == 0.0


def test_a_row_counts_as_it_weighs():
    judge, single, views, _ = _searched(0, n=300)
    times = 1 + np.arange(300) % 2
    rows = np.repeat(np.arange(300), times)
    once = Judge(judge.metric, judge.y, np.zeros(300, dtype=np.int64), times.astype(float))
    twice = Judge(judge.metric, judge.y[rows], np.zeros(len(rows), dtype=np.int64))
    weighted = _estimated(once, single, views)
    repeated = _estimated(twice, single[rows], views[:, rows])
    assert weighted == pytest.approx(repeated, rel=0.1)  # places are of rows as they are


def test_of_several_classes_it_is_the_mean_over_them():
    random = np.random.default_rng(0)
    known = 1.5 * random.normal(size=(600, 3)) + np.array([0.0, -2.0, -1.0])
    views = softmax(known + 0.8 * random.normal(size=(3, 600, 3)), axis=-1)
    y = np.array([random.choice(3, p=row) for row in softmax(known, axis=1)])
    judge = Judge(get_metric("average_precision", n_classes=3, positive=1), y, np.arange(600) % 3)
    single = views[judge.group, np.arange(600)]
    assert 0.0 < _estimated(judge, single, views) < 0.1
    judge = judge.with_metric(get_metric("f1", n_classes=3, positive=1))
    assert 0.0 < _estimated(judge, single, views) < 0.1


def test_what_is_reported_has_the_gain_and_stays_a_metric():
    metric = get_metric("average_precision", n_classes=2, positive=1)
    judge = Judge(metric, np.arange(20) % 2, np.zeros(20, dtype=np.int64))
    reported = Reported(0.3, 0.05, 0.21, 0.41, 0.35, 0.02, 200, True)
    gained = of_the_mean(reported, 0.02, judge)
    assert (gained.value, gained.gain_of_mean) == (pytest.approx(0.32), 0.02)
    assert 0.21 < gained.low < gained.value < gained.high
    assert (gained.error, gained.raw, gained.optimism) == (0.05, 0.35, 0.02)
    high = of_the_mean(replace(reported, value=0.999), 0.02, judge)
    assert high.value == 1.0 >= high.high
