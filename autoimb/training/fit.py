"""Training of a strategy: its rounds, each one pack with the members of all folds."""

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
from autoimb.space.ensemble import ENSEMBLE, RoundResult
from autoimb.space.loss import LOSS, Loss
from autoimb.space.network.component import NETWORK
from autoimb.space.strategy import Strategy
from autoimb.training.checkpoints import Checkpoints, Selector, Until
from autoimb.training.inputs import Inputs
from autoimb.training.members import Members, log_shares
from autoimb.training.parts import Parts, TrainingPart
from autoimb.training.plan import Plan
from autoimb.training.pruning import Bar
from autoimb.training.schedule import Schedule, max_member_rows, plan_schedule
from autoimb.training.states import PausedTraining, paused_key
from autoimb.training.trainer import Pack, TrainingState, train

__all__ = ["Job", "Trained", "fit_members"]

# Rows from which the weights of a network with scaled inputs are initialized.
_ROWS_TO_START = 512


@dataclass(frozen=True)
class Job:
    """A strategy to evaluate, with its rows, its deadline and its pruning bar.

    Attributes
    ----------
    strategy : Strategy
    plan : Plan
    data : Parts
        The folds of the plan, as arrays that jobs share.
    deadline : Deadline
    bar : Bar or None
        Scores that the strategy must reach to continue.
    """

    strategy: Strategy
    plan: Plan
    data: Parts
    deadline: Deadline = field(default_factory=Deadline)
    bar: Bar | None = None


@dataclass(frozen=True, eq=False)
class Trained:
    """Result of training one strategy on the folds of one repeat.

    Attributes
    ----------
    packs : tuple of FittedMemberPack
        One pack for each round.
    posteriors : tuple of tuples of F arrays (K, n_scored_in_fold, C)
        Out-of-fold predictions, one tuple for each round.
    checkpoints : tuple of int
        The checkpoint that each fold retained, in every round.
    curve, floor : tuple of float
        The measure at each checkpoint of the first round: mean over folds, and worst fold.
    planned : int
        Number of checkpoints in the planned work of a round.
    ended : bool
        Whether patience ended training, so that more work would change nothing.
    cut : bool
        Whether the deadline ended training before the stopping rule did.
    pruned : bool
        Whether the strategy was pruned.
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
        Its bar is ignored for several successive rounds, since the first one says little about
        their combination.

    Returns
    -------
    Trained

    Raises
    ------
    InfeasibleError, DeadlineExceeded
    """
    # Folds are prepared in an order that shares the work with other processes.
    parts_by_fold: dict[int, TrainingPart] = {}
    for fold in data.free_first():
        parts_by_fold[fold] = data.training(fold, job.strategy.resampling)
        until.deadline.check()
    setup = _setup(job, data, tuple(parts_by_fold[fold] for fold in range(len(parts_by_fold))))
    ensemble, schedule = setup.members.ensemble, setup.schedule
    until = until if ensemble.rounds == 1 else replace(until, bar=None)
    state = _State(tuple(np.ones(len(setup.part(i).y)) for i in range(setup.size)))
    rounds: list[tuple[FittedMemberPack, Checkpoints]] = []
    for number in range(ensemble.rounds):
        pack, loss, log_prior = _pack(setup, state, number)
        network = _started(setup, pack, state)
        # A schedule that depends on the total number of steps cannot be continued, and neither can
        # successive rounds: both start from the beginning at every rung.
        round_schedule = schedule if setup.goes_on else schedule.at_once
        selector = Selector(setup.inputs.evaluation, log_prior, loss, round_schedule, until)
        training = TrainingState.start(network, round_schedule)
        checkpoints = selector.start(network)
        # Training continues from the end of the previous rung if that state is available.
        resumed: PausedTraining | None = data.states.find(setup.key) if setup.goes_on else None
        if resumed is not None and resumed.counts["checkpoint"] <= round_schedule.checkpoints:
            checkpoints = resumed.restore(network, training)
        for checkpoint in train(
            network, pack, loss, round_schedule, state=training, deadline=until.deadline
        ):
            checkpoints = selector.evaluate(checkpoints, checkpoint, network)
            if checkpoints.ended:
                break
        if setup.goes_on and not checkpoints.ended:
            paused = PausedTraining.of(network, training, checkpoints)
            data.states.put(setup.key, paused, size=paused.size)
        # The next round continues from the last weights, not from those of the best checkpoint.
        end = network.parameters.values.clone() if ensemble.continues else None
        fitted = _fitted_pack(setup, checkpoints, loss, log_prior)
        state, votes = _next_state(setup, state, fitted, number, end)
        rounds.append((replace(fitted, weight=votes), checkpoints))
        if checkpoints.cut:
            break
    first, last = rounds[0][1], rounds[-1][1]
    return Trained(
        packs=tuple(pack for pack, _ in rounds),
        posteriors=tuple(checkpoints.posteriors for _, checkpoints in rounds),
        checkpoints=tuple(
            int(checkpoint)
            for _, checkpoints in rounds
            for checkpoint in checkpoints.stopping.chosen
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
    """Values that all rounds of a strategy share.

    `goes_on` is true if a longer training begins like a shorter one, so that it can continue from
    its end; `key` identifies the paused training in the store.
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
    """State that a round passes to the next one.

    Attributes
    ----------
    rows : tuple of M float64 arrays
        One number for each training row of the member's fold; ones before the first round.
    weights : Tensor or None
        Weights at the end of the round, if the next round continues from them.
    """

    rows: tuple[np.ndarray, ...]
    weights: Tensor | None = None


def _setup(job: Job, data: Parts, training: tuple[TrainingPart, ...]) -> _Setup:
    """Plan the schedule, the shapes and the row limits of a strategy."""
    strategy, plan = job.strategy, job.plan
    hyper, ensemble = NETWORK.make(strategy.network), ENSEMBLE.make(strategy.ensemble)
    outline = plan.effort.outline
    # Each network of a split into more folds is trained as long as one of the plan's own split.
    split_ratio = len(data.folds.folds) / len(plan.folds.folds)
    plan = replace(
        plan, effort=replace(plan.effort, operations=split_ratio * plan.effort.operations)
    )
    inputs = Inputs.of(
        data,
        training,
        hyper,
        kind=strategy.network.name,
        outline=outline,
        device=plan.device,
    )
    # This is the cost of one forward pass in which each member of every round reads one row.
    networks = len(training) * ensemble.members * ensemble.rounds
    row_operations = 2.0 * networks * inputs.spec.products(outline.inputs[hyper.ple])
    max_rows = max_member_rows(plan, row_operations=row_operations)
    rows_limited = plan.rung > 1 and outline.rows(strategy, data.folds) > max_rows
    if rows_limited:
        # A higher rung first admits more rows for each member, instead of more steps.
        longer = plan.effort.times(plan.rung)
        plan = replace(plan, effort=longer, rung=1.0)
        max_rows = max_member_rows(plan, row_operations=row_operations)
    schedule = plan_schedule(
        hyper,
        plan,
        rows=min(outline.rows(strategy, data.folds), max_rows),
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
        max_rows=max_rows,
        batch_size=schedule.batch_size,
    )
    return _Setup(
        members,
        inputs,
        schedule,
        torch.device(plan.device),
        goes_on=schedule.kind == "constant" and ensemble.rounds == 1 and not rows_limited,
        key=paused_key(strategy, data.repeat_number),
    )


def _pack(setup: _Setup, state: _State, number: int) -> tuple[Pack, Loss, np.ndarray]:
    """Return the training rows of a round's members, their loss and their prior correction."""
    members, inputs = setup.members, setup.inputs
    member_rows = [members.member_rows(i, number, state.rows[i]) for i in range(setup.size)]
    counts = np.array([member.counts for member in member_rows])
    tensor = torch.from_numpy(counts).to(setup.device, torch.float32)
    loss = LOSS.make(members.strategy.loss, tensor[:, None, :, None])
    log_prior = np.array(
        [member.correction for member in member_rows]
    ) + loss.adjustment * log_shares(counts)
    pack = Pack(
        x=inputs.x,
        codes=inputs.codes,
        y=inputs.y,
        rows=tuple(
            member.rows + inputs.starts[f] for member, (f, _) in zip(member_rows, members.places)
        ),
        weights=tuple(member.weights for member in member_rows),
        keys=tuple(members.key(i, number) for i in range(setup.size)),
        shares=tuple(member.shares for member in member_rows),
    )
    return pack, loss, log_prior


def _started(setup: _Setup, pack: Pack, state: _State) -> Network:
    """Return a network with initial weights, drawn or taken from the end of the last round."""
    inputs = setup.inputs
    network = build(inputs.spec, setup.size, device=setup.device, training=True)
    folds = [fold for fold, _ in setup.members.places]
    network.draw(pack.keys, [inputs.widths[f] for f in folds])
    # The weights of scaled networks are initialized from random training rows of each member.
    if inputs.spec.body == "scaled":
        start_rows = [
            key.stream(Purpose.FIRST_ROWS).choice(rows, _ROWS_TO_START)
            for key, rows in zip(pack.keys, pack.rows)
        ]
        chosen = torch.from_numpy(np.concatenate(start_rows)).to(setup.device)
        network.init_from_rows(pack.x, pack.codes, chosen, pack.keys)
    if state.weights is not None:
        network.parameters.values.copy_(state.weights)
    return network


def _fitted_pack(
    setup: _Setup, checkpoints: Checkpoints, loss: Loss, log_prior: np.ndarray
) -> FittedMemberPack:
    """Return every fold's members as of its retained checkpoint, with equal votes."""
    network = build(setup.inputs.spec, setup.size, device=setup.device)
    network.parameters.values.copy_(checkpoints.weights)
    return FittedMemberPack(
        spec=setup.inputs.spec,
        fold=np.array([fold for fold, _ in setup.members.places], dtype=np.int64),
        weight=np.ones(setup.size),
        log_prior=log_prior,
        focal_gamma=loss.gamma,
        state=network.state(),
    )


def _next_state(
    setup: _Setup, state: _State, fitted: FittedMemberPack, number: int, end: Tensor | None
) -> tuple[_State, np.ndarray]:
    """Return the state for the next round, and the vote of each member."""
    ensemble = setup.members.ensemble
    if ensemble.update is None:
        return replace(state, weights=end), fitted.weight
    rows, votes = [], []
    for position, row_state in enumerate(state.rows):
        part = setup.part(position)
        proba = _training_posterior(setup, position, fitted)
        # A bagged member is judged on its rows alone, any other member on all training rows.
        drawn_rows: np.ndarray = np.arange(len(part.y))
        if ensemble.bagged:
            drawn_rows = np.unique(setup.members.drawn(position, number, row_state)[0])
        new_state = row_state.copy()
        result = RoundResult(part.y[drawn_rows], part.weight[drawn_rows], proba[drawn_rows], number)
        new_state[drawn_rows], vote = ensemble.update(row_state[drawn_rows], result)
        rows.append(new_state)
        votes.append(vote)
    # A member that is no better than chance has a vote close to zero.
    return _State(tuple(rows), end), np.maximum(np.array(votes), 1e-6)


def _training_posterior(setup: _Setup, position: int, fitted: FittedMemberPack) -> np.ndarray:
    """Predict the training rows of a member's fold with this member, as trained in the round."""
    inputs, member = setup.inputs, slice(position, position + 1)
    alone = build(inputs.spec, 1, device=setup.device, training=True)
    alone.load({name: values[member] for name, values in fitted.state.items()})
    fold = setup.members.places[position][0]
    rows = slice(int(inputs.starts[fold]), int(inputs.starts[fold + 1]))
    codes = None if inputs.codes is None else inputs.codes[None, rows]
    logits = alone.predict(inputs.x[None, rows], codes).cpu().numpy()
    prior, gamma = fitted.log_prior[member], fitted.focal_gamma
    return np.asarray(member_posterior(logits, log_prior=prior, gamma=gamma)[0])
