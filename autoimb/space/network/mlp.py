"""The plain multi-layer perceptron."""

from __future__ import annotations

from typing import Unpack

from autoimb.space.network.component import NETWORK, Common, Hyperparameters
from autoimb.space.option import Float, Int, OneOf

__all__ = ["mlp"]


@NETWORK.option(
    width=Int(32, 256, log=True),
    depth=Int(1, 4),
    dropout=OneOf((0.0, 0.1, 0.25, 0.4)),
    activation=OneOf(("relu", "silu")),
    embedding=OneOf(("ple", "none", "pbld")),
    learning_rate=Float(3e-4, 1e-2, log=True),
    weight_decay=Float(1e-4, 3e-1, log=True),
    batch_factor=OneOf((1.0, 0.5, 2.0)),
    schedule=OneOf(("constant", "cosine")),
)
def mlp(**common: Unpack[Common]) -> Hyperparameters:
    """Plain multi-layer perceptron, on scaled or embedded numbers."""
    return Hyperparameters(k=1, **common)
