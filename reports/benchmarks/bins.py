"""Bins of numbers by quantiles alone, or also where classes part: what networks score with each.

``python reports/benchmarks/bins.py --data DATA`` evaluates the networks below that read numbers in
bins on every Parquet file of DATA (last column ``target``) with at least five columns of numbers,
out of fold, as a search of a minute does, and writes ``bins.md``.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from plain import TABM, as_trial, plain

from autoimb.data import encoding
from autoimb.data.bins import edges_of

LEAST_NUMBERS = 5
COMMON = {
    "embedding": "ple",
    "learning_rate": 0.004,
    "weight_decay": 0.01,
    "batch_factor": 1.0,
    "schedule": "constant",
}
NETWORKS = {
    "mlp": plain("mlp", {"width": 96, "depth": 2, "dropout": 0.25, "activation": "silu", **COMMON}),
    "tabm": TABM,
    "realmlp": plain(
        "realmlp", {"width": 77, "depth": 2, "dropout": 0.25, "activation": "selu", **COMMON}
    ),
}


def by_rows(scaled: np.ndarray, most: int, _: np.ndarray | None = None) -> np.ndarray:
    """Stand in for `edges_of`: quantiles, whatever the labels."""
    return edges_of(scaled, most)


def compared(path: Path) -> list[dict[str, Any]]:
    """Score each network with both kinds of bins."""
    rows = []
    for bins, edges in {"quantiles": by_rows, "and cuts": edges_of}.items():
        with mock.patch.object(encoding, "edges_of", edges):
            trial = as_trial(path, budget=60.0, seed=0)
            for name, strategy in NETWORKS.items():
                outcome = trial(strategy)
                assert outcome.score is not None, outcome.reason
                rows.append(
                    {
                        "data": path.stem,
                        "network": name,
                        "bins": bins,
                        "score": outcome.score.value,
                        "error": outcome.score.error,
                        "seconds": outcome.seconds,
                    }
                )
    return rows


def main() -> None:
    """Read the command line, compare, write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of Parquet files")
    options = parser.parse_args()
    index = pd.read_csv(options.data / "INDEX.csv").set_index("name")
    numbers = index["n_features"] - index["n_categorical"]
    names = numbers.index[numbers >= LEAST_NUMBERS]
    paths = sorted((options.data / f"{n}.parquet" for n in names), key=lambda p: -p.stat().st_size)
    found: list[dict[str, Any]] = []
    jobs = (delayed(compared)(path) for path in paths)
    for rows in Parallel(n_jobs=-1, return_as="generator_unordered")(jobs):
        print(*rows, sep="\n", file=sys.stderr, flush=True)
        found += rows
    frame = pd.DataFrame(found)
    scores = frame.pivot_table(index=["data", "network"], columns="bins", values="score")
    errors = frame.groupby(["data", "network"])["error"].max()
    seconds = frame.groupby("bins")["seconds"].sum()
    gap = scores["and cuts"] - scores["quantiles"]
    by_table = gap.groupby("data").mean()
    lines = [
        "# Bins by quantiles, or also at the cuts of a tree",
        "",
        f"Out-of-fold average precision of {len(NETWORKS)} networks on {len(by_table)} tables. "
        f"With cuts it is higher by {by_table.mean():+.4f} ± {by_table.sem():.4f} in mean over "
        f"tables, on {(by_table > 0).sum()} of them, in "
        f"{seconds['and cuts'] / seconds['quantiles']:.2f} times the seconds.",
        "",
        "| network | higher by |",
        "|---|---|",
        *(
            f"| {name} | {own.mean():+.4f} ± {own.sem():.4f} |"
            for name, own in gap.groupby("network")
        ),
        "",
        "| table | network | quantiles | and cuts | error of one |",
        "|---|---|---|---|---|",
        *(
            f"| {data} | {name} | {row['quantiles']:.4f} | {row['and cuts']:.4f} "
            f"| {errors[data, name]:.4f} |"
            for (data, name), row in scores.iterrows()
        ),
    ]
    text = "\n".join([*lines, "", "`python reports/benchmarks/bins.py`.", ""])
    Path(__file__).resolve().with_name("bins.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
