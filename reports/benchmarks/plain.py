"""What the benchmarks share: trials as a search would run them, and rows kept as they come."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from joblib import Parallel

from autoimb.search.budget import Deadline
from autoimb.search.evaluate import Outcome, evaluate
from autoimb.search.planning import Plan
from autoimb.search.prepare import Prepared, Table, prepare
from autoimb.search.request import Request
from autoimb.search.search import planned
from autoimb.space.option import Value
from autoimb.space.rooms import PLAIN
from autoimb.space.strategy import Choice, Strategy
from autoimb.training.parts import Parts

__all__ = ["TABM", "as_trial", "completed", "plain", "prepared_file", "stored"]


def plain(network: str, params: Mapping[str, Value]) -> Strategy:
    """Return a network without a lever."""
    levers = {room: Choice(name) for room, name in PLAIN.items()}
    return Strategy(**levers, network=Choice(network, tuple(params.items())))


TABM = plain(
    "tabm",
    {
        "k": 8,
        "width": 38,
        "depth": 2,
        "dropout": 0.0,
        "activation": "silu",
        "embedding": "ple",
        "learning_rate": 0.018,
        "weight_decay": 0.0064,
        "batch_factor": 2.0,
        "schedule": "constant",
    },
)


def prepared_file(
    path: Path, *, budget: float, seed: int, metric: str = "average_precision"
) -> tuple[Prepared, Plan]:
    """Plan a Parquet file as a search with this budget and two workers does.

    The last column is ``target``.
    """
    frame = pd.read_parquet(path)
    y = frame.pop("target")
    request = Request(
        target="target", metric=metric, time_budget=budget, n_jobs=2, random_state=seed
    )
    return planned(prepare(Table(frame, y), request), time_budget=budget)


def as_trial(
    path: Path, *, budget: float, seed: int, metric: str = "average_precision"
) -> Callable[[Strategy], Outcome]:
    """Return what evaluates strategies on a Parquet file as a search with this budget does.

    One thread, on two workers' plan.
    """
    torch.set_num_threads(1)
    prepared, plan = prepared_file(path, budget=budget, seed=seed, metric=metric)
    return partial(
        evaluate,
        dataset=prepared.dataset,
        plan=plan,
        metric=prepared.metric,
        deadline=Deadline(),
        cache=Parts(prepared.dataset, plan.folds, seed=seed),
    )


def stored(raw: Path) -> list[dict[str, Any]]:
    """Read the rows that earlier runs left in a file of JSON lines."""
    return [json.loads(line) for line in raw.open()] if raw.exists() else []


def completed(jobs: Iterable[Any], raw: Path, *, n_jobs: int = -1) -> list[dict[str, Any]]:
    """Run delayed jobs, append the rows of each to a file as it ends, and return all of the file's.

    A row names its table: ``data``.
    """
    for rows in Parallel(n_jobs, return_as="generator_unordered")(jobs):
        with raw.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        print(rows[0]["data"], file=sys.stderr, flush=True)
    return stored(raw)
