"""Whether what is held stays flat: many fits in one process, and several searches at once.

``run`` fits one table 50 times in one process (two perceptrons, two workers, another seed each
time) and looks at it after each fit: memory (of the process and its children),
threads, open files, processes and files in the temporary folder. Then it starts two, four and eight
``autoimb search`` at once and looks when each ends, and at what is left.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np
import pandas as pd

from autoimb import load
from reports.benchmarks import cases, project
from reports.benchmarks import render as written
from reports.benchmarks.flat.fits import TRIALS
from reports.benchmarks.machine import environment, held
from reports.benchmarks.rows import Row, Rows, by, foot

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("together", "number"))
DATA = cases.ROOT / "examples" / "data" / "hpc_data" / "hpc_data.csv.gz"
N_ROWS = 300
FITS, WARM = 50, 10  # the first ones load and compile what the others use
TOGETHER = (2, 4, 8)
EVERY = 0.25  # seconds between two looks
HELD = ("own_mb", "threads", "files", "processes", "temporary")


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_again(parser)
    parser.add_argument("--fits", type=int, default=FITS)
    parser.add_argument("--together", type=int, nargs="*", default=TOGETHER)
    parser.add_argument("--budget", type=float, default=cases.SHORT)


def run(options: Namespace) -> None:
    """Fit and search what is missing."""
    known = ROWS.known(again=options.again)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        table = folder / "table.csv"
        pd.read_csv(DATA).sample(N_ROWS, random_state=cases.SEED).to_csv(table, index=False)
        if (None, options.fits) not in known:
            ROWS.append(fitted(table, options.fits, folder / "fits"))
        for together in options.together:
            if (together, together) not in known:
                ROWS.append(searched(table, together, folder / str(together), options.budget))


def fitted(table: Path, fits: int, place: Path) -> list[Row]:
    """Fit in a process of its own, and return what it held after each fit."""
    place.mkdir()
    words = [sys.executable, "-m", "reports.benchmarks.flat.fits", str(table), str(fits)]
    found = []
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=own(place)) as process:
        for line in process.stdout or ():
            found.append(json.loads(line))
            print(found[-1], file=sys.stderr, flush=True)
    if len(found) < fits:
        raise SystemExit(f"the process ended after {len(found)} fits")
    return found


def own(place: Path) -> dict[str, str]:
    """Return the environment of a process with a temporary folder of its own."""
    return environment() | {"TMPDIR": str(place)}


def searched(table: Path, together: int, place: Path, budget: float) -> list[Row]:
    """Start searches at once, wait for all, and return when each ended and what it left."""
    place.mkdir()
    words = [sys.executable, "-m", "autoimb", "search", str(table), "--target", "class"]
    words += ["--time-budget", f"{budget:g}", "--jobs", str(cases.JOBS), "--quiet"]
    runs = [place / f"run{number}" for number in range(1, together + 1)]
    began = time.monotonic()
    running = {
        number: subprocess.Popen([*words, "--out", str(path)], env=own(place))
        for number, path in enumerate(runs, start=1)
    }
    ended: dict[int, tuple[float, int]] = {}
    most = 0.0
    while len(ended) < together:
        for number in running.keys() - ended.keys():
            if (code := running[number].poll()) is not None:
                ended[number] = time.monotonic() - began, code
        most = max(most, sum(held(process.pid).memory_mb for process in running.values()))
        time.sleep(EVERY)
    return [
        {
            "together": together,
            "number": number,
            "budget": budget,
            "seconds": round(seconds, 2),
            "in_time": seconds <= 1.02 * budget + 5,
            "code": code,
            **left(project.Run(runs[number - 1])),
            "memory_mb": round(most),
            "temporary": len(set(place.iterdir()) - set(runs)),
        }
        for number, (seconds, code) in sorted(ended.items())
    ]


def left(run: project.Run) -> Row:
    """Count the complete trials of a search, and see whether it exported."""
    records = run.records()
    exported = run.pipeline.exists() and load(run.pipeline) is not None
    return {"complete": sum(r.status == "complete" for r in records), "exported": exported}


def slope(values: list[float]) -> tuple[float, float]:
    """Return by how much a value grows from one fit to the next, and the error of that."""
    x = np.arange(len(values)) - (len(values) - 1) / 2
    y = np.array(values)
    rise = float(x @ y / (x @ x))
    rest = y - y.mean() - rise * x
    return rise, float(np.sqrt(rest @ rest / (len(y) - 2) / (x @ x)))


def render(rows: list[Row]) -> str:
    """Write what was held, and when searches ended."""
    fits = [row for row in rows if "together" not in row]
    searches = [row for row in rows if "together" in row]
    return "\n".join(
        [
            "# Flat over many",
            "",
            *of_fits(fits),
            *of_searches(searches),
            *foot("flat", rows),
        ]
    )


def of_fits(rows: list[Row]) -> list[str]:
    """Write what the process held after some of the fits, and how it grew."""
    late = rows[WARM:]
    names = ["memory MB", "threads", "open files", "processes", "temporary files"]
    shown = [row for row in rows if row["number"] in (1, 2, 5) or row["number"] % WARM == 0]
    slopes = {name: slope([row[name] for row in late]) for name in HELD}
    ends = {name: [row[name] for row in late] for name in HELD}
    return [
        f"{len(rows)} fits in one process, each of {TRIALS} perceptrons with {cases.JOBS} workers "
        f"on {N_ROWS} rows of {DATA.parent.name}, with another seed. Held after a fit, children "
        "included; memory without pages of files, which other programs share:",
        "",
        *written.table(["fit", *names], [[r["number"], *(r[n] for n in HELD)] for r in shown]),
        "",
        f"Over the last {len(late)} fits:",
        "",
        *written.table(
            ["", *names],
            [
                ["least", *(min(ends[name]) for name in HELD)],
                ["most", *(max(ends[name]) for name in HELD)],
                [
                    "slope a fit",
                    *(f"{slopes[name][0]:+.3f} ± {slopes[name][1]:.3f}" for name in HELD),
                ],
            ],
        ),
    ]


def of_searches(rows: list[Row]) -> list[str]:
    """Write when the searches that began together ended; nothing where there are none."""
    if not rows:
        return []
    lines = []
    for together in sorted({row["together"] for row in rows}):
        own = [row for row in rows if row["together"] == together]
        seconds = [row["seconds"] for row in own]
        complete = [row["complete"] for row in own]
        lines.append(
            [
                together,
                f"{own[0]['budget']:g}",
                f"{min(seconds):.1f} to {max(seconds):.1f}",
                f"{sum(row['in_time'] for row in own)} of {together}",
                f"{sum(row['exported'] for row in own)} of {together}",
                f"{min(complete)} to {max(complete)}",
                own[0]["memory_mb"],
                own[0]["temporary"],
            ]
        )
    head = ["at once", "budget", "seconds", "within 2 % + 5 s", "exported", "complete trials"]
    return [
        "",
        f"Searches of the command line that were started at once, each with {cases.JOBS} workers:",
        "",
        *written.table([*head, "memory MB, of all", "temporary files left"], lines),
    ]
