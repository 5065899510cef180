"""The network component's table and what every network option gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict

from autoimb.nn.spec import Activation, Body
from autoimb.space.option import Component

__all__ = ["NETWORK", "Anneal", "Common", "Embedding", "Hyperparameters"]

Embedding = Literal["ple", "pbld", "none"]
Anneal = Literal["constant", "cosine", "coslog4"]


class Common(TypedDict):
    """The parameters that every network option has; see `Hyperparameters`."""

    width: int
    depth: int
    dropout: float
    activation: Activation
    embedding: Embedding
    learning_rate: float
    weight_decay: float
    batch_factor: float
    schedule: Anneal


@dataclass(frozen=True)
class Hyperparameters:
    """A network before it knows the table.

    Attributes
    ----------
    width, depth, k, activation, dropout, body
        As in `autoimb.nn.network.NetworkSpec`.
    embedding : {"ple", "pbld", "none"}
        How numbers enter: piecewise-linearly encoded, with a periodic embedding, or scaled.
    learning_rate, weight_decay : float
        Of AdamW, at a batch of 256 rows; the rate grows with the root of the batch.
    batch_factor : float
        Batch size as a multiple of the plan's.
    schedule : {"constant", "cosine", "coslog4"}
    beta2 : float
        Of AdamW: how long it remembers squared gradients.
    """

    width: int
    depth: int
    k: int
    activation: Activation
    dropout: float
    embedding: Embedding
    learning_rate: float
    weight_decay: float
    batch_factor: float
    schedule: Anneal
    body: Body = "plain"
    beta2: float = 0.99

    @property
    def ple(self) -> bool:
        """Whether numbers enter piecewise-linearly encoded."""
        return self.embedding == "ple"

    @property
    def periodic(self) -> bool:
        """Whether numbers get a periodic embedding."""
        return self.embedding == "pbld"


NETWORK: Component[Hyperparameters] = Component(
    "network", "The network, its regularisation and its training."
)
