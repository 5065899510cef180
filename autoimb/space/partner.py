"""The partners' table: models that are no networks and may share a blend.

No search draws them: each is tried as it stands here, on the folds of the study.
"""

from __future__ import annotations

from dataclasses import dataclass

from autoimb.space.option import Component

__all__ = ["PARTNER", "Bagged", "Trees"]


@dataclass(frozen=True)
class Trees:
    """Boosted trees before they know the table: each mends what those before it leave.

    Attributes
    ----------
    learning_rate : float
        What a tree's answer is multiplied by, at least: few trees need a larger one.
    leaves : int
        Of a tree, at most.
    least_rows : int
        Of a leaf.
    l2 : float
        Pull of a leaf toward 0.
    features : float
        Share of the columns that each split may choose from.
    """

    learning_rate: float
    leaves: int
    least_rows: int
    l2: float
    features: float


@dataclass(frozen=True)
class Bagged:
    """A random forest before it knows the table: trees of rows drawn with replacement.

    Attributes
    ----------
    trees : int
        At most.
    leaves : int
        Of a tree, at most.
    features : float or None
        Share of the columns that each split may choose from; None for the root of their number.
    """

    trees: int
    leaves: int
    features: float | None


PARTNER: Component[Trees | Bagged] = Component(
    "partner", "A model that is no network and may share the blend."
)


@PARTNER.option()
def medium_trees() -> Trees:
    """Boosted trees of 16 leaves: histogram gradient boosting (Friedman, 2001; Ke et al., 2017)."""
    return Trees(learning_rate=0.05, leaves=16, least_rows=3, l2=1.0, features=0.3)


@PARTNER.option()
def small_trees() -> Trees:
    """Boosted trees of 6 leaves: few columns act together."""
    return Trees(learning_rate=0.06, leaves=6, least_rows=3, l2=1.0, features=0.5)


@PARTNER.option()
def large_trees() -> Trees:
    """Boosted trees of 32 leaves: many columns act together."""
    return Trees(learning_rate=0.05, leaves=32, least_rows=8, l2=3.0, features=0.3)


@PARTNER.option()
def forest() -> Bagged:
    """Random forest (Breiman, 2001) of trees of up to 64 leaves."""
    return Bagged(trees=100, leaves=64, features=None)


@PARTNER.option()
def wide_forest() -> Bagged:
    """Random forest whose splits choose from three tenths of the columns."""
    return Bagged(trees=100, leaves=64, features=0.3)
