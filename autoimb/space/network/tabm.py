"""TabM: one network that is k networks."""

from __future__ import annotations

from typing import Unpack

from autoimb.space.network.component import NETWORK, Common, Hyperparameters
from autoimb.space.option import Float, Int, OneOf

__all__ = ["tabm"]


@NETWORK.option(
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
def tabm(*, k: int, **common: Unpack[Common]) -> Hyperparameters:
    """Train k perceptrons that share all but an input scale and the head: TabM (mini).

    Gorishniy, Kotelnikov & Babenko, "TabM", 2025.
    """
    return Hyperparameters(k=k, **common)
