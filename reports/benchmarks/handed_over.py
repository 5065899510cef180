"""What a search hands over, with the networks of its folds and with those that saw all rows.

``python reports/benchmarks/handed_over.py --data DATA`` searches on 70 % of every Parquet file of
DATA (last column ``target``), trains the strategies of the winner again on all of these rows, for
as many epochs as the median fold kept, and scores the other 30 % with both, with the same weights.
It writes ``handed_over.md``.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from refit import Rows, against_folds

from autoimb.search.request import Request
from autoimb.search.search import search
from autoimb.space.strategy import Strategy

FEW_ROWS = 3_000


def compared(path: Path, *, seconds: float) -> dict[str, Any]:
    """Search once; score the new rows by the networks of the folds and of all rows."""
    table = Rows(path)
    request = Request(target="target", time_budget=seconds, n_jobs=1, random_state=0, verbose=0)
    x, y = table.train.drop(columns="target"), table.train["target"]
    pipeline = search(x, y, request).pipeline
    found = [
        table.predicted(Strategy.from_json(one.strategy), work=one.work, ways=("epochs",))
        for one in pipeline.strategies
    ]

    def blended(networks: Callable[[dict[str, list[np.ndarray]]], np.ndarray]) -> float:
        return table.score(sum(w * networks(one) for w, one in zip(pipeline.weights, found)))

    ways: dict[str, Callable[[dict[str, list[np.ndarray]]], np.ndarray]] = {
        "folds": lambda one: one["folds"][0],
        "all rows, one": lambda one: one["epochs"][0],
        "all rows": lambda one: np.mean(one["epochs"], axis=0),
        "folds and all rows": lambda one: (one["folds"][0] + np.mean(one["epochs"], axis=0)) / 2,
    }
    row = {"data": path.stem, "rows": len(y), "strategies": len(found)}
    return row | {name: blended(networks) for name, networks in ways.items()}


def main() -> None:
    """Read the command line, search, write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of Parquet files")
    parser.add_argument("--time", type=float, default=60.0, help="seconds of a search, on one core")
    options = parser.parse_args()
    rows = []
    paths = sorted(options.data.glob("*.parquet"), key=lambda p: -p.stat().st_size)
    jobs = (delayed(compared)(path, seconds=options.time) for path in paths)
    for row in Parallel(n_jobs=-1, return_as="generator_unordered")(jobs):
        print(row, file=sys.stderr, flush=True)
        rows.append(row)
    frame = pd.DataFrame(rows).sort_values("data")
    ways = list(frame.columns[3:])
    sizes = {
        "all tables": frame,
        f"below {FEW_ROWS:,} rows": frame[frame["rows"] < FEW_ROWS],
        f"from {FEW_ROWS:,} on": frame[frame["rows"] >= FEW_ROWS],
    }
    lines = [
        "# Handed over with networks of the folds, or of all rows",
        "",
        f"Average precision on held-out rows after searches of {options.time:g} s on one core: of "
        "the networks of the folds, of one or as many as folds that saw all rows, and of both.",
        "",
        "| tables | networks | mean | less folds | better than folds on |",
        "|---|---|---|---|---|",
    ]
    for size, own in sizes.items():
        lines += against_folds(size, own[ways])
    lines += [
        "",
        f"| table | rows | strategies | {' | '.join(ways)} |",
        f"|---|---|---|{'---|' * 4}",
    ]
    for one in frame.to_dict("records"):
        cells = " | ".join(f"{one[name]:.4f}" for name in ways)
        lines.append(f"| {one['data']} | {one['rows']:,} | {one['strategies']} | {cells} |")
    lines += ["", f"`python reports/benchmarks/handed_over.py --time {options.time:g}`.", ""]
    text = "\n".join(lines)
    Path(__file__).resolve().with_name("handed_over.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
