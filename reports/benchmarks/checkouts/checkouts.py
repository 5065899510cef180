"""Searches of two checkouts on public tables, side by side, each on one core.

``run`` trains both at the same time on 70 % of each table, by the public interface alone, so that
what else the machine does meets both, and scores the other 30 % by the metric that both optimize.
Each search has one worker.
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

import numpy as np
import pandas as pd
from sklearn.metrics import balanced_accuracy_score, f1_score

from reports.benchmarks import cases
from reports.benchmarks import render as written
from reports.benchmarks.machine import environment
from reports.benchmarks.rows import Row, Rows, by, foot

ROWS = Rows(
    Path(__file__).with_suffix(".jsonl"), by("before", "after", "data", "seed", "time", "metric")
)
SIDES = ("before", "after")
METRICS = ("average_precision", "f1", "balanced_accuracy")

_SEARCH = """
import json, sys, time
import pandas as pd
from autoimb import AutoImbClassifier

train, test, time_budget, seed, metric, out = sys.argv[1:]
train, begin = pd.read_parquet(train), time.monotonic()
options = {"time_budget": float(time_budget), "random_state": int(seed), "metric": metric}
classifier = AutoImbClassifier(**options)
classifier.fit(train.drop(columns="target"), train["target"])
seconds = time.monotonic() - begin
columns = pd.read_parquet(test).drop(columns="target")
labels = [str(label) for label in classifier.classes_]
predicted = pd.DataFrame(classifier.predict_proba(columns), columns=labels)
predicted.assign(_label=[str(label) for label in classifier.predict(columns)]).to_parquet(out)
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
    parser.add_argument("--metric", choices=METRICS, default=METRICS[0])


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
            row["metric"] = options.metric
            if ROWS.key(row) in known:
                continue
            row |= _side_by_side(roots, path, seed, options)
            ROWS.append([row])
            print(row, file=sys.stderr, flush=True)


def _commit(root: Path) -> str:
    command = ["git", "-C", str(root), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _side_by_side(roots: dict[str, Path], path: Path, seed: int, options: Namespace) -> Row:
    train, test = cases.split(path, seed)
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(len(roots)) as threads:
        files = [Path(place, "train.parquet"), Path(place, "test.parquet")]
        train.to_parquet(files[0])
        test.to_parquet(files[1])
        words = f"{options.time:g}", str(seed), options.metric
        search = partial(_searched, files=files, words=words)
        results = dict(zip(roots, threads.map(search, roots.values())))
    row: Row = {}
    for side, (predicted, told) in results.items():
        score = _score(test["target"].astype(str), predicted, options.metric)
        row |= {f"{side}_score": score} | {f"{side}_{name}": told[name] for name in told}
    return row


def _score(y: pd.Series, predicted: pd.DataFrame, metric: str) -> float:
    """Score probabilities or labels; F1 is that of the rarer of two classes, else macro."""
    labels, proba = predicted["_label"], predicted.drop(columns="_label")
    if metric == "balanced_accuracy":
        return float(balanced_accuracy_score(y, labels))
    if metric == "f1":
        by_class = f1_score(y, labels, labels=proba.columns, average=None)
        rarest = int(np.argmin([(y == label).sum() for label in proba.columns]))
        return float(by_class[rarest] if len(by_class) == 2 else by_class.mean())
    return cases.average_precision(y.to_numpy(), proba.to_numpy(), proba.columns.to_numpy())


def _searched(root: Path, *, files: list[Path], words: tuple[str, ...]) -> tuple[pd.DataFrame, Row]:
    """Search in a process that imports the package of a checkout."""
    out = files[0].with_name(f"predicted_{abs(hash(root))}.parquet")
    command = [sys.executable, "-W", "ignore", "-c", _SEARCH, *map(str, files), *words, str(out)]
    done = subprocess.run(
        command,
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
    lines += ["The optimized metric on held-out rows, after less before; one core each.", ""]
    frame = pd.DataFrame(rows)
    pairs = frame.groupby(["before", "after", "time", "metric"], sort=False) if rows else ()
    for (before, after, seconds, metric), searches in pairs:
        name = metric.replace("_", " ")
        lines += [f"## {before} and {after}, {seconds:g} s, {name}", ""]
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
