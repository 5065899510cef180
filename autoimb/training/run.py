"""The networks of one strategy: what they read, which rows each member sees, and its rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from autoimb.data.thinning import thin
from autoimb.nn.network import NetworkSpec, build
from autoimb.pipeline.fitted import FittedMemberPack, member_posterior
from autoimb.randomness import Key, Purpose
from autoimb.space.ensemble import Ensemble, Round
from autoimb.space.loss import Loss
from autoimb.space.network.room import Hyperparameters
from autoimb.space.resampling.room import Shares
from autoimb.space.rooms import ROOMS
from autoimb.space.strategy import Strategy
from autoimb.training.effort import Effort
from autoimb.training.parts import Parts, TrainingPart
from autoimb.training.schedule import Schedule, most_rows, plan_schedule
from autoimb.training.trainer import Pack, train
from autoimb.training.watch import Evaluation, Watch

__all__ = ["Run"]

_ROWS_TO_START = 512  # that a start which looks at rows looks at
ClassWeight = Callable[[np.ndarray], np.ndarray]
Drawn = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class _Seen:
    """What a member sees in a round.

    Attributes
    ----------
    rows : int64 array of shape (n,)
        Of its fold's training part.
    weights : float64 array of shape (n,)
        Mean 1 over what is drawn.
    correction : float64 array of shape (C,)
        Log prior correction, without the loss's.
    counts : float64 array of shape (C,)
        Class counts after all weights; they sum to the rows' weights.
    shares : float64 array of shape (C,), or None
        See `Pack`.
    """

    rows: np.ndarray
    weights: np.ndarray
    correction: np.ndarray
    counts: np.ndarray
    shares: np.ndarray | None


class Run:
    """The fixed parts of one strategy's training, and its rounds."""

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
        self._exact = strategy.exact
        self.ensemble: Ensemble = _made(strategy, "ensemble")
        self._hyper: Hyperparameters = _made(strategy, "network")
        # each fold's members side by side
        self._members = [(f, m) for f in range(len(training)) for m in range(self.ensemble.members)]
        self._end: torch.Tensor  # the weights with which a round ended
        choice = strategy.class_weight
        weigh = ROOMS["class_weight"][choice.name].code
        self._class_weight: ClassWeight = lambda counts: weigh(counts, costs, **choice.values)
        self._spec = self._spec_of(strategy.network.name)
        self._starts = np.cumsum([0, *(len(part.y) for part in training)])
        self._x, self._codes = self._inputs()
        self._y = torch.from_numpy(np.concatenate([part.y for part in training])).to(self._device)
        self._evaluation = self._evaluated()
        self._most_rows = most_rows(effort, row_operations=self._row_operations())

    def _spec_of(self, kind: str) -> NetworkSpec:
        hyper, folds = self._hyper, range(len(self._training))
        encoders = [self._parts.encoder(f) for f in folds]
        self._widths = [e.width(ple=hyper.ple) for e in encoders]
        self._features = [e.features(ple=hyper.ple) for e in encoders]
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
            body=hyper.body,
            periodic=len(encoders[0].bins) if hyper.periodic else 0,
        )

    def _inputs(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Write the rows of all folds one below the other, a fold at a time."""
        rows, columns = int(self._starts[-1]), len(self._spec.cardinalities)
        x = np.zeros((rows, self._spec.n_inputs), dtype=np.float32)
        codes = np.zeros((rows, columns), dtype=np.int64)
        for fold, part in enumerate(self._training):
            own = slice(int(self._starts[fold]), int(self._starts[fold + 1]))
            dense, codes[own] = self._parts.encoder(fold).dense(part.encoded, ple=self._hyper.ple)
            x[own, : dense.shape[1]] = dense
        wide = torch.from_numpy(codes).to(self._device) if columns else None
        return torch.from_numpy(x).to(self._device), wide

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

    def begin(self) -> list[np.ndarray]:
        """Return what the first round is handed: ones for the rows of every fold's members."""
        return [np.ones(len(self._training[fold].y)) for fold, _ in self._members]

    def round(
        self,
        number: int,
        handed: Sequence[np.ndarray],
        hopeless: Callable[[int, int, float], bool] | None = None,
    ) -> tuple[FittedMemberPack, Watch]:
        """Train one round: every fold's members, in one pack."""
        members = self._members
        seen = [self._member(i, number, handed[i]) for i in range(len(members))]
        counts = np.array([one.counts for one in seen])
        loss = self._loss(counts)
        log_prior = np.array([one.correction for one in seen])
        log_prior = log_prior + loss.adjustment * _log_shares(counts)
        keys = tuple(self._key(fold, member, number) for fold, member in self._members)
        pack = Pack(
            x=self._x,
            codes=self._codes,
            y=self._y,
            rows=tuple(one.rows + self._starts[fold] for one, (fold, _) in zip(seen, members)),
            weights=tuple(one.weights for one in seen),
            keys=keys,
            shares=tuple(one.shares for one in seen),
        )
        network = build(self._spec, len(members), device=self._device)
        network.draw(
            keys,
            [self._widths[fold] for fold, _ in members],
            [self._features[fold] for fold, _ in members],
        )
        if self._spec.body == "scaled":
            network.settle(*self._seen(pack), keys)
        schedule = self.schedule()
        if self.ensemble.continues:
            schedule = replace(schedule, kind="cosine")
            if number:
                network.parameters.values.copy_(self._end)
        watch = Watch(
            network,
            self._evaluation,
            log_prior=log_prior,
            loss=loss,
            schedule=schedule,
            measure=self._measure,
            check=self._check,
            hopeless=lambda tick, value: bool(hopeless and hopeless(tick, schedule.ticks, value)),
        )
        train(
            network,
            pack,
            loss,
            schedule,
            watch=watch,
            time_up=watch.time_up,
        )
        if self.ensemble.continues:
            self._end = network.parameters.values.clone()
        watch.restore()
        fitted = FittedMemberPack(
            spec=self._spec,
            fold=np.array([fold for fold, _ in members], dtype=np.int64),
            weight=np.ones(len(members)),
            log_prior=log_prior,
            focal_gamma=loss.gamma,
            state=network.state(),
        )
        self._network = network
        return fitted, watch

    def _key(self, fold: int, member: int, number: int) -> Key:
        """Return the key of the random numbers of a member in a round."""
        return Key(self._parts.seed, self._parts.number, fold, member, number)

    def _seen(self, pack: Pack) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return some of each member's own rows: dense columns and codes, (M, n, ...)."""
        some = [
            key.stream(Purpose.FIRST_ROWS).choice(rows, _ROWS_TO_START)
            for key, rows in zip(pack.keys, pack.rows)
        ]
        at = torch.from_numpy(np.stack(some)).to(self._device)
        return pack.x[at], None if pack.codes is None else pack.codes[at]

    def _drawn(self, position: int, number: int, handed: np.ndarray) -> Drawn:
        """Return a member's rows of its fold's training part, and how many each stands for."""
        (fold, m), ensemble = self._members[position], self.ensemble
        part = self._training[fold]
        random = self._key(fold, m, 0 if ensemble.bagged else number).stream(Purpose.MEMBER_ROWS)
        progress = number / max(ensemble.rounds - 1, 1)
        rows = ensemble.draw(Round(part.y, handed, progress, random))
        return thin(part.y, rows, self._most_rows, random)

    def _member(self, position: int, number: int, handed: np.ndarray) -> _Seen:
        """Say what a member sees in a round."""
        part = self._training[self._members[position][0]]
        rows, scale = self._drawn(position, number, handed)
        y = part.y[rows]
        n_classes = len(part.prior)
        choice = self._strategy.ensemble
        sizes = ROOMS["ensemble"][choice.name].sizes
        owed = self._parts.owed(sizes, part.y, choice.values.get("strength"))
        weight = part.weight[rows] * scale * owed[y]
        if self.ensemble.weighs:
            weight = weight * handed[rows]
        shares, often = None, np.ones(len(y))
        if part.shares is not None:
            shares, often, stands = self._balanced(part.shares, y, scale)
            weight = weight / stands  # the shares make up for it
        counts = np.bincount(y, weights=weight * often, minlength=n_classes)
        present = np.maximum(counts, 1e-12)
        by_class = self._class_weight(present)
        seen = present * by_class
        seen *= present.sum() / seen.sum()
        # a class without a row in this fold's training part keeps a prior of next to nothing
        ratio = np.log(np.maximum(part.prior, 1e-12)) - _log_shares(seen)
        correction = ratio if self._exact else np.zeros(n_classes)
        row_weight = weight * by_class[y]
        row_weight = row_weight / np.average(row_weight, weights=often)
        return _Seen(rows, row_weight, correction, seen, shares)

    def _balanced(
        self, shares_of: Shares, y: np.ndarray, scale: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the classes' shares of a batch, how often each row comes, and for how many.

        Shares are meant for the whole table: where rows were left out to save time, one stands
        for several. How often a row comes is 1 in the mean.
        """
        kept, n_classes = self._parts.dataset.kept, self._parts.dataset.n_classes
        stands = scale if kept is None else scale / kept[y]
        shares = shares_of(
            np.bincount(y, weights=stands, minlength=n_classes), self.schedule().batch_size
        )
        own = np.bincount(y, minlength=n_classes)
        return shares, len(y) * shares[y] / own[y], stands

    def _loss(self, counts: np.ndarray) -> Loss:
        """Make the loss for what the members of a pack see, (M, C)."""
        choice = self._strategy.loss
        seen = torch.from_numpy(counts).to(self._device, torch.float32)
        made: Loss = ROOMS["loss"][choice.name].code(seen[:, None, :, None], **choice.values)
        return made

    def _row_operations(self) -> float:
        """Count what a forward pass of all members of all rounds on a row each costs."""
        members = len(self._training) * self.ensemble.members * self.ensemble.rounds
        inputs = self._effort.outline.inputs[self._hyper.ple]
        return 2.0 * members * self._spec.products(inputs)

    def schedule(self) -> Schedule:
        """Plan batch, steps and ticks; see `plan_schedule`."""
        return plan_schedule(
            self._hyper,
            self._effort,
            rows=min(self._effort.outline.rows(self._strategy, self._parts.folds), self._most_rows),
            row_operations=self._row_operations(),
            evaluated=self._evaluation.x.shape[1],
        )

    def vote(
        self, pack: FittedMemberPack, handed: list[np.ndarray], number: int
    ) -> FittedMemberPack:
        """Hand on what every member's round says of its rows, and give the member its vote."""
        votes = []
        assert self.ensemble.update is not None
        for position, (fold, _) in enumerate(self._members):
            y = self._training[fold].y
            proba = self._training_posterior(position, len(y), pack)
            own = np.arange(len(y))
            if self.ensemble.bagged:
                own = np.unique(self._drawn(position, number, handed[position])[0])
            handed[position][own], vote = self.ensemble.update(
                handed[position][own], y[own], proba[own], number
            )
            votes.append(vote)
        weight = np.maximum(np.array(votes), 1e-6)  # a member at chance counts next to nothing
        return replace(pack, weight=weight)

    def _training_posterior(self, position: int, count: int, pack: FittedMemberPack) -> np.ndarray:
        """Predict a member's fold's own training rows with it, as the round saw them."""
        alone = build(self._spec, 1, device=self._device)
        own = slice(position, position + 1)
        alone.load({k: v[own] for k, v in self._network.state().items()})
        start = int(self._starts[self._members[position][0]])
        part = slice(start, start + count)
        codes = None if self._codes is None else self._codes[None, part]
        logits = alone.predict(self._x[None, part], codes).cpu().numpy()
        prior, gamma = pack.log_prior[own], pack.focal_gamma
        return np.asarray(member_posterior(logits, log_prior=prior, gamma=gamma)[0])


def _log_shares(counts: np.ndarray) -> np.ndarray:
    """Logarithm of each class's share of the rows, (..., C) -> (..., C)."""
    return np.asarray(np.log(counts / counts.sum(-1, keepdims=True)))


def _made(strategy: Strategy, room: str) -> Any:
    """Call an option's code with its parameters."""
    choice = getattr(strategy, room)
    return ROOMS[room][choice.name].code(**choice.values)
