"""The reported score: near what new rows give, where the best of many is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import fbeta_score, make_scorer

from autoimb.assessment.crossfit import stratified_groups
from autoimb.assessment.judge import Judge
from autoimb.assessment.metrics import get_metric
from autoimb.budget import FOREVER, Deadline
from autoimb.evaluation import replay as module
from autoimb.evaluation.replay import replay
from autoimb.policy import DEFAULT_POLICY, Result, SearchPolicy

POLICY = SearchPolicy(result=Result(replays=100))


def _policy(**changes):
    """Return the policy of these tests with changes to the settings of the result."""
    return replace(POLICY, result=replace(POLICY.result, **changes))


METRICS = (
    "average_precision",
    "roc_auc",
    "log_loss",
    "brier",
    "f1",
    "balanced_accuracy",
    "mcc",
    "roc_auc_ovr",  # scikit-learn's: one sample at a time
    make_scorer(fbeta_score, beta=3, average="macro"),
)


def _proba(logit):
    positive = 1 / (1 + np.exp(-logit))
    return np.column_stack([1 - positive, positive])


def _replayed(judge, singles, score=0.5, *, policy=POLICY, seed=0):
    """Replay a search of these strategies, all of them controls, of which the first was chosen."""
    control = np.ones(len(singles), dtype=bool)
    how = {"control": control, "chosen": 0, "raw": score, "random_state": seed}
    return replay(judge, singles, **how, policy=policy)


def _drawn(random, n, rate, number, signal):
    """Draw classes, exactly so many of each, and logits of strategies that know equally much."""
    y = (np.arange(n) < round(rate * n)).astype(np.int64)
    shared = signal * (y + random.normal(size=n))
    noise = random.normal(size=(number, n))
    return y, np.log(rate / (1 - rate)) + shared + 0.7 * noise


def _searched(
    seed, *, n=400, rate=0.05, number=12, signal=1.0, metric="average_precision", policy=POLICY
):
    """Return what is reported of the best of equal strategies, what chose it, and the truth."""
    random = np.random.default_rng(seed)
    y, logits = _drawn(random, n, rate, number, signal)
    judge = Judge(get_metric(metric, n_classes=2, positive=1), y, stratified_groups(y, 5))
    singles = [(_proba(logit), (logit > np.log(rate)).astype(np.int64)) for logit in logits]
    scores = [judge.score(*single) for single in singles]
    chosen = int(np.argmax([score.utility for score in scores]))
    singles[0], singles[chosen] = singles[chosen], singles[0]
    reported = _replayed(judge, singles, scores[chosen].value, policy=policy)
    other, far = _drawn(random, 20_000, rate, 1, signal)
    truth = judge.metric(other, _proba(far[0]), (far[0] > np.log(rate)).astype(np.int64))
    return reported, truth


@pytest.mark.parametrize("metric", ["average_precision", "balanced_accuracy"])
@pytest.mark.parametrize("signal", [0.0, 1.5])
def test_what_is_reported_is_nearer_to_the_truth_than_the_best_of_many(metric, signal):
    searches = [_searched(seed, metric=metric, signal=signal) for seed in range(25)]
    gap, error = np.array([reported.value - truth for reported, truth in searches]), 0.02
    before = np.array([reported.raw - truth for reported, truth in searches])
    error = max(error, 3 * gap.std() / np.sqrt(len(gap)))
    assert abs(gap.mean()) <= error
    assert abs(gap.mean()) <= before.mean() / 2
    assert all(reported.optimism > 0 for reported, _ in searches[:1])
    inside = np.mean([reported.low <= truth <= reported.high for reported, truth in searches])
    assert inside >= 0.8


def test_the_interval_is_wider_by_what_other_networks_would_give():
    policies = [_policy(trained_variance=share) for share in (0.0, 0.75)]
    rows, both = (_searched(0, policy=policy)[0] for policy in policies)
    assert both.value == rows.value
    assert both.error == pytest.approx(rows.error * 1.75**0.5)
    assert both.low < rows.low < rows.high < both.high
    assert policies[1] == POLICY  # as it is by default


def test_many_classes_have_an_interval():
    random, n_classes = np.random.default_rng(0), 100
    y = np.repeat(np.arange(n_classes), 6)
    proba = random.dirichlet(np.ones(n_classes), len(y)) + 0.05 * np.eye(n_classes)[y]
    metric = get_metric("f1", n_classes=n_classes, positive=0)
    judge = Judge(metric, y, stratified_groups(y, 3))
    prediction = (proba / proba.sum(axis=1, keepdims=True), proba.argmax(axis=1))
    reported = _replayed(judge, [prediction] * 26)
    assert reported.low < reported.value < reported.high


@pytest.mark.parametrize("weighted", [False, True])
def test_a_users_function_is_asked_of_all_rows(weighted):
    """Rows that stand for others would be common as they are, and weights may be amounts."""
    calls = []

    def rare(y, proba):
        calls.append((len(y), float(np.mean(y == 1))))
        return float(np.mean(proba[y == 1, 1]))

    def rare_with_weights(y, proba, sample_weight):
        assert sample_weight is None or (sample_weight == 1).all()
        return rare(y, proba)

    y, logits = _drawn(np.random.default_rng(0), 3_000, 0.02, 3, 1.0)
    metric = get_metric(rare_with_weights if weighted else rare, n_classes=2, positive=1)
    judge = Judge(metric, y, stratified_groups(y, 5))
    singles = [(_proba(logit), (logit > 0).astype(np.int64)) for logit in logits]
    _replayed(judge.until(Deadline.after(-1)), singles)
    assert {n for n, _ in calls} == {3_000, 600}  # all together, and fold by fold, which chose
    assert {round(share, 6) for _, share in calls} == {0.02}


def test_a_value_is_not_that_of_small_groups():
    """The mean over folds of ten rare rows is too high, all of them together is not."""
    searches = [_searched(seed, n=1000, number=1, signal=1.0) for seed in range(20)]
    gaps = np.mean(
        [(reported.value - truth, reported.raw - truth) for reported, truth in searches], axis=0
    )
    assert gaps[1] > 0.03
    assert abs(gaps[0]) < gaps[1] / 2


def test_a_fold_on_another_scale_ranks_as_the_others_do():
    """All rows together, a row counts by its place in its fold."""
    judge, ((proba, labels),) = _case(number=1)
    fold = judge.group == 0
    shifted = np.where(fold[:, None], 0.3 * proba + 0.01, proba)
    one, two = (_replayed(judge, [(values, labels)]) for values in (proba, shifted))
    assert one.value == pytest.approx(two.value, abs=0.01)  # but for ties
    assert judge.metric(judge.y, shifted) < judge.metric(judge.y, proba) - 0.02


def test_a_replay_chooses_by_what_chose():
    """Of strategies that rank equally in each fold, only the one on one scale is ever chosen."""
    random = np.random.default_rng(1)
    y = (np.arange(400) < 20).astype(np.int64)
    logits = 2.5 * y + random.normal(size=(6, 400))
    judge = Judge(
        get_metric("average_precision", n_classes=2, positive=1), y, stratified_groups(y, 5)
    )
    shift = random.normal(0, 20, (6, 5))
    shift[0] = 0
    singles = [(_proba(logit), y) for logit in logits + shift[:, judge.group]]
    many, alone = (_replayed(judge, singles[:number]) for number in (6, 1))
    assert many.optimism == pytest.approx(alone.optimism)


@pytest.mark.parametrize("metric", METRICS, ids=str)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_sample_is_rows_that_stand_there_so_often(metric, n_classes):
    random = np.random.default_rng(0)
    y = random.integers(n_classes, size=60)
    proba = random.dirichlet(np.ones(n_classes), size=60).round(1) + 0.01  # with ties
    proba /= proba.sum(axis=1, keepdims=True)
    labels, weight = random.integers(n_classes, size=60), random.uniform(0.5, 2, size=60)
    bound = get_metric(metric, n_classes=n_classes, positive=1)
    counts = random.multinomial(60, np.full(60, 1 / 60), size=3).astype(np.float64)
    values = bound.of_samples(y, proba, labels, weight=weight, counts=counts)
    for times, value in zip(counts, values, strict=True):
        rows = np.repeat(np.arange(60), times.astype(int))
        expected = bound(y[rows], proba[rows], labels[rows], weight=weight[rows])
        assert value == pytest.approx(expected)


def _case(metric="average_precision", *, number=4, n=300, n_classes=2):
    random = np.random.default_rng(1)
    y = random.choice(n_classes, n, p=[0.8, *[0.2 / (n_classes - 1)] * (n_classes - 1)])
    judge = Judge(get_metric(metric, n_classes=n_classes, positive=1), y, stratified_groups(y, 5))
    singles = []
    for _ in range(number):
        proba = np.exp(np.eye(n_classes)[y] + random.normal(size=(n, n_classes)))
        proba /= proba.sum(axis=1, keepdims=True)
        singles.append((proba, proba.argmax(axis=1)))
    return judge, singles


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS, ids=str)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_every_metric_is_reported_with_its_interval(metric, n_classes):
    reported = _replayed(*_case(metric, n_classes=n_classes), policy=_policy(replay_work=200_000))
    assert reported.low < reported.value < reported.high
    assert reported.error > 0
    assert reported.interval[0] < reported.utility < reported.interval[1]
    if get_metric(metric, n_classes=n_classes, positive=1).worst == 0:
        assert reported.low >= 0
        assert reported.high <= 1


@pytest.mark.parametrize("metric", ["average_precision", "balanced_accuracy"])
def test_a_perfect_result_has_an_interval(metric):
    y = (np.arange(400) < 10).astype(np.int64)
    judge = Judge(get_metric(metric, n_classes=2, positive=1), y, stratified_groups(y, 5))
    reported = _replayed(judge, [(np.eye(2)[y], y)], 1.0)
    assert (reported.value, reported.low, reported.high) == pytest.approx((1.0, 1 - 3 / 10, 1.0))


def test_the_same_seed_reports_the_same_and_no_clock_is_read(monkeypatch):
    judge, singles = _case()
    before = _replayed(judge, singles, seed=3)
    clock = iter(range(10**9))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)) * 1e6)
    assert _replayed(judge, singles, seed=3) == before
    assert _replayed(judge, singles, seed=4) != before


@pytest.mark.parametrize(("deadline", "replays"), [(Deadline.after(-1), 100), (FOREVER, 200)])
def test_past_its_deadline_a_hundred_samples_do(deadline, replays):
    judge, singles = _case()
    assert _replayed(judge.until(deadline), singles, policy=DEFAULT_POLICY).replays == replays


def test_a_replay_on_fewer_rows_reports_nearly_the_same():
    judge, singles = _case(n=3000)
    few = _policy(replay_work=4 * 100 * 1500)
    most, less = (_replayed(judge, singles, policy=policy) for policy in (POLICY, few))
    assert less.value == pytest.approx(most.value, abs=0.01)


def test_a_tie_is_the_controls_in_a_replay_too():
    """Law 3: a method that is better by less than its error is not what a replay chooses."""
    moves = np.random.default_rng(0).normal(size=(2, 500))
    how = {"control": np.array([True, False]), "chosen": 0, "gains": []}
    for gap, least, most in ((0.0, 0.0, 0.25), (100.0, 0.999, 1.0)):
        chosen = module._choose(np.array([0.0, gap]), moves, **how)
        assert least <= chosen.mean() <= most


def _regions(seed=0, n=4_000):
    """Draw rows of five regions whose rates a prediction knows, each region a fold."""
    random = np.random.default_rng(seed)
    region = np.arange(n) % 5
    rates = np.array([0.25, 0.03, 0.015, 0.01, 0.006])[region]
    logit = np.log(rates / (1 - rates)) + random.normal(size=n)
    y = (random.random(n) < _proba(logit)[:, 1]).astype(np.int64)
    return y, region, _proba(logit)


def test_folds_of_the_users_are_ranked_together_and_not_place_by_place():
    y, region, proba = _regions()
    metric = get_metric("average_precision", n_classes=2, positive=1)
    truth = metric(y, proba, weight=None)
    judges = [Judge(metric, y, region, drawn_by_class=by_class) for by_class in (False, True)]
    of_users, drawn = (_replayed(judge, [(proba, y)], truth) for judge in judges)
    assert of_users.value == pytest.approx(truth, abs=0.02)
    assert drawn.value < truth - 0.1


@pytest.mark.parametrize("declared", ["folds", "groups"])
def test_an_interval_is_as_wide_as_declared_groups_differ(declared):
    """Rows of a group share an effect, in the truth and in what is predicted."""
    metric = get_metric("roc_auc", n_classes=2, positive=1)

    def grouped(n_groups, seed):
        random = np.random.default_rng(seed)
        group = np.repeat(np.arange(n_groups), 100)
        shift, offset = random.normal(size=(2, n_groups))[:, group]
        logit = random.normal(size=len(group)) + shift
        y = (random.random(len(group)) < _proba(logit - 1)[:, 1]).astype(np.int64)
        return y, group, _proba(logit + offset)

    y, _, proba = grouped(4_000, seed=99)
    truth, inside = metric(y, proba, weight=None), {True: 0, False: 0}
    for seed in range(40):
        y, group, proba = grouped(20, seed)
        structure = {"cluster": group} if declared == "groups" else {"drawn_by_class": False}
        for is_declared in inside:
            judge = Judge(metric, y, group % 10, **structure if is_declared else {})
            reported = _replayed(judge, [(proba, y)], policy=_policy(replays=50))
            inside[is_declared] += reported.low <= truth <= reported.high
    assert inside[True] > inside[False]
    assert inside[True] >= 32
