"""The trainer: weights, packs, and a plain PyTorch loop that gives the same networks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from autoimb.budget import Deadline
from autoimb.evaluation import trial
from autoimb.evaluation.outcome import Failed
from autoimb.nn.dropout import MaskPool
from autoimb.nn.network import build
from autoimb.randomness import Key, Purpose
from autoimb.space.components import COMPONENTS
from autoimb.space.loss import LOSS
from autoimb.training.fit import train_strategy
from autoimb.training.schedule import Schedule
from autoimb.training.trainer import Pack, _BalancedStream, _Stream, train
from tests.support.tables import (
    chosen,
    dataset_of,
    mixed_table,
    outcome_of,
    parts_of,
    short_plan,
    strategy_with,
    tiny_spec,
)

CPU = torch.device("cpu")
STEPS = 20


def spec(k=1, dropout=0.25, cardinalities=(5,)):
    small = {"width": 12, "depth": 2, "embedding_dim": 3, "n_inputs": 6, "n_classes": 3}
    return tiny_spec(**small, k=k, dropout=dropout, cardinalities=cardinalities)


def some_pack(members=4, rows=60, seed=0):
    random = np.random.default_rng(seed)
    x = torch.from_numpy(random.normal(size=(2 * rows, 6)))
    return Pack(
        x=x,
        codes=torch.from_numpy(random.integers(0, 5, (2 * rows, 1))),
        y=torch.from_numpy(random.integers(0, 3, 2 * rows)),
        rows=tuple(random.choice(2 * rows, rows - 7 * m) for m in range(members)),
        weights=tuple(random.uniform(0.5, 1.5, rows - 7 * m) for m in range(members)),
        keys=tuple(Key(11, fold=m % 2, member=m) for m in range(members)),
        shares=(None,) * members,
    )


# the classes of what each member of the pack is taken to see
COUNTS = np.random.default_rng(5).uniform(5.0, 500.0, size=(4, 3))
TAU = 0.8


def adjusted_loss():
    """Return a loss that depends on each member's classes."""
    return LOSS["logit_adjusted"].code(columns(COUNTS), tau=TAU)


def columns(counts):
    return torch.from_numpy(counts)[:, None, :, None]


def schedule(kind="cosine"):
    return Schedule(
        checkpoints=2,
        steps=STEPS // 2,
        batch_size=16,
        learning_rate=3e-3,
        weight_decay=0.1,
        kind=kind,
    )


def drawn(pack, network_spec):
    """Return a network with its initial weights."""
    network = build(network_spec, len(pack.rows), dtype=torch.float64, training=True)
    network.draw(pack.keys, [6] * len(pack.rows))
    return network


def trained(pack, network_spec, loss):
    network = drawn(pack, network_spec)
    states = [network.state() for _ in train(network, pack, loss, schedule())]
    return states[-1]


def plain_loop(pack, member, network_spec):
    """Train one member the way a textbook does: autograd, a loop, torch's own optimizer."""
    start = build(network_spec, 1, dtype=torch.float64)
    start.draw([pack.keys[member]], [6])
    values = {name: torch.tensor(a[0], requires_grad=True) for name, a in start.state().items()}
    decayed = [p.name for p in start.parameters.declared if p.decay]
    plan = schedule()
    optimizer = torch.optim.AdamW(
        [
            {"params": [values[n] for n in values if n in decayed], "weight_decay": 0.1},
            {"params": [values[n] for n in values if n not in decayed], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.99),
    )
    key, rows, weights = pack.keys[member], pack.rows[member], pack.weights[member]
    stream = _Stream(rows, weights, key.stream(Purpose.BATCHES))
    if pack.shares[member] is not None:
        y, shares = pack.y.numpy()[rows], pack.shares[member]
        stream = _BalancedStream(rows, weights, key, y=y, shares=shares, batch=plan.batch_size)
    size = plan.batch_size * network_spec.k * network_spec.width
    pool = MaskPool([key], network_spec.dropout, size=size, dtype=torch.float64, device=CPU)
    counts = torch.from_numpy(COUNTS[member])
    offset = TAU * torch.log(counts / counts.sum())
    for checkpoint in range(plan.checkpoints):
        rows, weights = stream.take(plan.steps * plan.batch_size)
        pool.refresh()
        for step in range(plan.steps):
            part = slice(step * plan.batch_size, (step + 1) * plan.batch_size)
            at = torch.from_numpy(rows[part])
            h = torch.cat([values["embedding.table"][pack.codes[at, 0]], pack.x[at]], 1)
            h = h[:, None, :].expand(-1, network_spec.k, -1)
            if network_spec.k > 1:
                h = h * values["hidden0.scale"].T
            for i in range(network_spec.depth):
                h = torch.relu(h @ values[f"hidden{i}.weight"] + values[f"hidden{i}.bias"])
                mask = pool.mask(plan.batch_size * network_spec.k, network_spec.width)
                h = h * mask.view(plan.batch_size, network_spec.k, -1)
            logits = torch.einsum("bkh,kch->bkc", h, values["heads.weight"])
            y = pack.y[at]
            logits = logits + values["heads.bias"][:, 0] + offset
            losses = torch.nn.functional.cross_entropy(
                logits.transpose(1, 2), y[:, None].expand(-1, network_spec.k), reduction="none"
            )
            weight = torch.from_numpy(weights[part])
            loss = (losses.mean(1) * weight).mean()
            optimizer.zero_grad()
            loss.backward()
            for group in optimizer.param_groups:
                group["lr"] = plan.rate(checkpoint * plan.steps + step)
            optimizer.step()
    return {name: value.detach().numpy() for name, value in values.items()}


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("balanced", [False, True])
def test_a_pack_equals_a_plain_pytorch_loop_over_its_members(k, balanced):
    pack = some_pack()
    if balanced:  # as folds are, whose counts differ
        shares = np.random.default_rng(5).dirichlet(np.ones(3), len(pack.rows))
        pack = replace(pack, shares=tuple(shares))
    together = trained(pack, spec(k), adjusted_loss())
    for member in range(len(pack.rows)):
        for name, values in plain_loop(pack, member, spec(k)).items():
            np.testing.assert_allclose(
                together[name][member], values, rtol=1e-7, atol=1e-10, err_msg=name
            )


# --- checkpoints ----------------------------------------------------------------------------------


def checkpoints_of(kind, visit, *, of=2, dropout=0.25):
    """Train to the end, visiting each checkpoint, which answers whether to go on.

    Returns the weights at the start of every step, and those at every checkpoint.
    """
    pack, steps, saved = some_pack(), [], []
    network = drawn(pack, spec(dropout=dropout))
    values = network.parameters.values
    loss = LOSS["cross_entropy"].code(columns(COUNTS))

    def gradient(*given):
        steps.append(values.clone())
        return loss.gradient(*given)

    plan = replace(schedule(kind), checkpoints=of, steps=STEPS // of)
    for checkpoint in train(network, pack, replace(loss, gradient=gradient), plan):
        assert checkpoint == len(saved)
        saved.append(values.clone())
        if not visit(values):
            break
    return steps, saved


def goes_on(values):
    return True


@pytest.mark.parametrize("kind", ["constant", "cosine"])
def test_training_stops_where_its_checkpoints_are_no_longer_asked_for(kind):
    steps, saved = checkpoints_of(kind, lambda values: False)
    assert (len(steps), len(saved)) == (STEPS // 2, 1)
    whole, all_held = checkpoints_of(kind, goes_on)
    assert (len(whole), len(all_held)) == (STEPS, 2)
    assert torch.equal(saved[0], all_held[0])


def test_no_step_is_made_once_the_deadline_has_passed():
    pack = some_pack()
    network = drawn(pack, spec())
    start = network.parameters.values.clone()
    given = adjusted_loss(), schedule()
    assert list(train(network, pack, *given, deadline=Deadline.after(-1.0))) == [0, 1]
    assert torch.equal(network.parameters.values, start)


def test_a_checkpoint_holds_averaged_weights_and_training_goes_on_from_the_current_ones():
    steps, saved = checkpoints_of("constant", goes_on)
    mean = steps[0].clone()
    for number, now in enumerate(steps[1 : STEPS // 2 + 1]):
        share = min(0.85, number / (number + 3.0))
        mean = share * mean + (1.0 - share) * now
    torch.testing.assert_close(saved[0], mean, rtol=1e-12, atol=1e-14)
    assert not torch.allclose(saved[0], steps[STEPS // 2], rtol=1e-3)


def test_what_a_visitor_does_to_averaged_weights_is_forgotten():
    steps, saved = checkpoints_of("constant", goes_on)
    other_steps, other_held = checkpoints_of("constant", lambda values: values.zero_() is values)
    for one, other in zip([*steps, *saved], [*other_steps, *other_held], strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("kind", ["constant", "cosine"])
def test_a_checkpoint_more_changes_no_weights(kind):
    """But for the dropout masks, which are renewed at each."""
    _, twice = checkpoints_of(kind, goes_on, dropout=0.0)
    _, once = checkpoints_of(kind, goes_on, of=1, dropout=0.0)
    assert torch.equal(twice[-1], once[-1])


# --- rounds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ensemble", "resampling"),
    [
        ("boosting", "none"),
        ("boosting", "smote"),
        ("self_paced", "none"),
        ("easy_ensemble", "none"),
        ("snapshot", "smote"),
    ],
)
def test_the_rounds_of_an_ensemble_change_nothing_that_they_are_given(ensemble, resampling):
    """The same arguments train the same networks again."""
    dataset = dataset_of(*mixed_table("binary"))
    plan = short_plan(dataset)
    data = parts_of(dataset, plan)
    strategy = strategy_with(
        ensemble=chosen(COMPONENTS["ensemble"][ensemble], 0.0),
        resampling=chosen(COMPONENTS["resampling"][resampling]),
    )
    settings = {"measure": lambda y, proba, weight: 0.0, "deadline": Deadline()}
    first, second = (
        [
            {name: values.tobytes() for name, values in pack.state.items()}
            for pack in train_strategy(strategy, plan, data, **settings).packs
        ]
        for _ in range(2)
    )
    assert len({pack["heads.weight"] for pack in first}) == len(first) > 1
    assert first == second


def test_a_trial_with_weights_that_are_not_finite_fails(monkeypatch):
    """A compiled activation may swallow NaN that a later prediction does not."""
    dataset = dataset_of(*mixed_table("binary", 200))
    plan = short_plan(dataset)
    train_strategy = trial.train_strategy

    def damaged(*given, **named):
        trained = train_strategy(*given, **named)
        (pack,) = trained.packs
        bias = pack.state["heads.bias"].copy()
        bias.flat[0] = np.nan
        return replace(trained, packs=(replace(pack, state={**pack.state, "heads.bias": bias}),))

    monkeypatch.setattr(trial, "train_strategy", damaged)
    outcome = outcome_of(strategy_with(), dataset, plan)
    assert isinstance(outcome, Failed)
    assert outcome.reason == "The training diverged: some weights are not finite."
