"""Training of a strategy: its rounds, each one pack with the members of all folds."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from autoimb.budget import Deadline
from autoimb.nn.network import Network, build
from autoimb.pipeline.fitted import FittedMemberPack, member_posterior
from autoimb.randomness import Purpose
from autoimb.space.ensemble import RoundResult
from autoimb.space.loss import LOSS, Loss
from autoimb.space.strategy import Strategy
from autoimb.training.checkpoints import Measure, Selector
from autoimb.training.members import Members, log_shares
from autoimb.training.parts import Parts, TrainingPart
from autoimb.training.plan import Plan
from autoimb.training.trainer import Pack, train

__all__ = ["Trained", "train_strategy"]

# Rows from which the weights of a network with scaled inputs are initialized.
_ROWS_TO_START = 512


@dataclass(frozen=True, eq=False)
class Trained:
    """Result of training one strategy.

    Attributes
    ----------
    packs : tuple of FittedMemberPack
        One pack for each round.
    posteriors : tuple of tuples of F arrays (K, n_scored_in_fold, C)
        Out-of-fold predictions, one tuple for each round.
    checkpoints : tuple of int
        The checkpoint that each fold retained, in every round.
    cut : bool
        Whether the deadline ended training before the stopping rule did.
    """

    packs: tuple[FittedMemberPack, ...]
    posteriors: tuple[tuple[np.ndarray, ...], ...]
    checkpoints: tuple[int, ...]
    cut: bool = False


def train_strategy(
    strategy: Strategy, plan: Plan, parts: Parts, *, measure: Measure, deadline: Deadline
) -> Trained:
    """Train all folds and members of a strategy.

    Parameters
    ----------
    strategy : Strategy
    plan : Plan
    parts : Parts
        The encoded folds of the plan.
    measure : callable
        Measure that selects the checkpoint of each fold.
    deadline : Deadline

    Returns
    -------
    Trained

    Raises
    ------
    InfeasibleError, DeadlineExceeded
    """
    # Folds are prepared in an order that shares the work with other processes.
    training: dict[int, TrainingPart] = {}
    for fold in parts.free_first():
        training[fold] = parts.training(fold, strategy.resampling)
        deadline.check()
    members = Members.of(
        strategy, plan, parts, tuple(training[fold] for fold in range(len(training)))
    )
    ensemble, schedule = members.ensemble, members.schedule
    # A round passes one number for each training row of its members to the next round, and the
    # weights at its end if the next round continues from them.
    row_states = tuple(np.ones(len(members.part(i).y)) for i in range(members.size))
    start: Tensor | None = None
    packs, rounds = list[FittedMemberPack](), list[Selector]()
    for number in range(ensemble.rounds):
        pack, loss, log_prior = _pack(members, row_states, number)
        network = _initialized(members, pack, start)
        selector = Selector(
            network,
            members.inputs.evaluation,
            log_prior,
            gamma=loss.gamma,
            patience=schedule.patience,
            measure=measure,
            deadline=deadline,
        )
        for _ in train(network, pack, loss, schedule, deadline=deadline):
            if selector.evaluate():
                break
        # The next round continues from the last weights, not from those of the best checkpoint.
        start = network.parameters.values.clone() if ensemble.continues else None
        fitted = _fitted_pack(members, selector.weights, loss, log_prior)
        row_states, votes = _updated(members, row_states, fitted, number)
        packs.append(replace(fitted, weight=votes))
        rounds.append(selector)
        if selector.cut:
            break
    return Trained(
        packs=tuple(packs),
        posteriors=tuple(tuple(selector.posteriors) for selector in rounds),
        checkpoints=tuple(int(n) for selector in rounds for n in selector.stopping.chosen),
        cut=rounds[-1].cut,
    )


def _pack(
    members: Members, row_states: tuple[np.ndarray, ...], number: int
) -> tuple[Pack, Loss, np.ndarray]:
    """Return the training rows of a round's members, their loss and their prior correction."""
    inputs = members.inputs
    member_rows = [members.member_rows(i, number, state) for i, state in enumerate(row_states)]
    counts = np.array([member.counts for member in member_rows])
    tensor = torch.from_numpy(counts).to(inputs.x.device, torch.float32)
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
        keys=tuple(members.key(i, number) for i in range(members.size)),
        shares=tuple(member.shares for member in member_rows),
    )
    return pack, loss, log_prior


def _initialized(members: Members, pack: Pack, start: Tensor | None) -> Network:
    """Return a network with initial weights, drawn or taken from the end of the last round."""
    inputs = members.inputs
    network = build(inputs.spec, members.size, device=inputs.x.device, training=True)
    folds = [fold for fold, _ in members.places]
    network.draw(pack.keys, [inputs.widths[f] for f in folds])
    # The weights of scaled networks are initialized from random training rows of each member.
    if inputs.spec.body == "scaled":
        start_rows = [
            key.stream(Purpose.FIRST_ROWS).choice(rows, _ROWS_TO_START)
            for key, rows in zip(pack.keys, pack.rows)
        ]
        chosen = torch.from_numpy(np.concatenate(start_rows)).to(inputs.x.device)
        network.init_from_rows(pack.x, pack.codes, chosen, pack.keys)
    if start is not None:
        network.parameters.values.copy_(start)
    return network


def _fitted_pack(
    members: Members, weights: Tensor, loss: Loss, log_prior: np.ndarray
) -> FittedMemberPack:
    """Return every fold's members as of its retained checkpoint, with equal votes."""
    inputs = members.inputs
    network = build(inputs.spec, members.size, device=inputs.x.device)
    network.parameters.values.copy_(weights)
    return FittedMemberPack(
        spec=inputs.spec,
        fold=np.array([fold for fold, _ in members.places], dtype=np.int64),
        weight=np.ones(members.size),
        log_prior=log_prior,
        focal_gamma=loss.gamma,
        state=network.state(),
    )


def _updated(
    members: Members, row_states: tuple[np.ndarray, ...], fitted: FittedMemberPack, number: int
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Return the row states for the next round, and the vote of each member."""
    ensemble = members.ensemble
    if ensemble.update is None:
        return row_states, fitted.weight
    updated, votes = [], []
    for position, row_state in enumerate(row_states):
        part = members.part(position)
        proba = _training_posterior(members, position, fitted)
        # A bagged member is judged on its rows alone, any other member on all training rows.
        drawn_rows: np.ndarray = np.arange(len(part.y))
        if ensemble.bagged:
            drawn_rows = np.unique(members.drawn(position, number, row_state)[0])
        new_state = row_state.copy()
        result = RoundResult(part.y[drawn_rows], part.weight[drawn_rows], proba[drawn_rows], number)
        new_state[drawn_rows], vote = ensemble.update(row_state[drawn_rows], result)
        updated.append(new_state)
        votes.append(vote)
    # A member that is no better than chance has a vote close to zero.
    return tuple(updated), np.maximum(np.array(votes), 1e-6)


def _training_posterior(members: Members, position: int, fitted: FittedMemberPack) -> np.ndarray:
    """Predict the training rows of a member's fold with this member, as trained in the round."""
    inputs, member = members.inputs, slice(position, position + 1)
    alone = build(inputs.spec, 1, device=inputs.x.device, training=True)
    alone.load({name: values[member] for name, values in fitted.state.items()})
    fold = members.places[position][0]
    rows = slice(int(inputs.starts[fold]), int(inputs.starts[fold + 1]))
    codes = None if inputs.codes is None else inputs.codes[None, rows]
    logits = alone.predict(inputs.x[None, rows], codes).cpu().numpy()
    prior, gamma = fitted.log_prior[member], fitted.focal_gamma
    return np.asarray(member_posterior(logits, log_prior=prior, gamma=gamma)[0])
