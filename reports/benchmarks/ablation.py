"""What each part of the search is worth: searches without it, all else equal.

``python reports/benchmarks/ablation.py --data DATA`` trains the whole and each variant on 70 % of
every Parquet file of DATA (last column ``target``), as processes of their own, scores the other
30 % by average precision, and appends to ``ablation.jsonl``; what is there already is not run
again. Each starts with networks that were learned without the family of the table (``INDEX.csv``).
It writes ``ablation.md``.
"""

from __future__ import annotations

import argparse
import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
from plain import stored
from portfolio import PICKED, measured, write
from sklearn.metrics import average_precision_score
from sklearn.model_selection import train_test_split

from autoimb import AutoImbClassifier
from autoimb.search import agenda, blend, study
from autoimb.search.evaluate import Outcome, evaluate
from autoimb.space import portfolio
from autoimb.space.rooms import PLAIN
from autoimb.space.strategy import Choice, Strategy

RAW = Path(__file__).resolve().with_name("ablation.jsonl")
MOST_ROWS = 60_000
LARGE = 3_000  # rows, from which on a test set has more than a handful of rare ones


def no_embedding(strategy: Strategy, *given: Any, **named: Any) -> Outcome:
    """Evaluate a strategy with its numbers as they are."""
    network = strategy.network
    params = tuple((k, "none" if k == "embedding" else v) for k, v in network.params)
    return evaluate(replace(strategy, network=Choice(network.name, params)), *given, **named)


def quick_network(space: Any) -> list[dict[str, Any]]:
    """Return the first network of the list only."""
    return portfolio.first_networks(space)[:1]


WHOLE = "everything"
# what is put in the place of what, and the options that the call is given
Patch = tuple[object, str, object]
VARIANTS: dict[str, tuple[list[Patch], dict[str, Any]]] = {
    WHOLE: ([], {}),
    "no portfolio": (
        [(agenda, "first_networks", quick_network), (agenda, "first_levers", lambda *_: [])],
        {},
    ),
    "no blend": ([(blend, "MOST_CANDIDATES", 1), (blend, "LEAST_CANDIDATES", 1)], {}),
    "mlp only": ([], {"network": ["mlp"]}),
    "no embeddings": ([(study, "evaluate", no_embedding)], {}),
    "no levers": ([], {room: [name] for room, name in PLAIN.items()}),
    "no pruning": ([(study._Search, "_bar", lambda _: None)], {}),
}


@contextmanager
def without(patches: list[Patch]) -> Iterator[None]:
    """Put something else in the place of parts."""
    started = [mock.patch.object(*patch) for patch in patches]
    for patch in started:
        patch.start()
    try:
        yield
    finally:
        for patch in started:
            patch.stop()


def learned(table: Path) -> Patch:
    """Return the list of first networks that the tables of other families give."""
    families = pd.read_csv(table.with_name("INDEX.csv")).set_index("name")["family"]
    same = families.index[families == families[table.stem]]
    rows = [json.loads(line) for line in RAW.with_name("portfolio.jsonl").open()]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "list.json"
        write(measured(rows).drop(index=same, errors="ignore"), PICKED, file)
        entries = json.loads(file.read_text(encoding="utf-8"))
    return portfolio, "_NETWORKS", tuple((each["name"], each["params"]) for each in entries)


def split(frame: pd.DataFrame, seed: int) -> list[pd.DataFrame]:
    """Return training rows and test rows, of large tables of a stratified sample."""

    def deal(rows: pd.DataFrame, **size: float) -> list[pd.DataFrame]:
        labels = rows["target"].astype(str)
        found: list[pd.DataFrame] = train_test_split(
            rows, stratify=labels, random_state=seed, **size
        )
        return found

    if len(frame) > MOST_ROWS:
        frame = deal(frame, train_size=MOST_ROWS)[0]
    return deal(frame, test_size=0.3)


def run(variant: str, path: Path, *, seconds: float, seed: int) -> dict[str, Any]:
    """Search, and score the test rows: macro average precision, of the rarer class of two."""
    train, test = split(pd.read_parquet(path), seed)
    patches, options = VARIANTS[variant]
    model = AutoImbClassifier(time_budget=seconds, random_state=seed, n_jobs=2, **options)
    with without([learned(path), *patches]):
        model.fit(train.drop(columns="target"), train["target"])
    proba, y = model.predict_proba(test.drop(columns="target")), test["target"].to_numpy()
    counts = [(y == c).sum() for c in model.classes_]
    judged = [int(np.argmin(counts))] if len(counts) == 2 else np.flatnonzero(counts)
    values = [average_precision_score(y == model.classes_[c], proba[:, c]) for c in judged]
    return {"score": float(np.mean(values)), "trials": len(model.leaderboard())}


def table(scores: pd.DataFrame, trials: pd.DataFrame) -> list[str]:
    """Write each variant's rank, normalised score and paired difference as Markdown."""
    span = (scores.max(axis=1) - scores.min(axis=1)).clip(lower=1e-12)
    normal = scores.sub(scores.min(axis=1), axis=0).div(span, axis=0)
    ranks = scores.rank(axis=1, ascending=False)
    lines = [
        "| variant | mean rank | mean normalised score | mean | less than everything by (95 %) "
        "| everything wins | trials |",
        "|---|---|---|---|---|---|---|",
    ]
    draws = np.random.default_rng(0).integers(len(scores), size=(10_000, len(scores)))
    for name in ranks.mean().sort_values().index:
        gap = (scores[WHOLE] - scores[name]).to_numpy()
        low, high = np.quantile(gap[draws].mean(axis=1), [0.025, 0.975])
        won = (gap > 0).mean() + 0.5 * (gap == 0).mean()
        cells = f"{gap.mean():+.4f} ({low:+.4f} to {high:+.4f}) | {won:.0%}"
        lines.append(
            f"| {name} | {ranks[name].mean():.2f} | {normal[name].mean():.3f} "
            f"| {scores[name].mean():.4f} | {' | ' if name == WHOLE else cells} "
            f"| {trials[name].median():.0f} |"
        )
    return lines


def main() -> None:
    """Read the command line, run what is missing, write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of Parquet files")
    parser.add_argument("--time", type=float, default=20.0, help="seconds of each search")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--raw", type=Path, default=RAW)
    parser.add_argument("--one", nargs=2, metavar=("VARIANT", "TABLE"), help="run and print this")
    options = parser.parse_args()
    if options.one:
        variant, name = options.one
        path = options.data / f"{name}.parquet"
        print(json.dumps(run(variant, path, seconds=options.time, seed=options.seed)))
        return
    done = stored(options.raw)
    known = [{k: row[k] for k in ("data", "variant", "seed", "time")} for row in done]
    for variant in VARIANTS:
        for path in sorted(options.data.glob("*.parquet")):
            row = {"data": path.stem, "variant": variant}
            row |= {"seed": options.seed, "time": options.time}
            if row in known:
                continue
            command = [sys.executable, __file__, "--data", str(options.data)]
            command += ["--time", str(options.time), "--seed", str(options.seed)]
            command += ["--one", variant, path.stem]
            found = subprocess.run(command, check=True, capture_output=True, text=True)
            row |= json.loads(found.stdout.splitlines()[-1])
            with options.raw.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(*row.values(), file=sys.stderr, flush=True)
    rows = pd.DataFrame([json.loads(line) for line in options.raw.open()])
    rows = rows[rows["time"] == options.time]
    index = ["data", "seed"]
    scores = rows.pivot_table(index=index, columns="variant", values="score").dropna()
    trials = rows.pivot_table(index=index, columns="variant", values="trials")
    sizes = pd.read_csv(options.data / "INDEX.csv").set_index("name")["rows"]
    large = scores.index.get_level_values("data").map(sizes) >= LARGE
    text = [
        "# Without a part",
        "",
        f"Average precision on {len(scores)} test sets after searches of {options.time:g} s with "
        "two workers. Normalised: 1 is the best variant on a table, 0 the worst.",
        "",
        *table(scores, trials),
        "",
        f"## The {large.sum()} tables of {LARGE:,} rows or more",
        "",
        *table(scores[large], trials[large]),
        "",
        f"`python reports/benchmarks/ablation.py --time {options.time:g}`.",
        "",
    ]
    options.raw.with_suffix(".md").write_text("\n".join(text), encoding="utf-8")
    print("\n".join(text))


if __name__ == "__main__":
    main()
