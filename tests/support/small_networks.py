"""Small packed networks with changed initial weights, and rows for them."""

from __future__ import annotations

import numpy as np
import torch

from autoimb.nn.network import build
from autoimb.randomness import Key
from tests.support.tables import tiny_spec

MEMBERS, BATCH, NUMBERS = 2, 7, 3


def spec(body, **changes):
    small = {"width": 8, "depth": 2, "embedding_dim": 2, "n_inputs": 5, "n_classes": 3}
    return tiny_spec(**small | {"body": body} | changes)


def drawn(network_spec, members=MEMBERS, *, training=True, dtype=torch.float64, seed=7):
    """Return a network whose trained parameters all differ from their initial values."""
    network = build(network_spec, members, dtype=dtype, training=training)
    keys = [Key(seed, member=m) for m in range(members)]
    network.draw(keys, [network_spec.n_inputs] * members)
    random = np.random.default_rng(seed)
    for segment in network.parameters.segments:
        part = network.parameters.values[segment.part]
        part.add_(torch.from_numpy(random.normal(0.0, 0.1, len(part))))
    return network


def some_rows(network_spec, members=MEMBERS, batch=BATCH, seed=0):
    random = np.random.default_rng(seed)
    x = torch.from_numpy(random.normal(size=(members, batch, network_spec.n_inputs)))
    columns = [random.integers(0, n, (members, batch)) for n in network_spec.cardinalities]
    return x, torch.from_numpy(np.stack(columns, 2)) if columns else None
