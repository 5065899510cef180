"""What should weigh a blend: the candidates of one search, mixed in several ways.

``python reports/benchmarks/blends.py --data DATA`` searches on 70 % of every Parquet file of DATA
(last column ``target``) for each metric, one core each, mixes what the search could hand over in
each way, scores the other 30 %, and appends to ``blends.jsonl``; what is there already is not run
again. It writes ``blends.md``. See ``reports/decisions/0025-likelihood-weighs-a-blend.md``.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
from ablation import split
from joblib import delayed
from plain import completed, stored

from autoimb.assessment.decision import fit_rule
from autoimb.search import blend as blending
from autoimb.search import search as searching
from autoimb.search.blend import Blend
from autoimb.search.request import Request

RAW = Path(__file__).resolve().with_name("blends.jsonl")
METRICS = ("average_precision", "f1", "balanced_accuracy")
BUILT, ALONE = "as built", "best strategy alone"


def likelihood(proba: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Return the log-likelihood a row of classes (n,) by probabilities (n, C)."""
    own = np.clip(proba[np.arange(len(y)), y], 1e-15, 1.0)
    return float(np.average(np.log(own), weights=weight))


@dataclass(frozen=True, eq=False)
class MetricWeighs(blending._Rows):
    """Rows whose merit is the metric, and a hundredth of the likelihood where it is level."""

    share = 0.01

    def __post_init__(self) -> None:
        """Fit the decision rule for these rows, one for all mixtures of them."""
        middle = self.proba.mean(axis=0)
        rule = fit_rule(self.metric, self.y, middle, weight=self.weight)
        object.__setattr__(self, "label", rule.apply)

    def merit(self, proba: np.ndarray) -> float:
        """Judge probabilities (n, C) of these rows."""
        labels = self.label(proba) if self.metric.kind == "label" else None
        value = self.metric(self.y, proba, labels, weight=self.weight)
        return self.metric.utility(value) + self.share * likelihood(proba, self.y, self.weight)


class BothWeigh(MetricWeighs):
    """Rows whose merit is the metric and the likelihood, one to one."""

    share = 1.0


class LikelihoodWeighs(blending._Rows):
    """Rows whose merit is the likelihood."""

    def merit(self, proba: np.ndarray) -> float:
        """Judge probabilities (n, C) of these rows."""
        return likelihood(proba, self.y, self.weight)


WEIGHED = {
    "metric": MetricWeighs,
    "metric and likelihood": BothWeigh,
    "likelihood": LikelihoodWeighs,
    BUILT: blending._Rows,
}
EQUAL = {f"equal weights, best {n}": n for n in (4, 8)}


def searched(train: pd.DataFrame, **asked: Any) -> dict[str, Any]:
    """Search, and return what `choose` was given, beside the result."""
    seen: dict[str, Any] = {}
    choose = searching.choose

    def spy(prepared: Any, plan: Any, records: Any, outcomes: Any, **named: Any) -> Any:
        seen.update(prepared=prepared, plan=plan, outcomes=outcomes)
        return choose(prepared, plan, records, outcomes, **named)

    with mock.patch.object(searching, "choose", spy):
        request = Request(target="target", n_jobs=1, verbose=0, **asked)
        found = searching.search(train.drop(columns="target"), train["target"], request)
    return seen | {"pipeline": found.pipeline}


def weighed(seen: dict[str, Any], merit: type, best: int) -> Blend:
    """Blend as the search does, by another merit."""
    prepared, folds = seen["prepared"], seen["plan"].folds
    with mock.patch.object(blending, "_Rows", merit):
        found = blending.blend(
            prepared.metric,
            seen["outcomes"],
            prepared.dataset.y[folds.scored],
            folds.group[folds.scored],
            weight=folds.scored_weight(prepared.dataset.weight),
        )
    return found if found.kept else replace(found, numbers=(best,), weights=(1.0,))


def mixtures(path: Path, metric: str, *, seconds: float, seed: int) -> Iterator[dict[str, Any]]:
    """Search on a table, and score every way to mix its candidates on the test rows."""
    train, test = split(pd.read_parquet(path), seed)
    seen = searched(train, metric=metric, time_budget=seconds, random_state=seed)
    prepared, folds, handed = seen["prepared"], seen["plan"].folds, seen["pipeline"]
    y, weight = prepared.dataset.y[folds.scored], folds.scored_weight(prepared.dataset.weight)
    usable = {n: o for n, o in seen["outcomes"].items() if o.fitted is not None}
    order = sorted(usable, key=lambda n: -usable[n].score.utility)

    def predicted(number: int) -> np.ndarray:
        strategies = (usable[number].fitted,)
        read = folds.every[: searching.encoders_read(strategies)]
        encoders = searching.fit_encoders(prepared.dataset, read)
        alone = replace(handed, encoders=encoders, strategies=strategies, weights=(1.0,))
        return alone.predict_proba(test.drop(columns="target"))

    ways = {name: weighed(seen, merit, order[0]) for name, merit in WEIGHED.items()}
    mixed = {name: (way.numbers, way.weights) for name, way in ways.items()}
    mixed[ALONE] = (order[:1], [1.0])
    for name, count in EQUAL.items():
        mixed[name] = (order[:count], [1 / len(order[:count])] * len(order[:count]))
    codes = {label: code for code, label in enumerate(handed.classes)}
    truth = np.array([codes[label] for label in test["target"]])
    proba = {n: predicted(n) for n in {n for numbers, _ in mixed.values() for n in numbers}}
    for name, (numbers, weights) in mixed.items():
        oof = sum(w * usable[n].oof for n, w in zip(numbers, weights))
        new = sum(w * proba[n] for n, w in zip(numbers, weights))
        labels = fit_rule(prepared.metric, y, oof, weight=weight).apply(new)
        yield {
            "data": path.stem,
            "metric": metric,
            "seed": seed,
            "way": name,
            "strategies": len(numbers),
            "score": prepared.metric(truth, new, labels),
            "log_loss": -likelihood(new, truth),
        }


def table(rows: pd.DataFrame) -> list[str]:
    """Write each way beside the one that is built, of one metric."""
    scores = rows.pivot_table(index=["data", "seed"], columns="way", values="score")
    losses = rows.pivot_table(index=["data", "seed"], columns="way", values="log_loss")
    lines = [
        "| weighed by | mean | than as built: better, worse | mean difference | log-loss |",
        "|---|---|---|---|---|",
    ]
    for way in scores.mean().sort_values(ascending=False).index:
        gap = scores[way] - scores[BUILT]
        beside = f"{(gap > 0).sum()}, {(gap < 0).sum()} | {gap.mean():+.4f} ± {gap.sem():.4f}"
        lines.append(
            f"| {way} | {scores[way].mean():.4f} | {' | ' if way == BUILT else beside} "
            f"| {losses[way].mean():.4f} |"
        )
    return lines


def main() -> None:
    """Read the command line, run what is missing, write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of Parquet files")
    parser.add_argument("--time", type=float, default=60.0, help="seconds of each search")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="these tables: a,b")
    parser.add_argument("--raw", type=Path, default=RAW)
    options = parser.parse_args()
    done = stored(options.raw)
    known = {(row["data"], row["metric"], row["seed"]) for row in done}
    run: Callable[..., Any] = delayed(lambda *a, **k: list(mixtures(*a, **k)))
    paths = sorted(options.data.glob("*.parquet"), key=lambda p: -p.stat().st_size)
    jobs = [
        run(path, metric, seconds=options.time, seed=options.seed)
        for metric in METRICS
        for path in paths
        if (path.stem, metric, options.seed) not in known
        and (not options.only or path.stem in options.only.split(","))
    ]
    rows = pd.DataFrame(completed(jobs, options.raw))
    text = [
        "# What weighs a blend",
        "",
        f"Searches of {options.time:g} s on one core, {rows['data'].nunique()} public tables; "
        "the same candidates mixed in each way, scored on test rows. A blend by weights is kept "
        "where it is better, by what weighs it, on rows that did not weigh it; else the best "
        "strategy alone stands. *As built* weighs by metric and likelihood for average precision, "
        "by likelihood for labels, and keeps no blend whose labels are worse beyond the error.",
        "",
    ]
    for metric in METRICS:
        own = rows[rows["metric"] == metric]
        text += [f"## {metric}", "", *table(own), ""] if len(own) else []
    text += [f"`python reports/benchmarks/blends.py --time {options.time:g}`.", ""]
    options.raw.with_suffix(".md").write_text("\n".join(text), encoding="utf-8")
    print("\n".join(text))


if __name__ == "__main__":
    main()
