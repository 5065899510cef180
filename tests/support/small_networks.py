"""Small packed networks with changed initial weights, and rows for them."""

from __future__ import annotations

import numpy as np
import torch

from autoimb.nn.dropout import MaskPool
from autoimb.nn.network import build
from autoimb.randomness import Key
from tests.support.tables import tiny_spec

MEMBERS, BATCH, NUMBERS = 2, 7, 3


def spec(body, **changes):
    small = {"width": 8, "depth": 2, "embedding_dim": 2, "n_inputs": 5, "n_classes": 3}
    return tiny_spec(**small | {"body": body} | changes)


def drawn(network_spec, members=MEMBERS, *, training=False, dtype=torch.float64, seed=7):
    """Return a network whose trained parameters all differ from their initial values.

    Torch computes in double precision, and a network that is trained in single precision is
    compiled.
    """
    network = build(network_spec, members, dtype=dtype, training=training)
    keys = [Key(seed, member=m) for m in range(members)]
    network.draw(keys, [network_spec.n_inputs] * members)
    random = np.random.default_rng(seed)
    for segment in network.parameters.segments:
        part = network.parameters.values[segment.part]
        part.add_(torch.from_numpy(random.normal(0.0, 0.1, len(part))))
    return network


def some_rows(network_spec, members=MEMBERS, batch=BATCH, seed=0):
    """Return rows of each member: (M, B, n_inputs), and codes (M, B, Q) or None."""
    random = np.random.default_rng(seed)
    x = torch.from_numpy(random.normal(size=(members, batch, network_spec.n_inputs)))
    columns = [random.integers(0, n, (members, batch)) for n in network_spec.cardinalities]
    return x, torch.from_numpy(np.stack(columns, 2)) if columns else None


def logits_of(network, x, codes, pool=None):
    """Return the logits (M, B, k, C) of each member's rows."""
    flat = None if codes is None else codes.flatten(0, 1)
    chosen = torch.arange(x.shape[0] * x.shape[1])
    logits = network.forward(x.flatten(0, 1).to(network.dtype), flat, chosen, pool)
    return logits.permute(0, 3, 1, 2).clone()


def pool_of(network, batch=BATCH, members=None):
    """Return the dropout masks of a network's members."""
    spec = network.spec
    return MaskPool(
        [Key(7, member=m) for m in members or range(network.members)],
        spec.dropout,
        size=batch * spec.k * spec.widest,
        dtype=network.dtype,
        device=network.device,
    )
