"""Each loss against cross-entropy on the same network, folds and seeds: what a search gains by it.

``python reports/benchmarks/losses.py --data DATA NAME ...`` evaluates two networks
on the named Parquet files of DATA (last column ``target``) with every loss, as a trial
of a search of a minute, and appends to ``losses.jsonl``; what is there already is not run again.
It writes ``losses.md``: the mean difference from cross-entropy for each loss and table.
"""

from __future__ import annotations

import argparse
import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd
from plain import TABM, as_trial, plain, stored

from autoimb.space.strategy import Choice, Strategy

RAW = Path(__file__).resolve().with_name("losses.jsonl")
NETWORKS = (
    plain(
        "mlp",
        {
            "width": 45,
            "depth": 2,
            "dropout": 0.1,
            "activation": "relu",
            "embedding": "none",
            "learning_rate": 0.0042,
            "weight_decay": 0.027,
            "batch_factor": 0.5,
            "schedule": "cosine",
        },
    ),
    TABM,
)
LOSSES: dict[str, tuple[tuple[str, dict[str, float]], ...]] = {
    "average_precision": (
        ("cross_entropy", {}),
        ("focal", {"gamma": 1.0}),
        ("focal", {"gamma": 2.0}),
        ("logit_adjusted", {"tau": 0.5}),
        ("ldam", {"margin": 0.5, "begins": 0.3}),
        ("ldam", {"margin": 2.0, "begins": 0.3}),
        ("ldam", {"margin": 0.5, "begins": 0.8}),
        ("asymmetric", {"gamma_rare": 0.0, "gamma_common": 1.0, "margin": 0.0}),
        ("asymmetric", {"gamma_rare": 0.0, "gamma_common": 2.0, "margin": 0.05}),
        ("label_smoothing", {"smoothing": 0.05}),
        ("label_aware_smoothing", {"smoothing": 0.1}),
        ("ap_surrogate", {"begins": 0.1}),
        ("ap_surrogate", {"begins": 0.3}),
    ),
    "roc_auc": (
        ("cross_entropy", {}),
        ("auc_surrogate", {"begins": 0.1}),
        ("auc_surrogate", {"begins": 0.3}),
    ),
}


def scored(
    path: Path, network: Strategy, *, metric: str, seed: int, known: set[str]
) -> Iterator[dict[str, Any]]:
    """Evaluate every loss on a network, each as a trial of a search of a minute."""
    trial = as_trial(path, budget=60.0, seed=seed, metric=metric)
    for name, params in LOSSES[metric]:
        loss = Choice(name, tuple(params.items()))
        key = {
            "data": path.stem,
            "metric": metric,
            "seed": seed,
            "network": network.network.name,
            "loss": str(loss),
        }
        if json.dumps(key) in known:
            continue
        outcome = trial(replace(network, loss=loss))
        value = None if outcome.score is None else outcome.score.utility
        ticks = (len(outcome.curve), outcome.planned)
        yield key | {"score": value, "ticks": ticks, "seconds": round(outcome.seconds, 2)}


def table(rows: pd.DataFrame, metric: str) -> list[str]:
    """Write the differences from cross-entropy as a table, in thousandths."""
    own = rows[rows["metric"] == metric]
    scores = own.pivot_table(index=["data", "network", "seed"], columns="loss", values="score")
    gains = scores.sub(scores["cross_entropy"], axis=0).drop(columns="cross_entropy") * 1e3
    by_table = gains.groupby("data").mean().T
    error = gains.groupby("data").mean().sem()
    seconds = own.groupby("loss")["seconds"].mean()
    order = by_table.mean(axis=1).sort_values(ascending=False).index
    lines = [
        f"| {metric}, in thousandths | mean | error | {' | '.join(by_table.columns)} | seconds |",
        f"|---|---|---|{'---|' * len(by_table.columns)}---|",
    ]
    plain = scores["cross_entropy"].groupby("data").mean()
    base = " | ".join(f"{value:.4f}" for value in plain)
    lines.append(f"| cross_entropy itself | | | {base} | {seconds['cross_entropy']:.1f} |")
    runs = " | ".join(str(n) for n in scores["cross_entropy"].groupby("data").count())
    lines.append(f"| its networks and seeds | | | {runs} | |")
    for loss in order:
        cells = " | ".join("" if isnan(v) else f"{v:+.1f}" for v in by_table.loc[loss])
        mean = f"{by_table.loc[loss].mean():+.1f} | {error[loss]:.1f}"
        lines.append(f"| {loss} | {mean} | {cells} | {seconds[loss]:.1f} |")
    return [*lines, ""]


def main() -> None:
    """Read the command line, evaluate what is missing, and write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of Parquet files")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--raw", type=Path, default=RAW)
    parser.add_argument("names", nargs="*", help="files, without their ending")
    options = parser.parse_args()
    done = stored(options.raw)
    fields = ("data", "metric", "seed", "network", "loss")
    known = {json.dumps({field: row[field] for field in fields}) for row in done}
    for seed, network, name, metric in product(
        range(options.seeds), NETWORKS, options.names, LOSSES
    ):
        path = options.data / f"{name}.parquet"
        for row in scored(path, network, metric=metric, seed=seed, known=known):
            with options.raw.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(*row.values(), file=sys.stderr, flush=True)
    rows = pd.DataFrame([json.loads(line) for line in options.raw.open()])
    text = [
        "# Losses against cross-entropy",
        "",
        "Each loss on first networks of a search, out of fold, minus cross-entropy on the same "
        "network, folds and seed; the work of a trial of a search of a minute. The error is that "
        "of the mean over tables. Seconds are those of a busy machine, to be compared only.",
        "",
    ]
    for metric in LOSSES:
        text += table(rows, metric)
    options.raw.with_suffix(".md").write_text("\n".join(text), encoding="utf-8")
    print("\n".join(text))


if __name__ == "__main__":
    main()
