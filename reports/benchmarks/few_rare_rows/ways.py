"""Ways to predict with strategies whose scores are noisy: one of them, or a mean of several.

A strategy's merit is its utility out of fold, alone or with the log-likelihood a row beside it,
less the mean of the table's strategies. *Empirical Bayes* shrinks it towards the mean that the
strategy in the same place has on the other tables, the more the larger its error is beside their
variance (Efron & Morris, "Stein's estimation rule and its competitors", 1973).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from reports.benchmarks.few_rare_rows.evaluating import Evaluated
from reports.benchmarks.project import blend, jackknife, row_log_loss, stratified_groups

__all__ = ["MOST", "TODAY", "merits", "predicted", "shrunk"]

TODAY = "blend"  # what others are held against
BLOCKS = 20  # of rows, that the jackknife leaves out
SIZES = (3, 5, 10)  # of uniform blends
TREES = (0.2, 0.5)  # the partners' share
MOST = 10  # strategies of a blend
SHRINKAGE = (0.25, 0.5, 0.75, 1.0)  # of greedy weights towards uniform ones of the best


def merits(one: Evaluated, *, likelihood: bool) -> pd.DataFrame:
    """Return each network's merit out of fold and its error, by the jackknife."""
    y, block = one.judge.y, stratified_groups(one.judge.y, BLOCKS)

    def values(rows: np.ndarray) -> np.ndarray:
        judge, metric = one.judge.take(rows), one.judge.metric
        found = []
        for place in one.networks:
            proba = one.results[place].oof[rows]
            value = metric.utility(metric(judge.y, proba, weight=judge.weight))
            loss = np.average(row_log_loss(judge.y, proba), weights=judge.weight)
            found.append(value - loss if likelihood else value)
        return np.array(found) - np.mean(found)

    left_out = np.array([values(block != number) for number in range(BLOCKS)])
    return pd.DataFrame(
        {
            "merit": values(np.ones(len(y), dtype=bool)),
            "error": [jackknife(column) for column in left_out.T],
        },
        index=one.networks,
    )


def shrunk(own: pd.DataFrame, others: Sequence[pd.DataFrame]) -> pd.Series:
    """Shrink merits towards those of the same places on other tables."""
    known = pd.concat(others)
    places = known.groupby(level=0)
    mean = places["merit"].mean()
    noise = (known["error"] ** 2).groupby(level=0).mean()
    variance = (places["merit"].var() - noise).clip(lower=0.0)
    trust = variance / (variance + own["error"] ** 2)
    return (mean + trust * (own["merit"] - mean))[own.index]


def predicted(one: Evaluated, rankings: Mapping[str, pd.Series]) -> dict[str, np.ndarray]:
    """Predict the test rows in each way: probabilities (m, C)."""
    found: dict[str, np.ndarray] = {}
    trees = _mean(one, one.partners)
    for name, ranking in rankings.items():
        order = list(ranking.sort_values(ascending=False, kind="stable").index)
        found[f"best by {name}"] = one.tested[order[0]]
        for size in (*SIZES, len(order)):
            networks = _mean(one, order[:size])
            label = "all" if size == len(order) else f"{size} by {name}"
            for share in TREES:
                found[f"{label}, trees {share:.0%}"] = (1 - share) * networks + share * trees
    return found | _greedy(one)


def _greedy(one: Evaluated) -> dict[str, np.ndarray]:
    """Predict by today's blend, and by its weights moved."""
    places = list(one.results)
    numbered = dict(enumerate(one.results.values()))
    partners = [number for number, place in enumerate(places) if place in one.partners]
    kept = blend(one.judge, numbered, partners=partners)
    alone = kept if kept.networks is None else kept.networks
    tested = np.stack([one.tested[place] for place in places])

    def mixed(numbers: Sequence[int], weights: Sequence[float]) -> np.ndarray:
        return np.tensordot(weights, tested[list(numbers)], axes=1)

    today, networks = (mixed(each.numbers, each.weights) for each in (kept, alone))
    trees = _mean(one, one.partners)
    found = {TODAY: today, "blend of networks": networks}
    best = np.argsort([-_merit(one, place) for place in places], kind="stable")[:MOST]
    for share in SHRINKAGE:
        uniform = tested[best].mean(axis=0)
        found[f"blend, {share:.0%} uniform"] = (1 - share) * today + share * uniform
    for share in TREES:
        found[f"blend of networks, trees {share:.0%}"] = (1 - share) * networks + share * trees
    return found


def _merit(one: Evaluated, place: str) -> float:
    """Return the utility and the log-likelihood a row of a strategy, out of fold."""
    found, judge = one.results[place], one.judge
    loss = np.average(row_log_loss(judge.y, found.oof), weights=judge.weight)
    return float(found.score.utility - loss)


def _mean(one: Evaluated, places: Sequence[str]) -> np.ndarray:
    mean: np.ndarray = np.mean([one.tested[place] for place in places], axis=0)
    return mean
