"""The hidden layers of every kind of network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypedDict

from autoimb.nn.dropout import MaskPool
from autoimb.nn.layers import Layer, Linear, SpreadLinear
from autoimb.nn.ntk import ScaledLinear
from autoimb.nn.plain import Activation
from autoimb.nn.residual import ActiveNorm, Block
from autoimb.nn.spec import Body, NetworkSpec

__all__ = ["hidden_layers"]


class _Common(TypedDict):
    """What most layers are given alike."""

    activation: Activation
    dropout: float


def hidden_layers(spec: NetworkSpec) -> tuple[list[Layer], float]:
    """Return a network's hidden layers, and 1/(1-p) of the last."""
    kept = 1.0 / (1.0 - MaskPool.rounded(spec.dropout))
    layers = _BODIES[spec.body](spec, kept)
    return layers, 1.0 if spec.body == "residual" else kept


def _common(spec: NetworkSpec) -> _Common:
    return {"activation": spec.activation, "dropout": spec.dropout}


def _inputs(spec: NetworkSpec) -> int:
    return spec.embedded + spec.n_inputs


def _residual(spec: NetworkSpec, kept: float) -> list[Layer]:
    width, activation = spec.width, spec.activation
    blocks = [
        Block(f"block{i}", width, activation=activation, dropout=spec.dropout, kept=kept)
        for i in range(spec.depth)
    ]
    first = Linear("hidden0", _inputs(spec), width, activation=None, embedded=spec.embedded)
    return [first, *blocks, ActiveNorm("norm", width, activation=activation)]


def _scaled(spec: NetworkSpec, kept: float) -> list[Layer]:
    return [
        ScaledLinear(
            f"hidden{i}",
            spec.width if i else _inputs(spec),
            spec.width,
            **_common(spec),
            incoming=kept if i else 1.0,
            embedded=None if i else spec.embedded,
        )
        for i in range(spec.depth)
    ]


def _shared(spec: NetworkSpec, kept: float) -> list[Layer]:
    width, common = spec.width, _common(spec)
    later = [
        Linear(f"hidden{i}", width, width, incoming=kept, **common) for i in range(1, spec.depth)
    ]
    first: Layer
    if spec.k == 1:
        first = Linear("hidden0", _inputs(spec), width, embedded=spec.embedded, **common)
    else:
        first = SpreadLinear(
            "hidden0",
            _inputs(spec),
            width,
            embedded=spec.embedded,
            k=spec.k,
            # as the paper starts them
            spread="normal" if spec.ple or spec.periodic else "signs",
            **common,
        )
    return [first, *later]


_BODIES: Mapping[Body, Callable[[NetworkSpec, float], list[Layer]]] = {
    "plain": _shared,
    "residual": _residual,
    "scaled": _scaled,
}
