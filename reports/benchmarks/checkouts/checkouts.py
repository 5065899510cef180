"""Searches of two checkouts on public tables, side by side, each on one core.

``run`` trains both at the same time on 70 % of each table (``side_by_side.py``), and scores the
other 30 % by the metric that both optimize.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np
import pandas as pd

from reports.benchmarks import cases
from reports.benchmarks import render as written
from reports.benchmarks.rows import Row, Rows, by, foot
from reports.benchmarks.side_by_side import (
    METRICS,
    SIDES,
    add_before,
    checkouts,
    commits,
    search_both,
)

ROWS = Rows(
    Path(__file__).with_suffix(".jsonl"), by("before", "after", "data", "seed", "time", "metric")
)


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_data(parser)
    cases.add_again(parser)
    add_before(parser)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], metavar="N")
    parser.add_argument("--time", type=float, default=cases.MINUTE, help="seconds of each search")
    parser.add_argument("--metric", choices=METRICS, default=METRICS[0])


def run(options: Namespace) -> None:
    """Search with both checkouts on every table and split that is missing."""
    roots = checkouts(options)
    described = commits(roots)
    known = ROWS.known(again=options.again)
    for seed in options.seeds:
        for path in sorted(cases.paths(options)):
            row: Row = {**described, "data": path.stem, "seed": seed, "time": options.time}
            row["metric"] = options.metric
            if ROWS.key(row) in known:
                continue
            train, test = cases.split(path, seed)
            row |= search_both(
                roots, train, test, seconds=options.time, seed=seed, metric=options.metric
            )
            ROWS.append([row])
            print(row, file=sys.stderr, flush=True)


def render(rows: list[Row]) -> str:
    """Write the difference of each pair of checkouts, over splits and by table."""
    lines = ["# Two checkouts side by side", ""]
    lines += ["The optimized metric on held-out rows, after less before; one core each.", ""]
    frame = pd.DataFrame(rows)
    pairs = frame.groupby(["before", "after", "time", "metric"], sort=False) if rows else ()
    for (before, after, seconds, metric), searches in pairs:
        name = metric.replace("_", " ")
        lines += [f"## {before} and {after}, {seconds:g} s, {name}", ""]
        gap = searches["after_score"] - searches["before_score"]
        cells = [[name, *_cells(part, gap[part.index])] for name, part in searches.groupby("seed")]
        if len(cells) > 1:
            cells.append(["all", *_cells(searches, gap)])
        head = ["split", "tables", *SIDES, "difference", "complete strategies"]
        lines += [*written.table(head, cells), ""]
        by_table = gap.groupby(searches["data"]).mean()
        far = by_table[by_table.abs() > 0.005].sort_values()
        listed = ", ".join(f"{name} {value:+.4f}" for name, value in far.items())
        lines += [f"Means over the splits beyond .005: {listed or 'none'}.", ""]
        lines += _deployed(searches)
    return "\n".join([*lines, *foot("checkouts", rows)])


def _deployed(searches: pd.DataFrame) -> list[str]:
    """Write log-loss, prediction time and size of the deployed pipelines, where measured."""
    if "after_bytes" not in searches or searches["after_bytes"].isna().any():
        return []
    gap = searches["after_log_loss"] - searches["before_log_loss"]
    ratios = [
        np.exp(np.log(searches[f"after_{name}"] / searches[f"before_{name}"]).mean())
        for name in ("predict", "bytes")
    ]
    slopes = " and ".join(f"{searches[f'{side}_slope'].median():.2f}" for side in SIDES)
    return [
        f"Log-loss {written.paired(gap)}; median slopes {slopes}. Geometric means of the ratios "
        f"after / before: time to predict {ratios[0]:.2f}, file size {ratios[1]:.2f}.",
        "",
    ]


def _cells(searches: pd.DataFrame, gap: pd.Series) -> list[str]:
    means = [f"{searches[f'{side}_score'].mean():.4f}" for side in SIDES]
    complete = " and ".join(f"{searches[f'{side}_complete'].median():.0f}" for side in SIDES)
    return [str(len(gap)), *means, written.paired(gap), complete]
