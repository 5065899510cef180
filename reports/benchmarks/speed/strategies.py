"""Ten strategies, and their trials as a search of a minute on two workers plans them."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score

from reports.benchmarks import cases, project

__all__ = ["FOLDS", "RATE", "STRATEGIES", "Described", "Trials", "name_of", "simulated"]

FOLDS = 5
# of the positive class, and of what can be learned: scores of 1,000 rows are to mean something
RATE, SIGNAL = 0.1, 3.0
Described = tuple[str, str, int, int]  # resampling, class weight, width, depth
STRATEGIES: tuple[Described, ...] = (
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
RESAMPLING: dict[str, dict[str, Any]] = {
    "random_over": {"strength": 1.0},
    "random_under": {"strength": 1.0},
    "smote": {"strength": 1.0, "k_neighbors": 5},
    "smote_enn": {"strength": 1.0, "k_neighbors": 5, "cleaning": 1.0},
    "smote_tomek": {"strength": 1.0, "k_neighbors": 5, "cleaning": 1.0},
}


def name_of(described: Described) -> str:
    """Write a strategy in words."""
    method = " + ".join(part for part in described[:2] if part != "none") or "no method"
    return f"{method} on {described[2]} × {described[3]}"


def simulated(rows: int, folder: Path) -> Path:
    """Write the table of so many rows."""
    return cases.simulated(rows, folder, rate=RATE, signal=SIGNAL)


class Trials:
    """Trials on a table; each new one has nothing encoded or resampled yet."""

    def __init__(self, path: Path) -> None:
        frame, target = cases.with_target(path)
        self.table = project.Planned.of((frame, target), budget=cases.MINUTE, cv=FOLDS)

    def evaluate(self, described: Described) -> tuple[float, float]:
        """Evaluate a strategy; return its seconds and average precision out of fold."""
        resampling, weight, width, depth = described
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
        methods: dict[str, project.Given] = {}
        if resampling != "none":
            methods["resampling"] = (resampling, RESAMPLING[resampling])
        if weight == "power":
            methods["class_weight"] = ("power", {"tau": 1.0})
        strategy = project.strategy("mlp", network, **methods)
        start = time.perf_counter()
        outcome = self.table.trial(strategy)
        seconds = time.perf_counter() - start
        assert isinstance(outcome, project.Scored), project.reason(outcome)
        judge, oof = self.table.judge, np.asarray(outcome.oof)
        score = average_precision_score(judge.y, oof[:, 1], sample_weight=judge.weight)
        return seconds, float(score)

    def fresh(self) -> None:
        """Forget what was encoded and resampled."""
        self.table = replace(self.table)
