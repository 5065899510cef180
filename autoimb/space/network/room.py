"""The network room's table and what every network option gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from autoimb.nn.layers import Activation
from autoimb.space.option import Room

__all__ = ["NETWORK", "Hyperparameters"]

NETWORK = Room("network", "The network, its regularisation and its training.")


@dataclass(frozen=True)
class Hyperparameters:
    """A network before it knows the table.

    Attributes
    ----------
    width, depth, k, activation, dropout, ple
        As in `autoimb.nn.network.NetworkSpec`.
    learning_rate, weight_decay : float
        Of AdamW, at a batch of 256 rows; the rate grows with the root of the batch.
    batch_factor : float
        Batch size as a multiple of the plan's.
    schedule : {"constant", "cosine"}
    """

    width: int
    depth: int
    k: int
    activation: Activation
    dropout: float
    ple: bool
    learning_rate: float
    weight_decay: float
    batch_factor: float
    schedule: Literal["constant", "cosine"]
