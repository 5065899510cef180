"""TabM: one network that is k networks."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Literal

from autoimb.nn.node import Activation
from autoimb.space.network.room import NETWORK, Anneal, Embedding, Hyperparameters
from autoimb.space.option import Float, Int, OneOf

__all__ = ["tabm", "tabm_published"]

_option = partial(
    NETWORK.option,
    k=OneOf((4, 6, 8)),
    width=Int(32, 192, log=True),
    depth=Int(1, 3),
    dropout=OneOf((0.0, 0.1, 0.25, 0.4)),
    activation=OneOf(("relu", "silu")),
    embedding=OneOf(("ple", "none", "pbld")),
    learning_rate=Float(5e-4, 3e-2, log=True),
    weight_decay=Float(1e-4, 3e-1, log=True),
    batch_factor=OneOf((1.0, 0.5, 2.0)),
    schedule=OneOf(("constant", "cosine")),
)


@_option()
def tabm(
    *,
    k: int,
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
    """Train k perceptrons that share all but an input scale and the head: TabM (mini).

    Gorishniy, Kotelnikov & Babenko, "TabM", 2025.
    """
    return Hyperparameters(
        width=width,
        depth=depth,
        k=k,
        activation=activation,
        dropout=dropout,
        embedding=embedding,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        batch_factor=batch_factor,
        schedule=schedule,
    )


@_option(searched=False, variant=OneOf(("full", "mini")))
def tabm_published(
    *,
    k: int,
    width: int,
    depth: int,
    dropout: float,
    activation: Activation,
    embedding: Embedding,
    learning_rate: float,
    weight_decay: float,
    batch_factor: float,
    schedule: Anneal,
    variant: Literal["full", "mini"],
) -> Hyperparameters:
    """TabM as published: scales in every layer or (mini) the first, one start for each feature.

    Biases start at random as well, and the k of the full variant alike.
    """
    mini: Hyperparameters = tabm(
        k=k,
        width=width,
        depth=depth,
        dropout=dropout,
        activation=activation,
        embedding=embedding,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        batch_factor=batch_factor,
        schedule=schedule,
    )
    return replace(mini, body="adapters" if variant == "full" else "published")
