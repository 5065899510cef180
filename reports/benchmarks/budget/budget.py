"""Whole searches against the clock: whether they end in time, and how soon there is a result.

``run`` lets ``autoimb search`` search every table and simulated ones of 1,000 to 1,000,000 rows and
30 columns, as processes of their own; with ``--cells`` it is twelve tables of 2 to 200 classes, 10
to 10,000 columns and 1,000 to 1,000,000 rows, and ``--busy 2`` keeps two processors busy beside.
Memory is the summed PSS of the whole process tree, twice a second; a trial's time is that of its
file.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import numpy as np

from autoimb import load
from reports.benchmarks import cases, project
from reports.benchmarks import render as written
from reports.benchmarks.machine import watched
from reports.benchmarks.rows import Row, Rows, by, foot

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("data", "budget", "jobs", "busy"))
BUDGETS = (10.0, 30.0, cases.MINUTE)
SIMULATED = (1_000, 10_000, 100_000, 1_000_000)
CELL_BUDGETS = (20.0, 60.0)
CELLS = (  # classes, columns, rows
    *((2, 10, 1_000), (2, 10_000, 1_000), (2, 1_000, 10_000), (2, 10_000, 10_000)),
    *((2, 100, 100_000), (2, 100, 1_000_000), (10, 30, 10_000), (10, 10, 1_000_000)),
    *((50, 100, 10_000), (200, 10, 10_000), (200, 1_000, 10_000), (200, 10, 100_000)),
)


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_data(parser)
    cases.add_again(parser)
    parser.add_argument("--budgets", type=float, nargs="*", default=BUDGETS)
    parser.add_argument("--rows", type=int, nargs="*", default=SIMULATED, help="simulated")
    parser.add_argument("--large", type=float, default=cases.LONG, help="budget of 1,000,000 rows")
    parser.add_argument("--jobs", type=int, default=cases.JOBS)
    parser.add_argument("--cells", action="store_true", help="tables of many sizes instead")
    parser.add_argument("--busy", type=int, default=0, help="processes that compute beside")


def run(options: Namespace) -> None:
    """Search the tables and budgets that are missing."""
    known = ROWS.known(again=options.again)
    with tempfile.TemporaryDirectory() as folder:
        for path, budget in asked(options, Path(folder)):
            if (path.stem, budget, options.jobs, options.busy or None) not in known:
                with busy(options.busy) as beside:
                    row = searched(path, budget, jobs=options.jobs) | beside
                ROWS.append([row])
                print(row, file=sys.stderr, flush=True)


def asked(options: Namespace, folder: Path) -> Iterator[tuple[Path, float]]:
    """Yield the tables and their budgets."""
    if options.cells:
        for cell, budget in product(CELLS, CELL_BUDGETS):
            yield cases.of_classes(*cell, folder), budget
        return
    for budget in options.budgets:
        for path in sorted(cases.paths(options)):
            yield path, budget
    for rows in options.rows:
        large = rows >= 1_000_000
        yield cases.simulated(rows, folder), options.large if large else cases.MINUTE


@contextmanager
def busy(processes: int) -> Iterator[Row]:
    """Let so many processes compute for nothing; give what a row says of them."""
    idle = [sys.executable, "-c", "while True: pass"]
    running = [subprocess.Popen(idle) for _ in range(processes)]
    try:
        yield {"busy": processes} if processes else {}
    finally:
        for process in running:
            process.kill()
            process.wait()


def searched(path: Path, budget: float, *, jobs: int) -> Row:
    """Search a table in a process of its own and look at what it left."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        words = ["search", str(path), "--target", "target", "--time-budget", f"{budget:g}"]
        words += ["--jobs", str(jobs), "--out", str(out)]
        started = time.time()
        ended = watched([sys.executable, "-m", "autoimb", *words])
        row: Row = {
            "data": path.stem,
            "budget": budget,
            "jobs": jobs,
            "seconds": round(ended.seconds, 2),
            "over": round(ended.seconds - budget, 2),
            "in_time": ended.seconds <= 1.02 * budget + 5,
            "memory_mb": round(ended.memory_mb),
            "code": ended.code,
        }
        if ended.code:
            return row | {"error": ended.error.strip()[-300:]}
        return row | left(project.Run(out), path, started)


def left(run: project.Run, path: Path, started: float) -> Row:
    """Look at the trials of a search, when the first was on disk, and whether the winner works."""
    records = run.records()
    counts = Counter(record.status for record in records)
    complete, ends = [r.number for r in records if r.status == "complete"], run.end_times()
    first = min((ends[number] for number in complete), default=float("nan"))
    proba = load(run.pipeline).predict_proba(cases.with_target(path)[0].head(100))
    return {
        "complete": counts["complete"],
        "others": {status: n for status, n in counts.items() if status != "complete"},
        "first": round(first - started, 2),
        "score": run.score(),
        "predicts": bool(np.isfinite(proba).all()),
    }


def cells(row: Row) -> list[object]:
    """Write a search."""
    beside = f", {row['busy']} busy" if "busy" in row else ""
    begin = [row["data"] + beside, f"{row['budget']:g}", row["seconds"]]
    if row["code"]:
        return [*begin, row["error"].replace("|", "/").replace("\n", " "), "", "", "", ""]
    others = ", ".join(f"{n} {status}" for status, n in row["others"].items())
    share = f"{row['first'] / row['budget']:.0%}"
    return [*begin, row["first"], share, row["complete"], others, row["memory_mb"]]


def render(rows: list[Row]) -> str:
    """Write the searches, and how many ended in time."""
    good = [r for r in rows if not r["code"] and r["in_time"] and r["complete"] and r["predicts"]]
    head = ["table", "budget", "seconds", "first complete", "share", "complete", "others"]
    lines = [
        "# Searches against the clock",
        "",
        "Wall-clock seconds of the whole `autoimb search` process; the seconds until the first "
        "complete trial was on disk, and its share of the budget; trials; most memory.",
        "",
        *written.table([*head, "memory MB"], map(cells, rows)),
        "",
        f"{len(good)} of {len(rows)} searches ended within their budget + 2 % + 5 s, with at least "
        "one complete trial and a pipeline that predicts.",
    ]
    return "\n".join([*lines, *foot("budget", rows)])
