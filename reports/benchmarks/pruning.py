"""What giving trials up costs: full curves are recorded once, then replayed with the bar.

``python reports/benchmarks/pruning.py --data DATA`` evaluates strategies to their own end on every
Parquet file of DATA (last column ``target``), ten each: the first networks, levers, and random
draws. Then it plays many searches in random order over each table's recorded curves, in which a
trial below the bar of the best one before it is given up, and compares the winners. It writes
``pruning.md`` and the curves, ``pruning.jsonl``; what is recorded already is not run again.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import torch
from joblib import delayed
from optuna.trial import FixedTrial
from plain import completed, stored

from autoimb.search.budget import Deadline
from autoimb.search.evaluate import evaluate
from autoimb.search.prepare import Table, prepare
from autoimb.search.pruning import Bar
from autoimb.search.request import Request
from autoimb.search.search import planned
from autoimb.space.draw import Space, draw, infeasible
from autoimb.space.portfolio import first_levers, first_networks
from autoimb.space.strategy import Strategy

HERE = Path(__file__).resolve().parent
EACH = 10
ORDERS = 200


def strategies(profile: Any) -> list[Strategy]:
    """Return ten strategies: four networks, three levers, and draws."""
    space = Space.restricted()
    networks = [draw(FixedTrial(params), space) for params in first_networks(space)[:4]]
    levers = [draw(FixedTrial(params), space) for params in first_levers(space, networks[1])]
    chosen = [*networks, *levers[:9:3]]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    while len(chosen) < EACH:
        strategy = draw(study.ask(), space)
        if infeasible(strategy, profile) is None:
            chosen.append(strategy)
    return chosen


def recorded(path: Path, *, budget: float) -> list[dict[str, Any]]:
    """Evaluate the strategies on a table to their own end."""
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = pd.read_parquet(path)
    request = Request(target="target", time_budget=budget, n_jobs=2)
    prepared = prepare(Table(table.drop(columns="target"), table["target"]), request)
    prepared, plan = planned(prepared, time_budget=budget)
    rows = []
    for strategy in strategies(prepared.profile):
        outcome = evaluate(
            strategy,
            prepared.dataset,
            plan,
            metric=prepared.metric,
            deadline=Deadline.after(4 * budget),
        )
        if outcome.status != "complete" or outcome.score is None:
            continue
        row = {
            "data": path.stem,
            "strategy": strategy.describe(),
            "score": outcome.score.utility,
            "seconds": round(outcome.seconds, 2),
            "planned": outcome.planned,
            "rounds": "rounds" in strategy.ensemble.values,
            "curve": [round(value, 6) for value in outcome.curve],
            "floor": [round(value, 6) for value in outcome.floor],
        }
        print(row["data"], row["strategy"], round(row["score"], 4), file=sys.stderr, flush=True)
        rows.append(row)
    return rows


def replay(rows: list[dict[str, Any]], order: np.ndarray) -> tuple[float, float]:
    """Play a search; return the winner's score and the share of ticks that were run."""
    best, ran, planned_ticks = None, 0, 0
    for row in (rows[i] for i in order):
        ticks = len(row["curve"])
        planned_ticks += ticks
        if best is not None and not row["rounds"]:
            bar = Bar.of(best["curve"], best["floor"], best["planned"])
            given_up = [
                tick
                for tick, value in enumerate(row["curve"])
                if bar.above(tick, row["planned"], value)
            ]
            if given_up:
                ran += given_up[0] + 1
                continue
        ran += ticks
        if best is None or row["score"] > best["score"]:
            best = row
    assert best is not None
    return best["score"], ran / planned_ticks


def tables(rows: list[dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Group the recorded rows by table."""
    for name in sorted({row["data"] for row in rows}):
        yield name, [row for row in rows if row["data"] == name]


def render(rows: list[dict[str, Any]]) -> str:
    """Replay all tables and write the result as Markdown."""
    random = np.random.default_rng(0)
    lines = [
        "# Giving trials up",
        "",
        f"{len(rows)} strategies with full curves; {ORDERS} random orders of search on each table. "
        "Loss: how much lower the winner scores for the giving up, in per cent of the range of "
        "the table's final scores.",
        "",
        "| table | strategies | mean loss % | worst loss % | orders with a loss | ticks run |",
        "|---|---|---|---|---|---|",
    ]
    everything = []
    for name, own in tables(rows):
        scores = np.array([row["score"] for row in own])
        span = max(float(np.ptp(scores)), 1e-12)
        played = [replay(own, random.permutation(len(own))) for _ in range(ORDERS)]
        loss = np.array([100 * (scores.max() - score) / span for score, _ in played])
        share = float(np.mean([part for _, part in played]))
        everything.append((loss.mean(), loss.max(), share))
        lines.append(
            f"| {name} | {len(own)} | {loss.mean():.2f} | {loss.max():.2f} "
            f"| {(loss > 0).mean():.0%} | {share:.0%} |"
        )
    mean, worst, share = np.array(everything).T
    lines += [
        "",
        f"Mean loss over tables {mean.mean():.2f} %, worst table {mean.max():.2f} %, worst order "
        f"{worst.max():.2f} %; {share.mean():.0%} of the ticks are run.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Read the command line, record what is missing, replay and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of Parquet files")
    parser.add_argument("--budget", type=float, default=60, help="that trials are planned for")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--raw", type=Path, default=HERE / "pruning.jsonl")
    options = parser.parse_args()
    rows = stored(options.raw)
    known = {row["data"] for row in rows}
    missing = [path for path in sorted(options.data.glob("*.parquet")) if path.stem not in known]
    work = (delayed(recorded)(path, budget=options.budget) for path in missing)
    text = render(completed(work, options.raw, n_jobs=options.jobs))
    print(text)
    options.raw.with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
