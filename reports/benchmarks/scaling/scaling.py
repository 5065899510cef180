"""What a hundred workers are worth, and where a study of a hundred drivers is slow.

``run`` has three parts. Real searches of simulated tables of three sizes are `measured`: how long
trials take, by the processor's time. The real scheduler is `simulated` in virtual time with 1 to
100 workers, whose trials take as long as measured ones, or ten and a hundred times as long; the
seconds of all workers together are always the same. And up to 100 drivers that train nothing are
`replayed` on one PostgreSQL server, which is started for that.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

import joblib
import numpy as np
import optuna
import torch

from reports.benchmarks import cases
from reports.benchmarks.rows import Row, Rows, by
from reports.benchmarks.scaling.replayed import replayed
from reports.benchmarks.scaling.report import render
from reports.benchmarks.scaling.searches import measured, searched
from reports.benchmarks.scaling.simulated import Costs, Measured, Trials
from reports.benchmarks.storage import storage

__all__ = ["ROWS", "arguments", "render", "run"]

PARTS = ("measured", "simulated", "replayed")
ROWS = Rows(
    Path(__file__).with_suffix(".jsonl"),
    by("part", "rows", "scale", "synchronous", "workers", "seed", "drivers", "seconds"),
)
SIZES = (1_000, 10_000, 100_000)  # rows of tables
SCALES = (1, 10, 100)  # times the seconds of a trial that a minute is planned for
WORKERS = (1, 2, 8, 32, 100)
WORK = 500  # seconds of all workers together, in measured trials of mean length
REPLAYS = ((8, 10.0), (32, 10.0), (100, 10.0), (100, 20.0))  # drivers, seconds of a trial
LASTS = 40.0  # seconds of a replay


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_again(parser)
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--seeds", type=int, default=4, help="simulated tables")


def run(options: Namespace) -> None:
    """Measure, simulate and replay what is missing."""
    known = ROWS.known(again=options.again)

    def missing(part: str, asked: Iterator[Row]) -> list[Row]:
        rows = [{"part": part} | row for row in asked] if part in options.parts else []
        return [row for row in rows if ROWS.key(row) not in known]

    for row in missing("measured", ({"rows": rows} for rows in SIZES)):
        torch.set_num_threads(1)
        _add(row | {"trials": measured(row["rows"], budget=cases.MINUTE)})
    asked = missing("simulated", _asked(options.seeds))
    jobs = (joblib.delayed(_simulated)(row) for row in asked)
    for row in joblib.Parallel(cases.JOBS, return_as="generator_unordered")(jobs):
        _add(row)
    for row in missing("replayed", ({"drivers": n, "seconds": s} for n, s in REPLAYS)):
        _add(row | replayed(drivers=row["drivers"], seconds=row["seconds"], lasts=LASTS))


def _add(row: Row) -> None:
    ROWS.append([row])
    print(*row.values(), file=sys.stderr, flush=True)


def _asked(seeds: int) -> Iterator[Row]:
    """Yield the simulated searches; batches only where the driver takes no time that counts."""
    for seed in range(seeds):
        for scale in SCALES:
            for workers in WORKERS:
                schedules = (False, True) if workers > 1 and scale == max(SCALES) else (False,)
                for synchronous in schedules:
                    own = {"scale": scale, "synchronous": synchronous, "workers": workers}
                    yield own | {"seed": seed}


def _simulated(row: Row) -> Row:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    trials = _trials()
    mean = row["scale"] * float(np.mean([trial.seconds for trial in trials]))
    costs = _costs()
    found = searched(
        Trials(trials, row["seed"], scale=row["scale"]),
        workers=row["workers"],
        synchronous=row["synchronous"],
        budget=WORK * mean / row["workers"],
        seed=row["seed"],
        costs=costs,
    )
    return row | {"mean": mean, "costs": costs} | found


def _trials() -> Sequence[Measured]:
    rows = (row for row in ROWS.read() if row["part"] == "measured")
    return [Measured(*trial) for row in rows for trial in row["trials"]]


def _costs() -> Costs:
    """Return what a trial and a draw took the driver of a long study, of its processor's time."""
    (row,) = (row for row in storage.ROWS.read() if row["kept"] == "postgresql")
    trial, ask = (float(np.median(row[name], axis=0)[1]) / 1e3 for name in ("trial", "ask"))
    return Costs(round(trial, 4), round(ask, 4))
