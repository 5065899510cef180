"""Trees as arrays over their nodes, and the walk that predicts rows.

A block of rows walks down many trees at once, one level per pass of NumPy over arrays, so the
number of leaves and the depth of a tree are not limited.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from autoimb.errors import ArtifactError
from autoimb.text import BriefRepr

__all__ = ["MISSING", "Forest", "Tree"]

MISSING = 7  # bit of `Tree.left` for missing values; the lower ones are for codes of categories

# Measured on boosted trees of 16 leaves and on forests of 64 and of 1,700 leaves a tree: fewer
# rows or cells cost calls, more of them leave the processor's cache.
_BLOCK_ROWS = 1024  # rows
_BLOCK_CELLS = 2**15  # rows times trees
_PASSES = 4  # levels between two removals of the rows that are at a leaf

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Tree(NamedTuple):
    """Tree of n nodes, s of them splits, with K answers in each leaf.

    Nodes are in breadth-first order. The children of the k-th split, counted from 0, are therefore
    nodes 2k + 1 (left) and 2k + 2, and no link between nodes is stored.

    Attributes
    ----------
    column : int32 ndarray of shape (n,)
        The column that a node splits; -1 for a leaf.
    threshold : float64 ndarray of shape (s,)
        The largest number that goes left at a split: infinite where only missing values go right,
        0 for a column of codes.
    left : uint8 ndarray of shape (s,)
        Other values that go left, as bits: bit 7 is for missing values, bit c for code c of a
        column of codes.
    answer : float64 ndarray of shape (n - s, K)
        Values that each leaf adds to the scores.
    output : int64 ndarray of shape (1, K)
        The classes whose scores the answers are added to.
    """

    column: NDArray[np.int32]
    threshold: Floats
    left: NDArray[np.uint8]
    answer: Floats
    output: Ints


_NO_TREE = Tree(
    column=np.empty(0, dtype=np.int32),
    threshold=np.empty(0),
    left=np.empty(0, dtype=np.uint8),
    answer=np.empty((0, 1)),
    output=np.empty((0, 1), dtype=np.int64),
)


@dataclass(frozen=True, eq=False, repr=False)
class Forest(BriefRepr):
    """T trees of one fold, one after the other.

    Attributes
    ----------
    column, threshold, left, answer : ndarrays
        Joined arrays of all trees, see `Tree`.
    output : int64 ndarray of shape (T, K)
    baseline : float64 ndarray of shape (C,)
        The scores before the first tree; minus infinity for a class that training lacked.
    codes : int
        Number of columns of codes, which come before those of numbers.
    """

    column: NDArray[np.int32]
    threshold: Floats
    left: NDArray[np.uint8]
    answer: Floats
    output: Ints
    baseline: Floats
    codes: int

    @classmethod
    def of(cls, trees: Sequence[Tree], baseline: Floats, *, codes: int) -> Forest:
        """Join trees, which have the same number of answers."""
        joined = Tree(*(np.concatenate(parts) for parts in zip(*(trees or [_NO_TREE]))))
        return cls(*joined, baseline=baseline, codes=codes)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name."""
        return {name: getattr(self, name) for name in _ARRAYS}

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], *, codes: int, width: int, n_classes: int
    ) -> Forest:
        """Build a forest from the arrays of `to_arrays`.

        Parameters
        ----------
        arrays : mapping of str to ndarray
            Arrays whose types and ranges were checked, see `autoimb.pipeline.contents`.
        codes, width : int
            Number of columns of codes, and of all columns that the trees read.
        n_classes : int

        Raises
        ------
        ArtifactError
            If the arrays do not describe trees.
        """
        forest = cls(**{name: arrays[name] for name in _ARRAYS}, codes=codes)
        for rule, holds in forest._rules(width, n_classes):
            if not holds:
                raise ArtifactError(f"The trees are corrupt: they must have {rule}.")
        return forest

    def _rules(self, width: int, n_classes: int) -> Iterator[tuple[str, bool]]:
        n_nodes, n_splits = len(self.column), int((self.column >= 0).sum())
        ends, outputs = self.ends, self.output
        yield "columns of the table", bool((self.column < width).all())
        yield "a threshold for each split", len(self.threshold) == len(self.left) == n_splits
        yield "answers in each leaf", len(self.answer) == n_nodes - n_splits
        yield "complete trees", (ends[-1] + 1 if len(ends) else 0) == n_nodes
        yield "a class for each answer", outputs.shape == (len(ends), self.answer.shape[1])
        yield "classes of the table", bool((outputs < n_classes).all())
        yield "a score of each class before the first tree", self.baseline.shape == (n_classes,)

    @property
    def ends(self) -> Ints:
        """Last node of each tree, (T,): the first at which leaves outnumber splits."""
        surplus = np.cumsum(np.where(self.column < 0, 1, -1))
        return np.flatnonzero(np.diff(np.maximum.accumulate(np.maximum(surplus, 0)), prepend=0))

    @property
    def visits(self) -> float:
        """Number of nodes that a row visits, estimated as if all trees were balanced."""
        return float(np.log2(np.diff(self.ends, prepend=-1) + 1).sum())

    # --- predicting --------------------------------------------------------------------------

    def scorer(self) -> Callable[[Floats], Floats]:
        """Prepare a walk for many tables.

        Returns
        -------
        callable
            From rows as a `Reader` gives them, (n, F), to the scores of the classes, (n, C). The
            scores of a row do not depend on the rows beside it.
        """
        walk, answers = _Walk(self), np.ascontiguousarray(self.answer.T)
        outputs = [
            (answer, label, np.flatnonzero(labels == label))
            for answer, labels in zip(answers, self.output.T)
            for label in np.unique(labels)
        ]

        def score(x: Floats) -> Floats:
            scores = np.tile(self.baseline, (len(x), 1))
            for start in range(0, len(x), _BLOCK_ROWS):
                rows = slice(start, start + _BLOCK_ROWS)
                leaf = walk(x[rows])
                for answer, label, trees in outputs:
                    terms = np.vstack([scores[rows, label], answer.take(leaf[trees])])
                    # A running sum adds one tree after the other, however many rows there are.
                    scores[rows, label] = np.cumsum(terms, axis=0)[-1]
            return scores

        return score


_ARRAYS = tuple(field.name for field in fields(Forest) if field.name != "codes")


class _Walk:
    """Walk of rows to their leaves in each tree.

    Splits of a column may differ in `Tree.left`. Each pair of a column and
    such bits is a feature, so that every split compares one number with its threshold: a missing
    value becomes minus infinity if it goes left and stays NaN, which is not smaller than anything,
    if not; a code becomes 0 if it goes left and 1 if not. Feature 0 is zero. Leaves compare it with
    infinity and so lead to themselves.
    """

    def __init__(self, forest: Forest) -> None:
        split, ends = forest.column >= 0, forest.ends
        column, left = forest.column[split].astype(np.int64), forest.left
        features, place = np.unique(column * 256 + left, return_inverse=True)
        self.column, self.left = np.divmod(features, 256)  # codes come first, as columns do
        self.n_coded = int((self.column < forest.codes).sum())
        self.root = np.concatenate([[0], ends + 1])[:-1]
        self.split = split
        self.feature = np.zeros(len(split), dtype=np.int64)
        self.feature[split] = place + 1
        self.threshold = np.full(len(split), np.inf)
        self.threshold[split] = forest.threshold
        # All children are allotted in pairs, one tree after the other, behind the tree's root.
        tree = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=-1))
        preceding: Ints = np.cumsum(split) - split  # number of splits before each node
        self.child = np.where(split, 2 * preceding + tree + 1, np.arange(len(split)))
        self.leaf = np.arange(len(split)) - preceding

    def __call__(self, x: Floats) -> Ints:
        """Return the leaf, counted through all trees, of rows (n, F) in each tree: (T, n)."""
        n_rows, values = len(x), self._values(x).ravel()
        leaf = np.empty((len(self.root), n_rows), dtype=np.int64)
        n_trees = max(_BLOCK_CELLS // n_rows, 1)
        for start in range(0, len(self.root), n_trees):
            reached = np.repeat(self.root[start : start + n_trees], n_rows)
            node, active = reached, np.arange(len(reached))
            row = active % n_rows
            while len(active):
                for _ in range(_PASSES):
                    value = values.take(self.feature.take(node) * n_rows + row)
                    node = self.child.take(node) + ~(value <= self.threshold.take(node))
                reached[active] = node
                under_way = np.flatnonzero(self.split.take(node))
                active, node, row = (part.take(under_way) for part in (active, node, row))
            leaf[start : start + n_trees] = self.leaf.take(reached).reshape(-1, n_rows)
        return leaf

    def _values(self, x: Floats) -> Floats:
        """Return the features of rows (n, F), one feature after the other: (1 + Q, n)."""
        values, left, n_coded = x.T[self.column], self.left[:, None], self.n_coded
        missing = np.isnan(values)
        out = np.where(missing & (left >> MISSING == 1), -np.inf, values)
        codes = np.where(missing[:n_coded], MISSING, values[:n_coded]).astype(np.int64)
        out[:n_coded] = ~(left[:n_coded] >> codes) & 1
        return np.concatenate([np.zeros((1, len(x))), out])
