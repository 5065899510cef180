"""Levels that training never saw, in every row of a table."""

import numpy as np
import pandas as pd
import pytest

from autoimb import AutoImbClassifier
from autoimb.policy import Training
from tests.support.searches import minimal_work
from tests.support.tables import ONE_TRIAL


def departures(n_rows, seed):
    """Draw departures of ten carriers and three airports, of which some 4 % are cancelled."""
    random = np.random.default_rng(seed)
    carriers = np.array([f"C{number}" for number in range(10)])
    carrier = random.choice(10, n_rows, p=np.array([20, 18, 15, 12, 10, 8, 6, 5, 4, 2]) / 100)
    origin = random.choice(3, n_rows)
    hour, wind = random.integers(5, 23, n_rows), random.gamma(4.0, 2.5, n_rows)
    effect = np.linspace(-2.0, 1.5, 10)[carrier] + np.array([-0.3, 0.0, 0.4])[origin]
    logit = effect + 0.1 * (wind - 10) + 0.05 * (hour - 14) - 3.5
    frame = pd.DataFrame(
        {
            "carrier": carriers[carrier],
            "origin": np.array(["EWR", "JFK", "LGA"])[origin],
            "hour": hour,
            "wind": wind,
        }
    )
    return frame, (random.random(n_rows) < 1 / (1 + np.exp(-logit))).astype(np.int64)


@pytest.mark.parametrize("partners", [None, "small_trees"])
def test_an_unseen_level_moves_the_mean_probability_little(partners):
    frame, y = departures(2_000, 0)
    with minimal_work(training=Training()):
        classifier = AutoImbClassifier(**ONE_TRIAL | {"cv": 3, "partners": partners}).fit(frame, y)
    new, _ = departures(4_000, 1)
    assert classifier.predict_proba(new)[:, 1].mean() == pytest.approx(y.mean(), rel=0.15)
    for changed in ({"carrier": "new"}, {"origin": "BOS"}, {"carrier": "new", "origin": "BOS"}):
        proba = classifier.predict_proba(new.assign(**changed))[:, 1]
        assert proba.mean() == pytest.approx(y.mean(), rel=0.3), changed
