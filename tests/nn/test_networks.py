"""Whole networks: padding, prediction, and how they start and learn."""

import itertools

import numpy as np
import pytest
import torch
from msgspec import structs

from autoimb.errors import ArtifactError
from autoimb.nn.network import build
from autoimb.randomness import Key
from autoimb.space.components import COMPONENTS
from autoimb.training.optimizer import Optimizer
from autoimb.training.schedule import Schedule, plan_schedule
from tests.support.small_networks import MEMBERS, NUMBERS, drawn, some_rows, spec
from tests.support.tables import chosen, dataset_of, mixed_table, short_plan, tiny_spec

BODIES = [
    spec(body, k=k, activation=activation, dropout=0.25, periodic=NUMBERS, cardinalities=(4, 6))
    for body, k, activation in [
        ("plain", 1, "selu"),
        ("plain", 4, "silu"),
        ("residual", 1, "relu"),
        ("scaled", 1, "selu"),
        ("scaled", 1, "relu"),
    ]
]
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
    rows = torch.arange(20)
    padded.init_from_rows(x[0], codes[0], rows.repeat(3), keys)
    alone.init_from_rows(x[0, :, :width], codes[0], rows, keys[1:2])
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


@every_body
def test_each_member_reads_its_source_before_and_after_the_freeze(network_spec):
    rows, codes = some_rows(network_spec, members=2, batch=23)
    source = torch.arange(MEMBERS).flip(0)
    for compiled in (True, False):
        network = drawn(network_spec, training=compiled, dtype=torch.float32)
        x = rows.to(network.dtype)
        logits = network.predict(x, codes, source=source)
        for member, table in enumerate(source.tolist()):
            alone = network.predict(x[table, None], codes[table, None])
            torch.testing.assert_close(logits[member], alone[member])
    network.freeze()
    assert network.predict(x, codes, source=source).equal(logits)


# --- how they start -------------------------------------------------------------------------------


def test_a_start_that_looks_at_rows_spreads_every_unit_and_bends_it_among_them():
    network_spec = spec("scaled", periodic=NUMBERS, cardinalities=(4,))
    network = build(network_spec, MEMBERS, dtype=torch.float64)
    keys = [Key(3, member=m) for m in range(MEMBERS)]
    network.draw(keys, [network_spec.n_inputs] * MEMBERS)
    x, codes = some_rows(network_spec, batch=400)
    flat, chosen = codes.flatten(0, 1), torch.arange(MEMBERS * 400)
    network.init_from_rows(x.flatten(0, 1), flat, chosen, keys)
    h = network._inputs(*network._rows(x.flatten(0, 1), flat, chosen))
    outputs = []
    for layer in network._hidden:
        outputs.append(layer._affine(h))
        h = layer.forward(h, None)
    for z in (*outputs, network.predict(x, codes)[:, :, 0]):
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["compiled", "torch"])
def test_every_segment_steps_at_its_rate(dtype):
    network = drawn(spec("scaled", periodic=NUMBERS), dtype=dtype)
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
            drawn_gradient = random.normal(size=plain[p.name].shape) * (p.rate > 0)
            gradient = torch.from_numpy(drawn_gradient).to(dtype)
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
    plan = short_plan(dataset, patience=1)
    plan = plan_schedule(hyper, plan, rows=100, row_operations=1.0, evaluated=100)
    assert (plan.kind, plan.beta2) == (kind, 0.95)
    assert plan.patience == (plan.checkpoints if kind == "coslog4" else 1)
