"""How fast autoimb is: all measurements of speed, as tables, plots and raw rows.

``python reports/benchmarks/speed.py --data DATA`` (``pip install skorch``) runs `training.py`,
`trials.py`, `stages.py`, `workers.py` and `serving.py` one after the other, about half an hour, and
writes ``speed.md``, ``speed.jsonl`` and ``speed.png``. What is compared ran in one process or in
turn; times are the least of some repeats. DATA, a folder of Parquet files, is only looked at for
where a trial's time goes. ``--only stages,serving`` measures these anew and keeps the rest.
"""

from __future__ import annotations

import argparse
import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import serving
import stages
import torch
import training
import trials
import workers
from matplotlib import colormaps
from matplotlib.figure import Figure

import autoimb

HERE = Path(__file__).resolve().parent
Rows = list[dict[str, Any]]


def sections(options: argparse.Namespace) -> dict[str, tuple[Callable[[], Rows], Any]]:
    """Each measurement and what writes it as Markdown."""
    repeats = options.repeats
    return {
        "limits": (lambda: training.limits(repeats), training.limits_table),
        "equal_work": (lambda: training.equal_work(repeats), training.equal_work_table),
        "trials": (lambda: trials.measure(options.rows), trials.table),
        "growth": (lambda: training.growth(max(repeats - 1, 1)), training.growth_table),
        "stages": (lambda: stages.measure(options.data), stages.table),
        "workers": (lambda: workers.measure(1), workers.table),
        "serving": (lambda: serving.measure(repeats), serving.table),
    }


def plot(found: dict[str, Rows], path: Path) -> None:
    """Draw how the cost grows and where a trial's time goes."""
    figure = Figure(figsize=(12, 8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.6])
    for row in found.get("growth", []):
        start, first = row["values"][0], row["seconds"][0]
        left.loglog(
            [value / start for value in row["values"]],
            [s / first for s in row["seconds"]],
            marker="o",
            label=f"{row['with']}: exponent {row['exponent']:.2f}",
        )
    left.loglog([1, 100], [1, 100], ":", color="grey", label="linear")
    left.set(title="How the cost grows", xlabel="times as many", ylabel="times the seconds")
    left.legend()
    rows = [row for row in found.get("stages", [])[::-1] if row["status"] == "complete"]
    names = [f"{row['data']}: {row['strategy']}, {row['seconds']:.1f} s" for row in rows]
    begin = [0.0] * len(rows)
    for number, stage in enumerate(stages.STAGES):
        shares = [100 * row["stages"].get(stage, 0.0) / row["seconds"] for row in rows]
        right.barh(names, shares, left=begin, label=stage, color=colormaps["tab20"](number))
        begin = [b + s for b, s in zip(begin, shares)]
    right.set(title="Where a trial's time goes", xlabel="% of its seconds", xlim=(0, 100))
    right.tick_params(axis="y", labelsize=7)
    right.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=130)


def main() -> None:
    """Read the command line, measure and write everything."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of Parquet files")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, nargs="*", default=[1_000, 10_000, 50_000])
    parser.add_argument("--only", help="these sections: a,b")
    options = parser.parse_args()
    torch.set_num_threads(1)
    raw, found = HERE / "speed.jsonl", {}
    if options.only and raw.exists():
        for line in raw.open():
            row = json.loads(line)
            found.setdefault(row.pop("section"), []).append(row)
    known = sections(options)
    named = options.only.split(",") if options.only else list(known)
    for name in named:
        found[name] = known[name][0]()
    with raw.open("w") as file:
        for name in known:
            for row in found.get(name, []):
                file.write(json.dumps({"section": name} | row) + "\n")
    text = "\n\n".join("\n".join(known[name][1](found[name])) for name in known if name in found)
    packages = ", ".join(f"{n} {version(n)}" for n in ("torch", "skorch", "imbalanced-learn"))
    foot = (
        f"`python reports/benchmarks/speed.py`: {os.cpu_count()} cores, {platform.machine()}, "
        f"Python {platform.python_version()}, autoimb {autoimb.__version__}, {packages}."
    )
    picture = "![How the cost grows, and where a trial's time goes](speed.png)"
    (HERE / "speed.md").write_text(f"# Speed\n\n{text}\n\n{picture}\n\n{foot}\n", "utf-8")
    plot(found, HERE / "speed.png")
    print(foot)


if __name__ == "__main__":
    main()
