"""Tree models (partners) that may join a blend with the networks.

They are not drawn by the search: each is evaluated as defined here, on the folds of the study.
"""

from __future__ import annotations

from dataclasses import dataclass

from autoimb.space.option import Component, Int

__all__ = ["PARTNER", "Bagged", "Deep", "Trees"]

_LEAF_ROWS = Int(1, 100, log=True)  # minimum number of training rows of a leaf of deep trees


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


@dataclass(frozen=True)
class Deep:
    """Hyperparameters of a forest without a limit of leaves, independent of the table.

    Attributes
    ----------
    extra : bool
        True for extremely randomized trees, which draw thresholds at random and learn from all
        training rows; False for a random forest, whose trees learn from bootstrap samples.
    min_leaf_rows : int
        Minimum number of rows of a leaf.
    trees : int
        Maximum number of trees.
    indicators : bool
        Whether trees can split missing numbers from others. Medians replace them in any case.
    """

    extra: bool
    min_leaf_rows: int
    trees: int = 200
    indicators: bool = False


PARTNER: Component[Trees | Bagged | Deep] = Component(
    "partner", "A tree model that may join the blend."
)


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


@PARTNER.option(min_samples_leaf=_LEAF_ROWS)
def deep_extra_trees(*, min_samples_leaf: int) -> Deep:
    """Extremely randomized trees (Geurts et al., 2006) without a limit of leaves."""
    return Deep(extra=True, min_leaf_rows=min_samples_leaf)


@PARTNER.option(min_samples_leaf=_LEAF_ROWS)
def deep_forest(*, min_samples_leaf: int) -> Deep:
    """Random forest without a limit of leaves, on exact numbers."""
    return Deep(extra=False, min_leaf_rows=min_samples_leaf)
