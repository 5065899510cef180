"""How often an imbalance method beats `none`: matched duels over public tables, all else equal.

``run`` evaluates one network with each method on every table as trials of a search of a minute,
with the same folds and seed. A duel gives the paired difference of out-of-fold average precision,
balanced accuracy and F1 with its error, labels by the decision rule that the other folds fit, and
of the log-loss. Ensembles are evaluated twice, with the work of a trial and with so many times the
work as they have networks; the latter are also held against bagging. `none` with that work and
`none` with another seed tell what training and chance alone give.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import delayed

from reports.benchmarks import cases, project
from reports.benchmarks import render as written
from reports.benchmarks.project import TABM, Given, Outcome, Planned, Scored
from reports.benchmarks.rows import Row, Rows, by, foot

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("data", "seed", "method", "against"))
METRICS = {
    "average_precision": "AP",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
}
NETWORKS = 4  # of each ensemble
AGAIN = "none, another seed"
LONG = ", as long"
BAGGING = f"ensemble: bagging(members={NETWORKS}){LONG}"
METHODS: dict[str, tuple[Given, ...]] = {
    "class_weight": (
        ("power", {"tau": 0.5}),
        ("power", {"tau": 1.0}),
        ("effective_number", {"beta_complement": 1e-3}),
    ),
    "loss": (
        ("logit_adjusted", {"tau": 0.5}),
        ("logit_adjusted", {"tau": 1.0}),
        ("focal", {"gamma": 1.0}),
        ("focal", {"gamma": 2.0}),
    ),
    "resampling": (
        ("random_over", {"strength": 0.5}),
        ("random_over", {"strength": 1.0}),
        ("smote", {"strength": 0.5, "k_neighbors": 5}),
        ("smote", {"strength": 1.0, "k_neighbors": 5}),
        ("smote_enn", {"strength": 0.5, "k_neighbors": 5, "cleaning": 1.0}),
        ("smote_tomek", {"strength": 0.5, "k_neighbors": 5, "cleaning": 1.0}),
        ("random_under", {"strength": 0.5}),
        ("random_under", {"strength": 1.0}),
        ("cluster_centroids", {"strength": 0.8}),
        ("tomek_links", {"strength": 1.0}),
        ("batch_balancing", {"strength": 0.5, "floor": 1}),
    ),
    "ensemble": (
        ("bagging", {"members": 4}),
        ("balanced_bagging", {"members": 4, "strength": 0.8}),
        ("self_paced", {"rounds": 4, "strength": 0.8}),
        ("boosting", {"rounds": 4}),
        ("rus_boost", {"rounds": 4, "strength": 0.8}),
        ("easy_ensemble", {"members": 2, "rounds": 2, "strength": 0.8}),
        ("snapshot", {"rounds": 4}),
    ),
}


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_data(parser)
    cases.add_again(parser)
    parser.add_argument("--seeds", type=int, default=1)


def run(options: Namespace) -> None:
    """Hold every method against `none` on the tables and seeds that are missing."""
    known = ROWS.known(again=options.again)
    ROWS.collect(
        delayed(duels)(path, seed=seed)
        for seed in range(options.seeds)
        for path in cases.paths(options)
        if (path.stem, seed, AGAIN, "none") not in known
    )


def tried(table: Planned) -> dict[str, Outcome]:
    """Evaluate the network without a method, with each, and ensembles for longer as well."""
    network = (TABM["name"], TABM["params"])
    control = project.strategy(*network)
    table.trial(control)  # encodes what all of them share, so that no method's seconds have it
    found = {"none": table.trial(control)}
    found[f"none{LONG}"] = table.trial(control, work=NETWORKS)
    found[AGAIN] = table.trial(control, more=1000)
    for component, given in METHODS.items():
        for method in given:
            name = f"{component}: {project.told(method)}"
            strategy = project.strategy(*network, **{component: method})
            found[name] = table.trial(strategy)
            if component == "ensemble":
                found[f"{name}{LONG}"] = table.trial(strategy, work=NETWORKS)
    return found


def duels(path: Path, *, seed: int) -> list[Row]:
    """Hold every method against `none` on a table, and ensembles against bagging."""
    table = Planned.of(cases.with_target(path), budget=cases.MINUTE, seed=seed)
    outcomes = tried(table)
    scored = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Scored)}
    labels = {
        name: {metric: table.labels(metric, outcome) for metric in METRICS}
        for name, outcome in scored.items()
    }
    pairs = [(name, "none") for name in outcomes if name != "none"]
    pairs += [(name, BAGGING) for name in outcomes if name.endswith(LONG) and name != BAGGING]
    rows = []
    for name, base in pairs:
        mine, theirs = outcomes[name], outcomes[base]
        row: Row = {"data": path.stem, "seed": seed, "method": name, "against": base}
        row |= {"reason": project.reason(mine), "ratio": mine.seconds / theirs.seconds}
        if name in scored and base in scored:
            for metric in METRICS:
                both = ((scored[one], labels[one][metric]) for one in (name, base))
                row[metric] = table.difference(metric, *both)
            row["log_loss"] = table.log_loss(scored[name]) - table.log_loss(scored[base])
        rows.append(row)
    return rows


def won_and_lost(rows: pd.DataFrame) -> list[str]:
    """Write how often each method wins and loses, by metric, as a table."""
    found = [_of_method(str(name), own) for name, own in rows.groupby("method", sort=False)]
    head = ["method"]
    for name in METRICS.values():
        head += [f"{name}: won, lost", "mean"]
    head += ["log-loss", "seconds", "tables"]
    return [*written.table(head, (row for _, row in sorted(found, key=lambda f: -f[0]))), ""]


def _of_method(name: str, rows: pd.DataFrame) -> tuple[float, list[str]]:
    """Return a method's mean gain by the first metric, and its cells."""
    cells, means = [name], []
    done = rows.dropna(subset=["log_loss"])
    for metric in METRICS:
        # of a table, over its seeds; their errors are of the same rows, so they don't shrink
        pairs = done.groupby("data")[metric].agg(
            lambda p: tuple(np.mean(np.array(list(p)), axis=0))
        )
        gain, error = np.array(list(pairs)).T
        won, lost = (gain > error).mean(), (gain < -error).mean()
        cells += [f"{won:.0%}, {lost:.0%}", f"{1e3 * gain.mean():+.0f}"]
        means.append(float(gain.mean()))
    ratio = np.exp(np.log(done["ratio"]).mean())
    cells += [f"{done['log_loss'].mean():+.4f}", f"{ratio:.1f}", f"{done['data'].nunique()}"]
    return means[0], cells


def render(rows: list[Row]) -> str:
    """Write the duels against `none`, and those of ensembles against bagging."""
    frame = pd.DataFrame(rows)
    lines = [
        "# Imbalance methods against none",
        "",
        f"{frame['data'].nunique()} public tables, splits of rows into folds (with seeds): "
        f"{frame['seed'].nunique()}, one network (TabM with piecewise-linear embeddings) with the "
        "work of a trial in a search of a minute, all else equal. *Won* and *lost*: on how many "
        "tables the method is better or worse than `none` by more than the paired difference's "
        "error. *mean*: of the difference, in thousandths. *log-loss*: mean difference, above 0 is "
        f"worse. *seconds*: geometric mean ratio. *As long*: with {NETWORKS} times the work, so "
        f"that each of an ensemble's {NETWORKS} networks trains as long as the one of `none`. "
        "Labels are by a decision rule that is tuned for the metric, for `none` as for the rest.",
        "",
        *won_and_lost(frame[frame["against"] == "none"]),
        "## Ensembles against bagging, each as long",
        "",
        *won_and_lost(frame[frame["against"] == BAGGING])[:-1],
    ]
    return "\n".join([*lines, *foot("methods", rows)])
