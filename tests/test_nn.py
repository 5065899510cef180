"""Packed layers: their outputs and gradients are those of plain PyTorch."""

import itertools

import pytest
import torch

from autoimb.nn.dropout import MaskPool
from autoimb.nn.network import Network, NetworkSpec, build
from autoimb.randomness import Key

SPECS = [
    NetworkSpec(
        kind="any",
        width=8,
        depth=depth,
        k=k,
        activation=activation,
        dropout=dropout,
        embedding_dim=3,
        ple=False,
        n_inputs=5,
        cardinalities=cardinalities,
        n_classes=3,
    )
    for depth, k, activation, dropout, cardinalities in itertools.product(
        [1, 3], [1, 4], ["relu", "silu"], [0.0, 0.25], [(), (4, 6)]
    )
]


def reference(network: Network, values: dict, x, codes, masks) -> torch.Tensor:
    """The same network in plain PyTorch, one member at a time, with inverted dropout."""
    spec = network.spec
    kept = 1 / (1 - MaskPool.rounded(spec.dropout))
    outputs = []
    for m in range(network.members):
        h = x[m]
        if codes is not None:
            table = values["embedding.table"][m]
            starts = [sum(spec.cardinalities[:i]) for i in range(len(spec.cardinalities))]
            vectors = [table[codes[m, :, i] + s] for i, s in enumerate(starts)]
            h = torch.cat([*vectors, h], 1)
        copies = h[:, None, :].expand(-1, spec.k, -1)  # (B, I) -> (B, k, I)
        if spec.k > 1:
            copies = copies * values["hidden0.scale"][m].T
        for i in range(spec.depth):
            z = copies @ values[f"hidden{i}.weight"][m] + values[f"hidden{i}.bias"][m]
            copies = torch.relu(z) if spec.activation == "relu" else torch.nn.functional.silu(z)
            if masks is not None:
                copies = copies * masks[i][m].view(len(h), spec.k, -1) * kept
        heads = values["heads.weight"][m], values["heads.bias"][m]
        outputs.append(torch.einsum("bkh,kch->bkc", copies, heads[0]) + heads[1][:, 0])
    return torch.stack(outputs)  # (M, B, k, C)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_outputs_and_gradients_are_those_of_plain_pytorch(spec):
    members, batch = 2, 6
    network = build(spec, members, dtype=torch.float64, training=True)
    keys = [Key(7, member=m) for m in range(members)]
    network.draw(keys, [spec.n_inputs] * members)
    torch.manual_seed(0)
    x = torch.randn(members, batch, spec.n_inputs, dtype=torch.float64)
    codes = None
    if spec.cardinalities:
        columns = [torch.randint(0, n, (members, batch)) for n in spec.cardinalities]
        codes = torch.stack(columns, 2)
    make_pool = lambda: MaskPool(  # noqa: E731  drawn twice, alike
        keys,
        spec.dropout,
        size=batch * spec.k * spec.width,
        dtype=torch.float64,
        device=torch.device("cpu"),
    )
    values = {
        p.name: network.parameters.value(p.name).clone().requires_grad_()
        for p in network.parameters.wanted
    }
    masks = None
    if spec.dropout:
        pool = make_pool()
        masks = [pool.mask(batch * spec.k, spec.width) for _ in range(spec.depth)]
    expected = reference(network, values, x, codes, masks)
    logits = network.forward(x, codes, make_pool()).permute(0, 3, 1, 2)
    torch.testing.assert_close(logits, expected, rtol=1e-12, atol=1e-12)

    upstream = torch.randn_like(expected)
    expected.backward(upstream)
    network.backward(upstream.permute(0, 2, 3, 1).clone())
    for name, value in values.items():
        torch.testing.assert_close(
            network.parameters.gradient(name), value.grad, rtol=1e-10, atol=1e-12, msg=name
        )


def test_prediction_drops_nothing_and_does_not_depend_on_chunks():
    spec = SPECS[-1]
    network = build(spec, 2, dtype=torch.float64)
    network.draw([Key(0), Key(0, member=1)], [5, 5])
    x = torch.randn(1, 23, 5, dtype=torch.float64)
    codes = torch.zeros(1, 2, 23, dtype=torch.int64).transpose(1, 2)  # columns side by side
    whole = network.predict(x, codes)
    torch.testing.assert_close(network.predict(x, codes, chunk=4), whole)
    values = {p.name: network.parameters.value(p.name) for p in network.parameters.wanted}
    plain = reference(network, values, x.expand(2, -1, -1), codes.expand(2, -1, -1), None)
    torch.testing.assert_close(whole, plain)


def test_a_members_start_does_not_depend_on_the_pack_or_on_padding():
    spec = SPECS[0]
    together = build(spec, 3)
    together.draw([Key(5, member=m) for m in range(3)], [5, 3, 5])
    alone = build(spec, 1)
    alone.draw([Key(5, member=1)], [3])
    for p in together.parameters.wanted:
        mine = together.parameters.value(p.name)[1]
        torch.testing.assert_close(mine, alone.parameters.value(p.name)[0], rtol=0, atol=0)
    assert together.parameters.value("hidden0.weight")[1, 3:].abs().sum() == 0


def test_state_round_trips_and_a_wrong_shape_is_named():
    spec = SPECS[0]
    network = build(spec, 2)
    network.draw([Key(1), Key(1, member=1)], [5, 5])
    other = build(spec, 2)
    other.load(network.state())
    torch.testing.assert_close(other.parameters.values, network.parameters.values)
    broken = network.state() | {"heads.bias": network.state()["heads.bias"][:1]}
    with pytest.raises(ValueError, match=r"heads\.bias"):
        other.load(broken)
