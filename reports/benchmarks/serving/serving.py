"""How fast a pipeline predicts: from prepared numbers, from frames, and from a CSV file.

``run`` needs no data. Rates of arrays and frames are of one thread; `autoimb predict` uses all
cores, and its memory is the PSS of its process at its most. What is compared ran in turn; times are
the least of some repeats.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from autoimb import AutoImbClassifier, load
from reports.benchmarks import cases, project
from reports.benchmarks import render as written
from reports.benchmarks.machine import environment, least, watched
from reports.benchmarks.rows import Row, Rows, by, foot

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("networks"))
COLUMNS, INPUTS, WIDTH, DEPTH = 30, 32, 128, 2
SIZES = (400_000, 2_000_000)  # rows of the CSV files


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_again(parser)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="rows of CSV files")


def run(options: Namespace) -> None:
    """Measure prepared numbers, then a single network and five folds' networks on tables."""
    if len(ROWS.known(again=options.again)) == 3:
        return
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        tables = {rows: Path(folder) / f"{rows}.csv" for rows in options.sizes}
        for rows, path in tables.items():
            frame_of(rows).to_csv(path, index=False)
        found = [
            on_tables(Path(folder), tables, options.repeats, single=single)
            for single in (True, False)
        ]
    ROWS.append([prepared(options.repeats), *found])  # together: they are of one machine


def frame_of(rows: int) -> pd.DataFrame:
    """Numbers with six decimals."""
    values = np.random.default_rng(1).normal(size=(rows, COLUMNS)).round(6)
    return pd.DataFrame(values, columns=[f"n{j}" for j in range(COLUMNS)])


def prepared(repeats: int) -> Row:
    """Predict prepared numbers, many rows and one."""
    predict = project.prepared_network(WIDTH, DEPTH, INPUTS)
    many, one = torch.randn(1, 200_000, INPUTS), torch.randn(1, 1, INPUTS)
    return {
        "networks": "prepared",
        "rate": 200_000 / least(lambda: predict(many), repeats),
        "one_ms": 1e3 * least(lambda: predict(one), 200),
        "starting": starting(),
    }


def starting() -> float:
    """Seconds in which the command line starts and loads what prediction needs."""
    command = [sys.executable, "-c", project.STARTING]
    return least(lambda: subprocess.run(command, check=True, env=environment()), 2)


def on_tables(folder: Path, tables: Mapping[int, Path], repeats: int, *, single: bool) -> Row:
    """Predict frames and files with a pipeline of one network, or of five."""
    file, out = folder / "pipeline.autoimb", folder / "out.csv"
    small_pipeline(file, single=single)
    pipeline, frame = load(file), frame_of(50_000)
    row: Row = {
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
    ended = watched(command, every=0.1)
    if ended.code:
        raise SystemExit(f"autoimb predict ended with {ended.code}: {ended.error}")
    return ended.seconds, ended.memory_mb


def of_files(pipelines: list[Row], starting: float) -> Iterator[list[str]]:
    """Write the files that each pipeline predicted."""
    for pipeline in pipelines:
        for one in pipeline["files"]:
            net = one["seconds"] - starting
            yield [
                str(pipeline["networks"]),
                f"{one['rows']:,}",
                f"{one['seconds']:.2f}",
                f"{net:.2f}",
                f"{one['pandas']:.2f}",
                f"**{one['pandas'] / net:.0%}**",
                f"{one['mb']:,.0f}",
            ]


def render(rows: list[Row]) -> str:
    """Write the figures."""
    numbers, *pipelines = rows
    head = ["networks", "CSV rows", "seconds", "net", "pandas.read_csv s", "pandas / net", "MB"]
    lines = [
        "# Prediction",
        "",
        f"One network of {WIDTH} × {DEPTH} on {INPUTS} prepared numbers: "
        f"**{numbers['rate']:,.0f}** rows a second; one prepared row in "
        f"**{numbers['one_ms']:.2f} ms** (one thread).",
        "",
        *(
            f"A pipeline of {p['networks']} network(s) of width {WIDTH}, a frame of {COLUMNS} "
            f"columns: {p['rate']:,.0f} rows a second, one row in {p['one_ms']:.2f} ms (one "
            "thread).\n"
            for p in pipelines
        ),
        f"`autoimb predict` with all cores, from CSV to CSV; *net* is without the "
        f"{numbers['starting']:.1f} s in which Python starts and imports its packages.",
        "",
        *written.table(head, of_files(pipelines, numbers["starting"])),
    ]
    return "\n".join([*lines, *foot("serving", rows)])
