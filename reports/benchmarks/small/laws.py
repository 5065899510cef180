"""Generated tables of whole-number columns, as of the silhouettes of vehicles.

Columns are correlated and on scales of 30 to 1,000, as measurements of the same object are, and the
log-odds of the positive class are a random function of them: a smooth one, axis-parallel steps, or
the sum of both. A test row follows the same law as a training row.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from reports.benchmarks import cases

__all__ = ["LAWS", "TEST_ROWS", "TRAIN_ROWS", "generate"]

TRAIN_ROWS, TEST_ROWS = 800, 10_000
COLUMNS = (12, 20)
SCALES = (30, 1_000)  # distance in which most values of a column lie
POSITIVE = (0.05, 0.30)  # share of positive rows
SIGNAL = (3.0, 8.0)  # standard deviation of the log-odds


def generate(kind: str, number: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Draw a law and its rows; return training rows and test rows with their ``target``.

    Parameters
    ----------
    kind : str
        A key of ``LAWS``.
    number : int
        Of the law; all draws follow from it and the kind.
    """
    random = np.random.default_rng([cases.SEED, list(LAWS).index(kind), number])
    whole = _whole_numbers(random)
    law = LAWS[kind](_standardized(whole.astype(float)), random)
    noisy = random.uniform(*SIGNAL) * law + random.logistic(size=len(whole))
    positive = noisy > np.quantile(noisy, 1 - random.uniform(*POSITIVE))
    frame = pd.DataFrame(whole, columns=[f"n{column}" for column in range(whole.shape[1])])
    frame["target"] = np.where(positive, "yes", "no")
    return frame[:TRAIN_ROWS], frame[TRAIN_ROWS:].reset_index(drop=True)


def _whole_numbers(random: np.random.Generator) -> np.ndarray:
    """Draw correlated whole numbers (rows, columns), half of the columns skewed."""
    rows, columns = TRAIN_ROWS + TEST_ROWS, random.integers(COLUMNS[0], COLUMNS[1] + 1)
    factors = random.normal(size=(rows, random.integers(3, 7)))
    shared = _standardized(factors @ random.normal(size=(factors.shape[1], columns)))
    numbers = shared + random.uniform(0.2, 0.7, columns) * random.normal(size=(rows, columns))
    skewed = random.random(columns) < 0.5
    numbers = _standardized(np.where(skewed, np.exp(0.4 * numbers), numbers))
    # Six standard deviations hold nearly all rows; the smallest values are near the scale's half.
    scales = np.exp(random.uniform(*np.log(SCALES), columns))
    return np.round(scales * (numbers / 6 + 1)).astype(np.int64)


def _smooth(x: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw a network of two to four tanh units, or a quadratic form of as many directions.

    A direction weights standardized columns, or columns without their correlations: there, small
    differences of correlated columns count as much as what they share.
    """
    columns = x.shape[1]
    directions = random.integers(2, 5)
    factor = np.linalg.cholesky(np.cov(x, rowvar=False))
    uncorrelated = np.linalg.solve(factor, x.T).T
    weights = random.normal(size=(2, columns, directions))
    shared = random.random(directions) < 0.5
    places = _standardized(np.where(shared, x @ weights[0], uncorrelated @ weights[1]))
    outer = random.normal(size=(2, directions))
    if random.random() < 0.5:
        law = places**2 @ outer[0] + places @ outer[1]
    else:
        gains = random.uniform(1.0, 2.0, directions)
        law = np.tanh(gains * places + outer[1]) @ outer[0]
    return _standardized(law)


def _steps(x: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Add up 10 to 20 boxes of random heights, each bounded in one to three columns."""
    rows, columns = x.shape
    law = np.zeros(rows)
    for _ in range(random.integers(10, 21)):
        bounded = random.permutation(columns)[: random.integers(1, 4)]
        thresholds = np.quantile(x, random.uniform(0.2, 0.8), axis=0)[bounded]
        above = random.random(len(bounded)) < 0.5
        inside = ((x[:, bounded] > thresholds) == above).all(axis=1)
        law += random.normal() * inside
    return _standardized(law)


def _mixed(x: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Add up a smooth law and steps, with equal variance."""
    return _standardized(_smooth(x, random) + _steps(x, random))


def _standardized(x: np.ndarray) -> np.ndarray:
    standardized: np.ndarray = (x - x.mean(axis=0)) / x.std(axis=0)
    return standardized


LAWS = {"smooth": _smooth, "piecewise": _steps, "mixed": _mixed}
