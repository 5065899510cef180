"""How fast a pipeline predicts: from prepared numbers, from frames, and from a CSV file.

``python reports/benchmarks/serving.py`` needs no data. Rates of arrays and frames are of one
thread; `autoimb predict` uses all cores, and its memory is the PSS of its process at its most.
What is compared ran in turn; times are the least of some repeats.
"""

from __future__ import annotations

import argparse
import contextlib
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from budget import memory

from autoimb import AutoImbClassifier, load
from autoimb.nn.network import NetworkSpec, build

COLUMNS = 30
SPEC = NetworkSpec(
    kind="mlp",
    width=128,
    depth=2,
    k=1,
    activation="relu",
    dropout=0.0,
    embedding_dim=1,
    ple=False,
    n_inputs=32,
    cardinalities=(),
    n_classes=2,
)


def least(work: Callable[[], object], repeats: int) -> float:
    """Return the least time of some repeats, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def frame_of(rows: int) -> pd.DataFrame:
    """Numbers with six decimals."""
    values = np.random.default_rng(1).normal(size=(rows, COLUMNS)).round(6)
    return pd.DataFrame(values, columns=[f"n{j}" for j in range(COLUMNS)])


def small_pipeline(path: Path, *, single: bool) -> None:
    """Export the first network of a search, of five folds or of a hold-out, where it is one."""
    frame = frame_of(3_000)
    signal = frame["n0"] + frame["n1"] + np.random.default_rng(2).logistic(size=len(frame))
    y = np.where(signal > np.quantile(signal, 0.9), "yes", "no")
    model = AutoImbClassifier(
        n_trials=1,
        time_budget=None,
        resampling="none",
        class_weight="none",
        loss="cross_entropy",
        ensemble="single",
        network="mlp",
    )
    held = (frame.iloc[2_000:], y[2_000:]) if single else None
    model.fit(frame.iloc[:2_000] if single else frame, y[:2_000] if single else y, eval_set=held)
    model.export(path)


def predicted(pipeline: Path, rows: Path, out: Path) -> tuple[float, float]:
    """Run `autoimb predict`; return its seconds and its most memory, in MB."""
    command = [sys.executable, "-m", "autoimb", "predict", str(pipeline), str(rows), "-o", str(out)]
    start, most = time.perf_counter(), 0.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            most = max(most, memory(process.pid))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
    if process.returncode:
        raise SystemExit(f"autoimb predict ended with {process.returncode}")
    return time.perf_counter() - start, most


def starting() -> float:
    """Seconds in which the command line starts and loads what prediction needs."""
    words = "import autoimb.cli.tables, torch, autoimb.pipeline.artifact"
    return least(lambda: subprocess.run([sys.executable, "-c", words], check=True), 2)


def measure(repeats: int) -> list[dict[str, Any]]:
    """Measure prepared numbers, then a single network and five folds' networks on tables."""
    network = build(SPEC, 1)
    network.draw([(0, 0, 0)], [SPEC.n_inputs])
    many, one = torch.randn(1, 200_000, SPEC.n_inputs), torch.randn(1, 1, SPEC.n_inputs)
    prepared = {
        "networks": "prepared",
        "rate": 200_000 / least(lambda: network.predict(many, None), repeats),
        "one_ms": 1e3 * least(lambda: network.predict(one, None), 200),
        "starting": starting(),
    }
    with tempfile.TemporaryDirectory() as folder:
        tables = {rows: Path(folder) / f"{rows}.csv" for rows in (400_000, 2_000_000)}
        for rows, path in tables.items():
            frame_of(rows).to_csv(path, index=False)
        return [
            prepared,
            *(on_tables(Path(folder), tables, repeats, single=single) for single in (True, False)),
        ]


def on_tables(
    folder: Path, tables: dict[int, Path], repeats: int, *, single: bool
) -> dict[str, Any]:
    """Predict frames and files with a pipeline of one network, or of five."""
    file, out = folder / "pipeline.autoimb", folder / "out.csv"
    small_pipeline(file, single=single)
    pipeline, frame = load(file), frame_of(50_000)
    row: dict[str, Any] = {
        "networks": len(pipeline.encoders),
        "rate": len(frame) / least(lambda: pipeline.predict_proba(frame), repeats),
        "one_ms": 1e3 * least(lambda: pipeline.predict_proba(frame.head(1)), 50),
        "files": [],
    }
    for rows, path in tables.items():
        pandas = least(lambda path=path: pd.read_csv(path), repeats)
        runs = [predicted(file, path, out) for _ in range(repeats)]
        seconds, most = min(runs)[0], max(memory for _, memory in runs)
        row["files"].append({"rows": rows, "seconds": seconds, "pandas": pandas, "mb": most})
    return row


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Write the figures as Markdown."""
    prepared, *pipelines = rows
    starting = prepared["starting"]
    lines = [
        "## Prediction",
        "",
        f"One network of 128 × 2 on 32 prepared numbers: **{prepared['rate']:,.0f}** rows a "
        f"second; one prepared row in **{prepared['one_ms']:.2f} ms** (one thread).",
        "",
        *(
            f"A pipeline of {p['networks']} network(s) of width 128, a frame of {COLUMNS} columns: "
            f"{p['rate']:,.0f} rows a second, one row in {p['one_ms']:.2f} ms (one thread).\n"
            for p in pipelines
        ),
        f"`autoimb predict` with all cores, from CSV to CSV; *net* is without the {starting:.1f} s "
        "in which Python starts and imports its packages.",
        "",
        "| networks | CSV rows | seconds | net | pandas.read_csv s | pandas / net | MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for pipeline in pipelines:
        for one in pipeline["files"]:
            net = one["seconds"] - starting
            lines.append(
                f"| {pipeline['networks']} | {one['rows']:,} | {one['seconds']:.2f} | {net:.2f} "
                f"| {one['pandas']:.2f} | **{one['pandas'] / net:.0%}** | {one['mb']:,.0f} |"
            )
    return lines


def main() -> None:
    """Read the command line and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("\n".join(table(measure(options.repeats))))


if __name__ == "__main__":
    main()
