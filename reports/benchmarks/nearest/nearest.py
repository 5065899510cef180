"""What the nearest training rows in the last hidden layer add to a network.

``run`` trains some of the first networks on 70 % of a table as a search of a minute plans it. Each
fold's network keeps what its last hidden layer makes of at most 5,000 of its training rows, as many
of each class as there is room for, weighted back. The classes of the nearest of them, nearer ones
weighing more, are mixed with the network's probabilities in log space; how many, and with what
weight, is chosen by out-of-fold average precision. The other 30 % are scored: the network alone,
the mixture, and a mixture of fixed weight.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from autoimb.data.schema import parse
from autoimb.nn.network import Network, build
from autoimb.pipeline.fitted import member_posterior
from reports.benchmarks import cases, project
from reports.benchmarks import render as written
from reports.benchmarks.rows import Row, Rows, by, foot

ROWS = Rows(Path(__file__).with_suffix(".jsonl"), by("data", "network", "seed"))
TABLES = (
    "wine_quality",
    "hmeq",
    "lending_club",
    "churn_mlc",
    "adult",
    "hr_job_change",
    "credit_default_tw",
    "mammography",
    "thyroid_sick",
    "us_crime",
)
NETWORKS = (0, 4, 5)  # of the list that a search starts with, with one network a fold
VECTORS = 5_000
NEAREST = (16, 64, 256)
WEIGHTS = np.arange(0.05, 1.0, 0.05)
FIXED = (64, 0.3)
KINDS = ("alone", "fixed", "chosen")
CHUNK = 1_000
Floats = NDArray[np.float64]


def arguments(parser: ArgumentParser) -> None:
    """Add the options of a run."""
    cases.add_data(parser)
    cases.add_again(parser)
    parser.set_defaults(only=",".join(TABLES))
    parser.add_argument("--seed", type=int, default=cases.SEED)


def run(options: Namespace) -> None:
    """Train and mix what is missing."""
    known = ROWS.known(again=options.again)
    for path in sorted(cases.paths(options)):
        train, test = cases.split(path, options.seed)
        table = train.drop(columns="target"), train["target"]
        planned = project.Planned.of(table, budget=cases.MINUTE, seed=options.seed)
        for number in NETWORKS:
            row: Row = {"data": path.stem, "network": number, "seed": options.seed}
            if ROWS.key(row) in known:
                continue
            row |= mixed(planned, project.first_networks()[number], test)
            ROWS.append([row])
            print(*row.values(), file=sys.stderr, flush=True)


@dataclass
class Fold:
    """A network of one fold, and the training rows that it keeps.

    Attributes
    ----------
    network : Network
        Of one member.
    pack : packed networks
        What it is one of, at `place`.
    place : ndarray of one int
    encoder : fold encoder
    kept : float64 ndarray of shape (n, H)
        What the last hidden layer makes of the rows.
    mass : float64 ndarray of shape (n, C)
        The weight of each row, in the column of its class.
    """

    network: Network
    pack: Any
    place: NDArray[np.int64]
    encoder: Any
    kept: Floats
    mass: Floats

    def predict(self, encoded: Any, skipped: int = 0) -> tuple[Floats, Floats]:
        """Return the network's probabilities (n, C), and those of the nearest (sizes, n, C)."""
        rows = _inputs(self.pack.spec, self.encoder, encoded, slice(skipped, None))
        logits = self.network.predict(*rows).numpy()
        prior = self.pack.log_prior[self.place]
        own = member_posterior(logits, log_prior=prior, gamma=self.pack.focal_gamma)[0]
        return own, _nearest(self.kept, self.mass, _hidden(self.network, *rows))


def mixed(planned: project.Planned, one: project.Strategy, test: pd.DataFrame) -> Row:
    """Train a network and score what the nearest rows add to it."""
    outcome = planned.trial(one)
    if not isinstance(outcome, project.Scored) or outcome.fitted is None:
        return dict.fromkeys(KINDS)
    y, n_classes = planned.dataset.y, planned.dataset.n_classes
    seen = np.zeros(len(y), dtype=bool)
    alone, near = np.empty((len(y), n_classes)), np.empty((len(NEAREST), len(y), n_classes))
    columns = parse(test.drop(columns="target"), planned.schema)
    found = []
    for number, fold in enumerate(_folds(planned, one, outcome.fitted.packs[0])):
        own = planned.plan.folds.folds[number]
        encoded = planned.shared.evaluation(number)
        alone[own.score], near[:, own.score] = fold.predict(encoded, len(own.choose))
        seen[own.score] = True
        found.append(fold.predict(fold.encoder.transform(columns)))
    codes = np.array([list(planned.classes).index(label) for label in test["target"]])
    least = average_precision(y[seen], alone[seen])
    best = (least, 0, 0.0)
    for place in range(len(NEAREST)):
        for weight in WEIGHTS:
            score = average_precision(y[seen], _mixture(alone[seen], near[place][seen], weight))
            best = max(best, (score, place, float(weight)))
    _, place, weight = best
    fixed = NEAREST.index(FIXED[0])
    given = {"alone": (0, 0.0), "fixed": (fixed, FIXED[1]), "chosen": (place, weight)}
    row: Row = {}
    for kind, (at, share) in given.items():
        proba = np.mean([_mixture(own, others[at], share) for own, others in found], axis=0)
        row[kind] = average_precision(codes, proba)
    return row | {"nearest": NEAREST[place], "weight": weight, "gain out of fold": best[0] - least}


def _folds(planned: project.Planned, one: project.Strategy, pack: Any) -> Iterator[Fold]:
    random = np.random.default_rng(cases.SEED)
    for number in range(len(planned.plan.folds.folds)):
        place = np.flatnonzero(pack.fold == number)
        network = build(pack.spec, 1)
        network.load({name: own[place] for name, own in pack.state.items()})
        part, encoder = (
            planned.shared.training(number, one.resampling),
            planned.shared.encoder(number),
        )
        weight = np.array(part.weight, dtype=float)
        counts = np.bincount(part.y, minlength=planned.dataset.n_classes)
        left, rows = VECTORS, []
        for done, label in enumerate(np.argsort(counts)):
            own = np.flatnonzero(part.y == label)
            taken = random.permutation(own)[: left // (len(counts) - done)]
            weight[taken] *= len(own) / max(len(taken), 1)
            left -= len(taken)
            rows.append(taken)
        chosen = np.concatenate(rows)
        inputs = _inputs(pack.spec, encoder, part.encoded, chosen)
        mass = np.eye(len(counts))[part.y[chosen]] * weight[chosen, None]
        yield Fold(
            network, pack, place, encoder, _hidden(network, *inputs), len(mass) * mass / mass.sum()
        )


def _inputs(spec: Any, encoder: Any, encoded: Any, rows: Any) -> tuple[torch.Tensor, Any]:
    x, codes = encoder.dense(encoded, ple=spec.ple)
    x, codes = x[rows], np.asarray(codes, dtype=np.int64)[rows]
    wide = torch.zeros(1, len(x), spec.n_inputs)
    wide[0, :, : x.shape[1]] = torch.from_numpy(x)
    return wide, torch.from_numpy(codes)[None] if spec.cardinalities else None


def _hidden(network: Network, x: torch.Tensor, codes: torch.Tensor | None) -> Floats:
    found = []
    with torch.inference_mode():
        for begin in range(0, x.shape[1], CHUNK):
            own = slice(begin, begin + CHUNK)
            values = network._inputs(x[:, own], None if codes is None else codes[:, own], None)
            for layer in network._hidden:
                values = layer.forward(values, None)
            found.append(np.array(values[0], dtype=float))
    return np.concatenate(found)


def _nearest(kept: Floats, mass: Floats, rows: Floats) -> Floats:
    """Return the classes of the nearest as probabilities, with one row of the prior among them."""
    prior, most = mass.mean(axis=0), min(max(NEAREST), len(kept))
    center, scale = kept.mean(axis=0), kept.std() + 1e-9
    kept, rows = (kept - center) / scale, (rows - center) / scale
    square = (kept**2).sum(axis=1)
    found = np.empty((len(NEAREST), len(rows), mass.shape[1]))
    for begin in range(0, len(rows), CHUNK):
        own = rows[begin : begin + CHUNK]
        far = square - 2 * own @ kept.T + (own**2).sum(axis=1)[:, None]
        near = np.argpartition(far, most - 1, axis=1)[:, :most]
        far = np.take_along_axis(far, near, axis=1)
        order = np.argsort(far, axis=1)
        near, far = (np.take_along_axis(values, order, axis=1) for values in (near, far))
        for place, size in enumerate(NEAREST):
            size = min(size, most)
            weight = np.exp(-2 * np.maximum(far[:, :size], 0) / (far[:, size - 1 : size] + 1e-12))
            total = np.einsum("nk,nkc->nc", weight, mass[near[:, :size]]) + prior
            found[place, begin : begin + CHUNK] = total / total.sum(axis=1, keepdims=True)
    return found


def _mixture(mine: Floats, other: Floats, weight: float) -> Floats:
    logs = (1 - weight) * np.log(np.maximum(mine, 1e-12)) + weight * np.log(
        np.maximum(other, 1e-12)
    )
    proba: Floats = np.exp(logs - logs.max(axis=1, keepdims=True))
    return proba / proba.sum(axis=1, keepdims=True)


def average_precision(y: NDArray[np.int64], proba: Floats) -> float:
    """Return the macro mean over classes; of two, that of the rarer one."""
    counts = np.bincount(y, minlength=proba.shape[1])
    rated = [int(np.argmin(counts))] if len(counts) == 2 else np.flatnonzero(counts)
    return float(np.mean([average_precision_score(y == c, proba[:, c]) for c in rated]))


def render(rows: list[Row]) -> str:
    """Write each table's mean over the networks, and the paired differences."""
    own = pd.DataFrame(rows).dropna(subset=list(KINDS))
    scores = own.groupby("data")[list(KINDS)].mean()
    gains, weights = (own.groupby("data")[name].mean() for name in ("gain out of fold", "weight"))
    cells = [
        [name, *(f"{value:.4f}" for value in row), f"{weights[name]:.2f}", f"{gains[name]:+.4f}"]
        for name, row in scores.iterrows()
    ]
    lines = [
        "# Nearest rows in the last layer",
        "",
        f"Test average precision, mean of {own['network'].nunique()} networks, as a search of "
        f"{cases.MINUTE:g} s plans their work; at most {VECTORS:,} training rows of a fold.",
        "",
        *written.table(["table", *KINDS, "weight chosen", "gain out of fold"], cells),
        "",
        "Differences over tables, with 95 % intervals:",
        "",
    ]
    for kind in ("chosen", "fixed"):
        gap = scores[kind] - scores["alone"]
        low, high = written.interval(gap)
        lines.append(f"- {kind} − alone: {gap.mean():+.4f} ({low:+.4f} to {high:+.4f})")
    return "\n".join([*lines, *foot("nearest", rows)])
