"""From a strategy to trained members: its rounds, one pack of all folds after the other."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from autoimb.budget import Deadline
from autoimb.nn.network import Network, build
from autoimb.pipeline.fitted import FittedMemberPack, member_posterior
from autoimb.randomness import Purpose
from autoimb.space.class_weight import CLASS_WEIGHT
from autoimb.space.ensemble import ENSEMBLE, Ended
from autoimb.space.loss import LOSS, Loss
from autoimb.space.network.component import NETWORK
from autoimb.space.strategy import Strategy
from autoimb.training.checkpoints import Checkpoints, Selector, Until
from autoimb.training.inputs import Inputs
from autoimb.training.members import Members, log_shares
from autoimb.training.parts import Parts, TrainingPart
from autoimb.training.plan import Plan
from autoimb.training.pruning import Bar
from autoimb.training.schedule import Schedule, most_rows, plan_schedule
from autoimb.training.states import Waiting, waiting_key
from autoimb.training.trainer import Pack, TrainingState, train

__all__ = ["Job", "Trained", "fit_members"]

_ROWS_TO_START = 512  # that a start which looks at rows looks at


@dataclass(frozen=True)
class Job:
    """A strategy to evaluate, on which rows, and when it must have ended.

    Attributes
    ----------
    strategy : Strategy
    plan : Plan
    data : Parts
        The folds of the plan, as arrays that are kept between jobs.
    deadline : Deadline
    bar : Bar or None
        What it must reach to go on.
    """

    strategy: Strategy
    plan: Plan
    data: Parts
    deadline: Deadline = field(default_factory=Deadline)
    bar: Bar | None = None


@dataclass(frozen=True, eq=False)
class Trained:
    """What the rounds of a strategy gave, on the folds of one repeat.

    Attributes
    ----------
    packs : tuple of FittedMemberPack
        One a round.
    posteriors : tuple of tuples of F arrays (K, n_scored_in_fold, C)
        Out of fold: one a round.
    checkpoints : tuple of int
        The checkpoint that each fold kept, of every round.
    curve, floor : tuple of float
        The measure at each checkpoint of the first round: the mean over folds, and the worst fold.
    planned : int
        Checkpoints of the planned work of a round.
    ended : bool
        Whether its own patience ended it: more work would change nothing.
    cut : bool
        Whether the deadline ended it before its own stopping rule did.
    pruned : bool
        Whether it was given up.
    """

    packs: tuple[FittedMemberPack, ...]
    posteriors: tuple[tuple[np.ndarray, ...], ...]
    checkpoints: tuple[int, ...]
    curve: tuple[float, ...]
    floor: tuple[float, ...]
    planned: int
    ended: bool = False
    cut: bool = False
    pruned: bool = False


def fit_members(job: Job, data: Parts, until: Until) -> Trained:
    """Train all folds and members of a strategy.

    Parameters
    ----------
    job : Job
    data : Parts
        The folds of one repeat of the job's data.
    until : Until
        Its bar is not asked where rounds follow each other, since one round says little of their
        sum.

    Returns
    -------
    Trained

    Raises
    ------
    InfeasibleError, DeadlineExceeded
    """
    training: dict[int, TrainingPart] = {}
    for fold in data.free_first():
        training[fold] = data.training(fold, job.strategy.resampling)
        until.deadline.check()
    setup = _setup(job, data, tuple(training[fold] for fold in range(len(training))))
    ensemble, schedule = setup.members.ensemble, setup.schedule
    until = until if ensemble.rounds == 1 else replace(until, bar=None)
    state = _State(tuple(np.ones(len(setup.part(i).y)) for i in range(setup.size)))
    rounds: list[tuple[FittedMemberPack, Checkpoints]] = []
    for number in range(ensemble.rounds):
        pack, loss, log_prior = _pack(setup, state, number)
        network = _started(setup, pack, state)
        # what depends on how far it goes, and rounds that follow each other, begin anew
        own = schedule if setup.goes_on else schedule.at_once
        selector = Selector(setup.inputs.evaluation, log_prior, loss, own, until)
        course, shown = TrainingState.start(network, own), selector.start(network)
        waiting: Waiting | None = data.states.find(setup.key) if setup.goes_on else None
        if waiting is not None and waiting.counts["checkpoint"] <= own.checkpoints:
            shown = waiting.restore(network, course)
        for checkpoint in train(network, pack, loss, own, state=course, deadline=until.deadline):
            shown = selector.after(shown, checkpoint, network)
            if shown.ended:
                break
        if setup.goes_on and not shown.ended:
            after = Waiting.of(network, course, shown)
            data.states.put(setup.key, after, size=after.size)
        end = network.parameters.values.clone() if ensemble.continues else None
        fitted = _fitted(setup, shown, loss, log_prior)
        state, votes = _passed_on(setup, state, fitted, number, end)
        rounds.append((replace(fitted, weight=votes), shown))
        if shown.cut:
            break
    first, last = rounds[0][1], rounds[-1][1]
    return Trained(
        packs=tuple(pack for pack, _ in rounds),
        posteriors=tuple(shown.posteriors for _, shown in rounds),
        checkpoints=tuple(
            int(checkpoint) for _, shown in rounds for checkpoint in shown.stopping.chosen
        ),
        curve=first.stopping.curve,
        floor=first.stopping.floor,
        planned=schedule.unit,
        ended=setup.goes_on and first.ended and not first.cut and not first.pruned,
        cut=last.cut,
        pruned=last.pruned,
    )


@dataclass(frozen=True, eq=False)
class _Setup:
    """What stays the same in all rounds of a strategy.

    `goes_on` says whether a longer training begins like a shorter one, so that it can go on from
    it; `key` is what it waits under.
    """

    members: Members
    inputs: Inputs
    schedule: Schedule
    device: torch.device
    goes_on: bool
    key: Hashable

    @property
    def size(self) -> int:
        """Members of a pack."""
        return len(self.members.places)

    def part(self, position: int) -> TrainingPart:
        """Return the training part of a member's fold."""
        return self.members.training[self.members.places[position][0]]


@dataclass(frozen=True, eq=False)
class _State:
    """What a round passes on to the next.

    Attributes
    ----------
    rows : tuple of M float64 arrays
        One number for each row of the member's fold's training part; ones at first.
    weights : Tensor or None
        With which the round ended, where the next goes on from there.
    """

    rows: tuple[np.ndarray, ...]
    weights: Tensor | None = None


def _setup(job: Job, data: Parts, training: tuple[TrainingPart, ...]) -> _Setup:
    strategy, plan = job.strategy, job.plan
    hyper, ensemble = NETWORK.make(strategy.network), ENSEMBLE.make(strategy.ensemble)
    outline = plan.effort.outline
    # a split into more folds trains each of its networks as long as the plan's own
    more = len(data.folds.folds) / len(plan.folds.folds)
    plan = replace(plan, effort=replace(plan.effort, operations=more * plan.effort.operations))
    inputs = Inputs.of(
        data,
        training,
        hyper,
        kind=strategy.network.name,
        outline=outline,
        device=plan.device,
    )
    # what a forward pass of all members of all rounds on a row each costs
    networks = len(training) * ensemble.members * ensemble.rounds
    row_operations = 2.0 * networks * inputs.spec.products(outline.inputs[hyper.ple])
    most = most_rows(plan, row_operations=row_operations)
    limited = plan.rung > 1 and outline.rows(strategy, data.folds) > most
    if limited:  # more work is more rows first
        longer = plan.effort.times(plan.rung)
        plan = replace(plan, effort=longer, rung=1.0)
        most = most_rows(plan, row_operations=row_operations)
    schedule = plan_schedule(
        hyper,
        plan,
        rows=min(outline.rows(strategy, data.folds), most),
        row_operations=row_operations,
        evaluated=inputs.evaluation.x.shape[1],
    )
    if ensemble.continues:
        schedule = replace(schedule, kind="cosine")
    costs = None if plan.class_costs is None else np.array(plan.class_costs)
    members = Members(
        strategy=strategy,
        ensemble=ensemble,
        data=data,
        training=training,
        class_weight=lambda counts: CLASS_WEIGHT.make(strategy.class_weight, counts, costs),
        most_rows=most,
        batch_size=schedule.batch_size,
    )
    return _Setup(
        members,
        inputs,
        schedule,
        torch.device(plan.device),
        goes_on=schedule.kind == "constant" and ensemble.rounds == 1 and not limited,
        key=waiting_key(strategy, data.repeat_number),
    )


def _pack(setup: _Setup, state: _State, number: int) -> tuple[Pack, Loss, np.ndarray]:
    """Say what the members of a round train on, with which loss, and their prior correction."""
    members, inputs = setup.members, setup.inputs
    seen = [members.seen(i, number, state.rows[i]) for i in range(setup.size)]
    counts = np.array([one.counts for one in seen])
    tensor = torch.from_numpy(counts).to(setup.device, torch.float32)
    loss = LOSS.make(members.strategy.loss, tensor[:, None, :, None])
    log_prior = np.array([one.correction for one in seen]) + loss.adjustment * log_shares(counts)
    pack = Pack(
        x=inputs.x,
        codes=inputs.codes,
        y=inputs.y,
        rows=tuple(one.rows + inputs.starts[f] for one, (f, _) in zip(seen, members.places)),
        weights=tuple(one.weights for one in seen),
        keys=tuple(members.key(i, number) for i in range(setup.size)),
        shares=tuple(one.shares for one in seen),
    )
    return pack, loss, log_prior


def _started(setup: _Setup, pack: Pack, state: _State) -> Network:
    """Return a network at its start: drawn, or as the last round ended."""
    inputs = setup.inputs
    network = build(inputs.spec, setup.size, device=setup.device, training=True)
    folds = [fold for fold, _ in setup.members.places]
    network.draw(pack.keys, [inputs.widths[f] for f in folds])
    if inputs.spec.body == "scaled":
        some = [
            key.stream(Purpose.FIRST_ROWS).choice(rows, _ROWS_TO_START)
            for key, rows in zip(pack.keys, pack.rows)
        ]
        at = torch.from_numpy(np.stack(some)).to(setup.device)  # (M, n)
        network.init_from_rows(
            pack.x[at], None if pack.codes is None else pack.codes[at], pack.keys
        )
    if state.weights is not None:
        network.parameters.values.copy_(state.weights)
    return network


def _fitted(
    setup: _Setup, shown: Checkpoints, loss: Loss, log_prior: np.ndarray
) -> FittedMemberPack:
    """Read out every fold's members as they were at its checkpoint; their votes are equal."""
    network = build(setup.inputs.spec, setup.size, device=setup.device)
    network.parameters.values.copy_(shown.weights)
    return FittedMemberPack(
        spec=setup.inputs.spec,
        fold=np.array([fold for fold, _ in setup.members.places], dtype=np.int64),
        weight=np.ones(setup.size),
        log_prior=log_prior,
        focal_gamma=loss.gamma,
        state=network.state(),
    )


def _passed_on(
    setup: _Setup, state: _State, fitted: FittedMemberPack, number: int, end: Tensor | None
) -> tuple[_State, np.ndarray]:
    """Return what a round passes on, and the vote of each of its members."""
    ensemble = setup.members.ensemble
    if ensemble.update is None:
        return replace(state, weights=end), fitted.weight
    rows, votes = [], []
    for position, before in enumerate(state.rows):
        part = setup.part(position)
        proba = _training_posterior(setup, position, fitted)
        own: np.ndarray = np.arange(len(part.y))
        if ensemble.bagged:
            own = np.unique(setup.members.drawn(position, number, before)[0])
        after = before.copy()
        ended = Ended(part.y[own], part.weight[own], proba[own], number)
        after[own], vote = ensemble.update(before[own], ended)
        rows.append(after)
        votes.append(vote)
    # a member at chance counts next to nothing
    return _State(tuple(rows), end), np.maximum(np.array(votes), 1e-6)


def _training_posterior(setup: _Setup, position: int, fitted: FittedMemberPack) -> np.ndarray:
    """Predict a member's fold's own training rows with it, as the round saw them."""
    inputs, own = setup.inputs, slice(position, position + 1)
    alone = build(inputs.spec, 1, device=setup.device, training=True)
    alone.load({name: values[own] for name, values in fitted.state.items()})
    fold = setup.members.places[position][0]
    rows = slice(int(inputs.starts[fold]), int(inputs.starts[fold + 1]))
    codes = None if inputs.codes is None else inputs.codes[None, rows]
    logits = alone.predict(inputs.x[None, rows], codes).cpu().numpy()
    prior, gamma = fitted.log_prior[own], fitted.focal_gamma
    return np.asarray(member_posterior(logits, log_prior=prior, gamma=gamma)[0])
