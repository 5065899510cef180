"""RealMLP: a perceptron with better defaults."""

from __future__ import annotations

from typing import Unpack

from autoimb.space.network.component import NETWORK, Common, Hyperparameters
from autoimb.space.option import Float, Int, OneOf

__all__ = ["realmlp"]

BETA2 = 0.95  # the default of the paper


@NETWORK.option(
    width=Int(32, 256, log=True),
    depth=Int(1, 3),
    dropout=OneOf((0.15, 0.0, 0.3)),
    activation=OneOf(("selu", "silu", "relu")),
    embedding=OneOf(("pbld", "none", "ple")),
    learning_rate=Float(1e-2, 2e-1, log=True),
    weight_decay=Float(1e-3, 1e-1, log=True),
    batch_factor=OneOf((1.0, 0.5, 2.0)),
    schedule=OneOf(("coslog4", "cosine", "constant")),
)
def realmlp(**common: Unpack[Common]) -> Hyperparameters:
    """Perceptron with scaled inputs, learned activations and cyclic rates: RealMLP.

    Holzmüller, Grinsztajn & Steinwart, "Better by default", 2024: robust scaling with a smooth clip
    (the encoder's), a trained scale of each input, the neural tangent parametrisation, parametric
    activations, a start that looks at the rows, learning rates by kind of parameter, four cycles
    of the rate. The rate is of that parametrisation. Left out: label smoothing, which ranking
    metrics do without, and the schedules of dropout and decay.
    """
    return Hyperparameters(k=1, body="scaled", beta2=BETA2, **common)
