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


def small_pipeline(path: Path) -> None:
    """Export a network of width about 128 on five folds, searched in a few trials."""
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
    model.fit(frame, y)
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


def measure(repeats: int) -> dict[str, Any]:
    """Measure everything once."""
    network = build(SPEC, 1)
    network.draw([(0, 0, 0)], [SPEC.n_inputs])
    many, one = torch.randn(1, 200_000, SPEC.n_inputs), torch.randn(1, 1, SPEC.n_inputs)
    row: dict[str, Any] = {
        "prepared": 200_000 / least(lambda: network.predict(many, None), repeats),
        "one_prepared_ms": 1e3 * least(lambda: network.predict(one, None), 200),
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pipeline.autoimb"
        small_pipeline(file)
        pipeline = load(file)
        frame = frame_of(50_000)
        row["description"] = pipeline.describe()
        row["frame"] = len(frame) / least(lambda: pipeline.predict_proba(frame), repeats)
        single = frame.head(1)
        row["one_frame_ms"] = 1e3 * least(lambda: pipeline.predict_proba(single), 50)
        row["starting"] = starting()
        for name, rows in (("csv", 400_000), ("large", 2_000_000)):
            path, out = Path(folder) / f"{name}.csv", Path(folder) / "out.csv"
            frame_of(rows).to_csv(path, index=False)
            times = repeats if name == "csv" else 1
            row[f"{name}_pandas"] = least(lambda path=path: pd.read_csv(path), times)
            runs = [predicted(file, path, out) for _ in range(times)]
            row[f"{name}_seconds"] = min(seconds for seconds, _ in runs)
            row[f"{name}_mb"] = max(most for _, most in runs)
            row[f"{name}_rows"] = rows
            path.unlink()
    return row


def table(row: dict[str, Any]) -> list[str]:
    """Write the figures as Markdown."""
    lines = [
        "## Prediction",
        "",
        f"One network of 128 × 2 on 32 prepared numbers: **{row['prepared']:,.0f}** rows a second; "
        f"one prepared row in **{row['one_prepared_ms']:.2f} ms**. A pipeline of five such "
        f"networks, from a frame of {COLUMNS} columns: {row['frame']:,.0f} rows a second; one row "
        f"of it in {row['one_frame_ms']:.2f} ms.",
        "",
        f"`autoimb predict` with all cores; {row['starting']:.1f} s of it are the start of Python "
        "and the import of its packages.",
        "",
        "| CSV rows | autoimb predict s | without the start | pandas.read_csv s | pandas / autoimb "
        "| without the start | MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in ("csv", "large"):
        seconds, pandas = row[f"{name}_seconds"], row[f"{name}_pandas"]
        inside = seconds - row["starting"]
        lines.append(
            f"| {row[f'{name}_rows']:,} | {seconds:.2f} | {inside:.2f} | {pandas:.2f} "
            f"| {pandas / seconds:.0%} | **{pandas / inside:.0%}** | {row[f'{name}_mb']:,.0f} |"
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
