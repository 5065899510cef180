"""Tree models (partners) that may join a blend with the networks.

They are not drawn by the search: each is evaluated as defined here, on the folds of the study.
"""

from __future__ import annotations

from dataclasses import dataclass

from autoimb.space.option import Component

__all__ = ["PARTNER", "Bagged", "Trees"]


@dataclass(frozen=True)
class Trees:
    """Hyperparameters of gradient-boosted trees, independent of the table.

    Attributes
    ----------
    learning_rate : float
        Minimum learning rate; a small number of trees needs a larger one.
    leaves : int
        Maximum number of leaves of a tree.
    min_leaf_rows : int
        Minimum number of rows of a leaf.
    l2 : float
        L2 regularization of leaf values.
    features : float
        Share of the columns that are candidates at each split.
    """

    learning_rate: float
    leaves: int
    min_leaf_rows: int
    l2: float
    features: float


@dataclass(frozen=True)
class Bagged:
    """Hyperparameters of a random forest, independent of the table.

    Attributes
    ----------
    trees : int
        Maximum number of trees.
    leaves : int
        Maximum number of leaves of a tree.
    features : float or None
        Share of the columns that are candidates at each split; None for the square root of their
        number.
    """

    trees: int
    leaves: int
    features: float | None


PARTNER: Component[Trees | Bagged] = Component("partner", "A tree model that may join the blend.")


@PARTNER.option()
def medium_trees() -> Trees:
    """Boosted trees of 16 leaves: histogram gradient boosting (Friedman, 2001; Ke et al., 2017)."""
    return Trees(learning_rate=0.05, leaves=16, min_leaf_rows=3, l2=1.0, features=0.3)


@PARTNER.option()
def small_trees() -> Trees:
    """Boosted trees of 6 leaves: few columns act together."""
    return Trees(learning_rate=0.06, leaves=6, min_leaf_rows=3, l2=1.0, features=0.5)


@PARTNER.option()
def large_trees() -> Trees:
    """Boosted trees of 32 leaves: many columns act together."""
    return Trees(learning_rate=0.05, leaves=32, min_leaf_rows=8, l2=3.0, features=0.3)


@PARTNER.option()
def forest() -> Bagged:
    """Random forest (Breiman, 2001) of trees of up to 64 leaves."""
    return Bagged(trees=100, leaves=64, features=None)


@PARTNER.option()
def wide_forest() -> Bagged:
    """Random forest whose splits choose from three tenths of the columns."""
    return Bagged(trees=100, leaves=64, features=0.3)
