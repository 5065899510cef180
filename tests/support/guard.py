"""Reduce twelve small searches to parameters, scores and predictions, and compare two checkouts.

A commit that only moves or deletes code must leave all of them equal to the last bit. On one
machine, from the root of the checkout before the change and then of the one after it:

    python tests/support/guard.py write before.json
    python tests/support/guard.py compare before.json

Only the public interface is used, so that the file also runs beside an older checkout:
``PYTHONPATH=OLDER python tests/support/guard.py write before.json``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from autoimb import AutoImbClassifier, load

__all__ = ["CASES", "differences", "reduced"]

Case = dict[str, Any]
AT_ONCE = ("single", "bagging", "balanced_bagging")
IN_TURN = ("boosting", "rus_boost", "easy_ensemble", "self_paced", "snapshot")


def customers(n_rows: int = 600, *, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Generate rows of numbers, gaps, categories and dates, of which about a tenth are positive."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "amount": random.lognormal(3.0, 1.0, n_rows).round(2),
            "age": random.integers(18, 80, n_rows),
            "balance": random.normal(0.0, 1.0, n_rows),
            "region": random.choice(["north", "south", "east", "west"], n_rows),
            "branch": random.choice([f"b{i:02d}" for i in range(40)], n_rows),
            "opened": pd.Timestamp("2020-01-01")
            + pd.to_timedelta(random.integers(0, 900, n_rows), unit="D"),
        }
    )
    frame.loc[random.random(n_rows) < 0.1, "balance"] = np.nan
    signal = (
        np.log(frame["amount"])
        + 1.5 * (frame["region"] == "north")
        - 0.8 * frame["balance"].fillna(1.0) * (frame["age"] > 40)
        + random.normal(0.0, 0.7, n_rows)
    )
    return frame, np.where(signal > np.quantile(signal, 0.9), "yes", "no")


def three_classes(n_rows: int = 600) -> tuple[pd.DataFrame, np.ndarray]:
    """Generate the same rows with a third class, which is rarer still."""
    frame, y = customers(n_rows, seed=1)
    y = y.astype(object)
    y[(frame["age"] > 70).to_numpy() & (frame["region"] == "west").to_numpy()] = "late"
    return frame, y


def fitted(
    rows: tuple[pd.DataFrame, np.ndarray], *, fit: Case | None = None, **parameters: Any
) -> Case:
    """Search without a clock, and reduce the result."""
    classifier = AutoImbClassifier(
        **{"time_budget": None, "n_trials": 6, "random_state": 0} | parameters
    )
    classifier.fit(*rows, **(fit or {}))
    unseen, _ = customers(200, seed=99)
    board = classifier.leaderboard()
    columns = ["trial", "status", "score", "resampling", "class_weight", "loss", "ensemble"]
    return {
        "parameters": classifier.best_params_,
        "score": [classifier.best_score_, *classifier.score_interval_],
        "leaderboard": json.loads(board[[c for c in columns if c in board]].to_json()),
        "methods": json.loads(classifier.methods_.to_json(orient="records")),
        "checks": [finding.code for finding in classifier.checks_],
        "predictions": digest(classifier.predict_proba(unseen)),
        "labels": digest(classifier.predict(unseen) == classifier.classes_[0]),
    }


def digest(values: np.ndarray) -> list[Any]:
    """Return the first value, to be read, and the SHA-256 of all bytes, to be compared."""
    return [float(values.flat[0]), hashlib.sha256(np.ascontiguousarray(values)).hexdigest()]


def ensembles() -> Case:
    """Evaluate one strategy for each kind of ensemble."""
    rows, few = customers(), {"n_trials": 1, "network": "mlp", "partners": None}
    return {name: fitted(rows, **few, ensemble=name) for name in AT_ONCE + IN_TURN}


def groups_by_cv() -> Case:
    """Search with the user's folds of whole groups."""
    from sklearn.model_selection import GroupKFold

    frame, y = customers()
    groups = np.arange(len(frame)) // 4
    return fitted((frame, y), cv=list(GroupKFold(4).split(frame, y, groups)))


def groups() -> Case:
    """Search with groups."""
    frame, y = customers()
    return fitted((frame, y), fit={"groups": np.arange(len(frame)) // 4})


def in_time() -> Case:
    """Score later rows by earlier ones, of other groups."""
    frame, y = customers()
    groups = np.arange(len(frame)) % 60
    return fitted((frame, y), fit={"time": np.arange(len(frame)), "groups": groups})


def resumed() -> Case:
    """Search on the command line for five strategies, go on to nine, and read what was written."""
    frame, y = customers()
    with tempfile.TemporaryDirectory() as place:
        table = Path(place, "customers.csv")
        frame.assign(target=y).to_csv(table, index=False)
        run = Path(place, "run")
        arguments = ["search", str(table), "--target", "target", "--n-jobs", "1", "--out", str(run)]
        for limits in (["--n-trials", "5"], ["--n-trials", "9", "--resume"]):
            subprocess.run(
                [sys.executable, "-m", "autoimb", *arguments, *limits, "--quiet"], check=True
            )
        pipeline = load(run / "pipeline.autoimb")
        board = pd.read_csv(run / "leaderboard.csv")
        return {
            "leaderboard": json.loads(board[["trial", "status", "score", "strategy"]].to_json()),
            "predictions": digest(pipeline.predict_proba(customers(200, seed=99)[0])),
        }


def with_eval_set() -> Case:
    """Choose and score on rows of the user's."""
    frame, y = customers(800)
    return fitted((frame[:600], y[:600]), fit={"eval_set": (frame[600:], y[600:])})


def sample_with_counts() -> Case:
    """Search a sample whose common class was drawn one row in five."""
    return fitted(customers(), fit={"class_counts": {"yes": 60, "no": 2700}})


def weighted() -> Case:
    """Search with row weights."""
    frame, y = customers()
    return fitted((frame, y), fit={"sample_weight": 1.0 + (frame["age"] > 50).to_numpy()})


CASES: dict[str, Callable[[], Case]] = {
    "binary": lambda: fitted(customers(), n_trials=12),
    "three classes": lambda: fitted(three_classes()),
    "costs": lambda: fitted(customers(), cost_matrix=[[0, 1], [20, 0]]),
    "ensembles": ensembles,
    "weights": weighted,
    "groups by cv": groups_by_cv,
    "groups": groups,
    "time and groups": in_time,
    "eval_set": with_eval_set,
    "resume": resumed,
    "class_counts": sample_with_counts,
    "labels": lambda: fitted(customers(), metric="balanced_accuracy", network=["resnet", "tabm"]),
}


def reduced() -> dict[str, Case]:
    """Run all cases."""
    results = {}
    for name, case in CASES.items():
        results[name] = case()
        print(name, json.dumps(results[name].get("predictions")), file=sys.stderr, flush=True)
    return json.loads(json.dumps(results))  # as a file holds it


def differences(expected: Any, actual: Any, at: str = "") -> Iterator[str]:
    """Yield a line for each value that differs, with its place."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for key in expected.keys() | actual.keys():
            yield from differences(expected.get(key), actual.get(key), f"{at}/{key}")
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        for i, pair in enumerate(zip(expected, actual)):
            yield from differences(*pair, f"{at}/{i}")
    elif expected != actual:
        yield f"{at}: {expected} -> {actual}"


def main() -> None:
    """Write the reduced searches to a file, or compare them with one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["write", "compare"])
    parser.add_argument("file", type=Path)
    options = parser.parse_args()
    results = reduced()
    if options.action == "write":
        options.file.write_text(json.dumps(results, indent=1), encoding="utf-8")
        return
    lines = sorted(differences(json.loads(options.file.read_text(encoding="utf-8")), results))
    print(*lines, f"{len(lines)} differences", sep="\n")
    raise SystemExit(bool(lines))


if __name__ == "__main__":
    main()
