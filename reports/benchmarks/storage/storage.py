"""What a long study costs: a trial, an ask and joining, in PostgreSQL and in a RUN's journal.

``run`` fills a study with trials that were drawn at random, each with the predictions of a thousand
rows, and goes on with it. A trial's storage is all that is done for one that goes on to the next
rung, and so needs no draw: planning under the lock, its start, its file, its end. An ask is a step
of planning with the sampler's draw. To join is to open the study and read what has finished.
"""

from __future__ import annotations

import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np
import optuna

from reports.benchmarks import cases
from reports.benchmarks import render as written
from reports.benchmarks.rows import Row, Rows, by, foot
from reports.benchmarks.storage.filled import fill, opened

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("kept", "trials"))
TRIALS = 5_000
TIMES = 30  # trials, and asks, of which the median is taken
KEPT = {"journal": "in a RUN's journal", "postgresql": "in PostgreSQL"}
MOST = {"journal": (20, 200, 15), "postgresql": (50, 200, 15)}  # what was aimed at


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_again(parser)
    parser.add_argument("--url", help="of an empty PostgreSQL database; without, the journal alone")
    parser.add_argument("--trials", type=int, default=TRIALS)


def run(options: Namespace) -> None:
    """Measure what is missing."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    known = ROWS.known(again=options.again)
    for kept, url in {"journal": None, "postgresql": options.url}.items():
        if (kept, options.trials) in known or (kept == "postgresql" and url is None):
            continue
        with tempfile.TemporaryDirectory() as folder:
            ROWS.append([measured(kept, Path(folder), url, options.trials)])


def measured(kept: str, folder: Path, url: str | None, trials: int) -> Row:
    """Fill a study, and time what goes on in it."""
    with opened(folder, url) as study:
        started = time.perf_counter()
        fill(study, trials)
        print(kept, f"{time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    started = time.perf_counter()
    with opened(folder, url) as study:
        taken_over = study.restore()
        joining = time.perf_counter() - started
        trial = [study.pass_on(number) for number in range(TIMES)]
        ask = [study.ask() for _ in range(TIMES)]
    return {
        "kept": kept,
        "trials": trials,
        "taken_over": taken_over,
        "joining": round(joining, 2),
        "trial": trial,
        "ask": ask,
    }


def _told(spent: list[tuple[float, float]]) -> str:
    wall, own = np.median(spent, axis=0)
    return f"{wall:.0f}, own {own:.0f}"


def render(rows: list[Row]) -> str:
    """Write what each kind of storage costs."""
    lines = []
    for row in rows:
        trial, ask, joining = MOST[row["kept"]]
        lines.append(
            [
                KEPT[row["kept"]],
                f"{row['taken_over']:,}",
                f"{_told(row['trial'])} ({trial})",
                f"{_told(row['ask'])} ({ask})",
                f"{row['joining']:.1f} ({joining})",
            ]
        )
    head = ["the study is", "trials", "storage a trial, ms", "an ask, ms", "joining, s"]
    return "\n".join(
        [
            "# What a long study costs",
            "",
            f"Medians of {TIMES}, of the wall clock and of the driver's own processor time, and in "
            "brackets what was aimed at; where the two are far apart, other programs had the "
            "processors. A trial's "
            "storage is planning under the lock, its start, its file of a thousand predictions "
            "and its end; an ask is planning with a draw of the sampler, which is most of it; "
            "joining is opening the study and reading all trials.",
            "",
            *written.table(head, lines),
            *foot("storage", rows),
        ]
    )
