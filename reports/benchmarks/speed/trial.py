"""Evaluate strategies of one checkout on request: a JSON line in, a JSON line out.

Run as a file whose process finds the checkout first on its path. A checkout from before the
benchmarks were a package has ``reports/benchmarks/trials.py`` instead.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import autoimb

ROOT = Path(autoimb.__file__).parents[1]  # of the checkout


class Before:
    """Trials of a checkout whose benchmarks were scripts."""

    def __init__(self, path: Path) -> None:
        import pandas as pd
        import torch

        sys.path.insert(0, str(ROOT / "reports" / "benchmarks"))
        import trials

        torch.set_num_threads(1)
        self._code: Any = trials
        frame = pd.read_parquet(path)
        table = trials.Table(frame, frame.pop("target"))
        request = trials.Request(target="target", time_budget=60.0, n_jobs=2, cv=trials.FOLDS)
        prepared = trials.prepare(table, request)
        self._prepared, self._plan = trials.planned(prepared, time_budget=60.0)
        self.fresh()

    def evaluate(self, described: Any) -> tuple[float, float]:
        """Evaluate a strategy; return its seconds and average precision out of fold."""
        strategy = self._code.strategy(tuple(described))
        data, plan, metric = self._prepared.dataset, self._plan, self._prepared.metric
        deadline, cache = self._code.Deadline(), self._parts
        start = time.perf_counter()
        outcome = self._code.evaluate(
            strategy, data, plan, metric=metric, deadline=deadline, cache=cache
        )
        seconds = time.perf_counter() - start
        weight, truth = plan.folds.scored_weight(data.weight), data.y[plan.folds.scored]
        score = self._code.average_precision_score(truth, outcome.oof[:, 1], sample_weight=weight)
        return seconds, float(score)

    def fresh(self) -> None:
        """Forget what was encoded and resampled."""
        self._parts = self._code.Parts(self._prepared.dataset, self._plan.folds, seed=0)


def trials_of(path: Path) -> Any:
    """Plan a table by the checkout's own code."""
    if not (ROOT / "reports" / "benchmarks" / "speed" / "strategies.py").exists():
        return Before(path)
    from reports.benchmarks.speed.strategies import Trials

    return Trials(path)


def main() -> None:
    """Answer until there is nothing more to read."""
    tables: dict[str, Any] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        own = tables.get(asked["table"]) or trials_of(Path(asked["table"]))
        tables = {asked["table"]: own}
        if asked["fresh"]:
            own.fresh()
        seconds, score = own.evaluate(asked["strategy"])
        print(json.dumps({"seconds": seconds, "score": score}), flush=True)


if __name__ == "__main__":
    main()
