"""How numbers are read: bins by quantiles, or also where classes part, and with spikes.

``python reports/benchmarks/bins.py --data DATA`` evaluates the networks below on every Parquet file
of DATA (last column ``target``) with at least five columns of numbers, out of fold, as a search of
a minute does, and writes ``bins.md``.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from plain import TABM, as_trial, plain

from autoimb.data import encoding
from autoimb.data.bins import edges_of
from autoimb.data.spikes import spikes_of

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
    "realmlp, pbld": plain(
        "realmlp",
        {
            "width": 77,
            "depth": 2,
            "dropout": 0.15,
            "activation": "selu",
            "embedding": "pbld",
            "learning_rate": 0.04,
            "weight_decay": 0.01,
            "batch_factor": 1.0,
            "schedule": "coslog4",
        },
    ),
}


def by_rows(scaled: np.ndarray, most: int, _: np.ndarray | None = None) -> np.ndarray:
    """Stand in for `edges_of`: quantiles, whatever the labels."""
    return edges_of(scaled, most)


def no_spikes(scaled: np.ndarray, *_: Any) -> np.ndarray:
    """Stand in for `spikes_of`: none."""
    return scaled[:0]


WAYS = {
    "quantiles": (by_rows, no_spikes),
    "and cuts": (edges_of, no_spikes),
    "and spikes": (edges_of, spikes_of),
}


def compared(path: Path) -> list[dict[str, Any]]:
    """Score each network with each way to read numbers."""
    rows = []
    for way, (edges, spikes) in WAYS.items():
        with mock.patch.multiple(encoding, edges_of=edges, spikes_of=spikes):
            trial = as_trial(path, budget=60.0, seed=0)
            for name, strategy in NETWORKS.items():
                outcome = trial(strategy)
                assert outcome.score is not None, outcome.reason
                rows.append(
                    {
                        "data": path.stem,
                        "network": name,
                        "way": way,
                        "score": outcome.score.value,
                        "error": outcome.score.error,
                        "seconds": outcome.seconds,
                    }
                )
    return rows


def steps(frame: pd.DataFrame) -> list[str]:
    """Write what each way adds to the one before it, in mean over tables."""
    scores = frame.pivot_table(index=["data", "network"], columns="way", values="score")
    seconds = frame.groupby("way")["seconds"].sum()
    lines = [
        f"| network | {' | '.join([*WAYS][1:])} |",
        f"|---|{'---|' * (len(WAYS) - 1)}",
    ]
    gaps = {way: scores[way] - scores[before] for before, way in pairwise(WAYS)}
    for name in NETWORKS:
        own = (gap.xs(name, level="network") for gap in gaps.values())
        lines.append(f"| {name} | {' | '.join(f'{g.mean():+.4f} ± {g.sem():.4f}' for g in own)} |")
    cells = []
    for before, way in pairwise(WAYS):
        gap = gaps[way].groupby("data").mean()
        times = f"{seconds[way] / seconds[before]:.2f} times the seconds"
        cells.append(f"{gap.mean():+.4f} ± {gap.sem():.4f}, up on {(gap > 0).sum()}, {times}")
    return [*lines, f"| all | {' | '.join(cells)} |"]


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
    scores = frame.pivot_table(index=["data", "network"], columns="way", values="score")
    errors = frame.groupby(["data", "network"])["error"].max()
    lines = [
        "# How numbers are read",
        "",
        f"Out-of-fold average precision of {len(NETWORKS)} networks on "
        f"{frame['data'].nunique()} tables: bins by quantiles; bins that also end at the cuts of a "
        "tree; and values that stand out as columns of their own. What each adds to the one before "
        "it, in mean over tables:",
        "",
        *steps(frame),
        "",
        f"| table | network | {' | '.join(WAYS)} | error of one |",
        f"|---|---|{'---|' * len(WAYS)}---|",
        *(
            f"| {data} | {name} | {' | '.join(f'{row[way]:.4f}' for way in WAYS)} "
            f"| {errors[data, name]:.4f} |"
            for (data, name), row in scores.iterrows()
        ),
    ]
    text = "\n".join([*lines, "", "`python reports/benchmarks/bins.py`.", ""])
    Path(__file__).resolve().with_name("bins.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
