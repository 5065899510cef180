"""Whole networks: outputs and gradients are those of plain PyTorch; how they start and learn."""

import itertools

import numpy as np
import pytest
import torch
from msgspec import structs
from torch.nn import functional

from autoimb.data.folds import plan_folds
from autoimb.errors import ArtifactError
from autoimb.nn.dropout import MaskPool
from autoimb.nn.network import Network, build
from autoimb.randomness import Key
from autoimb.space.components import COMPONENTS
from autoimb.training.optimizer import Optimizer
from autoimb.training.schedule import Schedule, plan_schedule
from tests.support.small_networks import BATCH, MEMBERS, NUMBERS, drawn, some_rows, spec
from tests.support.tables import chosen, dataset_of, mixed_table, short_plan, tiny_spec

CPU = torch.device("cpu")
ACTIVATIONS = {"relu": torch.relu, "silu": functional.silu, "selu": torch.selu}


SPECS = [
    spec(body, k=k, activation=activation, dropout=dropout, periodic=periodic, cardinalities=levels)
    for body, k, activation in [
        ("plain", 1, "selu"),
        ("plain", 4, "silu"),
        ("plain", 4, "relu"),
        ("residual", 1, "relu"),
        ("residual", 1, "silu"),
        ("scaled", 1, "selu"),
        ("scaled", 1, "relu"),
    ]
    for dropout, periodic, levels in itertools.product((0.0, 0.25), (0, NUMBERS), ((), (4, 6)))
]
SPECS += [spec("plain", k=k, depth=depth, dropout=0.25) for k in (1, 4) for depth in (1, 3)]


def pool_of(network_spec, members=MEMBERS):
    return MaskPool(
        [Key(7, member=m) for m in range(members)],
        network_spec.dropout,
        size=BATCH * network_spec.k * network_spec.widest,
        dtype=torch.float64,
        device=CPU,
    )


def normed(x, own, name):
    scale, shift = own[f"{name}.scale"][0], own[f"{name}.shift"][0]
    return functional.layer_norm(x, x.shape[-1:], scale, shift)


def residual(spec, own, h, active, dropped):
    h = h @ own["hidden0.weight"] + own["hidden0.bias"]
    for i in range(spec.depth):
        inner = normed(h, own, f"block{i}.norm") @ own[f"block{i}.inner.weight"]
        inner = dropped(active(inner + own[f"block{i}.inner.bias"]))
        h = h + inner @ own[f"block{i}.outer.weight"] + own[f"block{i}.outer.bias"]
    return active(normed(h, own, "norm"))


def scaled(spec, own, h, active, dropped):
    h = h * own["hidden0.scale"][:, 0]
    for i in range(spec.depth):
        h = h / np.sqrt(h.shape[-1])
        z = h @ own[f"hidden{i}.weight"] + own[f"hidden{i}.bias"]
        h = dropped(z + (active(z) - z) * own[f"hidden{i}.slope"])
    return h


def shared(spec, own, h, active, dropped):
    for i in range(spec.depth):
        if f"hidden{i}.scale" in own:
            h = h * own[f"hidden{i}.scale"].T
        h = h @ own[f"hidden{i}.weight"]
        h = dropped(active(h + own[f"hidden{i}.bias"]))
    return h


def reference(network: Network, own: dict, x, codes, masks):
    """One member in plain PyTorch: (B, n_inputs) -> (B, k, C). Masks stand in their order."""
    spec = network.spec
    active, kept = ACTIVATIONS[spec.activation], 1 / (1 - MaskPool.rounded(spec.dropout))

    def dropped(h: torch.Tensor) -> torch.Tensor:
        return h if masks is None else h * next(masks).view_as(h) * kept

    parts = [x]
    if spec.periodic:
        angle = 2 * torch.pi * own["periodic.frequency"] * x.T[: spec.periodic, :, None]
        wave = torch.cos(angle + own["periodic.phase"])  # (F, B, 16)
        z = wave @ own["periodic.weight"] + own["periodic.bias"]
        parts.insert(0, z.transpose(0, 1).flatten(1))
    if codes is not None:
        starts = np.cumsum([0, *spec.cardinalities])
        vectors = [own["embedding.table"][codes[:, i] + s] for i, s in enumerate(starts[:-1])]
        parts.insert(0, torch.cat(vectors, 1))
    h = torch.cat(parts, 1)[:, None].expand(-1, spec.k, -1)  # (B, k, I)
    body = {"residual": residual, "scaled": scaled}.get(spec.body, shared)
    h = body(spec, own, h, active, dropped)
    fan = 1 / np.sqrt(spec.width) if spec.body == "scaled" else 1.0
    return torch.einsum("bkh,kch->bkc", h, own["heads.weight"]) * fan + own["heads.bias"][:, 0]


@pytest.mark.parametrize("training", [True, False], ids=["compiled", "torch"])
@pytest.mark.parametrize("network_spec", SPECS, ids=str)
def test_outputs_and_gradients_are_those_of_plain_pytorch(network_spec, training):
    network = drawn(network_spec, training=training)
    x, codes = some_rows(network_spec)
    values = {
        p.name: network.parameters.value(p.name).clone().requires_grad_()
        for p in network.parameters.declared
    }
    inside = network_spec.widest
    pool, expected = pool_of(network_spec), []
    masks = [pool.mask(BATCH * network_spec.k, inside) for _ in range(network_spec.depth)]
    for m in range(MEMBERS):
        own = {name: value[m] for name, value in values.items()}
        mine = iter([each[m] for each in masks]) if network_spec.dropout else None
        expected.append(reference(network, own, x[m], None if codes is None else codes[m], mine))
    expected = torch.stack(expected)
    logits = network.forward(x, codes, pool_of(network_spec)).permute(0, 3, 1, 2)
    torch.testing.assert_close(logits, expected, rtol=1e-10, atol=1e-10)

    upstream = torch.from_numpy(np.random.default_rng(1).normal(size=expected.shape))
    expected.backward(upstream)
    network.backward(upstream.permute(0, 2, 3, 1).clone())
    for p in network.parameters.declared:
        if p.rate:
            torch.testing.assert_close(
                network.parameters.gradient(p.name),
                values[p.name].grad,
                rtol=1e-8,
                atol=1e-10,
                msg=p.name,
            )
        else:
            assert not network.parameters.gradient(p.name).any()


BODIES = [each for each in SPECS if each.dropout and each.periodic and each.cardinalities]
every_body = pytest.mark.parametrize("network_spec", BODIES, ids=str)


@every_body
def test_padding_and_the_pack_change_nothing(network_spec):
    width = network_spec.n_inputs - 2
    padded = build(network_spec, 3, dtype=torch.float64)
    alone = build(
        tiny_spec(**structs.asdict(network_spec) | {"n_inputs": width, "cardinalities": (4, 6)}),
        1,
        dtype=torch.float64,
    )
    padded.draw([Key(5, member=m) for m in range(3)], [width, width, width + 2])
    alone.draw([Key(5, member=1)], [width])
    x, codes = some_rows(network_spec, members=1, batch=20)
    x[:, :, width:] = 0.0
    keys = [Key(5, member=m) for m in range(3)]
    padded.init_from_rows(x.expand(3, -1, -1), codes.expand(3, -1, -1), keys)
    alone.init_from_rows(x[:, :, :width], codes, keys[1:2])
    torch.testing.assert_close(
        padded.predict(x, codes)[1], alone.predict(x[:, :, :width], codes)[0]
    )


@every_body
def test_prediction_does_not_depend_on_chunks_and_survives_the_file(network_spec):
    network = drawn(network_spec)
    x, codes = some_rows(network_spec, members=1, batch=23)
    whole = network.predict(x, codes)
    assert whole.equal(network.predict(x, codes))  # nothing is dropped
    torch.testing.assert_close(network.predict(x, codes, chunk=4), whole)
    other = build(network_spec, MEMBERS, dtype=torch.float64)  # as it is loaded: by torch
    other.load(network.state())
    torch.testing.assert_close(other.predict(x, codes), whole)


def test_a_residual_networks_row_does_not_depend_on_the_rows_beside_it():
    network = drawn(spec("residual"))
    x, _ = some_rows(network.spec)
    whole = network.forward(x, None).clone()
    torch.testing.assert_close(network.forward(x[:, :2], None), whole[..., :2])


# --- how they start -------------------------------------------------------------------------------


def test_a_start_that_looks_at_rows_spreads_every_unit_and_bends_it_among_them():
    network_spec = spec("scaled", periodic=NUMBERS, cardinalities=(4,))
    network = build(network_spec, MEMBERS, dtype=torch.float64)
    keys = [Key(3, member=m) for m in range(MEMBERS)]
    network.draw(keys, [network_spec.n_inputs] * MEMBERS)
    x, codes = some_rows(network_spec, batch=400)
    network.init_from_rows(x, codes, keys)
    first, second = network._hidden
    for z in (
        first.node._preactivation,
        second.node._preactivation,
        network.predict(x, codes)[:, :, 0],
    ):
        torch.testing.assert_close(z.std(1, correction=0), torch.ones_like(z[:, 0]))
        assert ((z.amin(1) < 0) & (z.amax(1) > 0)).all()
    start = network.state()
    assert not np.array_equal(start["heads.weight"][0], start["heads.weight"][1])


@pytest.mark.parametrize(
    "changes", [{"body": "spiral"}, {"periodic": 9}, {"body": "residual", "k": 4}], ids=str
)
def test_a_network_that_does_not_exist_is_refused(changes):
    with pytest.raises(ArtifactError, match="can't be built"):
        spec(**{"body": "plain"} | changes)


# --- how they learn -------------------------------------------------------------------------------


def test_every_segment_steps_at_its_own_rate():
    network = drawn(spec("scaled", periodic=NUMBERS))
    parameters = network.parameters
    random = np.random.default_rng(4)
    plain = {p.name: parameters.value(p.name).clone().requires_grad_() for p in parameters.declared}
    groups = [
        {
            "params": [plain[p.name]],
            "lr": 0.02 * p.rate,
            "weight_decay": 0.3 if p.decay and p.rate else 0.0,
        }
        for p in parameters.declared
    ]
    theirs = torch.optim.AdamW(groups, betas=(0.9, 0.95))
    ours = Optimizer(parameters, weight_decay=0.3, beta2=0.95)
    for _ in range(5):
        for p in parameters.declared:
            gradient = torch.from_numpy(random.normal(size=plain[p.name].shape)) * (p.rate > 0)
            plain[p.name].grad = gradient
            parameters.gradient(p.name).copy_(gradient)
        ours.step(0.02)
        theirs.step()
    for name, value in plain.items():
        torch.testing.assert_close(parameters.value(name), value.detach(), msg=name)
    assert {p.rate for p in parameters.declared} == {0.0, 0.1, 1.0, 6.0}


def test_coslog4_has_four_cycles_each_twice_as_long():
    plan = Schedule(
        15, steps=100, batch_size=1, learning_rate=2.0, weight_decay=0.0, kind="coslog4"
    )
    rates = np.array([plan.rate(step) for step in range(1500)])
    ends = np.flatnonzero((rates[1:-1] < rates[:-2]) & (rates[1:-1] <= rates[2:])) + 1
    np.testing.assert_allclose(ends, [100, 300, 700], atol=1)
    peaks = [rates[a:b].max() for a, b in itertools.pairwise([0, 100, 300, 700, 1500])]
    np.testing.assert_allclose(peaks, 2.0, rtol=1e-3)
    assert rates[[0, -1]].max() < 2e-3


@pytest.mark.parametrize("kind", ["coslog4", "cosine"])
def test_realmlp_trains_as_published_and_cycles_to_their_end(kind):
    option = COMPONENTS["network"]["realmlp"]
    hyper = option.code(**chosen(option, 0.0, schedule=kind).values)
    dataset = dataset_of(*mixed_table("binary"))
    folds = plan_folds(dataset.y, cv=2, random_state=0)
    plan = short_plan(dataset, folds, patience=1)
    plan = plan_schedule(hyper, plan, rows=100, row_operations=1.0, evaluated=100)
    assert (plan.kind, plan.beta2) == (kind, 0.95)
    assert plan.patience == (plan.checkpoints if kind == "coslog4" else 1)
