"""Which networks to try first: learned on public tables, judged on those that were left out.

``python reports/benchmarks/portfolio.py --data DATA`` evaluates networks without a lever, today's
list and random ones of each network and embedding, on every Parquet file of DATA (last column
``target``), as a search of a minute would, and appends to ``portfolio.jsonl``; what is there
already is not run again. Then it picks greedily, so that every prefix has the least mean regret:
the distance of the best score so far from the best of all, as a share of the range between the
median and the best. The list is judged by leaving out one family of tables after the other
(``INDEX.csv``), against the hand-made list, random order, and networks that TPE draws. It writes
``portfolio.md``, and the list that a search starts with.
"""

from __future__ import annotations

import argparse
import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from joblib import delayed
from optuna.trial import FixedTrial, TrialState
from plain import as_trial, completed, plain, stored

import autoimb
from autoimb.space.draw import Space, draw
from autoimb.space.portfolio import first_networks
from autoimb.space.rooms import PLAIN, ROOMS
from autoimb.space.strategy import Strategy

HERE = Path(__file__).resolve().parent
LIST = Path(autoimb.__file__).parent / "space" / "first_networks.json"
PREFIXES = (1, 3, 6, 12, 20, 40)
PICKED = 20  # networks of the list
BY_HAND = 5  # the first rows of a table are of the list that was written before any was measured


def strategies(count: int, known: list[dict[str, Any]]) -> list[Strategy]:
    """Return those of a table before, today's list, and random ones: so many of each kind."""
    space, found = plain_space(), {}
    one = known[0]["data"] if known else None
    for row in known:
        if row["data"] == one and "drawn" not in row:
            network = row["strategy"]
            found[short(network)] = plain(network["name"], network["params"])
    for params in first_networks(space):
        strategy = draw(FixedTrial(params), space)
        found.setdefault(short(strategy.to_json()["network"]), strategy)
    cells = Counter(cell(json.loads(name)) for name in found)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    wanted = [
        (name, embedding)
        for name in space.names("network")
        for embedding in ROOMS["network"][name].ranges["embedding"].values
    ]
    while any(cells[each] < count for each in wanted):
        strategy = draw(study.ask(), space)
        network = strategy.to_json()["network"]
        if cells[cell(network)] < count and short(network) not in found:
            cells[cell(network)] += 1
            found[short(network)] = strategy
    return list(found.values())


def plain_space() -> Space:
    """Return the space of networks without a lever."""
    return Space.restricted({room: [name] for room, name in PLAIN.items()})


def cell(network: dict[str, Any]) -> tuple[str, str]:
    """Return a network's name and embedding."""
    return network["name"], network["params"]["embedding"]


def short(network: dict[str, Any]) -> str:
    """Return a network as JSON, its numbers to two digits, as the list has them."""
    params = {k: float(f"{v:.2g}") if type(v) is float else v for k, v in network["params"].items()}
    return json.dumps(network | {"params": params})


def measured(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the scores by table and network, of networks that every table has, in their order."""
    given = [row for row in rows if "drawn" not in row]
    frame = pd.DataFrame([row | {"strategy": short(row["strategy"])} for row in given])
    scores = frame.pivot_table(index="data", columns="strategy", values="score").dropna(axis=1)
    return scores[[name for name in dict.fromkeys(frame["strategy"]) if name in scores]]


def write(scores: pd.DataFrame, count: int, path: Path) -> list[str]:
    """Pick a list for searches, and write it behind the quick network that it starts with."""
    quick = json.dumps(json.loads(LIST.read_text(encoding="utf-8"))[0])
    chosen = greedy(scores.drop(columns=quick, errors="ignore"), count)
    path.write_text("[\n  " + ",\n  ".join([quick, *chosen]) + "\n]\n", encoding="utf-8")
    return chosen


def scored(path: Path, wanted: list[Strategy], *, budget: float, seed: int) -> list[dict[str, Any]]:
    """Evaluate strategies on a table, each as a trial of a search with this budget."""
    trial, rows = as_trial(path, budget=budget, seed=seed), []
    for strategy in wanted:
        outcome = trial(strategy)
        value = None if outcome.score is None else outcome.score.utility
        row = {"data": path.stem, "strategy": strategy.to_json()["network"], "score": value}
        rows.append(row | {"seconds": round(outcome.seconds, 3)})
    return rows


def drawn(path: Path, count: int, *, budget: float, seed: int) -> list[dict[str, Any]]:
    """Evaluate networks that TPE draws from nothing with a seed, each as `scored` does."""
    trial, rows = as_trial(path, budget=budget, seed=0), []
    sampler = optuna.samplers.TPESampler(multivariate=True, group=True, seed=seed)
    study = optuna.create_study(sampler=sampler, direction="maximize")
    for number in range(count):
        asked = study.ask()
        strategy = draw(asked, plain_space())
        outcome = trial(strategy)
        value = None if outcome.score is None else outcome.score.utility
        study.tell(asked, value, state=None if value is not None else TrialState.FAIL)
        row = {"data": path.stem, "strategy": strategy.to_json()["network"], "score": value}
        rows.append(row | {"seconds": round(outcome.seconds, 3), "drawn": number, "seed": seed})
    return rows


def regrets(scores: pd.DataFrame) -> pd.DataFrame:
    """Scale each table's scores: 0 is the best strategy, 1 the median one."""
    best, middle = scores.max(axis=1), scores.median(axis=1)
    return scores.rsub(best, axis=0).div((best - middle).clip(lower=1e-9), axis=0).clip(upper=3.0)


def greedy(scores: pd.DataFrame, count: int) -> list[str]:
    """Pick strategies (columns) so that every prefix has the least mean regret over tables."""
    regret, chosen = regrets(scores), []
    best = pd.Series(np.inf, index=regret.index)
    for _ in range(count):
        means = regret.clip(upper=best, axis=0).mean().drop(chosen)
        chosen.append(str(means.idxmin()))
        best = np.minimum(best, regret[chosen[-1]])
    return chosen


def left_out(scores: pd.DataFrame, family: pd.Series, hand: list[str]) -> dict[str, list[float]]:
    """Mean regret on the tables of a family, of lists that were made without it."""
    regret, random = regrets(scores), np.random.default_rng(0)
    found: dict[str, list[list[float]]] = {"learned": [], "by hand": [], "random": []}
    for name in family.unique():
        out = family.index[family == name]
        learned = greedy(scores.drop(index=out), max(PREFIXES))
        for table in out:
            row = regret.loc[table]
            found["learned"].append([row[learned[:n]].min() for n in PREFIXES])
            found["by hand"].append([row[hand[:n]].min() for n in PREFIXES])
            orders = [random.permutation(row) for _ in range(200)]
            found["random"].append([np.mean([o[:n].min() for o in orders]) for n in PREFIXES])
    return {key: list(np.mean(values, axis=0)) for key, values in found.items()}


def by_tpe(scores: pd.DataFrame, rows: list[dict[str, Any]]) -> list[float]:
    """Mean regret of the networks that TPE drew; below 0 where one is better than all others."""
    frame = pd.DataFrame([row for row in rows if "drawn" in row])
    order = frame.pivot_table(index=["data", "seed"], columns="drawn", values="score")
    best, middle = scores.max(axis=1), scores.median(axis=1)
    scale = (best - middle).clip(lower=1e-9)
    regret = order.rsub(best, axis=0, level="data").div(scale, axis=0, level="data")
    regret = regret.clip(upper=3.0)
    return [float(regret.iloc[:, :n].min(axis=1).mean()) for n in PREFIXES]


def main() -> None:
    """Read the command line, evaluate what is missing, and write the list and its regret."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of Parquet files")
    parser.add_argument("--count", type=int, default=3, help="networks of a kind")
    parser.add_argument("--seeds", type=int, default=1, help="of TPE")
    parser.add_argument("--budget", type=float, default=60.0)
    parser.add_argument("--pick", type=int, default=PICKED)
    parser.add_argument("--raw", type=Path, default=HERE / "portfolio.jsonl")
    options = parser.parse_args()
    done = stored(options.raw)
    wanted = strategies(options.count, done)
    known = {(row["data"], short(row["strategy"])) for row in done if "drawn" not in row}
    tpe = {(row["data"], row["seed"]) for row in done if "drawn" in row}
    paths = sorted(options.data.glob("*.parquet"), key=lambda p: -p.stat().st_size)
    jobs = []
    for path in paths:
        left = [s for s in wanted if (path.stem, short(s.to_json()["network"])) not in known]
        jobs += [delayed(scored)(path, left, budget=options.budget, seed=0)] if left else []
        for seed in range(options.seeds):
            if (path.stem, seed) not in tpe:
                jobs.append(delayed(drawn)(path, max(PREFIXES), budget=options.budget, seed=seed))
    rows = completed(jobs, options.raw)
    scores = measured(rows)
    hand = list(scores.columns[:BY_HAND])
    index = pd.read_csv(options.data / "INDEX.csv").set_index("name")["family"]
    judged = left_out(scores, index.reindex(scores.index), hand)
    judged["TPE"] = by_tpe(scores, rows)
    chosen = write(scores, options.pick, LIST)
    lines = [
        "# The first networks",
        "",
        f"{scores.shape[1]} networks without a lever on {len(scores)} public tables. Regret of the "
        "best of the first n on tables whose family was left out: 0 is the best of all networks, 1 "
        "the median one.",
        "",
        f"| list | {' | '.join(f'n = {n}' for n in PREFIXES)} |",
        f"|---|{'---|' * len(PREFIXES)}",
        *(
            f"| {key} | {' | '.join(f'{value:.3f}' for value in values)} |"
            for key, values in judged.items()
        ),
        "",
        "Learned on all of them:",
        "",
        *(f"{n}. `{one}`" for n, one in enumerate(chosen, 1)),
        "",
        f"`python reports/benchmarks/portfolio.py --count {options.count}`.",
        "",
    ]
    options.raw.with_suffix(".md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
