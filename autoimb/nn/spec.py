"""What the shape of a network depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from autoimb.errors import ArtifactError

__all__ = ["EXPANSION", "FREQUENCIES", "PERIODIC_DIM", "Activation", "Body", "NetworkSpec"]

Activation = Literal["relu", "silu", "selu"]
Body = Literal["plain", "residual", "scaled"]

EXPANSION = 2  # factor from the width of a residual block to that inside, the paper's default
FREQUENCIES, PERIODIC_DIM = 16, 3  # of the periodic embedding of a number


@dataclass(frozen=True)
class NetworkSpec:
    """Everything that the shape of one member depends on.

    Attributes
    ----------
    kind : str
        The network option's name.
    width, depth : int
        Of the hidden layers, or residual blocks.
    k : int
        Implicit members with shared weights (TabM); 1 in a plain network.
    activation : {"relu", "silu", "selu"}
    dropout : float
        After every hidden layer, in training only.
    embedding_dim : int
        Length of the learned vectors of wide category columns.
    ple : bool
        Whether numbers enter piecewise-linearly encoded.
    n_inputs : int
        Dense columns, padded to the widest fold.
    cardinalities : tuple of int
        Levels of each embedded column, padded to the widest fold.
    n_classes : int
    body : {"plain", "residual", "scaled"}
        What the hidden layers are: maps with an activation (TabM's mini variant where k > 1),
        residual blocks, or RealMLP's.
    periodic : int
        So many of the first dense columns are numbers that get a periodic embedding as well.
    """

    kind: str
    width: int
    depth: int
    k: int
    activation: Activation
    dropout: float
    embedding_dim: int
    ple: bool
    n_inputs: int
    cardinalities: tuple[int, ...]
    n_classes: int
    body: Body = "plain"
    periodic: int = 0

    def __post_init__(self) -> None:
        sizes = (self.width, self.depth, self.k, self.n_classes, self.embedding_dim)
        possible = min(sizes) >= 1 and 0 <= self.periodic <= self.n_inputs
        named = self.activation in get_args(Activation) and self.body in get_args(Body)
        copies = self.k == 1 or self.body == "plain"
        if not (possible and named and copies):
            raise ArtifactError(f"A network can't be built from {self!r}.")

    @property
    def widest(self) -> int:
        """Units of the widest hidden layer."""
        return self.width * (EXPANSION if self.body == "residual" else 1)

    @property
    def embedded(self) -> int:
        """Columns that embeddings put before the dense ones."""
        return self.embedding_dim * len(self.cardinalities) + PERIODIC_DIM * self.periodic

    @property
    def values(self) -> int:
        """Count the numbers that a row's forward pass makes one by one, from inputs to outputs."""
        waves = self.periodic * FREQUENCIES
        return self.n_inputs + self.embedded + waves + self.k * self.widest * self.depth

    def products(self, n_inputs: int) -> int:
        """Count the multiplications of a row's forward pass from so many dense columns."""
        first = self.width * (n_inputs + self.embedded)
        square = 2 * EXPANSION * self.depth if self.body == "residual" else self.depth - 1
        periodic = self.periodic * FREQUENCIES * (PERIODIC_DIM + 1)
        return self.k * (first + square * self.width**2) + periodic

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"cardinalities": list(self.cardinalities)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> NetworkSpec:
        """Build from what `to_json` gave."""
        return cls(**{**values, "cardinalities": tuple(values["cardinalities"])})
