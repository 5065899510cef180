"""Training against the arithmetic limit of the machine, and against other hands on equal work.

``python reports/benchmarks/training.py`` needs no data: its tables are simulated. One thread; times
are the least of some repeats. `speed.py` runs it with the rest.

*Of peak* is achieved over possible operations a second: 6 · batch · Σ in · out for each step and
network, over the time of the whole training loop, gathering of batches and out-of-fold evaluation
at every tick included, against the best square float32 matrix product of this machine, measured
right before and right after each case; the better of the two counts.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from imblearn.pipeline import make_pipeline
from serving import least
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import FunctionTransformer
from skorch import NeuralNetClassifier
from torch import nn

from autoimb.data.encoding import plan_layout
from autoimb.data.folds import plan_folds
from autoimb.data.schema import infer_schema, parse
from autoimb.data.table import Dataset
from autoimb.search.planning import Plan, make_plan, trial_operations
from autoimb.space.rooms import PLAIN
from autoimb.space.strategy import Choice, Strategy
from autoimb.training.parts import Parts
from autoimb.training.run import Run

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


def peak() -> float:
    """Operations a second of the best square float32 product."""
    best = 0.0
    for size in (512, 1024, 1536):
        a, b = torch.randn(size, size), torch.randn(size, size)
        best = max(best, 2 * size**3 / least(lambda a=a, b=b: a @ b, 20))
    return best


def runner(case: Case, *, folds: int = FOLDS) -> tuple[Run, Callable[[], object]]:
    """Prepare a case; the callable is its whole training loop."""
    dataset = table(case.rows, case.columns)
    plan = plan_of(dataset, ticks=case.ticks, folds=folds)
    parts = Parts(dataset, plan.folds, seed=0)
    strategy = case.strategy
    training = [parts.training(f, strategy.resampling) for f in range(folds)]

    def measure(y: np.ndarray, proba: np.ndarray, weight: np.ndarray) -> float:
        own = np.clip(proba[np.arange(len(y)), y], 1e-15, 1)
        return float(weight @ np.log(own))

    run = Run(strategy, parts, training, plan.effort, None, measure, lambda: None, "cpu")
    return run, lambda: run.round(0, run.begin())


def operations(run: Run) -> float:
    """Count 6 · batch · Σ in · out over all steps and networks."""
    schedule, spec = run.schedule(), run._spec
    layers = (
        spec.n_inputs * spec.width + (spec.depth - 1) * spec.width**2 + spec.width * spec.n_classes
    )
    networks = len(run._training) * run.ensemble.members * spec.k
    return 6.0 * schedule.batch_size * layers * networks * schedule.steps * schedule.ticks


def limits(repeats: int) -> list[dict[str, Any]]:
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
    rows = []
    for case in cases:
        run, work = runner(case)
        top = peak()
        rate = operations(run) / least(work, repeats)
        top = max(top, peak())
        row = {"inputs": run._spec.n_inputs, "batch": run.schedule().batch_size}
        rows.append(vars(case) | row | {"rate": rate, "share": rate / top, "peak": top})
        print(rows[-1], flush=True)
    return rows


def limits_table(rows: list[dict[str, Any]]) -> list[str]:
    """Write them as Markdown."""
    lines = [
        "## Training, against the limit",
        "",
        "| network | rows | inputs | width × depth | batch | dropout | GFLOP/s | of peak |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        name = row["network"] + (f", k = {row['k']}" if row["k"] > 1 else "")
        name += f", {row['members']} members" if row["members"] > 1 else ""
        lines.append(
            f"| {name} | {row['rows']:,} | {row['inputs']} | {row['width']} × {row['depth']} "
            f"| {row['batch']} | {row['dropout']:g} | {row['rate'] / 1e9:.1f} "
            f"| {row['share']:.0%} |"
        )
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


class Perceptron(nn.Module):
    """The network of `plain_loop` as a class, for skorch."""

    def __init__(self, n_in: int, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Linear(n_in, width), nn.ReLU(), nn.Dropout(dropout)]
            n_in = width
        self.layers = nn.Sequential(*layers, nn.Linear(n_in, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, n_in) to (n, 2)."""
        out: torch.Tensor = self.layers(x)
        return out


def skorch_pipeline(case: Case, x: np.ndarray, y: np.ndarray, folds: list, epochs: int, batch: int):
    """Train one network a fold with skorch at the end of an imbalanced-learn pipeline."""
    for train, held in folds:
        network = NeuralNetClassifier(
            Perceptron,
            module__n_in=x.shape[1],
            module__width=case.width,
            module__depth=case.depth,
            module__dropout=case.dropout,
            criterion=nn.CrossEntropyLoss,
            optimizer=torch.optim.AdamW,
            optimizer__weight_decay=1e-2,
            lr=2e-3,
            batch_size=batch,
            max_epochs=epochs,
            train_split=None,
            verbose=0,
        )
        model = make_pipeline(FunctionTransformer(np.float32), network)
        model.fit(x[train], y[train])
        model.predict_proba(x[held])


def scikit(case: Case, x: np.ndarray, y: np.ndarray, folds: list, epochs: int, batch: int):
    """Train one network a fold with scikit-learn, which knows no dropout."""
    for train, held in folds:
        model = MLPClassifier((case.width,) * case.depth, batch_size=batch, max_iter=epochs, tol=0)
        with warnings.catch_warnings():  # it is stopped on purpose
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x[train], y[train])
        model.predict_proba(x[held])


def equal_work(repeats: int) -> list[dict[str, Any]]:
    """Give the same networks, rows, folds, batches and epochs to other hands."""
    rows = []
    for case in (Case(500, 30, 64, dropout=0.1), Case(10_000, 30, 128, dropout=0.1)):
        run, work = runner(case)
        schedule, dataset = run.schedule(), table(case.rows, case.columns)
        x, y = dataset.columns.numbers.astype(np.float32), dataset.y
        split = plan_folds(dataset.y, cv=FOLDS, random_state=0)
        folds = [(fold.train, fold.score) for fold in split.folds]
        steps, batch = schedule.steps, schedule.batch_size
        epochs = max(round(steps * batch * case.ticks / len(folds[0][0])), 1)
        hands: dict[str, Callable[[], object]] = {
            "autoimb": work,
            "plain PyTorch": partial(plain_loop, case, x, y, folds, steps, batch),
            "skorch in imblearn": partial(skorch_pipeline, case, x, y, folds, epochs, batch),
            "MLPClassifier": partial(scikit, case, x, y, folds, epochs, batch),
        }
        seconds = {name: least(code, repeats) for name, code in hands.items()}
        rows.append(vars(case) | {"batch": batch, "epochs": epochs, "seconds": seconds})
        print(rows[-1], flush=True)
    return rows


def equal_work_table(rows: list[dict[str, Any]]) -> list[str]:
    """Write them as Markdown."""
    hands = list(rows[0]["seconds"])
    lines = [
        "## The same work in other hands",
        "",
        "Five folds of one MLP: the same rows, batches and number of epochs. autoimb and the plain "
        "loop also evaluate after each quarter; the others predict once.",
        "",
        f"| rows | width × depth | batch | epochs | {' | '.join(hands)} |",
        f"|---|---|---|---|{'---|' * len(hands)}",
    ]
    for row in rows:
        ours = row["seconds"]["autoimb"]
        cells = [f"{s:.2f} s ({s / ours:.1f} ×)" for s in row["seconds"].values()]
        lines.append(
            f"| {row['rows']:,} | {row['width']} × {row['depth']} | {row['batch']} "
            f"| {row['epochs']} | {' | '.join(cells)} |"
        )
    return lines


def growth(repeats: int) -> list[dict[str, Any]]:
    """How the cost grows, with all else fixed: the slope in logarithms."""
    base = Case(10_000, 30, 128, ticks=2)
    axes: dict[str, tuple[int, ...]] = {
        "rows": (10_000, 30_000, 100_000, 300_000, 1_000_000),
        "columns": (30, 100, 300),
        "members": (3, 6, 12),
        "folds": (3, 5, 10),
    }
    out = []
    for name, values in axes.items():
        seconds = []
        for value in values:
            case = base if name == "folds" else replace(base, **{name: value})
            run, _ = runner(case, folds=value if name == "folds" else FOLDS)
            rows = len(run._training[0].y)
            fixed = replace(run.schedule(), steps=-(-rows // 256), batch_size=256)
            run.schedule = lambda fixed=fixed: fixed
            times = 1 if name == "rows" and value > 100_000 else repeats
            seconds.append(least(partial(run.round, 0, run.begin()), times))
        slope = float(np.polyfit(np.log(values), np.log(seconds), 1)[0])
        out.append({"with": name, "values": values, "seconds": seconds, "exponent": slope})
        print(out[-1], flush=True)
    return out


def growth_table(rows: list[dict[str, Any]]) -> list[str]:
    """Write it as Markdown."""
    lines = [
        "## How the cost grows",
        "",
        "Two epochs of five folds of an MLP of 128 × 2, all rows, batches of 256; seconds of the "
        "training loop.",
        "",
        "| with | seconds | exponent |",
        "|---|---|---|",
    ]
    for row in rows:
        shown = ", ".join(f"{v:,}: {s:.2f}" for v, s in zip(row["values"], row["seconds"]))
        lines.append(f"| {row['with']} | {shown} | **{row['exponent']:.2f}** |")
    return lines


def main() -> None:
    """Read the command line and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for rows in (
        limits_table(limits(options.repeats)),
        equal_work_table(equal_work(options.repeats)),
        growth_table(growth(max(options.repeats - 1, 1))),
    ):
        print("\n".join(rows))


if __name__ == "__main__":
    main()
