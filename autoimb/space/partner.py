"""Tree models (partners) that may join a blend with the networks.

They are not drawn by the search: each is evaluated as defined here, on the folds of the study. The
user may raise the minimum number of training rows in a leaf.
"""

from __future__ import annotations

from dataclasses import dataclass

from autoimb.space.option import Component, Int

__all__ = ["MAX_LEAF_ROWS", "PARTNER", "Forest", "Trees"]

MAX_LEAF_ROWS = 1_000  # largest minimum number of training rows in a leaf


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
class Forest:
    """Hyperparameters of a forest, independent of the table.

    The square root of the number of columns is the number of candidates at each split.

    Attributes
    ----------
    trees : int
        Maximum number of trees.
    min_leaf_rows : int
        Minimum number of rows of a leaf.
    leaves : int or None
        Maximum number of leaves of a tree; None for deep trees without a limit.
    extra : bool
        True for extremely randomized trees, which draw thresholds at random and learn from all
        training rows; False for a random forest, whose trees learn from bootstrap samples.
    """

    trees: int
    min_leaf_rows: int
    leaves: int | None = None
    extra: bool = False

    @property
    def is_deep(self) -> bool:
        """True if trees have no limit of leaves."""
        return self.leaves is None


PARTNER: Component[Trees | Forest] = Component("partner", "A tree model that may join the blend.")


@PARTNER.option(min_samples_leaf=Int(3, MAX_LEAF_ROWS))
def medium_trees(*, min_samples_leaf: int) -> Trees:
    """Boosted trees of 16 leaves: histogram gradient boosting (Friedman, 2001; Ke et al., 2017)."""
    return Trees(
        learning_rate=0.05, leaves=16, min_leaf_rows=min_samples_leaf, l2=1.0, features=0.3
    )


@PARTNER.option(min_samples_leaf=Int(3, MAX_LEAF_ROWS))
def small_trees(*, min_samples_leaf: int) -> Trees:
    """Boosted trees of 6 leaves: few columns act together."""
    return Trees(learning_rate=0.06, leaves=6, min_leaf_rows=min_samples_leaf, l2=1.0, features=0.5)


@PARTNER.option(min_samples_leaf=Int(8, MAX_LEAF_ROWS))
def large_trees(*, min_samples_leaf: int) -> Trees:
    """Boosted trees of 32 leaves: many columns act together."""
    return Trees(
        learning_rate=0.05, leaves=32, min_leaf_rows=min_samples_leaf, l2=3.0, features=0.3
    )


@PARTNER.option(min_samples_leaf=Int(1, MAX_LEAF_ROWS))
def forest(*, min_samples_leaf: int) -> Forest:
    """Random forest (Breiman, 2001) of trees of up to 64 leaves."""
    return Forest(trees=100, min_leaf_rows=min_samples_leaf, leaves=64)


@PARTNER.option(min_samples_leaf=Int(1, MAX_LEAF_ROWS))
def deep_extra_trees(*, min_samples_leaf: int) -> Forest:
    """Extremely randomized trees (Geurts et al., 2006) without a limit of leaves."""
    return Forest(trees=200, min_leaf_rows=min_samples_leaf, extra=True)
