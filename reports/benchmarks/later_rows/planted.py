"""Simulated tables whose rows are not independent, with further rows of the same law.

``groups``: 300 groups of 3 to 12 rows. The outcome depends on the row's features and on a group
effect that nothing else tells; three numbers and an identifier are constant within a group, so that
a network can learn the training groups by heart. The further rows are of new groups.

``drift``: two coefficients rotate at a constant pace, by 30 to 90 degrees over the time span; the
positive rate doubles over its first two thirds and then stays. The further rows are of the next
sixth of the span.

``copies``: 750 entities, each there four times with the same label, held together by ``groups=``;
in every second table the copies are exact, in the others they differ by a thousandth. The further
rows are a copy of each of 10,000 new entities.

``regions``: ten regions with positive rates from 25 down to 0.5 %, and a column that tells a
region's risk up to noise. The five folds of ``cv=`` are two whole regions each, and their rates
differ as well. Every region has one of a similar rate in another fold: for a region whose rate is
far from all others no network can predict the rate without its rows, so that the score would be one
on new regions. The further rows are of the same regions.

``five_regions``: five regions with positive rates of 25, 3, 1.5, 1 and 0.6 %, each a fold, and a
column that tells a region's risk exactly. What a network predicts for the first region has to be
extrapolated from the others. The further rows are of the same regions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from reports.benchmarks.cases import SEED

__all__ = ["LAWS", "TEST_ROWS", "Law", "Planted"]

TEST_ROWS = 10_000
WIDTH = 6
RATES = (0.06, 0.16)  # of the positive class, drawn for each table
GROUPS, GROUP_ROWS = 300, (3, 12)
GROUP_EFFECT = 1.2  # its standard deviation, in log-odds
DRIFT_ROWS, DRIFT_PACE = 2_500, (np.pi / 6, np.pi / 2)
DRIFT_RATES = (0.05, 0.1)  # at the beginning; twice as much from two thirds of the span on
REFERENCE = 200_000  # rows that place the threshold of a positive rate
ENTITIES, COPIES, JITTER = 750, 4, 1e-3
REGION_ROWS, RISK_NOISE = 300, 0.3
REGION_RATES = (0.25, 0.2, 0.03, 0.025, 0.015, 0.012, 0.01, 0.008, 0.006, 0.005)
REGION_FOLDS = ((0, 3), (2, 5), (4, 7), (6, 9), (8, 1))
FIVE_RATES, FIVE_ROWS = (0.25, 0.03, 0.015, 0.01, 0.006), 800


class Planted(NamedTuple):
    """A simulated table: training rows, options of the search, and further rows.

    Attributes
    ----------
    X, y : DataFrame and ndarray
    init, fit : dict
        Parameters of the classifier, and of its `fit`.
    X_new, y_new : DataFrame and ndarray
    """

    X: pd.DataFrame
    y: np.ndarray
    init: dict[str, Any]
    fit: dict[str, Any]
    X_new: pd.DataFrame
    y_new: np.ndarray


def _signal(x: np.ndarray) -> np.ndarray:
    return 1.2 * x[:, 0] + 0.8 * x[:, 1] * x[:, 2] - 0.8 * np.abs(x[:, 3]) + 0.5 * x[:, 4]


def _frame(x: np.ndarray, **columns: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(x, columns=[f"x{j}" for j in range(x.shape[1])]).assign(**columns)


def _rate(random: np.random.Generator) -> float:
    return float(np.exp(random.uniform(*np.log(RATES))))


def _groups(random: np.random.Generator, _: int) -> Planted:
    rate = _rate(random)
    sizes = [random.integers(GROUP_ROWS[0], GROUP_ROWS[1] + 1, GROUPS)]
    while sum(map(np.sum, sizes)) < sizes[0].sum() + TEST_ROWS:
        sizes.append(random.integers(GROUP_ROWS[0], GROUP_ROWS[1] + 1, GROUPS))
    n_groups = GROUPS * len(sizes)
    group = np.repeat(np.arange(n_groups), np.concatenate(sizes))
    effect, z = random.normal(0, GROUP_EFFECT, n_groups), random.normal(size=(n_groups, 3))
    site = random.permutation(100 * n_groups)[:n_groups]
    x = random.normal(size=(len(group), WIDTH))
    noisy = _signal(x) + effect[group] + random.logistic(size=len(x))
    y = (noisy > np.quantile(noisy, 1 - rate)).astype(np.int64)
    constant = {f"z{j}": z[group, j] for j in range(z.shape[1])}
    frame = _frame(x, **constant, site=site[group], group=group)
    order = random.permutation(sizes[0].sum())
    new = slice(len(order), len(order) + TEST_ROWS)
    fit = {"groups": "group"}
    return Planted(frame.iloc[order], y[order], {}, fit, frame.iloc[new], y[new])


def _drift(random: np.random.Generator, _: int) -> Planted:
    rate, pace = random.uniform(*DRIFT_RATES), random.uniform(*DRIFT_PACE)
    begin = random.uniform(0, 2 * np.pi)

    def logit(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        angle = begin + pace * t
        turning = np.cos(angle) * x[:, 0] + np.sin(angle) * x[:, 1]
        return 1.4 * turning + 0.8 * x[:, 2] - 0.6 * np.abs(x[:, 3])

    t = np.concatenate([random.uniform(0, 1, DRIFT_ROWS), random.uniform(1, 7 / 6, TEST_ROWS)])
    x = random.normal(size=(len(t), WIDTH))
    noisy = logit(x, t) + random.logistic(size=len(t))
    # The distribution of the logits is the same at all times, as their direction is uniform.
    others = logit(random.normal(size=(REFERENCE, WIDTH)), np.zeros(REFERENCE))
    reference = others + random.logistic(size=REFERENCE)
    y = (noisy > np.quantile(reference, 1 - rate * (1 + np.minimum(1.5 * t, 1)))).astype(np.int64)
    frame, train = _frame(x, t=t), slice(DRIFT_ROWS)
    new = slice(DRIFT_ROWS, None)
    return Planted(frame.iloc[train], y[train], {}, {"time": "t"}, frame.iloc[new], y[new])


def _copies(random: np.random.Generator, number: int) -> Planted:
    counts = np.where(np.arange(ENTITIES + TEST_ROWS) < ENTITIES, COPIES, 1)
    entity = np.repeat(np.arange(len(counts)), counts)
    x = random.normal(size=(len(counts), WIDTH))
    noisy = _signal(x) + random.logistic(size=len(x))
    y = (noisy > np.quantile(noisy, 1 - _rate(random))).astype(np.int64)[entity]
    x = x[entity]
    if number % 2:
        x += random.normal(0, JITTER, x.shape)
    frame, order = _frame(x, entity=entity), random.permutation(ENTITIES * COPIES)
    new, fit = slice(len(order), None), {"groups": "entity"}
    return Planted(frame.iloc[order], y[order], {}, fit, frame.iloc[new], y[new])


def _regions(random: np.random.Generator, _: int) -> Planted:
    return _rows_of_regions(
        random, REGION_RATES, REGION_FOLDS, n_each=REGION_ROWS, noise=RISK_NOISE
    )


def _five_regions(random: np.random.Generator, _: int) -> Planted:
    folds = [(number,) for number in range(len(FIVE_RATES))]
    return _rows_of_regions(random, FIVE_RATES, folds, n_each=FIVE_ROWS, noise=0.0)


def _rows_of_regions(
    random: np.random.Generator,
    region_rates: Sequence[float],
    folds: Sequence[tuple[int, ...]],
    *,
    n_each: int,
    noise: float,
) -> Planted:
    rates = np.array(region_rates)
    n_rows, n_regions = n_each * len(rates), len(rates)
    region = np.arange(n_rows + TEST_ROWS) % n_regions
    x = random.normal(size=(len(region), WIDTH))
    noisy = _signal(x) + random.logistic(size=len(x))
    y = (noisy > np.quantile(noisy, 1 - rates)[region]).astype(np.int64)
    risk = np.log(rates / (1 - rates))[region] + random.normal(0, noise, len(region))
    frame, train, new = _frame(x, risk=risk), slice(n_rows), slice(n_rows, None)
    parts = [np.isin(region[train], fold) for fold in folds]
    cv = [(np.flatnonzero(~part), np.flatnonzero(part)) for part in parts]
    return Planted(frame.iloc[train], y[train], {"cv": cv}, {}, frame.iloc[new], y[new])


class Law(NamedTuple):
    """A law to draw tables from, and what is asked of their reported scores.

    Attributes
    ----------
    make : callable
        Draws the rows of a table, given random numbers and its number.
    searches : int
    covered : int or None
        How many intervals have to hold the truth.
    below : float
        How far the mean of the reported scores may lie below the truth, inf for no limit.
    unbiased : bool
        Whether the mean difference has to be within two of its errors.
    """

    make: Callable[[np.random.Generator, int], Planted]
    searches: int
    covered: int | None = None
    below: float = np.inf
    unbiased: bool = False

    def draw(self, name: str, number: int) -> Planted:
        """Draw a table of this law."""
        return self.make(np.random.default_rng([SEED, *name.encode(), number]), number)


LAWS = {
    "groups": Law(_groups, 40, covered=34, below=0.03),
    "drift": Law(_drift, 40, covered=34, below=0.03),
    "copies": Law(_copies, 20, unbiased=True),
    "regions": Law(_regions, 20, unbiased=True),
    "five_regions": Law(_five_regions, 20, unbiased=True),
}
