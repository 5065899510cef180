import numpy as np
import pytest
from scipy.stats import binomtest

from autoimb.assessment.judge import Judge
from autoimb.assessment.metrics import get_metric
from autoimb.assessment.uncertainty import expected_in_words, wilson


def sample(n, rate, *, seed=0, signal=1.5):
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < rate).astype(np.int64)
    z = rng.normal(0, 1, n) + signal * y
    p = 1 / (1 + np.exp(2 - z))
    return y, np.column_stack([1 - p, p]), np.arange(n) % 5


def noisy(proba, amount, *, seed=0):
    z = np.log(proba[:, 1] / proba[:, 0])
    z = z + np.random.default_rng(seed).normal(0, amount, len(z))
    p = 1 / (1 + np.exp(-z))
    return np.column_stack([1 - p, p])


AP = get_metric("average_precision", n_classes=2, positive=1)
F1 = get_metric("f1", n_classes=2, positive=1)


def test_groups_with_enough_rows_are_averaged():
    y, proba, group = sample(1000, 0.2)
    judge = Judge(AP, y, group)
    values = [AP(y[group == g], proba[group == g]) for g in range(5)]
    assert not judge.pooled
    assert judge.score(proba, proba.argmax(1)).value == pytest.approx(np.mean(values))


def test_many_groups_that_differ_by_more_than_their_rows_widen_the_error():
    """Scores and comparisons have one rule: from ten groups on the larger of the two errors."""
    y, proba, _ = sample(6000, 0.2)
    mean_of = {groups: np.arange(6000) % groups for groups in (5, 20)}
    worse = noisy(proba, 6.0)
    mixed = {n: np.where((g % 2 == 0)[:, None], worse, proba) for n, g in mean_of.items()}
    few, many = (
        (
            Judge(AP, y, group).score(mixed[n], mixed[n].argmax(1)).error,
            np.std([AP(y[group == g], mixed[n][group == g]) for g in range(n)], ddof=1)
            / np.sqrt(n),
        )
        for n, group in mean_of.items()
    )
    assert many[0] == pytest.approx(many[1])
    assert few[0] < 0.5 * few[1]
    labels = proba.argmax(1)
    errors = [
        Judge(AP, y, mean_of[n]).compare((proba, labels), (mixed[n], labels))[1] for n in mean_of
    ]
    assert errors[0] < 0.6 * errors[1]


@pytest.mark.parametrize(
    ("groups", "rate", "pooled"), [(2, 0.2, False), (1, 0.2, True), (2, 0.02, True)]
)
def test_groups_are_scored_apart_from_ten_rows_of_the_rarest_class(groups, rate, pooled):
    y, _, group = sample(600, rate)
    assert Judge(AP, y, group % groups).pooled == pooled
    assert Judge(F1, y, group % groups).pooled


@pytest.mark.parametrize(
    ("name", "rows", "rate", "groups"),
    [
        ("f1", 400, 0.1, 5),
        ("accuracy", 400, 0.1, 5),
        ("log_loss", 400, 0.1, 5),
        ("average_precision", 400, 0.1, 5),
        ("average_precision", 1000, 0.2, 3),  # by groups, whose three values vary too little
    ],
)
def test_the_error_is_that_of_repeated_samples(name, rows, rate, groups):
    metric = get_metric(name, n_classes=2, positive=1)
    values, errors = [], []
    for seed in range(80):
        y, proba, group = sample(rows, rate, seed=seed)
        labels = (proba[:, 1] > 0.3).astype(np.int64)
        result = Judge(metric, y, group % groups).score(proba, labels)
        values.append(result.value)
        errors.append(result.error)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.3)


def test_weights_reach_the_score():
    y, proba, group = sample(600, 0.2)
    labels = (proba[:, 1] > 0.3).astype(np.int64)
    weight = np.random.default_rng(0).uniform(0.2, 3, 600)
    for metric in (AP, F1):
        plain = Judge(metric, y, group).score(proba, labels)
        unit = Judge(metric, y, group, np.ones(600)).score(proba, labels)
        assert (unit.value, unit.error) == pytest.approx((plain.value, plain.error))
        weighted = Judge(metric, y, group, weight).score(proba, labels)
        assert weighted.value != plain.value
        assert weighted.error != plain.error


# --- pairs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.05, 0.3])
@pytest.mark.parametrize("name", ["average_precision", "log_loss", "f1", "brier", "roc_auc"])
def test_the_better_prediction_is_above(name, rate):
    y, proba, group = sample(800, rate)
    metric = get_metric(name, n_classes=2, positive=1)
    a, b = proba, noisy(proba, 3.0)
    pair = [(p, (p[:, 1] > 0.3).astype(np.int64)) for p in (a, b)]
    assert Judge(metric, y, group).compare(pair[0], pair[0]) == (0.0, 0.0)
    difference, error = Judge(metric, y, group).compare(pair[0], pair[1])
    assert difference > error > 0
    back, same = Judge(metric, y, group).compare(pair[1], pair[0])
    assert (back, same) == pytest.approx((-difference, error))
    single = [Judge(metric, y, group).score(*p).utility for p in pair]
    assert difference == pytest.approx(single[0] - single[1])


def test_equals_rarely_differ_by_two_errors():
    far = 0
    for seed in range(60):
        y, proba, group = sample(500, 0.15, seed=seed)
        a, b = noisy(proba, 1.0, seed=seed), noisy(proba, 1.0, seed=seed + 1000)
        difference, error = Judge(AP, y, group).compare((a, a.argmax(1)), (b, b.argmax(1)))
        far += abs(difference) > 2 * error
    assert far <= 6


@pytest.mark.parametrize(("positive", "rows"), [(0, 10), (3, 10), (40, 50), (7, 1000)])
def test_wilson_is_that_of_scipy(positive, rows):
    low, high = wilson(np.array([positive / rows]), np.array([rows]))
    expected = binomtest(positive, rows).proportion_ci(method="wilson")
    assert (low[0], high[0]) == pytest.approx((expected.low, expected.high), rel=1e-4, abs=1e-12)


def test_the_expected_cost_is_expected_once() -> None:
    sentence = expected_in_words("expected_cost", 0.101, 0.007, 0.195, estimate="new groups (page)")
    assert sentence.startswith("Expected cost on new groups (page): 0.101")
    assert expected_in_words("roc_auc", 0.9, 0.8, 0.95).startswith("Expected roc auc on new data:")
