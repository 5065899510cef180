"""The network component, and the hyperparameters that every network option returns."""

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
    """Hyperparameters of a network, independent of the table.

    Attributes
    ----------
    width, depth, k, activation, dropout, body
        See `autoimb.nn.network.NetworkSpec`.
    embedding : {"ple", "pbld", "none"}
        Input of numbers: piecewise-linearly encoded, with a periodic embedding, or scaled.
    learning_rate, weight_decay : float
        Parameters of AdamW for a batch of 256 rows; the learning rate is proportional to the square
        root of the batch size.
    batch_factor : float
        Batch size, as a multiple of the plan's batch size.
    schedule : {"constant", "cosine", "coslog4"}
    beta2 : float
        Decay rate of AdamW's mean of squared gradients.
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
        """Return whether numbers are piecewise-linearly encoded."""
        return self.embedding == "ple"

    @property
    def periodic(self) -> bool:
        """Return whether numbers have a periodic embedding."""
        return self.embedding == "pbld"


NETWORK: Component[Hyperparameters] = Component(
    "network", "The network, its regularisation and its training."
)
