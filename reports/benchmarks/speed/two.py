"""What two trainings side by side lose to each other, against two loops of their bare products.

The twelve frozen networks of ``steps.py``. Each steps alone for a moment and then beside another
process that steps the same network; so do its products, as torch computes them and as the step
does. Needs two cores with nothing else on them.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reports.benchmarks import cases
from reports.benchmarks import render as written
from reports.benchmarks.rows import Row, Rows, by, foot
from reports.benchmarks.speed.against import Process, answer, ask, checkout
from reports.benchmarks.speed.stepping import NETWORKS, PRODUCTS
from reports.benchmarks.speed.steps import FOLDS_AND_BATCH, name_of
from reports.benchmarks.speed.strategies import simulated

__all__ = ["render", "run"]

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("rows", "network"))
SECONDS, BEFORE = 0.4, 0.15  # of each moment, and until it begins
WORKS = ("step", *PRODUCTS)


def run(sizes: Sequence[int], *, repeats: int) -> None:
    """Rate every network and its products alone and beside each other."""
    script = Path(__file__).with_name("stepping.py")
    with (
        tempfile.TemporaryDirectory() as folder,
        checkout(cases.ROOT, script) as first,
        checkout(cases.ROOT, script) as second,
    ):
        for rows in sizes:
            folds, batch = FOLDS_AND_BATCH[rows]
            table = {"table": str(simulated(rows, Path(folder))), "folds": folds, "batch": batch}
            ROWS.append(
                {"rows": rows, "network": number}
                | kept((first, second), table | {"network": number}, repeats)
                for number in range(len(NETWORKS))
            )


def kept(processes: tuple[Process, Process], words: dict[str, Any], repeats: int) -> Row:
    """Return the share of its rate that each work keeps beside its like, the median of repeats."""
    row: Row = {}
    rated(processes, words | {"work": "step"})  # what is made once
    for work in WORKS:
        shares = []
        for _ in range(repeats):
            alone = [*rated(processes[:1], words | {"work": work})]
            alone += rated(processes[1:], words | {"work": work})
            both = rated(processes, words | {"work": work})
            shares.append(sum(both) / sum(alone))
        row[work] = float(np.median(shares))
    print(name_of(words["network"]), row, file=sys.stderr, flush=True)
    return row


def rated(processes: Sequence[Process], words: dict[str, Any]) -> list[float]:
    """Let processes work at the same time; return their steps a second."""
    start = time.time() + BEFORE
    for process in processes:
        ask(process, **words, start=start, seconds=SECONDS)
    return [answer(process)["rate"] for process in processes]


def render() -> list[str]:
    """Write what steps keep, as shares of what their products keep."""
    rows = ROWS.read()
    if not rows:
        return []
    frame = pd.DataFrame(rows)

    def cells() -> Iterator[list[str]]:
        for size, own in frame.groupby("rows"):
            means = np.exp(np.log(own[list(WORKS)]).mean())
            ratios = (f"**{means['step'] / means[name]:.0%}**" for name in PRODUCTS)
            yield [f"{size:,}", *(f"{means[name]:.0%}" for name in WORKS), *ratios]

    head = ["rows", "a step keeps", "torch's products", "its own products"]
    return [
        "",
        "## Two workers",
        "",
        "The share of its steps a second that a process keeps beside another one that steps the "
        "same network, the geometric mean over the twelve; the same of their bare products; and "
        "the first as a share of the others.",
        "",
        *written.table([*head, "of torch's", "of its own"], cells()),
        *foot("speed", rows)[:-1],
    ]
