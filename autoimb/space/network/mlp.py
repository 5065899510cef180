"""The plain multi-layer perceptron."""

from __future__ import annotations

from autoimb.nn.node import Activation
from autoimb.space.network.room import NETWORK, Anneal, Embedding, Hyperparameters
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
def mlp(
    *,
    width: int,
    depth: int,
    dropout: float,
    activation: Activation,
    embedding: Embedding,
    learning_rate: float,
    weight_decay: float,
    batch_factor: float,
    schedule: Anneal,
) -> Hyperparameters:
    """Plain multi-layer perceptron, on scaled or embedded numbers."""
    return Hyperparameters(
        width=width,
        depth=depth,
        k=1,
        activation=activation,
        dropout=dropout,
        embedding=embedding,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        batch_factor=batch_factor,
        schedule=schedule,
    )
