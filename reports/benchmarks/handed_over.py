"""What a search hands over, with the networks of its folds and with those that saw all rows.

``python reports/benchmarks/handed_over.py --data DATA`` searches on 70 % of every Parquet file of
DATA (last column ``target``), scores the other 30 % with the networks of the folds and with those
that were trained again, same strategies and weights, and writes ``handed_over.md``.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
from sklearn.model_selection import train_test_split

from autoimb.assessment.metrics import get_metric
from autoimb.pipeline.fitted import FittedPipeline
from autoimb.search import search as searching
from autoimb.search.budget import Deadline
from autoimb.search.full import Networks, refit_full
from autoimb.search.request import Request

MOST_ROWS, FEW_ROWS = 60_000, 3_000


def both(path: Path, *, seconds: float, seed: int) -> dict[str, Any]:
    """Search once; score the test rows with both kinds of networks."""
    frame = pd.read_parquet(path)
    if len(frame) > MOST_ROWS:
        frame = split(frame, seed=seed, train_size=MOST_ROWS)[0]
    train, test = split(frame, seed=seed, test_size=0.3)
    folds: list[Networks] = []

    def remembered(*given: Any, **named: Any) -> Networks:
        full = refit_full(*given, **named)
        folds.append(refit_full(*given, **(named | {"deadline": Deadline.after(0.0)})))
        return full

    request = Request(target="target", time_budget=seconds, n_jobs=2, random_state=seed, verbose=0)
    with mock.patch.object(searching, "refit_full", remembered):
        found = searching.search(train.drop(columns="target"), train["target"], request)
    pipeline = found.pipeline
    kept = replace(pipeline, encoders=folds[0].encoders, strategies=folds[0].strategies)
    pairs = zip(pipeline.strategies, kept.strategies)
    return {
        "data": path.stem,
        "rows": len(train),
        "strategies": len(pipeline.strategies),
        "again": sum(one is not other for one, other in pairs),
        "folds": score(kept, test),
        "all rows": score(pipeline, test),
    }


def split(frame: pd.DataFrame, *, seed: int, **size: float) -> list[pd.DataFrame]:
    """Deal rows in two, stratified."""
    labels = frame["target"].astype(str)
    found: list[pd.DataFrame] = train_test_split(frame, stratify=labels, random_state=seed, **size)
    return found


def score(pipeline: FittedPipeline, test: pd.DataFrame) -> float:
    """Score test rows by average precision."""
    metric = get_metric(
        "average_precision", n_classes=len(pipeline.classes), positive=pipeline.positive
    )
    place = {label: code for code, label in enumerate(pipeline.classes)}
    y = test["target"].map(place).to_numpy()
    return float(metric(y, pipeline.predict_proba(test.drop(columns="target")), None))


def main() -> None:
    """Read the command line, search, write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of Parquet files")
    parser.add_argument("--time", type=float, default=30.0, help="seconds of each search")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows = []
    for path in sorted(options.data.glob("*.parquet")):
        rows.append(both(path, seconds=options.time, seed=options.seed))
        print(rows[-1], file=sys.stderr, flush=True)
    frame = pd.DataFrame(rows)
    frame["gain"] = frame["all rows"] - frame["folds"]
    sizes = {
        "all tables": frame,
        f"below {FEW_ROWS:,} rows": frame[frame["rows"] < FEW_ROWS],
        f"from {FEW_ROWS:,} on": frame[frame["rows"] >= FEW_ROWS],
    }
    lines = [
        "# Handed over with networks of the folds, and of all rows",
        "",
        f"Average precision on held-out rows after searches of {options.time:g} s.",
        "",
        "| tables | trained again | gain | better on |",
        "|---|---|---|---|",
        *(
            f"| {name} | {own['again'].sum()} of {own['strategies'].sum()} "
            f"| {own['gain'].mean():+.4f} ± {own['gain'].sem():.4f} "
            f"| {(own['gain'] > 0).sum()} of {len(own)} |"
            for name, own in sizes.items()
        ),
        "",
        "| table | rows | strategies | trained again | folds | all rows |",
        "|---|---|---|---|---|---|",
        *(
            f"| {one['data']} | {one['rows']:,} | {one['strategies']} | {one['again']} "
            f"| {one['folds']:.4f} | {one['all rows']:.4f} |"
            for one in frame.to_dict("records")
        ),
        "",
        f"`python reports/benchmarks/handed_over.py --time {options.time:g}`.",
        "",
    ]
    text = "\n".join(lines)
    Path(__file__).resolve().with_name("handed_over.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
