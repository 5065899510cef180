"""Seconds for a complete trial, against one written by hand, over the same ten strategies.

``python reports/benchmarks/trials.py`` (``pip install skorch``) evaluates ten strategies on five
folds of simulated tables, one thread, in one process: through autoimb as a search of a minute on
two workers plans them, and as a practitioner writes it with an imbalanced-learn pipeline around a
skorch network (at most 60 epochs, early stopping with patience 8). Architecture, resampling,
weights, rows and folds are the same; each ends by its own stopping rule. `speed.py` runs it with
the rest.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from budget import simulated
from imblearn.combine import SMOTEENN, SMOTETomek
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.pipeline import make_pipeline
from imblearn.under_sampling import RandomUnderSampler
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.impute import SimpleImputer
from sklearn.metrics import average_precision_score
from sklearn.pipeline import make_pipeline as plain_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping
from torch import nn

from autoimb.search.budget import Deadline
from autoimb.search.evaluate import evaluate
from autoimb.search.prepare import Prepared, Table, prepare
from autoimb.search.request import Request
from autoimb.search.search import planned
from autoimb.space.rooms import PLAIN
from autoimb.space.strategy import Choice, Strategy
from autoimb.training.parts import Parts

FOLDS = 5
# of the positive class, and of what can be learned: scores of 1,000 rows are to mean something
RATE, SIGNAL = 0.1, 3.0
STRATEGIES = (
    # resampling, class weight, width, depth
    ("none", "none", 64, 2),
    ("none", "none", 128, 2),
    ("none", "power", 64, 2),
    ("none", "power", 128, 1),
    ("random_over", "none", 64, 2),
    ("random_over", "none", 128, 2),
    ("random_under", "none", 64, 2),
    ("smote", "none", 64, 2),
    ("smote_enn", "none", 64, 2),
    ("smote_tomek", "none", 64, 2),
)
SAMPLERS: dict[str, Any] = {
    "none": None,
    "random_over": RandomOverSampler,
    "random_under": RandomUnderSampler,
    "smote": SMOTE,
    "smote_enn": SMOTEENN,
    "smote_tomek": SMOTETomek,
}


class Network(nn.Module):
    """The network of the practitioner."""

    def __init__(self, n_in: int = 1, width: int = 64, depth: int = 2) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Linear(n_in, width), nn.ReLU(), nn.Dropout(0.1)]
            n_in = width
        self.layers = nn.Sequential(*layers, nn.Linear(n_in, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, n_in) to (n, 2)."""
        out: torch.Tensor = self.layers(x)
        return out


def prepared_by_hand() -> ColumnTransformer:
    """Return the usual preprocessing."""
    numbers = plain_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    strings = plain_pipeline(
        SimpleImputer(strategy="most_frequent"),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False, max_categories=30),
    )
    return ColumnTransformer(
        [
            ("numbers", numbers, make_column_selector(dtype_include="number")),
            ("strings", strings, make_column_selector(dtype_exclude="number")),
        ]
    )


def by_hand(
    row: tuple[str, str, int, int], frame: pd.DataFrame, y: NDArray[np.int64], prepared: Prepared
) -> float:
    """Cross-validate a strategy; return its average precision over all held-out rows."""
    resampling, weight, width, depth = row
    inputs = prepared_by_hand().fit_transform(frame).shape[1]
    proba = np.zeros(len(y))
    for fold in prepared.folds.folds:
        own = y[fold.train]
        balanced = torch.tensor(len(own) / (2 * np.bincount(own)), dtype=torch.float32)
        network = NeuralNetClassifier(
            Network,
            module__n_in=inputs,
            module__width=width,
            module__depth=depth,
            criterion=nn.CrossEntropyLoss,
            criterion__weight=balanced if weight == "power" else None,
            optimizer=torch.optim.AdamW,
            lr=2e-3,
            batch_size=128,
            max_epochs=60,
            callbacks=[EarlyStopping(patience=8)],
            verbose=0,
        )
        sampler = SAMPLERS[resampling]
        steps = [prepared_by_hand()] + ([sampler(random_state=0)] if sampler else [])
        model = make_pipeline(*steps, FunctionTransformer(np.float32), network)
        with warnings.catch_warnings():  # of unseen categories in a fold
            warnings.simplefilter("ignore")
            model.fit(frame.iloc[fold.train], own)
            proba[fold.score] = model.predict_proba(frame.iloc[fold.score])[:, 1]
    return float(average_precision_score(y, proba))


def strategy(row: tuple[str, str, int, int]) -> Strategy:
    """Return the same strategy in our words."""
    resampling, weight, width, depth = row
    values: dict[str, Any] = {"strength": 1.0, "k_neighbors": 5, "cleaning": 1.0}
    wanted = {
        "none": (),
        "random_over": ("strength",),
        "random_under": ("strength",),
        "smote": ("strength", "k_neighbors"),
        "smote_enn": ("strength", "k_neighbors", "cleaning"),
        "smote_tomek": ("strength", "k_neighbors", "cleaning"),
    }[resampling]
    choices = {room: Choice(name) for room, name in PLAIN.items()}
    choices["resampling"] = Choice(resampling, tuple((key, values[key]) for key in wanted))
    if weight == "power":
        choices["class_weight"] = Choice("power", (("tau", 1.0),))
    network = {
        "width": width,
        "depth": depth,
        "dropout": 0.1,
        "activation": "relu",
        "embedding": "none",
        "learning_rate": 2e-3 * 2**0.5,  # scaled to a batch of 256: 2e-3 at 128
        "weight_decay": 1e-2,
        "batch_factor": 1.0,
        "schedule": "constant",
    }
    return Strategy(**choices, network=Choice("mlp", tuple(network.items())))


def compare(rows: int, folder: Path) -> list[dict[str, Any]]:
    """Run all strategies both ways on a table of so many rows."""
    frame = pd.read_parquet(simulated(rows, folder, rate=RATE, signal=SIGNAL))
    target = frame.pop("target")
    request = Request(target="target", time_budget=60.0, n_jobs=2, cv=FOLDS)
    prepared, plan = planned(prepare(Table(frame, target), request), time_budget=60.0)
    y = (target == "yes").to_numpy().astype(np.int64)
    parts = Parts(prepared.dataset, plan.folds, seed=0)
    out = []
    for row in STRATEGIES:
        start = time.perf_counter()
        outcome = evaluate(
            strategy(row),
            prepared.dataset,
            plan,
            metric=prepared.metric,
            deadline=Deadline(),
            cache=parts,
        )
        ours = time.perf_counter() - start
        scored = plan.folds.scored
        weight = plan.folds.scored_weight(prepared.dataset.weight)
        assert outcome.oof is not None, outcome.reason
        own = average_precision_score(
            prepared.dataset.y[scored], outcome.oof[:, 1], sample_weight=weight
        )
        start = time.perf_counter()
        theirs_score = by_hand(row, frame, y, prepared)
        theirs = time.perf_counter() - start
        lever = " + ".join(part for part in row[:2] if part != "none") or "no lever"
        name = f"{lever} on {row[2]} × {row[3]}"
        scores = {"score": float(own), "by_hand_score": theirs_score}
        out.append({"rows": rows, "strategy": name, "seconds": ours, "by_hand": theirs} | scores)
        print(out[-1], flush=True)
    return out


def measure(sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Compare on tables of these sizes."""
    with tempfile.TemporaryDirectory() as folder:
        return [row for rows in sizes for row in compare(rows, Path(folder))]


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Write the seconds and scores as Markdown."""
    lines = [
        "## Seconds for a complete trial",
        "",
        f"Ten strategies on five folds of simulated tables, {RATE:.0%} positive; average precision "
        "over all held-out rows.",
        "",
        "| rows | strategy | autoimb s | by hand s | ratio | AP autoimb | AP by hand |",
        "|---|---|---|---|---|---|---|",
    ]
    for size in dict.fromkeys(row["rows"] for row in rows):
        mine = [row for row in rows if row["rows"] == size]
        keys = ("seconds", "by_hand", "score", "by_hand_score")
        total = {key: float(np.mean([row[key] for row in mine])) for key in keys}
        for row in [*mine, {"rows": size, "strategy": "**mean of the ten**"} | total]:
            ratio = f"{row['by_hand'] / row['seconds']:.1f}"
            ratio = ratio if row in mine else f"**{ratio}**"
            lines.append(
                f"| {size:,} | {row['strategy']} | {row['seconds']:.2f} | {row['by_hand']:.2f} "
                f"| {ratio} | {row['score']:.4f} | {row['by_hand_score']:.4f} |"
            )
    return lines


def main() -> None:
    """Read the command line, compare and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[1_000, 10_000, 50_000])
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("\n".join(table(measure(options.rows))))


if __name__ == "__main__":
    main()
