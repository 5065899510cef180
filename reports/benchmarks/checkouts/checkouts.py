"""Searches of two checkouts on public tables, side by side, each on one core.

``run`` trains both at the same time on 70 % of each table, by the public interface alone, so that
what else the machine does meets both, and scores the other 30 % by average precision. Each search
has one worker.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pandas as pd

from reports.benchmarks import cases
from reports.benchmarks import render as written
from reports.benchmarks.machine import environment
from reports.benchmarks.rows import Row, Rows, by, foot

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("before", "after", "data", "seed", "time"))
SIDES = ("before", "after")

_SEARCH = """
import json, sys, time
import pandas as pd
from autoimb import AutoImbClassifier

train, test, time_budget, seed, out = sys.argv[1:]
train, begin = pd.read_parquet(train), time.monotonic()
classifier = AutoImbClassifier(time_budget=float(time_budget), random_state=int(seed))
classifier.fit(train.drop(columns="target"), train["target"])
seconds = time.monotonic() - begin
proba = classifier.predict_proba(pd.read_parquet(test).drop(columns="target"))
pd.DataFrame(proba, columns=[str(label) for label in classifier.classes_]).to_parquet(out)
complete = int((classifier.leaderboard()["status"] == "complete").sum())
print(json.dumps({"reported": classifier.best_score_, "seconds": seconds, "complete": complete}))
"""


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_data(parser)
    cases.add_again(parser)
    parser.add_argument("--before", type=Path, help="the other checkout; after it comes this one")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], metavar="N")
    parser.add_argument("--time", type=float, default=cases.MINUTE, help="seconds of each search")


def run(options: Namespace) -> None:
    """Search with both checkouts on every table and split that is missing."""
    if options.before is None:
        raise SystemExit("--before must name another checkout.")
    roots = {"before": options.before.resolve(), "after": cases.ROOT}
    commits = {side: _commit(root) for side, root in roots.items()}
    known = ROWS.known(again=options.again)
    for seed in options.seeds:
        for path in sorted(cases.paths(options)):
            row: Row = {**commits, "data": path.stem, "seed": seed, "time": options.time}
            if ROWS.key(row) in known:
                continue
            row |= _side_by_side(roots, path, seed, options.time)
            ROWS.append([row])
            print(row, file=sys.stderr, flush=True)


def _commit(root: Path) -> str:
    command = ["git", "-C", str(root), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _side_by_side(roots: dict[str, Path], path: Path, seed: int, seconds: float) -> Row:
    train, test = cases.split(path, seed)
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(len(roots)) as threads:
        files = [Path(place, "train.parquet"), Path(place, "test.parquet")]
        train.to_parquet(files[0])
        test.to_parquet(files[1])
        search = partial(_searched, files=files, seconds=seconds, seed=seed)
        results = dict(zip(roots, threads.map(search, roots.values())))
    row: Row = {}
    for side, (proba, told) in results.items():
        labels = test["target"].astype(str).to_numpy()
        score = cases.average_precision(labels, proba.to_numpy(), proba.columns.to_numpy())
        row |= {f"{side}_score": score} | {f"{side}_{name}": told[name] for name in told}
    return row


def _searched(
    root: Path, *, files: list[Path], seconds: float, seed: int
) -> tuple[pd.DataFrame, Row]:
    """Search in a process that imports the package of a checkout."""
    out = files[0].with_name(f"proba_{abs(hash(root))}.parquet")
    words = [*map(str, files), f"{seconds:g}", str(seed), str(out)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _SEARCH, *words],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(root),
        cwd=root,
    )
    return pd.read_parquet(out), json.loads(done.stdout.splitlines()[-1])


def render(rows: list[Row]) -> str:
    """Write the difference of each pair of checkouts, over splits and by table."""
    lines = ["# Two checkouts side by side", ""]
    lines += ["Average precision on held-out rows, after less before; one core each.", ""]
    frame = pd.DataFrame(rows)
    pairs = frame.groupby(["before", "after", "time"], sort=False) if rows else ()
    for (before, after, seconds), searches in pairs:
        lines += [f"## {before} and {after}, {seconds:g} s", ""]
        gap = searches["after_score"] - searches["before_score"]
        cells = [[name, *_cells(part, gap[part.index])] for name, part in searches.groupby("seed")]
        if len(cells) > 1:
            cells.append(["all", *_cells(searches, gap)])
        head = ["split", "tables", *SIDES, "difference", "complete strategies"]
        lines += [*written.table(head, cells), ""]
        by_table = gap.groupby(searches["data"]).mean()
        far = by_table[by_table.abs() > 0.005].sort_values()
        listed = ", ".join(f"{name} {value:+.4f}" for name, value in far.items())
        lines += [f"Means over the splits beyond .005: {listed or 'none'}.", ""]
    return "\n".join([*lines, *foot("checkouts", rows)])


def _cells(searches: pd.DataFrame, gap: pd.Series) -> list[str]:
    means = [f"{searches[f'{side}_score'].mean():.4f}" for side in SIDES]
    complete = " and ".join(f"{searches[f'{side}_complete'].median():.0f}" for side in SIDES)
    return [str(len(gap)), *means, written.paired(gap), complete]
