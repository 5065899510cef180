import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from imblearn.metrics import geometric_mean_score
from sklearn import metrics as sk

from autoimb.assessment.metrics import ALIASES, METRICS, get_metric
from autoimb.errors import OptionError


@st.composite
def predictions(draw, n_classes=None, few_values=None):
    """Rows with every class present, often with ties, weights that are sometimes 0."""
    n_classes = n_classes or draw(st.integers(2, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(2 * n_classes, 60))
    y = np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, n - n_classes)])
    proba = rng.dirichlet(np.full(n_classes, 0.7), n)
    if draw(st.booleans()):
        proba = np.round(proba * 4 + 0.25)
    proba /= proba.sum(axis=1, keepdims=True)
    labels = rng.integers(0, n_classes, n)
    weight = rng.choice([0.0, 0.5, 1.0, 3.0], n) if draw(st.booleans()) else None
    if weight is not None:
        weight[:n_classes] = 1.0
    return y, proba, labels, weight


def most_recall(hit, score, weight, precision):
    """The highest recall on scikit-learn's curve at a precision."""
    precisions, recalls, _ = sk.precision_recall_curve(hit, score, sample_weight=weight)
    return recalls[:-1][precisions[:-1] >= precision - 1e-9].max(initial=0.0)


def truth(name, y, proba, labels, weight, positive):
    """The same number from scikit-learn, the geometric mean from imbalanced-learn."""
    n_classes = proba.shape[1]
    binary = n_classes == 2
    hot = (y == positive) if binary else np.eye(n_classes)[y]
    score = proba[:, positive] if binary else proba
    average = {"pos_label": positive} if binary else {"average": "macro"}
    average |= {"zero_division": 0.0, "sample_weight": weight}
    if not binary:
        average["labels"] = np.unique(y)
    curves = [(hot, score)] if binary else list(zip(hot.T, score.T))
    return {
        "average_precision": lambda: sk.average_precision_score(hot, score, sample_weight=weight),
        "roc_auc": lambda: sk.roc_auc_score(hot, score, sample_weight=weight),
        "recall@precision": lambda: np.mean([most_recall(*c, weight, 0.5) for c in curves]),
        "recall@precision:0.9": lambda: np.mean([most_recall(*c, weight, 0.9) for c in curves]),
        "balanced_accuracy": lambda: sk.balanced_accuracy_score(y, labels, sample_weight=weight),
        "geometric_mean": lambda: geometric_mean_score(
            y, labels, average="multiclass", sample_weight=weight
        ),
        "f1": lambda: sk.f1_score(y, labels, **average),
        "fbeta": lambda: sk.fbeta_score(y, labels, beta=2, **average),
        "fbeta:0.5": lambda: sk.fbeta_score(y, labels, beta=0.5, **average),
        "mcc": lambda: sk.matthews_corrcoef(y, labels, sample_weight=weight),
        "recall": lambda: sk.recall_score(y, labels, **average),
        "precision": lambda: sk.precision_score(y, labels, **average),
        "accuracy": lambda: sk.accuracy_score(y, labels, sample_weight=weight),
        "log_loss": lambda: sk.log_loss(y, proba, sample_weight=weight),
        "brier": lambda: sk.brier_score_loss(
            y, proba, sample_weight=weight, labels=np.arange(n_classes)
        ),
    }[name]()


@pytest.mark.parametrize("name", [*METRICS, "fbeta:0.5", "recall@precision:0.9"])
@given(rows=predictions(), positive=st.integers(0, 1))
def test_equals_scikit_learn(name, rows, positive):
    y, proba, labels, weight = rows
    metric = get_metric(name, n_classes=proba.shape[1], positive=positive)
    value = metric(y, proba, labels, weight=weight)
    assert value == pytest.approx(truth(name, y, proba, labels, weight, positive), abs=1e-9)


def test_absent_classes_are_left_out():
    y = np.array([0, 0, 2, 2])
    proba = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.2, 0.1, 0.7]])
    labels = proba.argmax(axis=1)
    assert get_metric("balanced_accuracy", n_classes=3, positive=0)(y, proba, labels) == 0.75
    assert get_metric("average_precision", n_classes=3, positive=0)(y, proba) == pytest.approx(
        np.mean([sk.average_precision_score(y == c, proba[:, c]) for c in (0, 2)])
    )


@pytest.mark.parametrize("name", ["average_precision", "roc_auc", "f1", "recall"])
def test_no_positive_row_and_no_number_are_undefined_and_worth_the_worst(name):
    metric = get_metric(name, n_classes=2, positive=1)
    proba = np.full((3, 2), 0.5)
    value = metric(np.zeros(3, dtype=int), proba, np.zeros(3, dtype=int))
    assert math.isnan(value)
    assert metric.utility(value) == metric.worst
    proba[0] = np.nan
    assert math.isnan(metric(np.array([0, 1, 1]), proba))


@pytest.mark.parametrize("name", METRICS)
def test_nothing_is_worth_less_than_to_be_surely_wrong(name):
    several = get_metric(name, n_classes=3, positive=1)
    y = np.array([0, 0, 1, 1, 2, 2])
    wrong = (y + 1) % 3
    assert several.utility(several(y, np.eye(3)[wrong], wrong)) >= several.worst - 1e-9
    metric = get_metric(name, n_classes=2, positive=1)
    y = np.array([0, 0, 1, 1])
    value = metric(y, np.eye(2)[1 - y], 1 - y)
    reached = {"average_precision": 1 / 2, "roc_auc": 0.0, "recall@precision": 1.0}
    assert metric.utility(value) == pytest.approx(reached.get(name, metric.worst))


# --- metrics of others ----------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", ["precision", "recall", "f1", "jaccard"])
@pytest.mark.parametrize("average", ["macro", "weighted", "micro"])
@given(rows=predictions())
def test_averages_are_those_of_scikit_learn(ratio, average, rows):
    y, proba, labels, weight = rows
    y = np.minimum(y, 1)  # some classes are only predicted
    weight = None if weight is None else weight + 0.5
    metric = get_metric(f"{ratio}_{average}", n_classes=proba.shape[1], positive=1)
    expected = getattr(sk, f"{ratio}_score")(
        y, labels, average=average, sample_weight=weight, zero_division=0.0
    )
    assert metric(y, proba, labels, weight=weight) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "weighs"),
    [
        ("neg_mean_absolute_error", True),
        ("rand_score", False),
        ("roc_auc_ovr", True),
        ("roc_auc_ovo", False),
    ],
)
def test_scorers_of_several_classes_get_the_weights_that_they_take(name, weighs):
    """scikit-learn refuses weights in one-against-one areas of several classes by a ValueError."""
    rng = np.random.default_rng(0)
    y, proba, weight = np.arange(30) % 3, rng.dirichlet(np.ones(3), 30), rng.uniform(size=30)
    metric = get_metric(name, n_classes=3, positive=0)
    assert metric.weighs == weighs
    assert (metric(y, proba, weight=weight) == metric(y, proba)) != weighs
    assert math.isnan(get_metric("roc_auc_ovr", n_classes=3, positive=0)(y[:2], proba[:2]))


def profit(y_true, proba, sample_weight=None):
    return float(np.average((y_true == 1) * proba[:, 1], weights=sample_weight))


def test_functions_of_users():
    y, proba = np.array([0, 1, 1]), np.array([[0.5, 0.5], [0.4, 0.6], [0.2, 0.8]])
    metric = get_metric(profit, n_classes=2, positive=1)
    assert (metric.name, metric.kind) == ("profit", "probability")
    assert metric(y, proba) == pytest.approx(1.4 / 3)
    assert metric(y, proba, weight=np.array([0.0, 0.0, 1.0])) == pytest.approx(0.8)
    assert get_metric(lambda y, p: len(y), n_classes=2, positive=1)(y, proba) == 3.0


def test_expected_cost_is_the_mean_of_what_labels_cost():
    random = np.random.default_rng(0)
    costs = ((0.0, 1.0, 2.5), (40.0, 0.5, 3.0), (7.0, 0.0, 0.0))
    y, labels = random.integers(0, 3, 50), random.integers(0, 3, 50)
    weight, proba = random.uniform(0, 2, 50), random.dirichlet(np.ones(3), 50)
    metric = get_metric("expected_cost", n_classes=3, positive=0, costs=costs)
    metric = pickle.loads(pickle.dumps(metric))
    row_costs = np.array([costs[true][label] for true, label in zip(y, labels)])
    assert metric(y, proba, labels) == pytest.approx(row_costs.mean())
    weighted = np.average(row_costs, weights=weight)
    assert metric(y, proba, labels, weight=weight) == pytest.approx(weighted)
    counts = random.multinomial(50, np.full(50, 1 / 50), 4).astype(float)
    samples = metric.of_samples(y, proba, labels, weight=weight, counts=counts)
    np.testing.assert_allclose(samples, [np.average(row_costs, weights=c * weight) for c in counts])
    assert metric.bounds == (0.0, 40.0)
    assert metric.utility(3.0) == -3.0


@pytest.mark.parametrize("name", [*METRICS, "fbeta:0.5", "f1_macro", "roc_auc_ovr", profit])
def test_metrics_cross_processes(name):
    metric = get_metric(name, n_classes=2, positive=1)
    y, proba = np.array([0, 1, 1, 0]), np.random.default_rng(0).dirichlet([1, 1], 4)
    assert pickle.loads(pickle.dumps(metric))(y, proba) == metric(y, proba)


@pytest.mark.parametrize(
    ("name", "n_classes", "words"),
    [
        ("roc_acu", 2, "Did you mean 'roc_auc'"),
        ("aucpr", 2, "Did you mean 'auprc'"),
        ("fbeta:none", 2, "positive number"),
        ("fbeta:-1", 2, "positive number"),
        ("recall@precision:1.5", 2, "above 0 and at most 1"),
        ("recall@precision:", 2, "above 0 and at most 1"),
        ("jaccard", 3, "does not work on 3 classes"),
        (3, 2, "name or a callable"),
        ("expected_cost", 2, "needs the cost of each pair .* give cost_matrix="),
    ],
)
def test_unknown_metrics_are_named(name, n_classes, words):
    with pytest.raises(OptionError, match=words):
        get_metric(name, n_classes=n_classes, positive=0)


@pytest.mark.parametrize(
    ("name", "n_classes", "bounds"),
    [
        ("f1", 2, (0, 1)),
        ("average_precision", 3, (0, 1)),
        ("mcc", 2, (-1, 1)),
        ("brier", 2, (0, 1)),
        ("brier", 3, (0, 2)),
        ("log_loss", 2, (0, 52 * math.log(2))),
        ("roc_auc_ovr", 2, (-math.inf, math.inf)),
    ],
)
def test_an_interval_stays_in_the_range_of_the_metric(name, n_classes, bounds):
    metric = get_metric(name, n_classes=n_classes, positive=1)
    assert metric.bounds == pytest.approx(bounds)
    for value, error in ((0.2353, 0.1509), (0.001, 0.01), (0.0, 0.1), (1.0, 0.1)):
        same, low, high = metric.interval(value, error, 50)
        assert same == value
        assert bounds[0] <= low <= value <= high <= bounds[1]
        assert high - low > error
    assert all(map(math.isnan, metric.interval(math.nan, math.nan, 50)))


def test_without_an_error_the_rule_of_three_gives_an_interval_its_width():
    """Of 10 rows that are all ranked first, 3 in 10 may not be."""
    assert _interval("average_precision", 1.0, 10) == pytest.approx((0.7, 1.0))
    assert _interval("average_precision", 1.0, 2) == pytest.approx((0.0, 1.0))
    low, high = _interval("f1", 0.1493, 100)  # of "all are positive", on every sample
    assert (low, high) == pytest.approx((0.1493 * 0.97, 0.1493 + 0.03 * (1 - 0.1493)))
    assert _interval("brier", 0.0, 300) == pytest.approx((0.0, 0.01))
    assert _interval("mcc", 1.0, 30) == pytest.approx((0.8, 1.0))
    assert _interval("neg_log_loss", -0.5, 30) == pytest.approx((-0.6, -0.4))


def _interval(name, value, rows):
    _, low, high = get_metric(name, n_classes=2, positive=1).interval(value, 1e-17, rows)
    return low, high


@pytest.mark.parametrize("name", ["neg_brier_score", profit])
def test_failure_of_a_metric_without_a_range_is_worth_far_less_than_anything(name):
    assert get_metric(name, n_classes=2, positive=1).utility(np.nan) == -1e6


def test_aliases_are_the_metrics_that_they_name():
    for alias, name in ALIASES.items():
        of_alias, of_name = (get_metric(n, n_classes=2, positive=1) for n in (alias, name))
        assert of_alias == of_name
