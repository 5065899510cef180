"""Whether a list learned again, at the work that a network begins with, is better than today's.

It is learned from scores at the first rung, on tables of all sizes or of a table's own band, and
held against one that is learned as today's was; each without the family of the table. What counts
is the test score of the network that is best out of fold, among the first n of a list and among as
many as end in the seconds of the first n as today.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reports.benchmarks import cases, project
from reports.benchmarks import render as written
from reports.benchmarks.portfolio.lists import greedy, learned, measured, regrets
from reports.benchmarks.project import Network
from reports.benchmarks.rows import Row

__all__ = ["AGAIN", "TODAY", "compared", "orders_without"]

PREFIXES = (2, 4, 8, 12)
TODAY, AGAIN, BANDS, RANDOM = "as today", "again", "again, by size", "random"
LISTS = (TODAY, AGAIN, BANDS, RANDOM)
ORDERS = 100  # random ones of a table
Ints = NDArray[np.int64]
Orders = dict[tuple[str, str], list[Ints]]  # by table and list, those that it stands for


@dataclass(frozen=True)
class _Values:
    """Of networks (columns) at the first rung, by table: out of fold, on test rows, seconds."""

    score: pd.DataFrame
    test: pd.DataFrame
    seconds: pd.DataFrame

    @cached_property
    def regret(self) -> pd.DataFrame:
        """Regret out of fold."""
        return regrets(self.score)

    def chosen(self, table: str, firsts: Iterable[Ints]) -> tuple[float, float]:
        """Return the mean regret and test score of the best out of fold of each of some orders."""
        score = self.score.loc[table].to_numpy()
        best = [first[score[first].argmax()] for first in firsts]
        return self.regret.loc[table].iloc[best].mean(), self.test.loc[table].iloc[best].mean()

    def within(self, table: str, order: Ints, seconds: float) -> Ints:
        """Return those that end in some seconds; the first one in any case."""
        ended = np.cumsum(self.seconds.loc[table].to_numpy()[order]) <= seconds
        return order[: max(int(ended.sum()), 1)]


def compared(rows: Sequence[Row], *, quick: Network) -> list[str]:
    """Write the regret of each list, and what it gains on test rows over one as today's."""
    rung = project.FIRST_RUNG
    values = _Values(*(measured(rows, value, rung=rung) for value in ("score", "test", "seconds")))
    small = cases.TABLES["rows"].reindex(values.score.index) * (1 - cases.TEST_SHARE) < cases.SMALL
    bands = {"all": small | True, "small": small, "larger": ~small}
    most = max(PREFIXES)
    orders = orders_without(values.score, measured(rows), small, quick=quick, most=most)
    lines = [
        "",
        f"## Learned again at {rung:g} of the planned work",
        "",
        f"{values.score.shape[1]} of these networks on 70 % of each table, families left out: mean "
        "regret out of fold of the best of the first n; in brackets what that network gains on "
        "test rows over the one of a list that is learned as today's, and its error over tables. "
        f"Small tables have fewer than {cases.SMALL:,} training rows.",
    ]
    for equal in ("networks", "seconds"):
        found = {n: _found(values, orders, n, seconds=equal == "seconds") for n in PREFIXES}
        cells = (
            [name, band, *(_told(found[n], name, own) for n in PREFIXES)]
            for band, own in bands.items()
            for name in LISTS
        )
        heads = [f"n = {n}" if equal == "networks" else f"as {n} today" for n in PREFIXES]
        lines += ["", f"Equal {equal}:", "", *written.table(["list", "tables", *heads], cells)]
    return lines


def orders_without(
    scores: pd.DataFrame, before: pd.DataFrame, small: pd.Series, *, quick: Network, most: int
) -> Orders:
    """Make the lists of each table without its family.

    Parameters
    ----------
    scores, before : DataFrame
        By table and network: at the first rung, and those that today's list was learned from.
    small : Series of bool
        Which tables are of the lower band.
    quick : Network
        The first of today's list.
    most : int
        Networks of a list.

    Returns
    -------
    dict
        By table and list the orders that it stands for, many where they are random: places of
        networks in `scores`.
    """
    random = np.random.default_rng(cases.SEED)
    before = before[[name for name in before if name in scores]]
    found: Orders = {}
    for table in scores.index:
        family = cases.family_of(table)
        others = scores.drop(index=family, errors="ignore")
        band = others[small[others.index] == small[table]]
        as_today = learned(before.drop(index=family, errors="ignore"), most, quick=quick)
        made = {TODAY: as_today, AGAIN: greedy(others, most), BANDS: greedy(band, most)}
        for name, own in made.items():
            found[table, name] = [scores.columns.get_indexer(own)]
        found[table, RANDOM] = [random.permutation(scores.shape[1]) for _ in range(ORDERS)]
    return found


def _found(values: _Values, orders: Orders, n: int, *, seconds: bool) -> pd.DataFrame:
    """Return the mean regret and test score by table and list."""
    found = []
    for (table, name), own in orders.items():
        today = orders[table, TODAY][0][:n]
        limit = values.seconds.loc[table].to_numpy()[today].sum()
        firsts = (values.within(table, one, limit) if seconds else one[:n] for one in own)
        found.append([table, name, *values.chosen(table, firsts)])
    frame = pd.DataFrame(found, columns=["data", "list", "regret", "test"])
    return frame.pivot_table(index="data", columns="list")


def _told(found: pd.DataFrame, name: str, band: pd.Series) -> str:
    """Write a list's regret on the tables of a band, and its gain on test rows."""
    own = found[band[found.index]]
    told = f"{own['regret', name].mean():.3f}"
    gain = own["test", name] - own["test", TODAY]
    return told if name == TODAY else f"{told} ({written.paired(gain)})"
