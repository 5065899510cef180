"""How many trials a minute a Dask cluster runs, against the local pool of as many workers.

``run`` searches one simulated table with each number of workers, on this machine's pool and on a
Dask cluster on loopback in turn, with the same seed. The second half of the trials is counted, by
when they end: each Dask worker imports our packages and starts a server for its process, where the
local pool does so once, and a longer search does it no more often. The seconds of all are told too.
"""

from __future__ import annotations

import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np
from distributed import Client

from autoimb import AutoImbClassifier
from reports.benchmarks import cases
from reports.benchmarks import render as written
from reports.benchmarks.engines.clusters import SPARING, cluster
from reports.benchmarks.rows import Row, Rows, by, foot

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("workers", "repeat", "backend"))
BACKENDS = ("local", "dask")
WORKERS = (2, 8)
TABLE = 5_000  # rows
WAIT = 120  # seconds for workers to join


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_again(parser)
    parser.add_argument("--workers", type=int, nargs="*", default=WORKERS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--trials", type=int, default=64, help="strategies of a search")


def run(options: Namespace) -> None:
    """Search what is missing, on both backends in turn."""
    known = ROWS.known(again=options.again)
    with tempfile.TemporaryDirectory() as folder:
        table = cases.simulated(TABLE, Path(folder), rate=0.05)
        for workers in options.workers:
            for repeat in range(options.repeats):
                for backend in BACKENDS:
                    if (workers, repeat, backend) not in known:
                        row = {"workers": workers, "repeat": repeat, "backend": backend}
                        row |= measured(table, row, options.trials)
                        ROWS.append([row])
                        print(row, file=sys.stderr, flush=True)


def measured(table: Path, row: Row, n_trials: int) -> Row:
    """Search once; return the trials a minute."""
    if row["backend"] == "local":
        return _searched(table, row, n_trials)
    with cluster(row["workers"], nannies=False) as (address, _), Client(address) as client:
        client.wait_for_workers(row["workers"], timeout=WAIT)
        return _searched(table, row, n_trials)


def _searched(table: Path, row: Row, n_trials: int) -> Row:
    frame, y = cases.with_target(table)
    ends, started = list[float](), time.monotonic()
    AutoImbClassifier(
        time_budget=None,
        n_trials=n_trials,
        n_jobs=row["workers"],
        backend=row["backend"],
        random_state=row["repeat"],
        callbacks=[lambda _: ends.append(time.monotonic())],
    ).fit(frame, y)
    half = len(ends) // 2
    minutes = (ends[-1] - ends[half]) / 60
    return {
        "trials": len(ends),
        "seconds": round(time.monotonic() - started, 1),
        "a_minute": round((len(ends) - 1 - half) / minutes, 2),
    }


def render(rows: list[Row]) -> str:
    """Write the trials a minute, and the ratio of the medians."""
    lines = []
    for workers in dict.fromkeys(row["workers"] for row in rows):
        own = [row for row in rows if row["workers"] == workers]
        found = {b: [row["a_minute"] for row in own if row["backend"] == b] for b in BACKENDS}
        if all(found.values()):
            local, dask = (float(np.median(found[backend])) for backend in BACKENDS)
            repeats = min(map(len, found.values()))
            whole = [
                f"{np.median([row['seconds'] for row in own if row['backend'] == backend]):.0f}"
                for backend in BACKENDS
            ]
            rates = [f"{local:.1f}", f"{dask:.1f}", f"{dask / local:.0%}"]
            lines.append([workers, repeats, *rates, *whole])
    head = ["workers", "searches each", "local pool", "Dask", "ratio", "s in all", "Dask, s"]
    return "\n".join(
        [
            "# Trials a minute on a Dask cluster",
            "",
            "Medians of searches of one simulated table, on both in turn, over the second half of "
            "their trials; the cluster is on loopback, with one thread a worker, without "
            "nannies, and looks at itself less often than by default. The whole search has the "
            "start of each worker's processes in it.",
            "",
            *(f"- `{name}={value}`" for name, value in SPARING.items()),
            "",
            *(written.table(head, lines) if lines else ["Not measured yet."]),
            *(foot("engines", rows) if rows else [""]),
        ]
    )
