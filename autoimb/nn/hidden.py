"""The hidden layers of every kind of network."""

from __future__ import annotations

from dataclasses import replace

from autoimb.nn.adapters import AdapterLinear
from autoimb.nn.dropout import MaskPool
from autoimb.nn.layers import Layer, Linear, Spread, SpreadLinear
from autoimb.nn.ntk import ScaledFront, ScaledLinear
from autoimb.nn.packed import PackedFront, PackedLinear
from autoimb.nn.parameters import Parameter
from autoimb.nn.residual import ActiveNorm, Block
from autoimb.nn.spec import NetworkSpec

__all__ = ["hidden_layers", "published"]


def hidden_layers(spec: NetworkSpec) -> tuple[list[Layer], float]:
    """Return a network's hidden layers, and 1/(1-p) of the last."""
    n_in, kept = spec.embedded + spec.n_inputs, 1.0 / (1.0 - MaskPool.rounded(spec.dropout))
    activation, dropout, width = spec.activation, spec.dropout, spec.width
    if spec.body == "residual":
        blocks: list[Layer] = [
            Block(f"block{i}", width, activation=activation, dropout=dropout, kept=kept)
            for i in range(spec.depth)
        ]
        first = Linear("hidden0", n_in, width, activation=None, padded=True)
        return [first, *blocks, ActiveNorm("norm", width, activation=activation)], 1.0
    if spec.body == "scaled":
        scaled = [
            ScaledLinear(
                f"hidden{i}",
                width if i else n_in,
                width,
                activation=activation,
                dropout=dropout,
                incoming=kept if i else 1.0,
                first=i == 0,
            )
            for i in range(spec.depth)
        ]
        return [ScaledFront("hidden0", n_in), *scaled], kept
    spread: Spread = "normal" if spec.ple or spec.periodic else "signs"
    if spec.body == "adapters":
        adapted: list[Layer] = [
            AdapterLinear(
                f"hidden{i}",
                width if i else n_in,
                width,
                k=spec.k,
                spread=None if i else spread,
                activation=activation,
                dropout=dropout,
                incoming=kept if i else 1.0,
            )
            for i in range(spec.depth)
        ]
        return adapted, kept
    if spec.body == "packed":
        front = PackedFront(
            "hidden0", n_in, width, k=spec.k, activation=activation, dropout=dropout
        )
        return [
            front,
            *(
                PackedLinear(
                    f"hidden{i}",
                    width,
                    k=spec.k,
                    activation=activation,
                    dropout=dropout,
                    incoming=kept,
                )
                for i in range(1, spec.depth)
            ),
        ], kept
    later = [
        Linear(f"hidden{i}", width, width, activation=activation, dropout=dropout, incoming=kept)
        for i in range(1, spec.depth)
    ]
    if spec.k == 1:
        alone = Linear("hidden0", n_in, width, activation=activation, dropout=dropout, padded=True)
        return [alone, *later], kept
    copies = SpreadLinear(
        "hidden0",
        n_in,
        width,
        k=spec.k,
        spread=spread,
        activation=activation,
        dropout=dropout,
    )
    return [copies, *later], kept


def published(p: Parameter, width: int) -> Parameter:
    """Give a parameter of TabM its published start: by torch's `Linear`, and by feature.

    Columns of one feature start with one scale, and a bias from ±1/sqrt(inputs).
    """
    if p.name.startswith(("hidden", "heads")) and p.name.endswith(".bias"):
        return replace(p, init="uniform", fan=width)
    return replace(p, alike="feature") if p.name == "hidden0.scale" else p
