import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import log_loss

from autoimb.assessment.calibration import (
    Calibrator,
    Finishing,
    at_rates,
    calibrator_that_gains,
    fit_calibrator,
    focal_posterior,
    for_all_networks,
)
from autoimb.assessment.crossfit import leave_group_out, stratified_groups
from tests.support.tables import calibrated_rows

# --- vector scaling -------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", [(0.95, 0.05), (0.9, 0.07, 0.03)])
@pytest.mark.parametrize("overconfidence", [1.0, 2.0])
def test_a_shifted_prior_and_overconfidence_are_corrected(prior, overconfidence):
    y, proba = calibrated_rows(20_000, prior)
    assert fit_calibrator(y, proba).slope == pytest.approx(1, abs=0.1)
    wrong = softmax(overconfidence * np.log(proba) + np.arange(len(prior)), axis=1)
    fitted = fit_calibrator(y, wrong)
    assert fitted.slope == pytest.approx(1 / overconfidence, abs=0.1)
    assert log_loss(y, fitted.apply(wrong)) == pytest.approx(log_loss(y, proba), abs=2e-3)


@pytest.mark.parametrize("prior", [(0.98, 0.02), (0.9, 0.07, 0.03)])
def test_mean_probabilities_become_the_rates(prior):
    _, proba = calibrated_rows(5_000, prior)
    weight = np.random.default_rng(1).uniform(0.5, 2.0, len(proba))
    calibrator = Calibrator(1.3, (0.1,) * len(prior))
    rates = np.array([0.97, *np.full(len(prior) - 1, 0.03 / (len(prior) - 1))])
    moved = at_rates(calibrator, calibrator.apply(proba), rates, weight=weight / 5_000)
    assert moved.slope == calibrator.slope
    np.testing.assert_allclose(weight @ moved.apply(proba) / weight.sum(), rates, rtol=3e-3)
    unmoved = at_rates(moved, moved.apply(proba), rates, weight=weight)
    np.testing.assert_allclose(unmoved.bias, moved.bias, atol=3e-3)


def test_the_fit_is_the_minimum():
    y, proba = calibrated_rows(300, (0.8, 0.15, 0.05), seed=1)
    wrong = softmax(1.7 * np.log(proba) + [0.0, 1.0, -1.0], axis=1)
    fitted = fit_calibrator(y, wrong)

    def penalised(slope, bias):
        loss = log_loss(y, Calibrator(slope, tuple(bias)).apply(wrong)) * len(y)
        return loss + ((slope - 1) ** 2 + 0.1 * np.sum(np.square(bias))) / 2

    best = penalised(fitted.slope, fitted.bias)
    rng = np.random.default_rng(0)
    for _ in range(50):
        move = rng.normal(0, 0.01, 4)
        assert penalised(fitted.slope + move[0], np.add(fitted.bias, move[1:])) >= best - 1e-9


@given(st.integers(0, 1000), st.integers(1, 12), st.integers(2, 4))
def test_few_rows_give_probabilities_all_the_same(seed, n, n_classes):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n)
    proba = np.eye(n_classes)[rng.integers(0, n_classes, n)]  # as sure, and as wrong, as can be
    fitted = fit_calibrator(y, proba)
    assert fitted.slope > 0
    assert np.isfinite(fitted.bias).all()
    np.testing.assert_allclose(fitted.apply(proba).sum(axis=1), 1)
    assert fit_calibrator(y, proba) == fitted


def test_probabilities_that_point_the_wrong_way_keep_their_order():
    y, proba = calibrated_rows(500, (0.5, 0.5))
    fitted = fit_calibrator(1 - y, proba)
    assert 0 < fitted.slope < 0.02
    calibrated = fitted.apply(proba)[:, 1]
    assert (np.diff(calibrated[np.argsort(proba[:, 1])]) >= 0).all()


def test_a_class_without_rows_keeps_its_bias():
    y, proba = calibrated_rows(200, (0.6, 0.39, 0.01), seed=3)
    for fit in (fit_calibrator, calibrator_that_gains):
        assert fit(y[y == 0], proba[y == 0]) == Calibrator.identity(3)
        assert fit(y[:0], proba[:0]) == Calibrator.identity(3)
    keep = y < 2
    assert fit_calibrator(y[keep], proba[keep]).bias[2] == 0.0


def test_weights_count_rows():
    y, proba = calibrated_rows(100, (0.7, 0.3))
    times = np.arange(100) % 3
    a = fit_calibrator(y, proba, weight=times.astype(float))
    b = fit_calibrator(np.repeat(y, times), np.repeat(proba, times, axis=0))
    assert (a.slope, *a.bias) == pytest.approx((b.slope, *b.bias), abs=1e-6)
    assert a != fit_calibrator(y, proba)


def networks(n, prior, *, seed):
    """Return labels, the probabilities of five noisy networks (V, n, C), and their mean."""
    y, proba = calibrated_rows(n, prior, seed=seed)
    noise = np.random.default_rng([seed, 1]).normal(size=(5, *proba.shape))
    views = softmax(np.log(proba) + noise, axis=-1)
    return y, views, views.mean(axis=0)


@pytest.mark.parametrize("prior", [(0.95, 0.05), (0.6, 0.3, 0.1), (0.9, 0.07, 0.03)])
def test_the_mean_of_networks_has_a_calibrator_of_its_own(prior):
    y, views, every = networks(20_000, prior, seed=0)
    single = fit_calibrator(y, views[0])
    mean = for_all_networks(single, views, every, weight=np.ones(len(y)))
    y, _, every = networks(50_000, prior, seed=1)
    assert fit_calibrator(y, single.apply(every)).slope > 1.2  # underconfident
    again = fit_calibrator(y, mean.apply(every))
    assert again.slope == pytest.approx(1, abs=0.06)
    np.testing.assert_allclose(np.array(again.bias) - again.bias[0], 0.0, atol=0.12)
    assert log_loss(y, mean.apply(every)) < log_loss(y, single.apply(every))
    shares = np.bincount(y) / len(y)
    np.testing.assert_allclose(mean.apply(every).mean(axis=0), shares, atol=0.01)


def test_one_network_is_calibrated_as_it_was():
    y, views, _ = networks(2000, (0.9, 0.1), seed=2)
    single = fit_calibrator(y, views[0])
    same = for_all_networks(single, views[:1], views[0], weight=np.ones(len(y)))
    assert same.slope == pytest.approx(single.slope, rel=0.01)
    np.testing.assert_allclose(same.apply(views[0]), single.apply(views[0]), atol=2e-3)


def test_networks_that_agree_in_nothing_are_sharpened_within_bounds():
    rng = np.random.default_rng(3)
    views = softmax(rng.normal(0, 1, (20, 500, 2)), axis=-1)
    single = Calibrator(0.3, (0.0, 0.0))
    mean = for_all_networks(single, views, views.mean(axis=0), weight=np.ones(500))
    assert mean.slope == pytest.approx(0.6)


def test_rows_that_stand_for_others_do_not_make_a_gain_by_chance():
    """One in twenty of the common rows is scored and weighs for all: no more is known of it."""

    def is_calibrated(seed, *, thinned):
        y, proba = calibrated_rows(4_000, (0.95, 0.05), seed=seed)
        rows = (y == 1) | (np.arange(4_000) % 20 == 0) | (not thinned)
        weight = np.where((y == 0) & thinned, 20.0, 1.0)[rows]
        calibrator = calibrator_that_gains(y[rows], proba[rows], weight=weight)
        return calibrator != Calibrator.identity(2)

    every, thin = (sum(is_calibrated(s, thinned=t) for s in range(100)) for t in (False, True))
    assert 0 < every < 40
    assert thin < 40


# --- cross-fitting --------------------------------------------------------------------------------


def test_a_view_is_finished_by_the_calibrator_of_its_part():
    y, proba = calibrated_rows(300, (0.8, 0.2))
    group = np.arange(300) % 3
    calibrators = tuple(
        fit_calibrator(y[learn], proba[learn]) for learn, _ in leave_group_out(y, group)
    )
    finishing = Finishing(proba, calibrators, class_costs=(1.0, 3.0))
    for part, calibrator in enumerate(calibrators):
        expected = calibrator.apply(proba) * [1.0, 3.0]
        expected /= expected.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(finishing.view(part), expected)
    assert not np.allclose(finishing.view(0), finishing.view(1))


@pytest.mark.parametrize("groups", [1, 12])
def test_one_group_is_split_and_many_are_left_out_a_few_at_a_time(groups):
    y, group = np.arange(120) % 2, np.arange(120) % groups
    pairs = list(leave_group_out(y, group))
    assert len(pairs) == 5
    assert sum(use.astype(int) for _, use in pairs).tolist() == [1] * 120
    for learn, use in pairs:
        np.testing.assert_array_equal(learn, ~use)
        assert groups == 1 or not set(group[learn]) & set(group[use])


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(2, 7))
def test_classes_are_split_evenly(y, n_groups):
    y = np.array(y, dtype=np.int64)
    group = stratified_groups(y, n_groups)
    for code in np.unique(y):
        sizes = np.bincount(group[y == code], minlength=n_groups)
        assert sizes.max() - sizes.min() <= 1
    assert stratified_groups(y, n_groups).tolist() == group.tolist()


# --- closed forms ---------------------------------------------------------------------------------


def focal_minimiser(eta, gamma):
    """Where the focal risk of two classes is least, by search."""
    v = np.linspace(1e-5, 1 - 1e-5, 400_001)
    risk = -eta * (1 - v) ** gamma * np.log(v) - (1 - eta) * v**gamma * np.log1p(-v)
    best = v[risk.argmin()]
    return np.array([1 - best, best])


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("eta", [0.02, 0.3, 0.5, 0.9])
def test_focal_minimisers_give_the_posterior(eta, gamma):
    posterior = focal_posterior(focal_minimiser(eta, gamma)[None], gamma)
    assert posterior[0, 1] == pytest.approx(eta, abs=2e-4)


@given(st.integers(0, 1000), st.integers(2, 5), st.floats(0.1, 5))
def test_focal_posterior_keeps_order_and_is_finite(seed, n_classes, gamma):
    rng = np.random.default_rng(seed)
    proba = np.concatenate([rng.dirichlet(np.ones(n_classes), 20), np.eye(n_classes)])
    np.testing.assert_allclose(focal_posterior(proba, 0.0), proba, atol=1e-12)
    posterior = focal_posterior(proba, gamma)
    np.testing.assert_allclose(posterior.sum(axis=1), 1)
    assert (posterior.argmax(axis=1) == proba.argmax(axis=1)).all()


def test_a_probability_near_one_is_not_rounded():
    """h(v) = v / ((1 - v)^2 - 2 (1 - v) v log v) is 1e12² / 3 at v = 1 - 1e-12, and v near 0."""
    posterior = focal_posterior(np.tile([1e-12, 1 - 1e-12], (5, 1)), 2.0)
    np.testing.assert_allclose(posterior[:, 0], 3e-36, rtol=5e-5)  # of 1 - v, as it is rounded
