"""What the user says errors cost: checked once, then carried by labels and, of weights, more."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoimb.assessment.costs import Costs, read_weights
from autoimb.assessment.decision import DecisionRule
from autoimb.errors import OptionError


def test_a_matrix_weighs_the_loss_on_request_and_no_probability():
    matrix = ((0.0, 1.0), (9.0, 0.0))
    assert Costs.of(matrix) == Costs(None, matrix, in_probabilities=False)
    weighing = Costs.of(matrix, in_loss=True)
    assert weighing == Costs(weighing.class_costs, matrix, in_probabilities=False)
    assert weighing.class_costs == pytest.approx((0.2, 1.8))
    three = Costs.of([[0, 1, 2], [3, 0.5, 0], [0, 6, 0]], in_loss=True).class_costs
    assert three == pytest.approx((0.72, 0.84, 1.44))  # by the sums of their rows
    free = Costs.of([[0, 0], [5, 0]], in_loss=True).class_costs
    assert free == pytest.approx((2 / 101, 200 / 101))  # a hundredth, so that it can be corrected


@pytest.mark.parametrize("given", [[1.0, 9.0], [2.0, 0.5, 7.0]])
def test_the_matrix_is_what_was_given_for_probabilities_that_carry_the_weights(given):
    costs = Costs.of(given)
    assert costs.in_probabilities
    matrix = np.array(given)[:, None] * (1 - np.eye(len(given)))
    weights = np.array(costs.class_costs)
    assert weights.mean() == pytest.approx(1)
    np.testing.assert_allclose(weights / weights[0], np.array(given) / given[0])
    np.testing.assert_allclose(np.array(costs.matrix) * weights[:, None], matrix)


@given(st.integers(0, 1000), st.integers(2, 4), st.booleans())
def test_labels_cost_least_by_the_posterior(seed, n_classes, by_class):
    """Of weights, which probabilities carry, and of a matrix, which they do not."""
    rng = np.random.default_rng(seed)
    given = rng.uniform(0.1, 9, n_classes if by_class else (n_classes, n_classes))
    costs = Costs.of(given.tolist())
    posterior = rng.dirichlet(np.ones(n_classes), 30)
    proba = posterior * costs.class_costs if by_class else posterior
    proba /= proba.sum(axis=1, keepdims=True)
    labels = DecisionRule("costs", costs=costs.matrix).apply(proba)
    expected = posterior @ (given[:, None] * (1 - np.eye(n_classes)) if by_class else given)
    np.testing.assert_allclose(expected[np.arange(30), labels], expected.min(axis=1))


def test_a_class_that_costs_nothing_to_miss_is_not_given():
    costs = Costs.of([0, 5])
    assert np.isfinite(costs.matrix).all()
    assert costs.class_costs == pytest.approx((0.0, 2.0))
    for free in (costs, Costs.of([[0, 0], [5, 0]])):
        rule = DecisionRule("costs", costs=free.matrix)
        assert rule.apply(np.array([[0.9, 0.1], [0.1, 0.9]])).tolist() == [1, 1]


@pytest.mark.parametrize("bad", [{"maybe": 1}, {"yes": -1}, {"yes": "x"}, {"yes": 0, "no": 0}])
def test_weights_are_checked(bad):
    with pytest.raises(OptionError, match="class_weight"):
        read_weights(bad, ["no", "yes"])
    assert read_weights({"yes": 5}, ["no", "yes"]) == (1.0, 5.0)
    assert read_weights({"yes": 0}, ["no", "yes"]) == (1.0, 0.0)
    assert read_weights({"10": 5}, [9, 10]) == (1.0, 5.0)  # numbers in the keys of JSON
