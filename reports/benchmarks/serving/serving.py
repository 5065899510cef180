"""How fast the file that README's first command writes predicts, beside two peers.

``run`` makes that file (``--pipeline`` takes a present one), trains scikit-learn with LightGBM and
CatBoost on all rows of the same table, and measures each system in fresh processes of one thread,
in turn. A peer's Python is ``PY_LGBM`` or ``PY_CATBOOST``, by default this one; a peer whose
packages it lacks is left out. Memory can be read on Linux only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from autoimb import load
from reports.benchmarks import cases
from reports.benchmarks import render as written
from reports.benchmarks.flights.flights import TABLE, TARGET
from reports.benchmarks.machine import environment
from reports.benchmarks.rows import Row, Rows, by, foot
from reports.benchmarks.serving.process import BATCH, CALLS, LONG
from reports.benchmarks.serving.systems import SYSTEMS

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("system", "process"))
# README's first command, without its folder
SEARCH = ["search", str(TABLE), "--target", TARGET, "--time", "date", "--time-budget", "60s"]
PROCESSES = 5  # of each system
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
MEASURES = {
    "one row, median (ms)": ("row_median", 1e3),
    "one row, 99th percentile (ms)": ("row_p99", 1e3),
    f"{BATCH:,} rows (ms)": ("batch", 1e3),
    f"{LONG:,} rows (s)": ("long", 1.0),
    "start to first prediction (s)": ("start", 1.0),
    "loading the file, of that (ms)": ("loading", 1e3),
    "memory: after imports (MB)": ("imports_mb", 1.0),
    "memory: first prediction, beyond imports (MB)": ("loaded_mb", 1.0),
    f"memory: {LONG:,} rows, beyond the rows (MB)": ("long_mb", 1.0),
    "file (MB)": ("file_mb", 1.0),
}


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_again(parser)
    parser.add_argument("--pipeline", type=Path, help="file of README's first command")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="of each system")


def run(options: Namespace) -> None:
    """Measure all installed systems, unless the rows of all of them are present."""
    systems = [name for name in SYSTEMS if _is_installed(name)]
    expected = {(name, process) for name in systems for process in range(options.processes)}
    if expected <= ROWS.known(again=options.again):
        return
    with tempfile.TemporaryDirectory() as folder:
        prepared = {name: _prepared(name, Path(folder), options) for name in systems}
        rows = [
            {"system": name, "process": process} | prepared[name][1] | _measured(name, file)
            for process in range(options.processes)
            for name, (file, _) in prepared.items()
        ]
    ROWS.append(rows)  # together, as they are compared


def _is_installed(name: str) -> bool:
    """Return whether the Python of a system has its packages; print it if not."""
    packages = tuple(SYSTEMS[name].packages)
    find = f"from importlib.util import find_spec; print(all(map(find_spec, {packages})))"
    command = [_python(name), "-c", find]
    answer = subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment(), cwd=cases.ROOT
    )
    installed = answer.stdout.strip() == "True"
    if not installed:
        message = f"{name} is left out: {_python(name)} lacks one of {', '.join(packages)}."
        print(message, file=sys.stderr, flush=True)
    return installed


def _python(name: str) -> str:
    return os.environ.get(f"PY_{name.upper()}", sys.executable)


def _prepared(name: str, folder: Path, options: Namespace) -> tuple[Path, Row]:
    """Return the file of a system, and what its rows say of it."""
    system, file = SYSTEMS[name], folder / f"{name}{SYSTEMS[name].suffix}"
    if system.train is None:
        file = options.pipeline.resolve() if options.pipeline else _searched(folder / "run")
        return file, {"contents": _strategies(file)}
    module = "reports.benchmarks.serving.systems"
    command = [_python(name), "-m", module, name, str(TABLE), TARGET, str(file)]
    trained = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=environment(), cwd=cases.ROOT
    )
    return file, {"contents": json.loads(trained.stdout.splitlines()[-1])}


def _searched(out: Path) -> Path:
    """Search as README's first command does; return the file of the pipeline."""
    command = [sys.executable, "-m", "autoimb", *SEARCH, "--out", str(out), "--quiet"]
    subprocess.run(command, check=True, env=environment(), cwd=cases.ROOT)
    return out / "pipeline.autoimb"


def _strategies(file: Path) -> list[str]:
    """Describe the strategies of a pipeline, the heaviest first."""
    strategies = load(file).inspect()["strategies"]
    strategies.sort(key=lambda strategy: -strategy["weight"])
    return [f"{s['description']} ({s['weight']:.2f})" for s in strategies]


def _measured(name: str, file: Path) -> Row:
    """Measure a system in a fresh process of one thread."""
    module = "reports.benchmarks.serving.process"
    words = [name, str(file), str(TABLE), TARGET]
    one_thread = dict.fromkeys(THREADS, "1")
    start = time.perf_counter()
    with subprocess.Popen(
        [_python(name), "-W", "ignore", "-m", module, *words],
        stdout=subprocess.PIPE,
        text=True,
        env=environment() | one_thread,
        cwd=cases.ROOT,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # after the first prediction
        seconds = time.perf_counter() - start
        measurements = process.stdout.read()
    if process.returncode:
        raise SystemExit(f"The process of {name} ended with {process.returncode}.")
    row = {"start": seconds} | json.loads(measurements)
    print(name, row, file=sys.stderr, flush=True)
    return row


def render(rows: list[Row]) -> str:
    """Write the medians over the processes of each system."""
    by_system = {
        name: of_system
        for name in SYSTEMS
        if (of_system := [row for row in rows if row["system"] == name])
    }
    lines = ["# Prediction", ""]
    if not rows:
        return "\n".join([*lines, "Not measured yet.", ""])
    processes = " and ".join(str(n) for n in sorted({len(part) for part in by_system.values()}))
    lines += [
        "The file that README's first command writes, and peers that were trained on the same rows "
        f"of {TABLE.name}. Median of {processes} fresh processes of one thread (smallest and "
        f"largest), which ran in turn; {CALLS} different rows are predicted singly, each from a "
        f"DataFrame, and {LONG:,} rows repeat those of the table. *Start* runs from the start of "
        "Python to the first prediction, of a row that pandas reads from the table. Memory is the "
        "resident set, at its peak unless it is that after imports. LightGBM and CatBoost have "
        "their default settings; LightGBM reads text as ordinals, CatBoost as categories.",
        "",
        *written.table(["", *(SYSTEMS[name].title for name in by_system)], _cells(by_system)),
        "",
    ]
    for name, part in by_system.items():
        contents = part[-1]["contents"]
        lines += [f"- {SYSTEMS[name].title}: {', '.join(contents)}"]
    missing = [system.title for name, system in SYSTEMS.items() if name not in by_system]
    lines += [f"- Not installed: {', '.join(missing)}"] if missing else []
    return "\n".join([*lines, *foot("serving", rows)])


def _cells(by_system: dict[str, list[Row]]) -> Iterator[list[str]]:
    """Write each measure of all systems."""
    for measure, (field, factor) in MEASURES.items():
        values = [factor * np.array([row[field] for row in rows]) for rows in by_system.values()]
        yield [measure, *map(_spread, values)]


def _spread(values: np.ndarray) -> str:
    """Write the median of some values, with the smallest and largest in parentheses."""
    digits = max(0, 2 - int(np.log10(max(np.median(values), 1.0))))
    median, low, high = (f"{v:,.{digits}f}" for v in (np.median(values), min(values), max(values)))
    return median if low == high else f"{median} ({low} to {high})"
