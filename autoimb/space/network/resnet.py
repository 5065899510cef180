"""The residual network."""

from __future__ import annotations

from typing import Unpack

from autoimb.space.network.component import NETWORK, Common, Hyperparameters
from autoimb.space.option import Float, Int, OneOf

__all__ = ["resnet"]


@NETWORK.option(
    width=Int(32, 192, log=True),
    depth=Int(1, 3),
    dropout=OneOf((0.0, 0.1, 0.25, 0.4)),
    activation=OneOf(("relu", "silu")),
    embedding=OneOf(("ple", "none", "pbld")),
    learning_rate=Float(3e-4, 1e-2, log=True),
    weight_decay=Float(1e-4, 3e-1, log=True),
    batch_factor=OneOf((1.0, 0.5, 2.0)),
    schedule=OneOf(("constant", "cosine")),
)
def resnet(**common: Unpack[Common]) -> Hyperparameters:
    """Residual blocks, each with a norm of the row before it (Gorishniy et al., 2021).

    ``x + W2 dropout(activation(W1 norm(x)))``, twice as wide inside; the norm is of a row's units
    instead of the batch's, so that no row's output depends on the rows beside it.
    """
    return Hyperparameters(k=1, body="residual", **common)
