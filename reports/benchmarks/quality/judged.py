"""What searches reported beside what their test rows gave.

Average precision of few rare rows is too high in the mean, as that of many is not. How much higher
it is follows from a model: scores of either class are normal with the same spread, so far apart
that many rows would give what was reported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import norm
from sklearn.metrics import average_precision_score

from reports.benchmarks import cases
from reports.benchmarks import render as written

__all__ = ["judged"]

ENOUGH = 250  # rare rows, from which on a test's average precision is that of many
SAMPLES = 100
TEST = 0.3  # of a table's rows
MOST_ROWS = 60_000  # of a table, that the bench takes
GRID = np.linspace(-8.0, 20.0, 4_001)  # of scores
NUMBER = re.compile(r'"reported": ([-+.e\d]+)')


def judged(rows: pd.DataFrame, scores: Mapping[str, str]) -> list[str]:
    """Write the mean differences over tables of the searches that told, by what was asked for.

    `scores` are the names of test scores, by metric.
    """
    told = rows[rows["info"].fillna("").str.contains('"reported": ')]
    reported = told["info"].str.extract(NUMBER)[0].astype(float)
    gaps = {}
    for metric, score in scores.items():
        asked = told["metric"] == metric
        gaps[metric] = reported[asked] - told[score][asked]
    tables = told["data"][gaps["average_precision"].index]
    more = [_more(reported[at], cases.TABLES.loc[name]) for at, name in tables.items()]
    gaps["average_precision, at as many rare rows"] = gaps["average_precision"] + more
    return [
        "## What was reported, less what the test rows gave",
        "",
        "Errors are those of the mean over tables. On few rare rows average precision is too high "
        "in the mean, which a model of two normal classes adds to what was reported (two classes).",
        "",
        *written.table(
            ["", "searches", "tables", "reported less the test's", "of small tables"],
            [[name, *_cells(gap, told)] for name, gap in gaps.items() if len(gap)],
        ),
        "",
    ]


def _cells(gaps: pd.Series, told: pd.DataFrame) -> list[str]:
    """Return how many searches and tables there are, and the mean of all and of small ones."""
    tables, few = told["data"][gaps.index], told["n"][gaps.index] < cases.SMALL
    means = [gap.groupby(tables).mean() for gap in (gaps, gaps[few])]
    shown = [f"{mean.mean():+.4f} ± {mean.sem():.4f}" for mean in means]
    return [str(len(gaps)), str(len(means[0])), shown[0], f"{shown[1]} ({len(means[1])})"]


def _more(value: float, table: Mapping[str, float]) -> float:
    """Return by how much so few rare rows make average precision higher in the mean."""
    rate = table["minority_count"] / table["rows"]
    n_rows = round(TEST * min(table["rows"], MOST_ROWS))
    n_rare = round(rate * n_rows)
    if table["n_classes"] > 2 or n_rare >= ENOUGH or not rate < value < 1:
        return 0.0
    apart = brentq(lambda apart: _of_many(apart, rate) - value, 0, 12)
    random, rare = np.random.default_rng(cases.SEED), np.arange(n_rows) < n_rare
    scores = random.normal(size=(SAMPLES, n_rows)) + apart * rare
    return float(np.mean([average_precision_score(rare, one) for one in scores])) - value


def _of_many(apart: float, rate: float) -> float:
    """Return the average precision of many rows of two normal classes."""
    found, false = rate * norm.sf(GRID - apart), (1 - rate) * norm.sf(GRID)
    precision = found / np.maximum(found + false, np.finfo(float).tiny)
    return float(-np.trapezoid(precision, found / rate))
