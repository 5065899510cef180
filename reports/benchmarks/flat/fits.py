"""Fit again and again in one process, and print what it holds after each fit as a line of JSON."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from autoimb import AutoImbClassifier
from reports.benchmarks import cases
from reports.benchmarks.machine import held

TRIALS = 2


def main() -> None:
    """Fit a table so many times: TABLE FITS."""
    path, fits = sys.argv[1:]
    rows = pd.read_csv(path)
    labels = rows.pop("class")
    for number in range(1, int(fits) + 1):
        began = time.perf_counter()
        AutoImbClassifier(
            n_trials=TRIALS,
            time_budget=None,
            n_jobs=cases.JOBS,
            network="mlp",
            partners=None,
            random_state=number,
        ).fit(rows, labels)
        seconds = round(time.perf_counter() - began, 2)
        now = asdict(held(os.getpid()))
        now |= {name: round(now[name], 1) for name in ("memory_mb", "own_mb")}
        temporary = sum(1 for _ in Path(tempfile.gettempdir()).rglob("*"))
        row = {"number": number, "seconds": seconds, **now, "temporary": temporary}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
