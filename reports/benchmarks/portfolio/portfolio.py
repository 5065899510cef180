"""Which networks to try first: learned on public tables, judged on those that were left out.

``run`` evaluates networks without an imbalance method, today's list and random ones of each network
and embedding, on every table, as a search of a minute would. Then it picks greedily, so that every
prefix has the least mean regret: the distance of the best score so far from the best of all, as a
share of the range between the median and the best; and it writes the list that a search starts
with. The list is judged by leaving out one family of tables after the other, against the hand-made
list, random order, and networks that TPE draws.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
from joblib import delayed
from optuna.trial import TrialState

from reports.benchmarks import cases, project
from reports.benchmarks import render as written
from reports.benchmarks.portfolio.lists import PICKED, greedy, learned, measured, regrets, short
from reports.benchmarks.project import Network, Outcome, Planned, Scored
from reports.benchmarks.rows import Row, Rows, foot

PREFIXES = (1, 3, 6, 12, 20, 40)
BY_HAND = 5  # the first rows of a table are of the list that was written before any was measured
KIND = 8  # networks of each kind


def key(row: Row) -> tuple[object, ...]:
    """Tell a network of the list from what TPE drew."""
    if "drawn" in row:
        return row["data"], row["seed"], row["drawn"]
    return row["data"], short(row["strategy"])


ROWS = Rows(Path(__file__).with_suffix(".jsonl"), key)


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_data(parser)
    cases.add_again(parser)
    parser.add_argument("--count", type=int, default=KIND, help="networks of a kind")
    parser.add_argument("--seeds", type=int, default=1, help="of TPE")
    parser.add_argument("--pick", type=int, default=PICKED, help="networks of the list")
    parser.add_argument("--budget", type=float, default=cases.MINUTE)


def wanted(count: int, known: Sequence[Row]) -> list[Network]:
    """Return those of a table before, today's list, and random ones: so many of each kind."""
    given = [row for row in known if "drawn" not in row]
    first = given[0]["data"] if given else None
    found = {short(row["strategy"]): row["strategy"] for row in given if row["data"] == first}
    for one in map(project.network_of, project.first_networks()):
        found.setdefault(short(one), one)
    cells = Counter(cell(json.loads(name)) for name in found)
    kinds = project.searched_networks()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=cases.SEED))
    while any(cells[kind] < count for kind in kinds):
        network = project.network_of(project.draw_control(study.ask()))
        if cells[cell(network)] < count and short(network) not in found:
            cells[cell(network)] += 1
            found[short(network)] = network
    return list(found.values())


def cell(network: Network) -> tuple[str, str]:
    """Return a network's name and embedding."""
    return network["name"], network["params"]["embedding"]


def scored(path: Path, networks: Sequence[Network], *, budget: float) -> list[Row]:
    """Evaluate networks on a table, each as a trial of a search with this budget."""
    table = Planned.of(cases.with_target(path), budget=budget)
    return [
        row_of(path, one, table.trial(project.strategy(one["name"], one["params"])))
        for one in networks
    ]


def drawn(path: Path, count: int, *, budget: float, seed: int) -> list[Row]:
    """Evaluate networks that TPE draws from nothing with a seed, each as `scored` does."""
    table, rows = Planned.of(cases.with_target(path), budget=budget), []
    sampler = optuna.samplers.TPESampler(multivariate=True, group=True, seed=seed)
    study = optuna.create_study(sampler=sampler, direction="maximize")
    for number in range(count):
        asked = study.ask()
        strategy = project.draw_control(asked)
        row = row_of(path, project.network_of(strategy), table.trial(strategy))
        failed = None if row["score"] is not None else TrialState.FAIL
        study.tell(asked, row["score"], state=failed)
        rows.append(row | {"drawn": number, "seed": seed})
    return rows


def row_of(path: Path, network: Network, outcome: Outcome) -> Row:
    """Return the row of a network on a table."""
    value = outcome.score.utility if isinstance(outcome, Scored) else None
    seconds = round(outcome.seconds, 3)
    return {"data": path.stem, "strategy": network, "score": value, "seconds": seconds}


def run(options: Namespace) -> None:
    """Evaluate what is missing, and write the list that a search starts with."""
    known = ROWS.known(again=options.again)
    networks = wanted(options.count, ROWS.read())
    jobs = []
    for path in cases.paths(options):
        left = [one for one in networks if (path.stem, short(one)) not in known]
        jobs += [delayed(scored)(path, left, budget=options.budget)] if left else []
        for seed in range(options.seeds):
            if (path.stem, seed, 0) not in known:
                budget = options.budget
                jobs.append(delayed(drawn)(path, max(PREFIXES), budget=budget, seed=seed))
    ROWS.collect(jobs)
    quick = project.network_of(project.first_networks()[0])
    entries = learned(measured(ROWS.read()), options.pick, quick=quick)
    text = "[\n  " + ",\n  ".join(entries) + "\n]\n"
    project.FIRST_NETWORKS.write_text(text, encoding="utf-8")


def left_out(scores: pd.DataFrame, hand: list[str]) -> dict[str, list[float]]:
    """Mean regret on the tables of a family, of lists that were made without it."""
    regret, random = regrets(scores), np.random.default_rng(0)
    family = cases.TABLES["family"].reindex(scores.index)
    found: dict[str, list[list[float]]] = {"learned": [], "by hand": [], "random": []}
    for name in family.unique():
        out = family.index[family == name]
        chosen = greedy(scores.drop(index=out), max(PREFIXES))
        for table in out:
            row = regret.loc[table]
            found["learned"].append([row[chosen[:n]].min() for n in PREFIXES])
            found["by hand"].append([row[hand[:n]].min() for n in PREFIXES])
            orders = [random.permutation(row.to_numpy()) for _ in range(200)]
            found["random"].append([np.mean([o[:n].min() for o in orders]) for n in PREFIXES])
    return {key: list(np.mean(values, axis=0)) for key, values in found.items()}


def by_tpe(scores: pd.DataFrame, rows: Sequence[Row]) -> list[float]:
    """Mean regret of the networks that TPE drew; below 0 where one is better than all others."""
    frame = pd.DataFrame([row for row in rows if "drawn" in row])
    order = frame.pivot_table(index=["data", "seed"], columns="drawn", values="score")
    best, middle = scores.max(axis=1), scores.median(axis=1)
    scale = (best - middle).clip(lower=1e-9)
    regret = order.rsub(best, axis=0, level="data").div(scale, axis=0, level="data")
    regret = regret.clip(upper=3.0)
    return [float(regret.iloc[:, :n].min(axis=1).mean()) for n in PREFIXES]


def judged(scores: pd.DataFrame, rows: Sequence[Row]) -> Iterator[list[str]]:
    """Yield the regret of each list by its length."""
    lists = left_out(scores, list(scores.columns[:BY_HAND])) | {"TPE": by_tpe(scores, rows)}
    for name, values in lists.items():
        yield [name, *(f"{value:.3f}" for value in values)]


def render(rows: list[Row]) -> str:
    """Write the regret of the lists, and the list."""
    scores = measured(rows)
    quick = project.network_of(project.first_networks()[0])
    _, *chosen = learned(scores, quick=quick)
    return "\n".join(
        [
            "# The first networks",
            "",
            f"{scores.shape[1]} networks without an imbalance method on {len(scores)} public "
            "tables. Regret of the best of the first n on tables whose family was left out: 0 is "
            "the best of all networks, 1 the median one.",
            "",
            *written.table(["list", *(f"n = {n}" for n in PREFIXES)], judged(scores, rows)),
            "",
            "Learned on all of them:",
            "",
            *(f"{n}. `{one}`" for n, one in enumerate(chosen, 1)),
            *foot("portfolio", rows),
        ]
    )
