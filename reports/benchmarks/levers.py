"""How often a lever beats `none`: matched duels over public tables, all else equal.

``python reports/benchmarks/levers.py --data DATA`` evaluates one network with each lever on every
Parquet file of DATA (last column ``target``) as trials of a search of a minute, with the same
folds and seed, and appends to ``levers.jsonl``; what is there already is not run again. A duel
gives the paired difference of out-of-fold average precision, balanced accuracy and F1 with its
error, labels by the decision rule that the other folds fit, and of the log-loss. Ensembles are
evaluated twice, with the work of a trial and with so many times the work as they have networks;
the latter are also held against bagging. `none` with that work and `none` with another seed tell
what training and chance alone give. It writes ``levers.md``.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import delayed
from plain import TABM, completed, prepared_file, stored

from autoimb.assessment.decision import cross_fit_labels
from autoimb.assessment.metrics import get_metric
from autoimb.assessment.uncertainty import paired_difference
from autoimb.search.budget import Deadline
from autoimb.search.evaluate import Outcome, evaluate
from autoimb.search.planning import Plan
from autoimb.search.prepare import Prepared
from autoimb.space.option import Value
from autoimb.space.strategy import Choice, Strategy
from autoimb.training.parts import Parts

RAW = Path(__file__).resolve().with_name("levers.jsonl")
METRICS = ("average_precision", "balanced_accuracy", "f1")
BUDGET = 60.0
NETWORKS = 4  # of each ensemble
AGAIN = "none, another seed"
LONG = ", as long"
TWIN = f"ensemble: bagging(members={NETWORKS}){LONG}"
LEVERS: tuple[tuple[str, str, Mapping[str, Value]], ...] = (
    ("class_weight", "power", {"tau": 0.5}),
    ("class_weight", "power", {"tau": 1.0}),
    ("class_weight", "effective_number", {"beta_complement": 1e-3}),
    ("loss", "logit_adjusted", {"tau": 0.5}),
    ("loss", "logit_adjusted", {"tau": 1.0}),
    ("loss", "focal", {"gamma": 1.0}),
    ("loss", "focal", {"gamma": 2.0}),
    ("loss", "ldam", {"margin": 0.5, "begins": 0.8}),
    ("loss", "label_smoothing", {"smoothing": 0.05}),
    ("resampling", "random_over", {"strength": 0.5}),
    ("resampling", "random_over", {"strength": 1.0}),
    ("resampling", "jittered_over", {"strength": 0.5, "shrinkage": 0.3}),
    ("resampling", "smote", {"strength": 0.5, "k_neighbors": 5}),
    ("resampling", "smote", {"strength": 1.0, "k_neighbors": 5}),
    ("resampling", "borderline_smote", {"strength": 0.5, "k_neighbors": 5}),
    ("resampling", "adasyn", {"strength": 0.5, "k_neighbors": 5}),
    ("resampling", "smote_enn", {"strength": 0.5, "k_neighbors": 5, "cleaning": 1.0}),
    ("resampling", "smote_tomek", {"strength": 0.5, "k_neighbors": 5, "cleaning": 1.0}),
    ("resampling", "random_under", {"strength": 0.5}),
    ("resampling", "random_under", {"strength": 1.0}),
    ("resampling", "near_miss", {"strength": 0.5, "version": 2, "n_neighbors": 3}),
    ("resampling", "cluster_centroids", {"strength": 0.8}),
    ("resampling", "tomek_links", {"strength": 1.0}),
    ("resampling", "batch_balancing", {"strength": 0.5, "floor": 1}),
    ("ensemble", "bagging", {"members": 4}),
    ("ensemble", "balanced_bagging", {"members": 4, "strength": 0.8}),
    ("ensemble", "self_paced", {"rounds": 4, "strength": 0.8}),
    ("ensemble", "boosting", {"rounds": 4}),
    ("ensemble", "rus_boost", {"rounds": 4, "strength": 0.8}),
    ("ensemble", "easy_ensemble", {"members": 2, "rounds": 2, "strength": 0.8}),
    ("ensemble", "snapshot", {"rounds": 4}),
)


def tried(prepared: Prepared, plan: Plan) -> dict[str, Outcome]:
    """Evaluate the network without a lever, with each, and ensembles for longer as well."""
    data, folds = prepared.dataset, plan.folds
    shared = Parts(data, folds, seed=plan.seed)
    longer = replace(plan.effort, operations=NETWORKS * plan.effort.operations)

    def run(strategy: Strategy, plan: Plan = plan, parts: Parts = shared) -> Outcome:
        metric, deadline = prepared.metric, Deadline()
        return evaluate(strategy, data, plan, metric=metric, deadline=deadline, cache=parts)

    run(TABM)  # encodes what all of them share, so that no lever's seconds have it
    found = {"none": run(TABM)}
    found[f"none{LONG}"] = run(TABM, replace(plan, effort=longer))
    found[AGAIN] = run(TABM, parts=Parts(data, folds, seed=plan.seed + 1000))
    for room, name, params in LEVERS:
        choice = Choice(name, tuple(params.items()))
        strategy = replace(TABM, **{room: choice})
        found[f"{room}: {choice}"] = run(strategy)
        if room == "ensemble":
            found[f"{room}: {choice}{LONG}"] = run(strategy, replace(plan, effort=longer))
    return found


def duels(path: Path, *, seed: int) -> Iterator[dict[str, Any]]:
    """Hold every lever against `none` on a table, and ensembles against bagging."""
    torch.set_num_threads(1)
    prepared, plan = prepared_file(path, budget=BUDGET, seed=seed)
    data, folds = prepared.dataset, plan.folds
    rows, group, weight = folds.scored, folds.group[folds.scored], folds.scored_weight(data.weight)
    y = data.y[rows]
    metrics = [get_metric(n, n_classes=data.n_classes, positive=data.positive) for n in METRICS]
    outcomes = tried(prepared, plan)
    scored = {lever: outcome for lever, outcome in outcomes.items() if outcome.oof is not None}
    labels = {
        lever: [cross_fit_labels(m, y, outcome.view, group, weight=weight) for m in metrics]
        for lever, outcome in scored.items()
    }

    def log_loss(proba: np.ndarray) -> float:
        own = np.clip(proba[np.arange(len(y)), y], 1e-15, 1.0)
        return float(-np.average(np.log(own), weights=weight))

    pairs = [(lever, "none") for lever in outcomes if lever != "none"]
    pairs += [(lever, TWIN) for lever in outcomes if lever.endswith(LONG) and lever != TWIN]
    for lever, base in pairs:
        row: dict[str, Any] = {"data": path.stem, "seed": seed, "lever": lever, "against": base}
        row |= {"reason": outcomes[lever].reason}
        row |= {"ratio": outcomes[lever].seconds / outcomes[base].seconds}
        if lever in scored and base in scored:
            mine, theirs = scored[lever].oof, scored[base].oof
            for metric, own, other in zip(metrics, labels[lever], labels[base]):
                row[metric.name] = paired_difference(
                    metric, y, (mine, own), (theirs, other), group, weight=weight
                )
            row["log_loss"] = log_loss(mine) - log_loss(theirs)
        yield row


def table(rows: pd.DataFrame) -> list[str]:
    """Write how often each lever wins and loses, by metric, as a table."""
    names = {"average_precision": "AP", "balanced_accuracy": "balanced accuracy", "f1": "F1"}
    lines = [
        f"| lever | {' | '.join(f'{n}: won, lost | mean' for n in names.values())} | log-loss "
        "| seconds | tables |",
        f"|---|{'---|' * 9}",
    ]
    found = []
    for lever, own in rows.groupby("lever", sort=False):
        cells, means = [], []
        done = own.dropna(subset=["log_loss"])
        for metric in METRICS:
            # of a table, over its seeds; their errors are of the same rows, so they don't shrink
            pairs = done.groupby("data")[metric].agg(
                lambda p: tuple(np.mean(np.array(list(p)), axis=0))
            )
            gain, error = np.array(list(pairs)).T
            won, lost = (gain > error).mean(), (gain < -error).mean()
            cells.append(f"{won:.0%}, {lost:.0%} | {1e3 * gain.mean():+.0f}")
            means.append(gain.mean())
        ratio = np.exp(np.log(done["ratio"]).mean())
        cells += [f"{done['log_loss'].mean():+.4f}", f"{ratio:.1f}"]
        cells += [f"{done['data'].nunique()}"]
        found.append((means[0], f"| {lever} | {' | '.join(cells)} |"))
    return [*lines, *(line for _, line in sorted(found, key=lambda pair: -pair[0])), ""]


def main() -> None:
    """Read the command line, evaluate what is missing, and write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of Parquet files")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--raw", type=Path, default=RAW)
    parser.add_argument("--only", help="these tables: a,b")
    options = parser.parse_args()
    done = stored(options.raw)
    known = {(row["data"], row["seed"]) for row in done}
    paths = sorted(options.data.glob("*.parquet"), key=lambda p: -p.stat().st_size)
    jobs = [
        delayed(lambda path, seed: list(duels(path, seed=seed)))(path, seed)
        for seed in range(options.seeds)
        for path in paths
        if (path.stem, seed) not in known
        and (not options.only or path.stem in options.only.split(","))
    ]
    rows = pd.DataFrame(completed(jobs, options.raw))
    seeds = rows["seed"].nunique()
    text = [
        "# Levers against none",
        "",
        f"{rows['data'].nunique()} public tables, deals of rows to folds (with seeds): {seeds}, "
        "one network (TabM with piecewise-linear embeddings) with the work of a trial in a search "
        "of a minute, all else equal. *Won* and *lost*: on how many tables the lever is better or "
        "worse than `none` by more than the paired difference's error. *mean*: of the difference, "
        "in thousandths. *log-loss*: mean difference, above 0 is worse. *seconds*: geometric mean "
        f"ratio. *As long*: with {NETWORKS} times the work, so that each of an ensemble's "
        f"{NETWORKS} networks trains as long as the one of `none`. Labels are by a decision rule "
        "that is tuned for the metric, for `none` as for the levers.",
        "",
        *table(rows[rows["against"] == "none"]),
        "## Ensembles against bagging, each as long",
        "",
        *table(rows[rows["against"] == TWIN]),
        f"`python reports/benchmarks/levers.py --seeds {options.seeds}`.",
        "",
    ]
    options.raw.with_suffix(".md").write_text("\n".join(text), encoding="utf-8")
    print("\n".join(text))


if __name__ == "__main__":
    main()
