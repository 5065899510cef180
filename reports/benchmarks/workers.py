"""Two workers against one: how many more trials a search completes, and in how much more memory.

``python reports/benchmarks/workers.py`` searches simulated tables, each with one and with two
workers in turn, as processes of their own, among networks without a lever, so that both evaluate
the same kind of trial. Memory is the summed PSS of the
process tree at its most, twice a second.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from budget import run, simulated

SAME = (
    *("--resampling", "none", "--class-weight", "none"),
    *("--loss", "cross_entropy", "--ensemble", "single"),
)


def compare(rows: int, budget: float, folder: Path, repeats: int) -> list[dict[str, Any]]:
    """Search with one worker and with two, alternately."""
    path, out = simulated(rows, folder), []
    for _ in range(repeats):
        for jobs in (1, 2):
            row = run(path, budget, jobs=jobs, more=SAME)
            out.append({"rows": rows} | row)
            print(out[-1], flush=True)
    return out


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Write the ratios as Markdown."""
    lines = [
        "## Two workers against one",
        "",
        "Searches among networks without a lever; trials that ran to their end or were pruned, and "
        "the most memory of all processes together (summed PSS). The best of the repeats.",
        "",
        "| rows | budget | trials, one | two | ratio | MB, one | two | ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for n in dict.fromkeys(row["rows"] for row in rows):
        mine = [row for row in rows if row["rows"] == n]
        trials, memory = [], []
        for jobs in (1, 2):
            own = [row for row in mine if row["jobs"] == jobs]
            trials.append(max(row["complete"] + row["others"].get("pruned", 0) for row in own))
            memory.append(min(row["memory_mb"] for row in own))
        lines.append(
            f"| {n:,} | {mine[0]['budget']:g} s | {trials[0]} | {trials[1]} "
            f"| **{trials[1] / trials[0]:.2f}** | {memory[0]:,} | {memory[1]:,} "
            f"| **{memory[1] / memory[0]:.2f}** |"
        )
    return lines


def measure(repeats: int) -> list[dict[str, Any]]:
    """Compare on a table of usual size and on a large one."""
    with tempfile.TemporaryDirectory() as folder:
        return [
            row
            for rows, budget in ((10_000, 60.0), (1_000_000, 120.0))
            for row in compare(rows, budget, Path(folder), repeats)
        ]


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    print("\n".join(table(measure(options.repeats))))


if __name__ == "__main__":
    main()
