"""A table larger than memory: searched and predicted from its folder.

``run`` makes a folder of Parquet files and another one of a tenth as many other rows, searches the
first within ``--max-memory``, and predicts the other; a search of up to a million of its rows, in
memory and with the same limit, is what the result is held against. Memory is the PSS of all
processes at its most. All is made in a temporary folder and removed: a million rows take 125 MB.
"""

from __future__ import annotations

import json
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from sklearn.metrics import average_precision_score

from reports.benchmarks import cases
from reports.benchmarks import render as written
from reports.benchmarks.large.table import COLUMNS, PART, make
from reports.benchmarks.machine import Ended, watched
from reports.benchmarks.rows import Row, Rows, by, foot

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("rows", "time", "trials", "memory"))
MILLION = 1_000_000  # rows of the search in memory
BLOCKS = 20  # of the other rows, by which the errors are told


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_again(parser)
    parser.add_argument("--rows", type=int, default=50_000_000, help="of the folder")
    parser.add_argument("--time", type=float, default=300.0, help="of a search, in seconds")
    parser.add_argument("--trials", type=int, help="strategies of a search, instead of seconds")
    parser.add_argument("--memory", default="4GB", help="that the search may take")
    parser.add_argument("--jobs", type=int, default=cases.JOBS, help="worker processes")
    parser.add_argument("--within", type=Path, help="folder to make the temporary one in")


def run(options: Namespace) -> None:
    """Make the folders, search, predict, and compare."""
    row: Row = {key: getattr(options, key) for key in ("rows", "time", "trials", "memory")}
    if ROWS.key(row) in ROWS.known(again=options.again):
        return
    with tempfile.TemporaryDirectory(dir=options.within) as within:
        folder, others, million = (Path(within) / name for name in ("folder", "others", "million"))
        row["rate"] = make(folder, options.rows)
        row["others"] = max(options.rows // 10, PART)
        make(others, row["others"], first=1_000_000)
        row["folder"] = measured(folder, others, options, "--max-memory", options.memory)
        make(million, min(options.rows, MILLION))
        file = million.with_suffix(".parquet")
        pq.write_table(pq.read_table(million), file)
        row["million"] = measured(file, others, options)
    ROWS.append([row])
    print(row, file=sys.stderr, flush=True)


def measured(data: Path, others: Path, options: Namespace, *more: str) -> Row:
    """Search a table and predict other rows: seconds, memory, and what the result is worth."""
    out, predictions = data.parent / f"{data.stem}-run", data.parent / f"{data.stem}-out.parquet"
    limit = (
        ["--time-budget", options.time] if options.trials is None else ["--trials", options.trials]
    )
    limits = [*limit, "--jobs", options.jobs, *more]
    search = command("search", data, "--target", "target", "--out", out, "--quiet", *limits)
    predict = command("predict", out / "pipeline.autoimb", others, "-o", predictions)
    results = json.loads((out / "run.json").read_text(encoding="utf-8"))["results"]
    y = pd.read_parquet(others, columns=["target"])["target"].to_numpy() == "yes"
    proba = pd.read_parquet(predictions, columns=["proba_yes"])["proba_yes"].to_numpy()
    blocks = np.array_split(np.arange(len(y)), BLOCKS)
    return {
        "search": [search.seconds, search.memory_mb],
        "predict": [predict.seconds, predict.memory_mb],
        "notices": results["notices"],
        "reported": results["reported"],
        "true_rate": float(y.mean()),
        "mean": float(proba.mean()),
        "precision": [float(average_precision_score(y[own], proba[own])) for own in blocks],
    }


def command(*words: object) -> Ended:
    """Run a command of the package, and look at its memory."""
    ended = watched([sys.executable, "-m", "autoimb", *map(str, words)])
    if ended.code:
        raise SystemExit(f"autoimb {words[0]} ended with {ended.code}: {ended.error}")
    return ended


def searches(row: Row) -> Iterator[list[str]]:
    """Write what each search of a row took and gave."""
    for name, shown in (("folder", f"folder, {row['memory']}"), ("million", "in memory")):
        one = row[name]
        rows = row["rows"] if name == "folder" else min(row["rows"], MILLION)
        precision = np.array(one["precision"])
        error = precision.std(ddof=1) / np.sqrt(len(precision))
        yield [
            f"{rows:,} ({shown})",
            f"{one['search'][0]:.0f}",
            f"{one['search'][1]:,.0f}",
            f"{one['predict'][0]:.0f}",
            f"{one['predict'][1]:,.0f}",
            f"{one['mean'] / one['true_rate'] - 1:+.1%}",
            f"{precision.mean():.4f} ± {error:.4f}",
        ]


def render(rows: list[Row]) -> str:
    """Write the figures."""
    if not rows:
        return "# Bigger than memory\n\nNot measured yet.\n"
    head = ["rows searched", "s", "MB", "predict s", "MB", "mean probability", "average precision"]
    lines = [
        "# Bigger than memory",
        "",
        f"Folders of Parquet files of {PART:,} rows and {COLUMNS} columns, searched and then "
        "predicted; memory is that of all processes at its most. The mean predicted probability "
        "is held against the rate of the other rows; average precision is the mean over "
        f"{BLOCKS} blocks of them, with its error.",
    ]
    for row in rows:
        gap = np.subtract(row["folder"]["precision"], row["million"]["precision"])
        lines += [
            "",
            f"## {row['rows']:,} rows, {row['rate']:.2%} positive, "
            + (f"{row['time']:.0f} s; " if row["trials"] is None else f"{row['trials']} trials; ")
            + f"{row['others']:,} other rows",
            "",
            *written.table(head, searches(row)),
            "",
            f"The folder's average precision less that in memory, paired: "
            f"{written.paired(pd.Series(gap))}.",
            "",
            *(f"- {notice}" for notice in row["folder"]["notices"]),
        ]
    return "\n".join([*lines, *foot("large", rows)])
