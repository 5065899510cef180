"""Description of the shape of a network."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from msgspec import Meta, Struct

from autoimb.errors import ArtifactError

__all__ = ["EXPANSION", "FREQUENCIES", "PERIODIC_DIM", "Activation", "Body", "NetworkSpec"]

Activation = Literal["relu", "silu", "selu"]
Body = Literal["plain", "residual", "scaled"]
_Count = Annotated[int, Meta(ge=0, le=2**31)]

EXPANSION = 2  # factor from the width of a residual block to that inside, the paper's default
FREQUENCIES, PERIODIC_DIM = 16, 3  # of the periodic embedding of a number


class NetworkSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """Shape of one member.

    Attributes
    ----------
    kind : str
        The network option's name.
    width, depth : int
        Units and number of the hidden layers, or of the residual blocks.
    k : int
        Implicit members with shared weights (TabM); 1 in a plain network.
    activation : {"relu", "silu", "selu"}
    dropout : float
        Dropout rate after every hidden layer, in training only.
    embedding_dim : int
        Length of the learned vectors of wide category columns.
    ple : bool
        Whether numbers are encoded piecewise linearly.
    n_inputs : int
        Dense columns, padded to the widest fold.
    cardinalities : tuple of int
        Levels of each embedded column, padded to the widest fold.
    n_classes : int
    body : {"plain", "residual", "scaled"}
        Kind of the hidden layers: maps with an activation (TabM's mini variant where k > 1),
        residual blocks, or RealMLP's.
    periodic : int
        Number of leading dense columns that have a periodic embedding as well.
    """

    kind: str
    width: Annotated[int, Meta(ge=1, le=2**14)]
    depth: Annotated[int, Meta(ge=1, le=2**8)]
    k: Annotated[int, Meta(ge=1, le=2**8)]
    activation: Activation
    dropout: Annotated[float, Meta(ge=0, le=1)]
    embedding_dim: Annotated[int, Meta(ge=1, le=2**12)]
    ple: bool
    n_inputs: _Count
    cardinalities: tuple[_Count, ...]
    n_classes: Annotated[int, Meta(ge=2, le=2**20)]
    body: Body
    periodic: _Count

    def __post_init__(self) -> None:
        copies = self.k == 1 or self.body == "plain"
        if self.body not in get_args(Body) or self.periodic > self.n_inputs or not copies:
            raise ArtifactError(f"A network can't be built from {self!r}.")

    @property
    def widest(self) -> int:
        """Units of the widest hidden layer."""
        return self.width * (EXPANSION if self.body == "residual" else 1)

    @property
    def embedded_levels(self) -> int:
        """Columns with the vectors of categories, which come first."""
        return self.embedding_dim * len(self.cardinalities)

    @property
    def embedded(self) -> int:
        """Columns that embeddings put before the dense ones."""
        return self.embedded_levels + PERIODIC_DIM * self.periodic

    @property
    def values(self) -> int:
        """Number of values that the forward pass of a row computes, from inputs to outputs."""
        waves = self.periodic * FREQUENCIES
        return self.n_inputs + self.embedded + waves + self.k * self.widest * self.depth

    def products(self, n_inputs: int) -> int:
        """Count the multiplications of a row's forward pass from so many dense columns."""
        first = self.width * (n_inputs + self.embedded)
        square = 2 * EXPANSION * self.depth if self.body == "residual" else self.depth - 1
        periodic = self.periodic * FREQUENCIES * (PERIODIC_DIM + 1)
        return self.k * (first + square * self.width**2) + periodic
