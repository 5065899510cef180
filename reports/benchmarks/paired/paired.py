"""Whether trainings score as they did at another commit, with the same planned work.

``run --against PATH`` trains the twelve networks of ``speed/networks.json`` in both checkouts on
the same simulated tables of 24 numbers, as a search of a minute plans them, and takes the out-of-
fold average precision. There are no categories, as those are encoded otherwise now.
"""

from __future__ import annotations

import sys
import tempfile
from argparse import ArgumentParser, Namespace
from pathlib import Path

import pandas as pd

from reports.benchmarks import cases
from reports.benchmarks import render as written
from reports.benchmarks.rows import Row, Rows, by, commit_of, foot
from reports.benchmarks.speed.against import Process, asked, checkout
from reports.benchmarks.speed.stepping import NETWORKS

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("rows", "network", "seed", "against"))
SIZES = (1_000, 10_000, 50_000)
SCRIPT = Path(__file__).with_name("scoring.py")


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_again(parser)
    parser.add_argument("--against", type=Path, required=True, help="another checkout")
    parser.add_argument("--rows", default=",".join(map(str, SIZES)), help="of the tables: a,b")
    parser.add_argument("--seed", type=int, default=cases.SEED)


def run(options: Namespace) -> None:
    """Train what is missing in both checkouts."""
    known = ROWS.known(again=options.again)
    theirs = commit_of(options.against)
    with (
        tempfile.TemporaryDirectory() as folder,
        checkout(cases.ROOT, SCRIPT) as mine,
        checkout(options.against.resolve(), SCRIPT) as other,
    ):
        for rows in map(int, options.rows.split(",")):
            path = simulated(rows, options.seed, Path(folder))
            for number in range(len(NETWORKS)):
                row: Row = {"rows": rows, "network": number, "seed": options.seed}
                row["against"] = theirs
                if ROWS.key(row) not in known:
                    row |= both(mine, other, path, number, options.seed)
                    ROWS.append([row])
                    print(*row.values(), file=sys.stderr, flush=True)


def simulated(rows: int, seed: int, folder: Path) -> str:
    """Write a table of numbers, a tenth of whose rows are positive."""
    path = cases.simulated(rows, folder, rate=0.1, signal=3.0, seed=seed)
    frame = pd.read_parquet(path)
    frame.drop(columns=[name for name in frame if name.startswith("c")]).to_parquet(path)
    return str(path)


def both(mine: Process, other: Process, path: str, number: int, seed: int) -> Row:
    """Train a network in both, one after the other."""
    words = {"table": path, "network": number, "seed": seed}
    own, against = asked(mine, **words), asked(other, **words)
    return own | {f"against_{name}": value for name, value in against.items()}


def render(rows: list[Row]) -> str:
    """Write the mean scores and differences of each size."""
    found = pd.DataFrame(rows).dropna()
    found["gap"] = found["score"] - found["against_score"]

    def cells() -> list[list[str]]:
        return [
            [
                f"{rows:,}",
                str(len(own)),
                f"{own['score'].mean():.4f}",
                f"{own['against_score'].mean():.4f}",
                written.paired(own["gap"]),
                f"{(own['against_seconds'] / own['seconds']).median():.2f}",
            ]
            for rows, own in found.groupby("rows")
        ]

    head = ["rows", "trainings", "now", "then", "difference", "times as fast (median)"]
    against = ", ".join(sorted(found["against"].unique()))
    return "\n".join(
        [
            f"# Trainings now and at {against}",
            "",
            "Out-of-fold average precision of twelve networks with the same planned work; the "
            "difference is paired, its error that of the mean over trainings.",
            "",
            *written.table(head, cells()),
            *foot("paired", rows),
        ]
    )
