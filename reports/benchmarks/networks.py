"""Average precision of single networks at equal planned work, out of fold, without any lever.

``python reports/benchmarks/networks.py [FOLDER] [NAME ...]`` trains each network of the list below
on generated tables, and on FOLDER's ``NAME.parquet`` (the last column is the target), and writes
``networks.jsonl`` beside itself. One thread, in one process; `reports/decisions/0013-networks.md`
reads it.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from autoimb.assessment.metrics import get_metric
from autoimb.data.encoding import plan_layout
from autoimb.data.folds import plan_folds
from autoimb.data.schema import infer_schema, parse
from autoimb.data.table import Dataset
from autoimb.search.budget import Deadline
from autoimb.search.evaluate import evaluate
from autoimb.search.planning import Plan
from autoimb.space.option import Value
from autoimb.space.rooms import PLAIN, ROOMS
from autoimb.space.strategy import Choice, Strategy
from autoimb.training.effort import Effort, Outline

OPERATIONS = 150e9  # of a trial in a search of about a minute on two workers
SEEDS = (0, 1)
MLP: dict[str, Value] = {"width": 128, "depth": 2, "dropout": 0.1, "activation": "relu"}
MLP |= {"learning_rate": 0.004, "weight_decay": 0.01, "batch_factor": 1.0, "schedule": "constant"}
SMALL: dict[str, Value] = {"width": 38, "depth": 2, "dropout": 0.0, "activation": "silu", "k": 8}
SMALL |= {"learning_rate": 0.018, "weight_decay": 0.0064, "batch_factor": 2.0}
SMALL |= {"schedule": "constant"}
DEEP: dict[str, Value] = {"width": 56, "depth": 3, "dropout": 0.1, "activation": "relu", "k": 8}
DEEP |= {"learning_rate": 0.008, "weight_decay": 0.00087, "batch_factor": 0.5, "schedule": "cosine"}
RESNET = MLP | {"width": 64, "dropout": 0.25, "learning_rate": 0.002}
REALMLP = MLP | {"dropout": 0.15, "learning_rate": 0.04, "weight_decay": 0.02}
AS_PUBLISHED: dict[str, Value] = {"activation": "selu", "schedule": "coslog4"}
WIDE, SLIM = {"activation": "silu"}, {"activation": "silu", "width": 64, "depth": 1}
SLIM |= {"learning_rate": 0.065, "weight_decay": 0.03}
NETWORKS: dict[str, tuple[str, dict[str, Value]]] = {
    "mlp, ple": ("mlp", MLP | {"embedding": "ple"}),
    "mlp, pbld": ("mlp", MLP | {"embedding": "pbld"}),
    "tabm 56x3, ple": ("tabm", DEEP | {"embedding": "ple"}),
    "tabm 56x3, pbld": ("tabm", DEEP | {"embedding": "pbld"}),
    "tabm 38x2, ple": ("tabm", SMALL | {"embedding": "ple"}),
    "published mini 38x2, ple": ("tabm_published", SMALL | {"embedding": "ple", "variant": "mini"}),
    "published full 38x2, ple": ("tabm_published", SMALL | {"embedding": "ple", "variant": "full"}),
    "resnet, ple": ("resnet", RESNET | {"embedding": "ple"}),
    "resnet, pbld": ("resnet", RESNET | {"embedding": "pbld"}),
    "realmlp as published": ("realmlp", REALMLP | AS_PUBLISHED | {"embedding": "pbld"}),
    "realmlp 128x2, ple": ("realmlp", REALMLP | WIDE | {"embedding": "ple"}),
    "realmlp 64x1, ple": ("realmlp", REALMLP | SLIM | {"embedding": "ple"}),
}
# rows, numbers and share of the positive class of the generated tables
GENERATED = {0: (2000, 8, 0.05), 1: (4000, 15, 0.1), 3: (3000, 12, 0.08), 5: (2500, 10, 0.12)}


def generated(seed: int) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """Give a table with skewed and whole numbers, and a target with waves and a corner."""
    random = np.random.default_rng(seed)
    rows, columns, rate = GENERATED[seed]
    x = random.normal(size=(rows, columns))
    x[:, ::3] = np.exp(x[:, ::3])
    x[:, 1::4] = np.round(x[:, 1::4] * 2)
    hidden = np.tanh(x @ random.normal(size=(columns, 6)) / np.sqrt(columns))
    signal = hidden @ random.normal(size=6) + np.sin(3 * x[:, 0])
    signal += 2 * ((x[:, 1] > 1) & (x[:, 2] < 0))
    signal += random.normal(size=rows) * 0.7 * signal.std()
    frame = pd.DataFrame(x, columns=[f"c{j}" for j in range(columns)])
    frame["category"] = random.choice(list("abcdef"), rows)
    return frame, (signal > np.quantile(signal, 1 - rate)).astype(np.int64)


def results(frame: pd.DataFrame, y: NDArray[np.int64]) -> list[dict[str, object]]:
    """Evaluate every network on a table, once a seed."""
    schema, _ = infer_schema(frame)
    columns = parse(frame, schema)
    counts = np.bincount(y)
    data = Dataset(
        columns=columns,
        y=y,
        weight=np.ones(len(y)),
        n_classes=len(counts),
        positive=int(counts.argmin()),
        layout=plan_layout(columns),
    )
    effort = Effort(OPERATIONS, most_ticks=40, least_ticks=6, patience=6, outline=Outline.of(data))
    metric = get_metric("average_precision", n_classes=data.n_classes, positive=data.positive)
    lines: list[dict[str, object]] = []
    for seed in SEEDS:
        folds = plan_folds(y, random_state=seed, cv=5 if len(y) < 6000 else 3)
        plan = Plan(folds=folds, effort=effort, seed=seed)
        for name, (option, values) in NETWORKS.items():
            own = tuple((key, values[key]) for key in ROOMS["network"][option].ranges)
            levers = {room: Choice(plain) for room, plain in PLAIN.items()}
            strategy = Strategy(**levers, network=Choice(option, own))
            started = time.perf_counter()
            outcome = evaluate(strategy, data, plan, metric=metric, deadline=Deadline())
            assert outcome.score is not None, outcome.reason
            seconds = time.perf_counter() - started
            lines.append(
                {"network": name, "seed": seed, "score": outcome.score.value, "seconds": seconds}
            )
    return lines


def main(folder: str = "", *names: str) -> None:
    """Write a line for each table, network and seed."""
    tables = {f"generated {seed}": generated(seed) for seed in GENERATED}
    for name in names:
        frame = pd.read_parquet(Path(folder) / f"{name}.parquet")
        codes, _ = pd.factorize(frame.iloc[:, -1], sort=True)
        tables[name] = (frame.iloc[:, :-1], codes.astype(np.int64))
    with Path(__file__).with_suffix(".jsonl").open("w", encoding="utf-8") as file:
        for table, (frame, y) in tables.items():
            for line in results(frame, y):
                print(json.dumps({"table": table} | line), file=file, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
