"""Where the time of a trial goes: one strategy after another, one thread, in this process.

``python reports/benchmarks/stages.py --data DATA`` looks at simulated tables and at some Parquet
files of DATA (last column ``target``). `speed.py` runs it and draws the bars. Times are exclusive:
what a stage calls counts for the stage that is called.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from budget import simulated
from optuna.trial import FixedTrial

from autoimb.data.encoding import Encoder
from autoimb.nn.dropout import MaskPool
from autoimb.nn.network import Network
from autoimb.search import evaluate as evaluation
from autoimb.search.budget import Deadline
from autoimb.search.prepare import Table, prepare
from autoimb.search.request import Request
from autoimb.search.search import planned
from autoimb.space.draw import Space, draw
from autoimb.space.portfolio import first_levers, first_networks
from autoimb.space.strategy import Strategy
from autoimb.training import run as running
from autoimb.training import trainer
from autoimb.training.optim import Averaged, Optimizer
from autoimb.training.parts import Parts
from autoimb.training.watch import Watch

FILES = ("yeast_me2", "mammography", "hmeq", "adult", "covertype_4v2")
STAGES: dict[str, tuple[tuple[Any, str], ...]] = {
    "encode": ((Encoder, "fit"), (Encoder, "transform"), (Encoder, "dense")),
    "resample": ((Parts, "_resampled"),),
    "prepare": ((running.Run, "__init__"), (running.Run, "_member")),
    "batches": ((trainer, "_gather"), (torch, "index_select")),
    "dropout masks": ((MaskPool, "refresh"),),
    "forward": ((Network, "forward"),),
    "backward": ((Network, "backward"),),
    "optimizer": ((Optimizer, "step"), (Averaged, "update")),
    "evaluate": ((Watch, "__call__"),),
    "loop": ((running, "train"),),
    "calibrate and score": ((evaluation, "_evaluate"),),
}


@contextmanager
def watched() -> Iterator[dict[str, float]]:
    """Sum the exclusive seconds of every stage while inside."""
    seconds: dict[str, float] = defaultdict(float)
    inner: list[float] = [0.0]
    kept = []

    def timed(stage: str, code: Any) -> Any:
        def run(*args: Any, **kwargs: Any) -> Any:
            inner.append(0.0)
            start = time.perf_counter()
            try:
                return code(*args, **kwargs)
            finally:
                took = time.perf_counter() - start
                seconds[stage] += took - inner.pop()
                inner[-1] += took

        return run

    for stage, places in STAGES.items():
        for owner, name in places:
            own = vars(owner)[name]
            kept.append((owner, name, own))
            if isinstance(own, classmethod):
                setattr(owner, name, classmethod(timed(stage, own.__func__)))
            else:
                setattr(owner, name, timed(stage, own))
    try:
        yield seconds
    finally:
        for owner, name, own in kept:
            setattr(owner, name, own)


def strategies() -> dict[str, Strategy]:
    """Return two planned networks without a lever, and two levers on the second."""
    space = Space.restricted()
    networks = [draw(FixedTrial(params), space) for params in first_networks(space)]
    embedded = [n for n in networks if n.network.values["embedding"] == "ple"]
    mlp, tabm = (next(n for n in embedded if n.network.name == kind) for kind in ("mlp", "tabm"))
    chosen = {"mlp": mlp, "tabm": tabm}
    for params in first_levers(space, tabm):
        for lever in ("smote", "balanced_bagging"):
            if lever in (params.get("resampling"), params.get("ensemble")):
                chosen[f"tabm, {lever}"] = draw(FixedTrial(params), space)
    return chosen


def trials(path: Path, *, budget: float) -> list[dict[str, Any]]:
    """Evaluate the strategies on a table, cold: nothing is kept between them."""
    frame = pd.read_parquet(path)
    y = frame.pop("target")
    prepared = prepare(Table(frame, y), Request(target="target", time_budget=budget, n_jobs=2))
    prepared, plan = planned(prepared, time_budget=budget)
    rows = []
    for name, strategy in strategies().items():
        start = time.perf_counter()
        with watched() as seconds:
            outcome = evaluation.evaluate(
                strategy, prepared.dataset, plan, metric=prepared.metric, deadline=Deadline()
            )
        row = {"data": path.stem, "rows": len(y), "strategy": name, "status": outcome.status}
        rows.append(row | {"seconds": time.perf_counter() - start, "stages": dict(seconds)})
        print(rows[-1], flush=True)
    return rows


def measure(data: Path | None, *, budget: float = 60.0) -> list[dict[str, Any]]:
    """Look at the simulated tables and at the files that are there."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [simulated(rows, Path(folder)) for rows in (1_000, 10_000)]
        if data is not None:
            paths += [path for name in FILES if (path := data / f"{name}.parquet").exists()]
        return [row for path in paths for row in trials(path, budget=budget)]


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Write the shares as Markdown."""
    lines = [
        "## Where a trial's time goes",
        "",
        "Of a budget of 60 s; each trial cold: nothing is kept between them.",
        "",
        f"| table | strategy | seconds | {' | '.join(STAGES)} | other |",
        f"|---|---|---|{'---|' * (len(STAGES) + 1)}",
    ]
    for row in rows:
        if row["status"] != "complete":
            lines.append(
                f"| {row['data']} | {row['strategy']} | {row['status']} |"
                + " |" * (len(STAGES) + 1)
            )
            continue
        known = [row["stages"].get(stage, 0.0) / row["seconds"] for stage in STAGES]
        shares = " | ".join(f"{share:.0%}" for share in [*known, 1 - sum(known)])
        lines.append(f"| {row['data']} | {row['strategy']} | {row['seconds']:.2f} | {shares} |")
    return lines


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of Parquet files")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("\n".join(table(measure(options.data))))


if __name__ == "__main__":
    main()
