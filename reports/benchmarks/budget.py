"""Whole searches against the clock: whether they end in time, and how soon there is a result.

``python reports/benchmarks/budget.py --data DATA`` runs ``autoimb search`` on every Parquet file of
DATA (last column ``target``) and on simulated tables of 1,000 to 1,000,000 rows and 30 columns, as
processes of their own, and writes ``budget.md`` and its raw rows ``budget.jsonl``. What is there
already is not run again. Memory is the summed PSS of the whole process tree, twice a second; a
trial's time is that of its file.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from plain import stored

import autoimb
from autoimb import load
from autoimb.search.run_folder import RunFolder

HERE = Path(__file__).resolve().parent
COLUMNS = 30
RATE = 0.01


def simulated(rows: int, folder: Path, *, rate: float = RATE, signal: float = 1.0) -> Path:
    """Write a table of 24 numbers and 6 categories with missing cells; so many are positive."""
    path = folder / f"simulated_{rows}.parquet"
    random = np.random.default_rng(0)
    numbers = random.normal(size=(rows, 24))
    numbers[random.random(numbers.shape) < 0.02] = np.nan
    frame = pd.DataFrame(numbers, columns=[f"n{j}" for j in range(24)])
    for j in range(6):
        frame[f"c{j}"] = pd.Categorical.from_codes(
            random.integers(0, 4 + 6 * j, rows), [f"v{i}" for i in range(4 + 6 * j)]
        )
    known = frame.filter(like="n").fillna(0.0).to_numpy()
    logits = 1.2 * known[:, 0] + known[:, 1] * known[:, 2] - np.abs(known[:, 3])
    logits += 0.5 * (frame["c1"].cat.codes % 3 == 0)
    noisy = signal * logits + random.logistic(size=rows)
    frame["target"] = np.where(noisy > np.quantile(noisy, 1 - max(rate, 20 / rows)), "yes", "no")
    frame.to_parquet(path)
    return path


def memory(root: int) -> float:
    """Sum the PSS of a process and all its descendants, in MB."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    total, waiting = 0.0, [root]
    while waiting:
        process = waiting.pop()
        waiting += children.get(process, [])
        with contextlib.suppress(OSError, ValueError, IndexError):
            for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) / 1024
    return total


def run(path: Path, budget: float, *, jobs: int, more: Sequence[str] = ()) -> dict[str, Any]:
    """Search a table in a process of its own and look at what it left."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        words = ["search", str(path), "--target", "target", "--time-budget", f"{budget:g}"]
        command = [sys.executable, "-m", "autoimb", *words, "--jobs", str(jobs), "--out", str(out)]
        command += more
        started, clock, most = time.time(), time.monotonic(), 0.0
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            while process.poll() is None:
                most = max(most, memory(process.pid))
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.5)
            seconds = time.monotonic() - clock
            error = process.stderr.read().decode() if process.stderr else ""
        row: dict[str, Any] = {
            "data": path.stem,
            "budget": budget,
            "jobs": jobs,
            "seconds": round(seconds, 2),
            "over": round(seconds - budget, 2),
            "in_time": seconds <= 1.02 * budget + 5,
            "memory_mb": round(most),
            "code": process.returncode,
        }
        if process.returncode:
            return row | {"error": error.strip()[-300:]}
        view = RunFolder.view(out)
        records = view.records()
        counts = Counter(record.status for record in records)
        first = min(
            (
                (out / "trials" / f"{record.number:04d}.safetensors").stat().st_mtime
                for record in records
                if record.status == "complete"
            ),
            default=float("nan"),
        )
        frame = pd.read_parquet(path).drop(columns="target").head(100)
        proba = load(view.pipeline).predict_proba(frame)
        results = view.read_run()["results"]
        return row | {
            "complete": counts["complete"],
            "others": {status: n for status, n in counts.items() if status != "complete"},
            "first": round(first - started, 2),
            "score": results["scores"][0]["value"],
            "predicts": bool(np.isfinite(proba).all()),
        }


def cases(options: argparse.Namespace, folder: Path) -> Iterator[tuple[Path, float]]:
    """Yield the tables and their budgets."""
    named = set(options.files.split(",")) if options.files else None
    for budget in options.budgets:
        for path in sorted(options.data.glob("*.parquet")) if options.data else ():
            if named is None or path.stem in named:
                yield path, budget
    for rows in options.rows:
        yield simulated(rows, folder), options.large if rows >= 1_000_000 else 60.0


def render(rows: list[dict[str, Any]]) -> str:
    """Write the rows as Markdown."""
    lines = [
        "# Searches against the clock",
        "",
        "Wall-clock seconds of the whole `autoimb search` process; the seconds until the first "
        "complete trial was on disk, and its share of the budget; trials; most memory.",
        "",
        "| table | budget | seconds | first complete | share | complete | others | memory MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row["code"]:
            text = row["error"].replace("|", "/")
            lines.append(f"| {row['data']} | {row['budget']:g} | {row['seconds']} | {text} |||||")
            continue
        others = ", ".join(f"{n} {status}" for status, n in row["others"].items())
        lines.append(
            f"| {row['data']} | {row['budget']:g} | {row['seconds']} | {row['first']} "
            f"| {row['first'] / row['budget']:.0%} | {row['complete']} | {others} "
            f"| {row['memory_mb']} |"
        )
    good = [r for r in rows if not r["code"] and r["in_time"] and r["complete"] and r["predicts"]]
    lines += [
        "",
        f"{len(good)} of {len(rows)} searches ended within their budget + 2 % + 5 s, with at least "
        "one complete trial and a pipeline that predicts.",
        "",
        f"`python reports/benchmarks/budget.py`: {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, autoimb {autoimb.__version__}.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Read the command line, run what is missing and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of Parquet files")
    parser.add_argument("--files", help="only these, by name: a,b")
    parser.add_argument("--budgets", type=float, nargs="*", default=[10, 30, 60])
    parser.add_argument("--rows", type=int, nargs="*", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--large", type=float, default=120, help="budget at 1,000,000 rows")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--raw", type=Path, default=HERE / "budget.jsonl")
    options = parser.parse_args()
    rows = stored(options.raw)
    done = {(row["data"], row["budget"], row["jobs"]) for row in rows}
    with tempfile.TemporaryDirectory() as folder:
        for path, budget in cases(options, Path(folder)):
            if (path.stem, budget, options.jobs) in done:
                continue
            rows.append(run(path, budget, jobs=options.jobs))
            print(rows[-1], file=sys.stderr, flush=True)
            with options.raw.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    text = render(rows)
    print(text)
    options.raw.with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
