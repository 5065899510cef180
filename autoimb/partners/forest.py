"""Boosted trees as arrays, and what they predict.

A tree's leaves are bits of a word, from left to right. Each split knows which leaves a row that
goes right can't reach any more; what is left of all of a tree's splits, its first bit is the leaf
(Lucchese et al., "QuickScorer", 2015). Which splits of a column a value goes right at depends only
on where it lies among their thresholds, so one table a column answers for all trees at once, and
rows never walk down a tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoimb.errors import ArtifactError
from autoimb.text import BriefRepr

__all__ = ["MOST_CUTS", "MOST_LEAVES", "Forest"]

MOST_LEAVES = 64  # of a tree: bits of a word
MOST_CUTS = 254  # of a column, from all its trees: a table has a column for each
CODES = 256  # of a category column, the one for missing left out
BLOCK_CELLS = 2**18  # trees times rows that are worked on at a time, so that they stay in cache

Floats = NDArray[np.float64]
Words = NDArray[Any]  # unsigned integers
State = Callable[[Floats], NDArray[np.int64]]  # from a column's values to columns of its table


@dataclass(frozen=True, eq=False, repr=False)
class Forest(BriefRepr):
    """The trees of one fold.

    Nodes stand tree after tree, each before its left child, which is the next one, and all of the
    left child's before the right child.

    Attributes
    ----------
    feature : int32 ndarray of shape (N,)
        The column that a node splits; -1 for a leaf.
    value : float64 ndarray of shape (N,)
        A leaf's answer; of a split by a number the largest that goes left.
    right : int32 ndarray of shape (N,)
        The right child, counted from the first node of all; 0 for a leaf.
    missing_left : uint8 ndarray of shape (N,)
        Whether a missing value goes left.
    category : int32 ndarray of shape (N,)
        Which row of `lefts` a split by a category has; -1 for others.
    lefts : uint8 ndarray of shape (K, 32)
        The codes that go left, one bit each.
    root : int64 ndarray of shape (T,)
        The first node of each tree.
    output : int64 ndarray of shape (T,)
        The class whose score each tree adds to.
    baseline : float64 ndarray of shape (C,)
        The scores before the first tree; minus infinity for a class that training lacked.
    """

    feature: NDArray[np.int32]
    value: Floats
    right: NDArray[np.int32]
    missing_left: NDArray[np.uint8]
    category: NDArray[np.int32]
    lefts: NDArray[np.uint8]
    root: NDArray[np.int64]
    output: NDArray[np.int64]
    baseline: Floats

    # --- storing -----------------------------------------------------------------------------

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Give the arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], *, codes: int, width: int, n_classes: int
    ) -> Forest:
        """Undo `to_arrays`.

        Parameters
        ----------
        arrays : mapping of str to ndarray
        codes, width : int
            How many columns of codes, which come first, and how many of all the trees read.
        n_classes : int

        Raises
        ------
        ArtifactError
            Where the arrays are no trees.
        """
        kinds = {name: np.dtype(kind) for name, kind in _KINDS.items()}
        for name, kind in kinds.items():
            if arrays[name].dtype != kind:
                raise ArtifactError(f"Trees' {name!r} must be {kind}, got {arrays[name].dtype}.")
        forest = cls(**{name: arrays[name] for name in kinds})
        for wanted, holds in forest._rules(codes, width, n_classes):
            if not holds:
                raise ArtifactError(f"The trees are damaged: they must have {wanted}.")
        return forest

    def _rules(self, codes: int, width: int, n_classes: int) -> Iterator[tuple[str, bool]]:
        """Say what makes the arrays trees, each rule after those that it needs to be looked at."""
        n_nodes, n_trees = len(self.feature), len(self.root)
        of_nodes = (self.feature, self.value, self.right, self.missing_left, self.category)
        yield "one entry a node", all(each.shape == (n_nodes,) for each in of_nodes)
        yield "one class a tree", self.root.shape == self.output.shape == (n_trees,)
        yield "a score of each class", self.baseline.shape == (n_classes,)
        yield "scores that are numbers", bool((self.baseline < np.inf).all())
        yield "answers that are numbers", bool(np.isfinite(self.value[self.feature < 0]).all())
        yield "thresholds that are numbers", not np.isnan(self.value).any()
        yield "32 bytes of codes", self.lefts.shape[1:] == (CODES // 8,)
        yield "columns of the table", _within(self.feature, -1, width)
        yield "outputs among the classes", _within(self.output, 0, n_classes)
        numbers = (self.feature >= codes) & np.isfinite(self.value)
        cuts = np.unique(np.stack([self.feature[numbers], self.value[numbers]]), axis=1)[0]
        yield (
            f"at most {MOST_CUTS} thresholds a column",
            bool((np.bincount(cuts.astype(np.int64), minlength=1) <= MOST_CUTS).all()),
        )
        yield "codes for each category", _within(self.category, -1, len(self.lefts))
        by_code = (self.feature >= 0) & (self.feature < codes)
        yield "codes where columns have them", np.array_equal(self.category >= 0, by_code)
        ends = np.append(self.root[1:], n_nodes)
        yield (
            "trees one after the other",
            (n_trees == n_nodes == 0 or (n_trees > 0 and self.root[0] == 0))
            and bool((self.root < ends).all()),
        )
        tree = self._tree
        split = np.flatnonzero(self.feature >= 0)
        right = self.right[split]
        yield (
            "right children in the same tree",
            bool(((right > split + 1) & (right < ends[tree[split]])).all()),
        )
        children = np.sort(np.concatenate([split + 1, right, self.root]))
        yield "one parent for each node", np.array_equal(children, np.arange(n_nodes))
        # +1 for a split, -1 for a leaf: a whole tree sums to -1
        sums = np.concatenate([[0], np.cumsum(np.where(self.feature >= 0, 1, -1))])
        yield "whole left sides", bool((sums[right] - sums[split + 1] == -1).all())
        yield "whole trees", bool((sums[ends] - sums[self.root] == -1).all())
        leaves = np.bincount(tree[self.feature < 0], minlength=n_trees)
        yield f"at most {MOST_LEAVES} leaves each", bool((leaves <= MOST_LEAVES).all())

    @classmethod
    def without_trees(cls, baseline: Floats) -> Forest:
        """Give what has the same scores for every row."""
        none: dict[str, Any] = {name: np.empty(0, dtype=kind) for name, kind in _KINDS.items()}
        none |= {"lefts": np.empty((0, CODES // 8), dtype=np.uint8), "baseline": baseline}
        return cls(**none)

    # --- growing ---------------------------------------------------------------------------

    def first(self, n_trees: int) -> Forest:
        """Give the same without the trees after the first so many."""
        last = int(np.append(self.root, len(self.feature))[n_trees])
        kept = {name: getattr(self, name)[:last] for name in _OF_NODES}
        kept["lefts"] = self.lefts[: kept["category"].max(initial=-1) + 1]
        return replace(self, **kept, root=self.root[:n_trees], output=self.output[:n_trees])

    def followed_by(self, other: Forest) -> Forest:
        """Give these trees and then others, which have no say in the scores before the first."""
        nodes, codes = len(self.feature), len(self.lefts)
        moved = replace(
            other,
            right=np.where(other.feature < 0, 0, other.right + nodes).astype(np.int32),
            category=np.where(other.category < 0, -1, other.category + codes).astype(np.int32),
            root=other.root + nodes,
        )
        joined = {
            name: np.concatenate([getattr(self, name), getattr(moved, name)])
            for name in (*_OF_NODES, "lefts", "root", "output")
        }
        return replace(self, **joined)

    # --- predicting --------------------------------------------------------------------------

    @property
    def _tree(self) -> NDArray[np.int64]:
        """The tree of each node, (N,)."""
        ends = np.append(self.root[1:], len(self.feature))
        return np.repeat(np.arange(len(self.root)), ends - self.root)

    def scores(self, x: Floats) -> Floats:
        """Predict rows: `scorer` for one table."""
        return self.scorer()(x)

    def scorer(self) -> Callable[[Floats], Floats]:
        """Prepare the tables.

        Returns
        -------
        callable
            From rows as a `Reader` gives them, (n, q + p), to the classes' scores, (n, C): the
            logarithms of their probabilities, up to a constant.
        """
        if not len(self.root):
            return lambda x: np.repeat(self.baseline[None], len(x), axis=0)
        tables = list(self._tables())
        answers, places = self._answers()
        word, n_trees = self._word, len(self.root)
        block = int(np.clip(BLOCK_CELLS // n_trees, 16, 2048))

        def score(x: Floats) -> Floats:
            out = np.empty((len(x), len(self.baseline)))
            for start in range(0, len(x), block):
                part = x[start : start + block]
                left = np.full((n_trees, len(part)), ~word(0))  # leaves that can be reached
                for column, own, state, table in tables:
                    if own is None:
                        left &= table.take(state(part[:, column]), axis=1)
                    else:
                        left[own] &= table.take(state(part[:, column]), axis=1)
                leaf = np.bitwise_count((left & -left) - word(1))  # where the first bit stands
                values = answers.take(leaf + places[:, None])  # (T, b)
                for k, base in enumerate(self.baseline):
                    out[start : start + block, k] = np.add.reduce(
                        values[self.output == k], axis=0, initial=base
                    )
            return out

        return score

    @property
    def _word(self) -> Any:
        leaves = np.bincount(self._tree[self.feature < 0], minlength=1)
        return np.uint32 if leaves.max(initial=1) <= 32 else np.uint64

    def _answers(self) -> tuple[Floats, NDArray[np.int64]]:
        """Give the leaves' answers, tree after tree from left to right, and where each begins."""
        leaf = self.feature < 0
        counts = np.bincount(self._tree[leaf], minlength=len(self.root))
        return self.value[leaf], np.cumsum(counts) - counts

    def _tables(self) -> Iterator[tuple[int, NDArray[np.int64] | None, State, Words]]:
        """Give for each column that is split the trees that do, and what a value leaves of them.

        The state of a value is how many thresholds lie below it, or its code; the last one is
        missing. A table of shape (trees, states) holds the leaves that a state leaves.
        """
        split, word = np.flatnonzero(self.feature >= 0), self._word
        rank = np.concatenate([[0], np.cumsum(self.feature < 0)])  # leaves before a node
        tree = self._tree[split]
        low = rank[split + 1] - rank[self.root[tree]]
        size = rank[self.right[split]] - rank[split + 1]
        one = word(1)
        keep = ~(((one << size.astype(word)) - one) << low.astype(word))  # leaves not on the left
        for column in np.unique(self.feature[split]):
            mine = self.feature[split] == column
            node, kept = split[mine], keep[mine]
            trees, place = np.unique(tree[mine], return_inverse=True)
            category = self.category[node]
            if category[0] >= 0:
                table, state = self._of_codes(category, kept, place, len(trees))
            else:
                table, state = self._of_numbers(node, kept, place, len(trees))
            gone = self.missing_left[node] == 0
            np.bitwise_and.at(table[:, -1], place[gone], kept[gone])
            yield int(column), None if len(trees) == len(self.root) else trees, state, table

    def _of_numbers(
        self, node: NDArray[np.int64], kept: Words, place: NDArray[np.int64], n_trees: int
    ) -> tuple[Words, State]:
        cuts, rank = np.unique(self.value[node], return_inverse=True)
        table = np.full((n_trees, len(cuts) + 2), ~kept.dtype.type(0))
        np.bitwise_and.at(table, (place, rank + 1), kept)
        np.bitwise_and.accumulate(table[:, :-1], axis=1, out=table[:, :-1])

        def state(values: Floats) -> NDArray[np.int64]:
            below = np.searchsorted(cuts, values)
            return np.where(np.isnan(values), len(cuts) + 1, below)

        return table, state

    def _of_codes(
        self, category: NDArray[np.int32], kept: Words, place: NDArray[np.int64], n_trees: int
    ) -> tuple[Words, State]:
        goes_left = np.unpackbits(self.lefts[category], axis=1, bitorder="little")
        # no split lets a code from `end` on go left, so they share a state
        end = int(np.flatnonzero(goes_left.any(axis=0)).max(initial=-1)) + 1
        table = np.full((n_trees, end + 2), ~kept.dtype.type(0))
        number, code = np.nonzero(goes_left[:, : end + 1] == 0)
        np.bitwise_and.at(table, (place[number], code), kept[number])

        def state(values: Floats) -> NDArray[np.int64]:
            return np.where(np.isnan(values), end + 1, np.minimum(values, end)).astype(np.int64)

        return table, state


_OF_NODES = ("feature", "value", "right", "missing_left", "category")
_KINDS = {
    "feature": "int32",
    "value": "float64",
    "right": "int32",
    "missing_left": "uint8",
    "category": "int32",
    "lefts": "uint8",
    "root": "int64",
    "output": "int64",
    "baseline": "float64",
}


def _within(values: NDArray[Any], low: int, end: int) -> bool:
    return bool(((values >= low) & (values < end)).all())
