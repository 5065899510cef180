"""How fast networks are trained and used, against the arithmetic limit and against plain loops.

``python reports/benchmarks/speed.py`` needs no data: its tables are simulated. Everything runs with
one thread; times are the least of some repeats, and everything that is compared ran in this one
process. It writes ``speed.md``.

*Of peak* is achieved over possible operations a second: 6 · batch · Σ in · out for each step and
network, over the time of the whole training loop, gathering of batches and out-of-fold evaluation
at every tick included, against the best square float32 matrix product of this machine, measured
before and after.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import platform
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from torch import nn

import autoimb
from autoimb.data.encoding import plan_layout
from autoimb.data.folds import plan_folds
from autoimb.data.schema import infer_schema, parse
from autoimb.data.table import Dataset
from autoimb.nn.network import build
from autoimb.search.planning import Plan, make_plan, trial_operations
from autoimb.space.rooms import PLAIN
from autoimb.space.strategy import Choice, Strategy
from autoimb.training.parts import Parts
from autoimb.training.rounds import _Run

FOLDS = 5
ALWAYS = 10**6  # patience that never ends a training


@dataclass(frozen=True)
class Case:
    """One network on one table."""

    rows: int
    columns: int
    width: int
    depth: int = 2
    dropout: float = 0.0
    network: str = "mlp"
    k: int = 1
    ple: bool = False
    members: int = 1
    ticks: int = 4

    @property
    def strategy(self) -> Strategy:
        """The strategy that trains it."""
        values = {"k": self.k} if self.network == "tabm" else {}
        values |= {
            "width": self.width,
            "depth": self.depth,
            "dropout": self.dropout,
            "activation": "relu",
            "embedding": "ple" if self.ple else "none",
            "learning_rate": 2e-3,
            "weight_decay": 1e-2,
            "batch_factor": 1.0,
            "schedule": "constant",
        }
        choices = {room: Choice(name) for room, name in PLAIN.items()}
        if self.members > 1:
            choices["ensemble"] = Choice("bagging", (("members", self.members),))
        return Strategy(**choices, network=Choice(self.network, tuple(values.items())))


def table(rows: int, columns: int) -> Dataset:
    """Numbers whose rarer class, a tenth of the rows, follows from them."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(rows, columns)), columns=map(str, range(columns)))
    signal = frame["0"] + frame["1"] * frame["2"] + random.logistic(size=rows)
    y = (signal > np.quantile(signal, 0.9)).to_numpy().astype(np.int64)
    schema, _ = infer_schema(frame)
    parsed = parse(frame, schema)
    return Dataset(parsed, y, np.ones(rows), 2, 1, plan_layout(parsed))


def plan_of(dataset: Dataset, *, ticks: int, folds: int = FOLDS) -> Plan:
    """Plan so many ticks, whatever they cost."""
    split = plan_folds(dataset.y, cv=folds, random_state=0)
    plan = make_plan(dataset, split, random_state=0, operations=trial_operations(None))
    effort = replace(
        plan.effort, operations=1e18, most_ticks=ticks, least_ticks=ticks, patience=ALWAYS
    )
    return replace(plan, effort=effort)


def least(work: Callable[[], object], repeats: int) -> float:
    """Return the least time of some repeats, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def peak() -> float:
    """Operations a second of the best square float32 product."""
    best = 0.0
    for size in (512, 1024, 1536):
        a, b = torch.randn(size, size), torch.randn(size, size)
        best = max(best, 2 * size**3 / least(lambda a=a, b=b: a @ b, 20))
    return best


def runner(case: Case, *, folds: int = FOLDS) -> tuple[_Run, Callable[[], object]]:
    """Prepare a case; the callable is its whole training loop."""
    dataset = table(case.rows, case.columns)
    plan = plan_of(dataset, ticks=case.ticks, folds=folds)
    parts = Parts(dataset, plan.folds, seed=0)
    strategy = case.strategy
    training = [parts.training(f, strategy.resampling) for f in range(folds)]

    def measure(y: np.ndarray, proba: np.ndarray, weight: np.ndarray) -> float:
        own = np.clip(proba[np.arange(len(y)), y], 1e-15, 1)
        return float(weight @ np.log(own))

    run = _Run(strategy, parts, training, plan.effort, None, measure, lambda: None, "cpu")
    boost = [np.ones(len(part.y)) for part in training]
    return run, lambda: run.round(0, boost)


def operations(run: _Run) -> float:
    """Count 6 · batch · Σ in · out over all steps and networks."""
    schedule, spec = run.schedule(), run._spec
    layers = (
        spec.n_inputs * spec.width + (spec.depth - 1) * spec.width**2 + spec.width * spec.n_classes
    )
    networks = len(run._training) * run.ensemble.members * spec.k
    return 6.0 * schedule.batch_size * layers * networks * schedule.steps * schedule.ticks


def training_table(top: float, repeats: int) -> list[str]:
    """How near to the limit training comes."""
    cases = [
        Case(10_000, 30, 128, ple=True),
        Case(10_000, 30, 128, ple=True, dropout=0.1),
        Case(10_000, 128, 128),
        Case(10_000, 128, 128, dropout=0.1),
        Case(10_000, 128, 256),
        Case(10_000, 128, 256, dropout=0.1),
        Case(10_000, 30, 128),
        Case(10_000, 30, 128, dropout=0.1),
        Case(500, 30, 64, ticks=20),
        Case(500, 30, 64, dropout=0.1, ticks=20),
        Case(500, 30, 64, members=4, ticks=20),
        Case(10_000, 30, 48, network="tabm", k=4, ple=True, dropout=0.1),
        Case(10_000, 30, 96, depth=1, network="tabm", k=4, ple=True, dropout=0.1),
    ]
    lines = [
        "## Training, against the limit",
        "",
        "| network | rows | inputs | width × depth | dropout | GFLOP/s | of peak |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        run, work = runner(case)
        rate = operations(run) / least(work, repeats)
        name = case.network + (f", k = {case.k}" if case.k > 1 else "")
        name += f", {case.members} members" if case.members > 1 else ""
        lines.append(
            f"| {name} | {case.rows:,} | {run._spec.n_inputs} | {case.width} × {case.depth} "
            f"| {case.dropout:g} | {rate / 1e9:.1f} | {rate / top:.0%} |"
        )
        print(lines[-1], flush=True)
    return lines


def plain_loop(case: Case, x: np.ndarray, y: np.ndarray, folds: list, steps: int, batch: int):
    """Train one network a fold as a tutorial does."""
    for train, held in folds:
        layers: list[nn.Module] = []
        n_in = x.shape[1]
        for _ in range(case.depth):
            layers += [nn.Linear(n_in, case.width), nn.ReLU(), nn.Dropout(case.dropout)]
            n_in = case.width
        network = nn.Sequential(*layers, nn.Linear(n_in, 2))
        adam = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
        loss = nn.CrossEntropyLoss()
        own, target = torch.from_numpy(x[train]), torch.from_numpy(y[train])
        for _ in range(case.ticks):
            network.train()
            order = torch.randperm(len(own))
            for step in range(steps):
                at = order[torch.arange(step * batch, (step + 1) * batch) % len(own)]
                adam.zero_grad()
                loss(network(own[at]), target[at]).backward()
                adam.step()
            network.eval()
            with torch.no_grad():
                network(torch.from_numpy(x[held]))


def equal_work(repeats: int) -> list[str]:
    """Give the same networks, rows, folds, batches and epochs to other hands."""
    lines = [
        "## The same work in other hands",
        "",
        "Five folds of one MLP, the same rows, batches and number of steps, evaluated as often.",
        "",
        "| rows | width × depth | batch | autoimb | plain PyTorch | MLPClassifier |",
        "|---|---|---|---|---|---|",
    ]
    for case in (Case(500, 30, 64, dropout=0.1), Case(10_000, 30, 128, dropout=0.1)):
        run, work = runner(case)
        ours = least(work, repeats)
        schedule, dataset = run.schedule(), table(case.rows, case.columns)
        x = dataset.columns.numbers.astype(np.float32)
        split = plan_folds(dataset.y, cv=FOLDS, random_state=0)
        folds = [(fold.train, fold.score) for fold in split.folds]
        steps, batch = schedule.steps, schedule.batch_size
        plain = least(
            lambda c=case, x=x, y=dataset.y, f=folds, s=steps, b=batch: plain_loop(
                c, x, y, f, s, b
            ),
            repeats,
        )
        epochs = max(round(steps * batch * case.ticks / len(folds[0][0])), 1)

        def scikit(x=x, y=dataset.y, folds=folds, batch=batch, epochs=epochs, case=case) -> None:
            for train, held in folds:
                model = MLPClassifier(
                    (case.width,) * case.depth, batch_size=batch, max_iter=epochs, tol=0.0
                )
                with warnings.catch_warnings():  # it is stopped on purpose
                    warnings.simplefilter("ignore", ConvergenceWarning)
                    model.fit(x[train], y[train])
                model.predict_proba(x[held])

        theirs = least(scikit, repeats)
        lines.append(
            f"| {case.rows:,} | {case.width} × {case.depth} | {batch} | {ours:.2f} s "
            f"| {plain:.2f} s ({plain / ours:.1f} ×) | {theirs:.2f} s ({theirs / ours:.1f} ×) |"
        )
        print(lines[-1], flush=True)
    return lines


def growth(repeats: int) -> list[str]:
    """How the cost grows, with all else fixed: the slope in logarithms."""
    base = Case(10_000, 30, 128, ticks=2)
    axes = {
        "rows": ("rows", (10_000, 30_000, 100_000, 300_000)),
        "columns": ("columns", (30, 100, 300)),
        "members": ("members", (3, 6, 12)),
        "folds": (None, (3, 5, 10)),
    }
    lines = [
        "## How the cost grows",
        "",
        "Epochs fixed at one a tick, all rows; seconds of the training loop.",
        "",
        "| with | seconds | exponent |",
        "|---|---|---|",
    ]
    for name, (field, values) in axes.items():
        seconds = []
        for value in values:
            case = base if field is None else replace(base, **{field: value})
            run, _ = runner(case, folds=value if field is None else FOLDS)
            plan = run.schedule()
            rows = len(run._training[0].y)
            fixed = replace(plan, steps=-(-rows // 256), batch_size=256)
            run.schedule = lambda fixed=fixed: fixed
            boost = [np.ones(len(part.y)) for part in run._training]
            seconds.append(least(lambda r=run, b=boost: r.round(0, b), repeats))
        slope = np.polyfit(np.log(values), np.log(seconds), 1)[0]
        shown = ", ".join(f"{v:,}: {s:.2f}" for v, s in zip(values, seconds))
        lines.append(f"| {name} | {shown} | {slope:.2f} |")
        print(lines[-1], flush=True)
    return lines


def prediction(repeats: int) -> list[str]:
    """Rows a second of one network on prepared numbers."""
    case = Case(2_000, 30, 128)
    run, work = runner(case)
    work()
    network = build(run._spec, 1)
    network.draw([(0, 0, 0)], [run._spec.n_inputs])
    x = torch.randn(1, 200_000, run._spec.n_inputs)
    seconds = least(lambda: network.predict(x, None), repeats)
    line = f"One network of {case.width} × {case.depth} on {run._spec.n_inputs} prepared numbers: "
    line += f"{200_000 / seconds:,.0f} rows a second."
    print(line, flush=True)
    return ["## Prediction", "", line]


def main() -> None:
    """Read the command line, measure and write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    top = peak()
    sections = [
        training_table(top, options.repeats),
        equal_work(options.repeats),
        growth(max(options.repeats - 1, 1)),
        prediction(options.repeats),
    ]
    after = peak()
    text = "\n\n".join("\n".join(section) for section in sections)
    foot = (
        f"Peak: {top / 1e9:.0f} GFLOP/s before and {after / 1e9:.0f} after. "
        f"`python reports/benchmarks/speed.py`: one thread, {platform.machine()}, Python "
        f"{platform.python_version()}, torch {torch.__version__}, autoimb {autoimb.__version__}."
    )
    options.out.write_text(f"# Speed\n\n{text}\n\n{foot}\n", encoding="utf-8")
    print(foot)


if __name__ == "__main__":
    main()
