"""The process that is measured: it loads a file, and predicts rows of a table from a DataFrame.

``python -m reports.benchmarks.serving.process SYSTEM FILE TABLE TARGET`` runs in the Python of a
system. It prints an empty line after the first prediction, and at last the measurements as JSON.
Memory is the resident set, read from ``/proc`` of Linux.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from reports.benchmarks.serving.systems import SEED, SYSTEMS, Predict

__all__ = ["BATCH", "CALLS", "LONG"]

CALLS = 500  # predictions of a single row
BATCH, BATCHES = 1_000, 10  # rows of a batch, and how many are predicted
LONG = 100_000  # rows of a long table

_PROCESS = Path("/proc/self")


def main() -> None:
    """Measure one system in this process."""
    name, file, table, target = sys.argv[1:]
    load = SYSTEMS[name].loader()
    first = pd.read_csv(table, nrows=1).drop(columns=target)
    imports_mb = _resident()
    _reset_peak()
    loading = time.perf_counter()
    predict = load(file)
    loading = time.perf_counter() - loading
    predict(first)
    print(flush=True)
    row = {
        "loading": loading,
        "imports_mb": imports_mb,
        "loaded_mb": _peak() - imports_mb,
        "file_mb": Path(file).stat().st_size / 2**20,
    }
    print(json.dumps(row | _rates(predict, pd.read_csv(table).drop(columns=target))))


def _rates(predict: Predict, rows: pd.DataFrame) -> dict[str, float]:
    """Time single rows, batches and a long table; a long table repeats the rows."""
    order = np.random.default_rng(SEED).permutation(len(rows))
    single = [_seconds(predict, rows.iloc[[place]]) for place in order[:CALLS]]
    batches = np.split(order[: BATCH * BATCHES], BATCHES)
    batch = [_seconds(predict, rows.iloc[places]) for places in batches]
    long = rows.iloc[np.resize(order, LONG)]
    before_mb = _resident()
    _reset_peak()
    seconds = _seconds(predict, long)
    return {
        "row_median": float(np.median(single)),
        "row_p99": float(np.quantile(single, 0.99)),
        "batch": float(np.median(batch)),
        "long": seconds,
        "long_mb": _peak() - before_mb,
    }


def _seconds(predict: Predict, rows: pd.DataFrame) -> float:
    start = time.perf_counter()
    predict(rows)
    return time.perf_counter() - start


def _resident() -> float:
    return _memory("VmRSS:")


def _peak() -> float:
    """Return the largest resident set since `_reset_peak`, in MB."""
    return _memory("VmHWM:")


def _memory(kind: str) -> float:
    status = (_PROCESS / "status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith(kind))


def _reset_peak() -> None:
    (_PROCESS / "clear_refs").write_text("5", encoding="utf-8")


if __name__ == "__main__":
    main()
