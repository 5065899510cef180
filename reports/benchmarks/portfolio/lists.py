"""Lists of first networks, learned from measured scores, with or without some tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from reports.benchmarks.rows import Row

__all__ = ["PICKED", "greedy", "learned", "measured", "regrets", "short"]

PICKED = 20  # networks of the list that a search starts with


def short(network: dict[str, Any]) -> str:
    """Return a network as JSON, its numbers to two digits, as the list has them."""
    params = {k: float(f"{v:.2g}") if type(v) is float else v for k, v in network["params"].items()}
    return json.dumps(network | {"params": params})


def measured(rows: Sequence[Row]) -> pd.DataFrame:
    """Return scores by table and network, of networks that every table has, in their order."""
    given = [row for row in rows if "drawn" not in row]
    columns = [(row["data"], short(row["strategy"]), row["score"]) for row in given]
    frame = pd.DataFrame(columns, columns=["data", "strategy", "score"])
    values = frame.pivot_table(index="data", columns="strategy", values="score").dropna(axis=1)
    return values[[name for name in dict.fromkeys(frame["strategy"]) if name in values]]


def learned(scores: pd.DataFrame, count: int = PICKED, *, quick: dict[str, Any]) -> list[str]:
    """Pick a list for searches, as JSON, behind the quick network that it starts with."""
    first = json.dumps(quick)
    return [first, *greedy(scores.drop(columns=first, errors="ignore"), count)]


def regrets(scores: pd.DataFrame) -> pd.DataFrame:
    """Scale each table's scores: 0 is the best strategy, 1 the median one."""
    best, middle = scores.max(axis=1), scores.median(axis=1)
    return scores.rsub(best, axis=0).div((best - middle).clip(lower=1e-9), axis=0).clip(upper=3.0)


def greedy(scores: pd.DataFrame, count: int) -> list[str]:
    """Pick strategies (columns) so that every prefix has the least mean regret over tables."""
    regret = regrets(scores)
    values, best = regret.to_numpy(), np.full(len(regret), np.inf)
    chosen: list[int] = []
    for _ in range(count):
        means = np.minimum(values, best[:, None]).mean(axis=0)
        means[chosen] = np.inf
        chosen.append(int(means.argmin()))
        best = np.minimum(best, values[:, chosen[-1]])
    return [str(regret.columns[at]) for at in chosen]
