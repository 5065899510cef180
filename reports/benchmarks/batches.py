"""Batch balancing against no lever and random over-sampling, all else equal.

``python reports/benchmarks/batches.py --data DATA`` evaluates each lever on two networks and
the named Parquet files of DATA (last column ``target``), as trials of a search of 20 s, with
other folds for each seed. It prints a Markdown table of average precision: that of no lever, and
what the others gain, in the mean over networks and seeds; the error is that over tables.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
from pathlib import Path

import pandas as pd
from plain import TABM, as_trial, plain

from autoimb.space.strategy import Choice, Strategy

TABLES = (
    "yeast_me2",
    "oil_spill",
    "ibm_attrition",
    "us_crime",
    "thyroid_sick",
    "wine_quality",
    "churn_mlc",
    "hmeq",
    "lending_club",
    "mammography",
)
BUDGET = 20.0
NETWORKS = (
    plain(
        "mlp",
        {
            "width": 128,
            "depth": 1,
            "dropout": 0.1,
            "activation": "relu",
            "embedding": "none",
            "learning_rate": 0.004,
            "weight_decay": 0.01,
            "batch_factor": 1.0,
            "schedule": "constant",
        },
    ),
    TABM,
)


def levers() -> dict[str, Choice]:
    """Return what is compared, `none` first."""
    tried = [Choice("none")]
    for strength in (0.3, 0.5, 1.0):
        tried.append(Choice("random_over", (("strength", strength),)))
        tried.append(Choice("batch_balancing", (("strength", strength), ("floor", 1))))
    tried.append(Choice("batch_balancing", (("strength", 0.3), ("floor", 4))))
    return {str(choice): choice for choice in tried}


def scored(path: Path, *, seed: int, count: int) -> list[dict[str, object]]:
    """Evaluate every lever on every network and one table."""
    trial = as_trial(path, budget=BUDGET, seed=seed)
    rows: list[dict[str, object]] = []
    for number, network in enumerate(NETWORKS[:count]):
        for name, lever in levers().items():
            strategy = Strategy.from_json(
                network.to_json() | {"resampling": {"name": lever.name, "params": lever.values}}
            )
            outcome = trial(strategy)
            assert outcome.score is not None, outcome.reason
            row = {"data": path.stem, "lever": name, "run": f"{seed}.{number}"}
            rows.append(row | {"score": outcome.score.value, "seconds": outcome.seconds})
    return rows


def main() -> None:
    """Read the command line, evaluate and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of Parquet files")
    parser.add_argument("--networks", type=int, default=len(NETWORKS))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--tables", nargs="+", default=TABLES)
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    for table in options.tables:
        for seed in range(options.seeds):
            path = options.data / f"{table}.parquet"
            rows += scored(path, seed=seed, count=options.networks)
            print(table, seed, file=sys.stderr, flush=True)
    frame = pd.DataFrame(rows)
    scores = frame.pivot_table(index=["data", "run"], columns="lever", values="score")
    gain = scores.sub(scores["none"], axis=0)
    seconds = frame.groupby("lever")["seconds"].mean()
    print(f"| lever | {' | '.join(options.tables)} | mean gain | error | s |")
    print(f"|---|{'---|' * (len(options.tables) + 3)}")
    for name in levers():
        by_table = (scores if name == "none" else gain)[name].groupby("data").mean()
        cells = [f"{by_table[table]:+.4f}" for table in options.tables]
        error = gain[name].groupby("data").mean().sem()
        cells += [f"{gain[name].mean():+.4f}", f"{error:.4f}", f"{seconds[name]:.2f}"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
