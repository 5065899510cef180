"""From a strategy to trained members: rows and weights of each, packs, rounds, and their votes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from autoimb.data.thinning import thin
from autoimb.nn.network import NetworkSpec, build
from autoimb.pipeline.fitted import FittedMemberPack, member_posterior
from autoimb.space.ensemble import Ensemble
from autoimb.space.loss import Loss
from autoimb.space.network.room import Hyperparameters
from autoimb.space.rooms import ROOMS
from autoimb.space.strategy import Strategy
from autoimb.training.effort import Effort
from autoimb.training.parts import Parts, TrainingPart
from autoimb.training.schedule import Schedule, most_rows, plan_schedule
from autoimb.training.trainer import Pack, train
from autoimb.training.watch import Evaluation, Watch

__all__ = ["Trained", "is_exact", "train_strategy"]

ClassWeight = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Trained:
    """What the rounds of a strategy gave.

    Attributes
    ----------
    packs : tuple of FittedMemberPack
        One a round.
    posteriors : tuple of lists of F arrays (K, n_scored_in_fold, C)
        Out of fold: one list a round.
    ticks : tuple of int
        The tick that each fold kept, of every round.
    curve, floor : tuple of float
        The measure at each tick of the first round: the mean over folds, and the worst fold.
    planned : int
        Ticks planned for a round.
    cut : bool
        Whether the deadline ended it before its own stopping rule did.
    pruned : bool
        Whether it was given up.
    """

    packs: tuple[FittedMemberPack, ...]
    posteriors: tuple[list[np.ndarray], ...]
    ticks: tuple[int, ...]
    curve: tuple[float, ...]
    cut: bool
    floor: tuple[float, ...] = ()
    planned: int = 0
    pruned: bool = False


def is_exact(strategy: Strategy) -> bool:
    """Say whether every prior shift of a strategy is known by formula (law 4)."""
    return all(room[getattr(strategy, name).name].exact for name, room in ROOMS.items())


def train_strategy(
    strategy: Strategy,
    parts: Parts,
    *,
    effort: Effort,
    costs: np.ndarray | None,
    measure: Callable[[np.ndarray, np.ndarray, np.ndarray], float],
    check: Callable[[], None],
    hopeless: Callable[[int, int, float], bool] | None = None,
    device: str = "cpu",
) -> Trained:
    """Train all folds and members of a strategy.

    Parameters
    ----------
    strategy : Strategy
    parts : Parts
        The folds.
    effort : Effort
    costs : float64 array of shape (C,), or None
        The user's cost of each class.
    measure, check
        See `Watch`.
    hopeless : callable, optional
        ``(tick, planned ticks, value) -> bool``; not asked where rounds follow each other, since
        one round says little of their sum.
    device : str

    Returns
    -------
    Trained

    Raises
    ------
    InfeasibleError, DeadlineExceeded
    """
    folds = range(len(parts.folds.folds))
    training = []
    for fold in folds:
        training.append(parts.training(fold, strategy.resampling))
        check()
    run = _Run(strategy, parts, training, effort, costs, measure, check, device)
    boost = [np.ones(len(part.y)) for part in training]
    packs: list[FittedMemberPack] = []
    posteriors: list[list[np.ndarray]] = []
    ticks: list[int] = []
    curve: tuple[float, ...] = ()
    floor: tuple[float, ...] = ()
    pruned = False
    planned = run.schedule().ticks
    for number in range(run.ensemble.rounds):
        pack, watch = run.round(number, boost, None if run.ensemble.rounds > 1 else hopeless)
        posteriors.append(watch.posteriors)
        ticks.extend(int(t) for t in watch.chosen)
        curve, floor = curve or tuple(watch.curve), floor or tuple(watch.floor)
        pruned = watch.pruned
        if run.ensemble.update is not None:
            pack = run.vote(pack, boost)
        packs.append(pack)
        if watch.cut:
            break
    return Trained(
        packs=tuple(packs),
        posteriors=tuple(posteriors),
        ticks=tuple(ticks),
        curve=curve,
        cut=watch.cut,
        floor=floor,
        planned=planned,
        pruned=pruned,
    )


class _Run:
    """The fixed parts of one strategy's training."""

    def __init__(
        self,
        strategy: Strategy,
        parts: Parts,
        training: Sequence[TrainingPart],
        effort: Effort,
        costs: np.ndarray | None,
        measure: Callable[[np.ndarray, np.ndarray, np.ndarray], float],
        check: Callable[[], None],
        device: str,
    ) -> None:
        self._strategy, self._parts = strategy, parts
        self._training, self._effort = training, effort
        self._measure, self._check = measure, check
        self._device = torch.device(device)
        self._exact = is_exact(strategy)
        self._loss: Loss = _made(strategy, "loss")
        self.ensemble: Ensemble = _made(strategy, "ensemble")
        self._hyper: Hyperparameters = _made(strategy, "network")
        choice = strategy.class_weight
        weigh = ROOMS["class_weight"][choice.name].code
        self._is_cost = choice.name == "costs"
        self._class_weight: ClassWeight = lambda counts: weigh(counts, costs, **choice.values)
        self._spec = self._spec_of(strategy.network.name)
        dense = [
            parts.encoder(f).dense(part.encoded, ple=self._hyper.ple)
            for f, part in enumerate(training)
        ]
        self._starts = np.cumsum([0, *(len(part.y) for part in training)])
        self._x = self._stacked([x for x, _ in dense])
        self._codes = (
            torch.from_numpy(np.concatenate([c for _, c in dense])).to(self._device)
            if self._spec.cardinalities
            else None
        )
        self._y = torch.from_numpy(np.concatenate([part.y for part in training])).to(self._device)
        self._evaluation = self._evaluated()
        self._most_rows = most_rows(effort, row_operations=self._row_operations())

    def _spec_of(self, kind: str) -> NetworkSpec:
        hyper, folds = self._hyper, range(len(self._training))
        encoders = [self._parts.encoder(f) for f in folds]
        self._widths = [e.width(ple=hyper.ple) for e in encoders]
        outline = self._effort.outline
        # padded to a multiple of 8, so that a level more or less rarely changes a shape
        padded = -(-max(outline.inputs[hyper.ple], *self._widths) // 8) * 8
        levels = np.array([outline.levels, *(e.embedded_cardinalities for e in encoders)])
        return NetworkSpec(
            kind=kind,
            width=hyper.width,
            depth=hyper.depth,
            k=hyper.k,
            activation=hyper.activation,
            dropout=hyper.dropout,
            embedding_dim=8,
            ple=hyper.ple,
            n_inputs=padded,
            cardinalities=tuple(int(-(-n // 8) * 8) for n in levels.max(0)),
            n_classes=self._parts.dataset.n_classes,
        )

    def _stacked(self, tables: Sequence[np.ndarray]) -> torch.Tensor:
        rows = sum(len(t) for t in tables)
        out = np.zeros((rows, self._spec.n_inputs), dtype=np.float32)
        start = 0
        for table in tables:
            out[start : start + len(table), : table.shape[1]] = table
            start += len(table)
        return torch.from_numpy(out).to(self._device)

    def _evaluated(self) -> Evaluation:
        parts, folds = self._parts, range(len(self._training))
        rows = tuple(parts.evaluated_rows(f) for f in folds)
        longest = max(len(r) for r in rows)
        weight = parts.dataset.weight
        x = np.zeros((len(rows), longest, self._spec.n_inputs), dtype=np.float32)
        codes = np.zeros((len(rows), longest, len(self._spec.cardinalities)), dtype=np.int64)
        for f in folds:
            dense, wide = parts.encoder(f).dense(parts.evaluation(f), ple=self._hyper.ple)
            x[f, : len(dense), : dense.shape[1]] = dense
            codes[f, : len(dense)] = wide
        return Evaluation(
            x=torch.from_numpy(x).to(self._device),
            codes=torch.from_numpy(codes).to(self._device) if self._spec.cardinalities else None,
            choose=tuple(len(parts.folds.folds[f].choose) for f in folds),
            rows=rows,
            y=parts.dataset.y,
            weight=weight if parts.folds.scale is None else weight * parts.folds.scale,
        )

    def round(
        self,
        number: int,
        boost: Sequence[np.ndarray],
        hopeless: Callable[[int, int, float], bool] | None = None,
    ) -> tuple[FittedMemberPack, Watch]:
        """Train one round: every fold's members, in one pack."""
        members = [
            (fold, number * self.ensemble.members + m)
            for fold in range(len(self._training))
            for m in range(self.ensemble.members)
        ]
        rows, weights, log_prior, offsets = [], [], [], []
        for fold, member in members:
            drawn, weight, prior, offset = self._member(fold, member, boost[fold])
            rows.append(drawn + self._starts[fold])
            weights.append(weight)
            log_prior.append(prior)
            offsets.append(offset)
        keys = tuple((self._parts.seed, fold, member) for fold, member in members)
        pack = Pack(
            x=self._x,
            codes=self._codes,
            y=self._y,
            rows=tuple(rows),
            weights=tuple(weights),
            keys=keys,
            offsets=torch.from_numpy(np.array(offsets)).to(self._device, torch.float32),
        )
        network = build(self._spec, len(members), device=self._device)
        network.draw(keys, [self._widths[fold] for fold, _ in members])
        schedule = self.schedule()
        watch = Watch(
            network,
            self._evaluation,
            log_prior=np.array(log_prior),
            gamma=self._loss.gamma,
            measure=self._measure,
            patience=schedule.patience,
            check=self._check,
            hopeless=lambda tick, value: bool(hopeless and hopeless(tick, schedule.ticks, value)),
        )
        train(
            network,
            pack,
            self._loss,
            schedule,
            seed=self._parts.seed,
            watch=watch,
            time_up=watch.time_up,
        )
        watch.restore()
        fitted = FittedMemberPack(
            spec=self._spec,
            fold=np.array([fold for fold, _ in members], dtype=np.int64),
            weight=np.ones(len(members)),
            log_prior=np.array(log_prior),
            focal_gamma=self._loss.gamma,
            state=network.state(),
        )
        self._network = network
        return fitted, watch

    def _member(
        self, fold: int, member: int, boost: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return a member's rows, weights (mean 1), log prior correction and loss offset."""
        part = self._training[fold]
        random = np.random.default_rng([self._parts.seed, fold, member, 5])
        rows = self.ensemble.draw(part.y, random)
        rows, scale = thin(part.y, rows, self._most_rows, random)
        y = part.y[rows]
        n_classes = len(part.prior)
        choice = self._strategy.ensemble
        sizes = ROOMS["ensemble"][choice.name].sizes
        owed = self._parts.owed(sizes, part.y, choice.values.get("strength"))
        weight = part.weight[rows] * boost[rows] * scale * owed[y]
        counts = np.bincount(y, weights=weight, minlength=n_classes)
        present = np.maximum(counts, 1e-12)
        by_class = self._class_weight(present)
        weighted = present * by_class
        seen = weighted / weighted.sum()
        offset = self._loss.adjustment * np.log(seen)
        # a class without a row in this fold's training part keeps a prior of next to nothing
        ratio = np.log(np.maximum(part.prior, 1e-12)) - np.log(seen)
        correction = ratio if self._exact else np.zeros(n_classes)
        row_weight = weight * by_class[y]
        return rows, row_weight / row_weight.mean(), correction + offset, offset

    def _row_operations(self) -> float:
        """Count what a forward pass of all members of all rounds on a row each costs."""
        hyper, spec = self._hyper, self._spec
        embedded = spec.embedding_dim * len(spec.cardinalities)
        inputs = self._effort.outline.inputs[hyper.ple] + embedded
        members = len(self._training) * self.ensemble.members * self.ensemble.rounds
        layers = hyper.width * (inputs + (hyper.depth - 1) * hyper.width)
        return 2.0 * members * hyper.k * layers

    def schedule(self) -> Schedule:
        """Plan batch, steps and ticks; see `plan_schedule`."""
        return plan_schedule(
            self._hyper,
            self._effort,
            rows=min(self._effort.outline.rows(self._strategy, self._parts.folds), self._most_rows),
            row_operations=self._row_operations(),
            evaluated=self._evaluation.x.shape[1],
        )

    def vote(self, pack: FittedMemberPack, boost: list[np.ndarray]) -> FittedMemberPack:
        """Reweight every fold's training rows and give its member its vote."""
        votes = []
        assert self.ensemble.update is not None
        for fold, part in enumerate(self._training):
            proba = self._training_posterior(fold, len(part.y), pack.log_prior)
            boost[fold], vote = self.ensemble.update(boost[fold], part.y, proba)
            votes.append(vote)
        weight = np.maximum(np.array(votes), 1e-6)  # a member at chance counts next to nothing
        return replace(pack, weight=weight)

    def _training_posterior(self, fold: int, count: int, log_prior: np.ndarray) -> np.ndarray:
        """Predict a fold's own training rows with its member, as the round saw them."""
        alone = build(self._spec, 1, device=self._device)
        alone.load({k: v[fold : fold + 1] for k, v in self._network.state().items()})
        part = slice(int(self._starts[fold]), int(self._starts[fold]) + count)
        codes = None if self._codes is None else self._codes[None, part]
        logits = alone.predict(self._x[None, part], codes).cpu().numpy()
        own = log_prior[fold : fold + 1]
        return np.asarray(member_posterior(logits, log_prior=own, gamma=self._loss.gamma)[0])


def _made(strategy: Strategy, room: str) -> Any:
    """Call an option's code with its parameters."""
    choice = getattr(strategy, room)
    return ROOMS[room][choice.name].code(**choice.values)
