"""The network component: families of networks, with the hyperparameters that every one returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from autoimb.nn.spec import Activation, Body
from autoimb.space.option import Component, Float, Int, OneOf

__all__ = ["NETWORK", "Anneal", "Embedding", "Hyperparameters"]

Embedding = Literal["ple", "pbld", "none"]
Anneal = Literal["constant", "cosine", "coslog4"]

_REALMLP_BETA2 = 0.95  # the default of the paper


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
    dropout: float
    activation: Activation
    embedding: Embedding
    learning_rate: float
    weight_decay: float
    batch_factor: float
    schedule: Anneal
    k: int = 1
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

# Ranges that options change where their family differs. The order is that of the parameters.
_RANGES: dict[str, Any] = {
    "width": Int(32, 192, log=True),
    "depth": Int(1, 3),
    "dropout": OneOf((0.0, 0.1, 0.25, 0.4)),
    "activation": OneOf(("relu", "silu")),
    "embedding": OneOf(("ple", "none", "pbld")),
    "learning_rate": Float(3e-4, 1e-2, log=True),
    "weight_decay": Float(1e-4, 3e-1, log=True),
    "batch_factor": OneOf((1.0, 0.5, 2.0)),
    "schedule": OneOf(("constant", "cosine")),
}
_REALMLP: dict[str, Any] = {
    "width": Int(32, 256, log=True),
    "dropout": OneOf((0.15, 0.0, 0.3)),
    "activation": OneOf(("selu", "silu", "relu")),
    "embedding": OneOf(("pbld", "none", "ple")),
    "learning_rate": Float(1e-2, 2e-1, log=True),
    "weight_decay": Float(1e-3, 1e-1, log=True),
    "schedule": OneOf(("coslog4", "cosine", "constant")),
}


@NETWORK.option(**_RANGES | {"width": Int(32, 256, log=True), "depth": Int(1, 4)})
def mlp(**values: Any) -> Hyperparameters:
    """Plain multi-layer perceptron, on scaled or embedded numbers."""
    return Hyperparameters(**values)


@NETWORK.option(**_RANGES | _REALMLP)
def realmlp(**values: Any) -> Hyperparameters:
    """Perceptron with scaled inputs, learned activations and cyclic rates: RealMLP.

    Holzmüller, Grinsztajn & Steinwart, "Better by default", 2024: robust scaling with a smooth clip
    (the encoder's), a trained scale of each input, the neural tangent parametrisation, parametric
    activations, a start that looks at the rows, learning rates by kind of parameter, four cycles
    of the rate. The rate is of that parametrisation. Left out: label smoothing, which ranking
    metrics do without, and the schedules of dropout and decay.
    """
    return Hyperparameters(body="scaled", beta2=_REALMLP_BETA2, **values)


@NETWORK.option(**_RANGES)
def resnet(**values: Any) -> Hyperparameters:
    """Residual blocks, each with a norm of the row before it (Gorishniy et al., 2021).

    ``x + W2 dropout(activation(W1 norm(x)))``, twice as wide inside; the norm is of a row's units
    instead of the batch's, so that no row's output depends on the rows beside it.
    """
    return Hyperparameters(body="residual", **values)


@NETWORK.option(k=OneOf((4, 6, 8)), **_RANGES | {"learning_rate": Float(5e-4, 3e-2, log=True)})
def tabm(**values: Any) -> Hyperparameters:
    """Train k perceptrons that share all but an input scale and the head: TabM (mini).

    Gorishniy, Kotelnikov & Babenko, "TabM", 2025.
    """
    return Hyperparameters(**values)
