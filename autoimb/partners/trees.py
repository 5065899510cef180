"""Trees of one fold as arrays over their nodes, and the leaves that rows reach in them.

The first splits of each tree are looked up in tables, see `_Tops`, in a fraction of the time that
rows take to walk down them. Below the splits for which a word has bits, rows walk, see `_Walk`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from autoimb.arrays import MAX_LOGIT, Array, Arrays, check_arrays
from autoimb.assessment.calibration import correct_prior
from autoimb.errors import ArtifactError
from autoimb.partners.reader import READER_ARRAYS, Reader
from autoimb.text import BriefRepr

__all__ = ["MISSING", "FittedTrees", "Nodes", "Splits"]

MISSING = 7  # bit of `Nodes.left` for missing values; the lower ones are for codes of categories

_MAX_ENDS = 64  # of the top of a tree: the bits of the longest word of NumPy
_BLOCK_BYTES = 2**17  # words of the rows that are predicted together, which fit into the cache
_TABLE_WORDS = 2**21  # approximate size of the tables of the trees that are predicted together
_PASSES = 4  # levels between two removals of the rows that are at a leaf

_MIN_PROBA = 1e-12  # keeps the logarithm finite

# The letters are those of the shapes below.
_ARRAYS = READER_ARRAYS | {
    "column": Array("int16 or int32", "n", low=-1),
    "threshold": Array("float32 or float64", "s", high=np.inf),
    "left": Array("uint8", "s"),
    "answer": Array("float16 or float64", "lK"),
    "output": Array("int64", "TK", low=0),
    "baseline": Array("float64", "C", low=-np.inf),
    "log_prior": Array("float64", "C", -MAX_LOGIT, MAX_LOGIT),
}

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Splits = tuple[Ints, NDArray[np.float64 | np.float32], NDArray[np.uint8]]


class Nodes(NamedTuple):
    """Nodes of T trees, one tree after the other: s splits and l leaves, n in all.

    The nodes of a tree are in breadth-first order. The children of its k-th split, counted from 0,
    are therefore its nodes 2k + 1 (left) and 2k + 2, and no link between nodes is stored.

    Attributes
    ----------
    column : int16 or int32 ndarray of shape (n,)
        The column that a node splits; -1 for a leaf.
    threshold : float64 or float32 ndarray of shape (s,)
        The largest number that goes left at a split: infinite where only missing values go right,
        0 for a column of codes. Numbers are rounded to its type before they are compared.
    left : uint8 ndarray of shape (s,)
        Other values that go left, as bits: bit 7 is for missing values, bit c for code c of a
        column of codes.
    answer : float64 or float16 ndarray of shape (l, K)
        Values or, in forests, shares of classes that each leaf adds to the scores.
    output : int64 ndarray of shape (T, K)
        The classes whose scores the answers are added to.
    """

    column: NDArray[np.int16 | np.int32]
    threshold: NDArray[np.float64 | np.float32]
    left: NDArray[np.uint8]
    answer: NDArray[np.float64 | np.float16]
    output: Ints

    @classmethod
    def of_tree(
        cls,
        children: Ints,
        splits: Callable[[Ints], Splits],
        answer: NDArray[np.float64 | np.float16],
        output: Ints,
    ) -> Nodes:
        """Bring the nodes of a tree into breadth-first order.

        Parameters
        ----------
        children : int64 ndarray of shape (n, 2)
            The left and the right child of each node, the root first; not positive for a leaf.
        splits : callable
            From the numbers of splits to their columns, thresholds and bits, as in `Nodes`.
        answer : ndarray of shape (n, K)
            Answers of leaves; those of splits are ignored.
        output : int64 ndarray of shape (K,)
            The classes whose scores they are added to.
        """
        split = children[:, 0] > 0
        # Each pass appends the children of the splits of the previous level.
        order = level = np.zeros(1, dtype=np.int64)
        while len(level):
            level = children[level[split[level]]].ravel()
            order = np.concatenate([order, level])
        split = split[order]
        split_column, threshold, left = splits(order[split])
        wide = split_column.max(initial=0) > np.iinfo(np.int16).max
        number: Any = np.int32 if wide else np.int16
        column = np.full(len(order), -1, dtype=number)
        column[split] = split_column
        return cls(column, threshold, left, answer[order[~split]], output[None])

    @classmethod
    def joined(cls, trees: Sequence[Nodes]) -> Nodes:
        """Join trees, which have the same number of answers."""
        return cls(*(np.concatenate(parts) for parts in zip(*(trees or [_NO_NODES]))))

    @property
    def ends(self) -> Ints:
        """Last node of each tree, (T,): the first at which leaves outnumber splits."""
        # Small types, as files may have many nodes, and their checks little memory.
        steps = np.where(self.column < 0, np.int8(1), np.int8(-1))
        peaks = np.maximum.accumulate(np.cumsum(steps, dtype=np.int32))
        return np.searchsorted(peaks, np.arange(peaks.max(initial=0), dtype=np.int32) + 1)

    @property
    def sizes(self) -> Ints:
        """Number of leaves of each tree, (T,)."""
        return (np.diff(self.ends, prepend=-1) + 1) // 2

    def take(self, first: int, stop: int) -> Nodes:
        """Return the trees from number `first` to before number `stop`."""
        leaves = np.concatenate([[0], np.cumsum(self.sizes)])
        leaf = slice(leaves[first], leaves[stop])
        # A tree has one split fewer than leaves.
        split = slice(leaf.start - first, leaf.stop - stop)
        node = slice(leaf.start + split.start, leaf.stop + split.stop)
        parts = (node, split, split, leaf, slice(first, stop))
        return Nodes._make(values[part] for values, part in zip(self, parts))

    def blocks(self) -> list[Nodes]:
        """Divide the trees into blocks, so that the tables of all blocks remain small.

        The table of a block has a word for each of its trees and of the splits in their tops.
        """
        n_trees, n_splits = len(self.output), int((np.minimum(self.sizes, _MAX_ENDS) - 1).sum())
        n_blocks = math.ceil(math.sqrt(n_trees * n_splits / _TABLE_WORDS))
        edges = np.linspace(0, n_trees, max(n_blocks, 1) + 1).astype(np.int64)
        return [self.take(first, stop) for first, stop in pairwise(edges.tolist())]


_NO_NODES = Nodes(
    column=np.empty(0, dtype=np.int16),
    threshold=np.empty(0),
    left=np.empty(0, dtype=np.uint8),
    answer=np.empty((0, 1)),
    output=np.empty((0, 1), dtype=np.int64),
)


@dataclass(frozen=True, eq=False, repr=False)
class FittedTrees(BriefRepr):
    """Fitted trees of one fold, which predict probabilities of typed columns.

    Attributes
    ----------
    reader : Reader
    nodes : Nodes
    baseline : float64 ndarray of shape (C,)
        The scores before the first tree. Of boosted trees they are minus infinity for a class that
        training lacked, of forests the shares of the classes in the training rows.
    log_prior : float64 ndarray of shape (C,)
        Added to log-probabilities: log of (real prior / prior in training).
    bagged : bool
        True if scores divided by the number of trees plus 1 are probabilities, of which one class
        has the remainder to 1; False if scores are log-probabilities up to a constant.
    """

    reader: Reader
    nodes: Nodes
    baseline: Floats
    log_prior: Floats
    bagged: bool = False

    @property
    def n_trees(self) -> int:
        """Number of trees."""
        return len(self.nodes.output)

    @property
    def path_nodes(self) -> tuple[float, float]:
        """Number of nodes from the roots to the leaves of a row, as if all trees were balanced.

        The first number is of the nodes in the tops of the trees, the second of those below.
        """
        nodes = np.log2(2 * self.nodes.sizes)
        top = np.minimum(nodes, math.log2(2 * _MAX_ENDS)).sum()
        return float(top), float(nodes.sum() - top)

    def take(self, first: int, stop: int) -> FittedTrees:
        """Return the trees from number `first` to before number `stop`."""
        return replace(self, nodes=self.nodes.take(first, stop))

    def predictor(self) -> Callable[[Floats, Ints], Floats]:
        """Prepare the trees for many chunks of rows.

        Returns
        -------
        callable
            From rows and copies, as `Reader.read` returns them, to probabilities (n, C).
        """
        scores = self.scorer()
        return lambda x, copied: self.reader.average(self.posterior(scores(x)), copied)

    def scorer(self) -> Callable[[Floats], Floats]:
        """Prepare the trees for many rows.

        Returns
        -------
        callable
            From rows as a `Reader` gives them, (n, F), to the scores of the classes, (n, C). The
            scores of a row do not depend on the rows beside it.
        """
        blocks = [self._block(nodes) for nodes in self.nodes.blocks()]
        number = self.nodes.threshold.dtype

        def score(x: Floats) -> Floats:
            with np.errstate(over="ignore"):  # a number beyond float32 is above all thresholds
                x = x.astype(number, copy=False)
            scores = np.tile(self.baseline, (len(x), 1))
            for tops, walk, answers in blocks:
                for start in range(0, len(x), tops.n_rows):
                    rows = slice(start, start + tops.n_rows)
                    node = tops(x[rows])
                    if walk is not None:
                        node = walk(x[rows], node)
                    for answer, label, trees in answers:
                        scores[rows, label] += answer.take(node[:, trees]).sum(axis=1)
            return scores

        return score

    def _block(self, nodes: Nodes) -> tuple[_Tops, _Walk | None, list[tuple[Floats, int, Any]]]:
        """Return what finds the leaves of some trees, and their answers.

        The answers are those of nodes, each with the class whose score they are added to, and with
        the trees for which they are.
        """
        answers = np.zeros((nodes.answer.shape[1], len(nodes.column)))
        answers[:, nodes.column < 0] = nodes.answer.T
        added = [
            (answer, label, slice(None) if (labels == label).all() else labels == label)
            for answer, labels in zip(answers, nodes.output.T)
            for label in np.unique(labels).tolist()
        ]
        deep = nodes.sizes.max(initial=0) > _MAX_ENDS
        codes = self.reader.codes
        return _Tops(nodes, codes), _Walk(nodes, codes) if deep else None, added

    def posterior(self, scores: Floats) -> Floats:
        """Return probabilities under the real prior, (n, C), from scores (n, C)."""
        if self.bagged:
            # The leaves of a forest have the shares of all classes but the first one that training
            # has, which gets what they leave of 1.
            proba, rest = scores / (self.n_trees + 1), int(np.argmax(self.baseline > 0))
            proba[:, rest] = 1.0 + proba[:, rest] - proba.sum(axis=1)
            scores = np.log(np.maximum(proba, _MIN_PROBA))
        return np.exp(correct_prior(scores, -self.log_prior))

    # --- storing -----------------------------------------------------------------------------

    def to_arrays(self) -> Arrays:
        """Return the arrays by name."""
        priors = {"baseline": self.baseline, "log_prior": self.log_prior}
        return self.reader.to_arrays() | self.nodes._asdict() | priors

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], name: str, *, numbers: int, bagged: bool
    ) -> FittedTrees:
        """Build trees from the arrays of `to_arrays`.

        Parameters
        ----------
        arrays : mapping of str to ndarray
        name : str
            Name of the trees in errors.
        numbers : int
            Numeric columns that they read.
        bagged : bool

        Raises
        ------
        ArtifactError
            If the arrays do not describe trees, or the trees do not fit the levels.
        """
        check_arrays(_ARRAYS, arrays, name)
        reader = Reader.from_arrays(arrays, numbers)
        nodes = Nodes(*(arrays[name] for name in Nodes._fields))
        baseline, log_prior = arrays["baseline"], arrays["log_prior"]
        # Arrays of a file may contradict each other, so they are compared before they serve as
        # indices.
        n_splits, ends = int((nodes.column >= 0).sum()), nodes.ends
        n_nodes = ends[-1] + 1 if len(ends) else 0
        if (len(nodes.column), len(nodes.threshold), len(nodes.answer), len(nodes.output)) != (
            n_nodes,
            n_splits,
            n_nodes - n_splits,
            len(ends),
        ):
            raise ArtifactError(f"{name} must have complete trees.")
        if not ((nodes.column < reader.width).all() and (nodes.output < len(baseline)).all()):
            raise ArtifactError(f"{name} must read columns of the table, and predict its classes.")
        if not np.isfinite(baseline).any():
            raise ArtifactError(
                f"{name} must have a finite score of a class before the first tree."
            )
        return cls(reader, nodes, baseline, log_prior, bagged)


class _Tops:
    """Tables from the values of columns to the ends that they leave in the tops of trees.

    The top of a tree consists of its first splits, and ends in leaves or in further splits, at most
    64. A set of ends is a word with a bit for each, as in QuickScorer (Lucchese et al.,
    "QuickScorer: a fast algorithm to rank documents with additive ensembles of regression trees",
    2015). The thresholds of all splits of a column divide its values into bins, and for each bin
    and tree a table has the ends that these splits leave. A row is at the end that all columns
    leave.

    Parameters
    ----------
    nodes : Nodes
    n_codes : int
        Number of columns of codes, which come first.

    Attributes
    ----------
    n_rows : int
        Number of rows whose words fit into the cache.
    """

    def __init__(self, nodes: Nodes, n_codes: int) -> None:
        sizes, trees = nodes.sizes, np.arange(len(nodes.output))
        first_split: Ints = np.cumsum(sizes - 1) - (sizes - 1)
        root = 2 * first_split + trees
        tree = np.repeat(trees, sizes - 1)  # of each split
        rank = np.arange(len(tree)) - first_split[tree]  # of each split in its tree
        top = np.flatnonzero(rank < _MAX_ENDS - 1)
        tree, rank = tree[top], rank[top]
        split = np.flatnonzero(nodes.column >= 0)[top]
        child = root[tree] + 2 * rank + 1  # the left one of each split
        # The nodes of a tree that are no children of its top come last.
        n_ends = np.minimum(sizes, _MAX_ENDS)
        place = np.arange(len(nodes.column)) - np.repeat(root, 2 * sizes - 1)
        is_end = place < np.repeat(2 * n_ends - 1, 2 * sizes - 1)
        is_end[split] = False
        self._end = np.flatnonzero(is_end)
        self._first: Ints = np.cumsum(n_ends) - n_ends  # end of each tree
        # The ends below each node as bits: an end itself, or those below both children. Children
        # follow their split, so the last splits of all trees come first.
        word = np.min_scalar_type(2 ** int(n_ends.max(initial=1)) - 1)
        below = np.zeros(len(nodes.column), dtype=word)
        bit = np.arange(len(self._end)) - np.repeat(self._first, n_ends)
        below[self._end] = np.ones(1, dtype=word) << bit.astype(word)
        for number in range(rank.max(initial=-1), -1, -1):
            at = np.flatnonzero(rank == number)
            below[split[at]] = below[child[at]] | below[child[at] + 1]
        self._all = below[root]
        self._columns = []
        for column in np.unique(nodes.column[split]).tolist():
            at = np.flatnonzero(nodes.column[split] == column)
            left = nodes.left[top[at], None] >> np.arange(MISSING + 1) & 1 == 1  # (S, 8)
            thresholds = None
            if column >= n_codes:
                # A bin ends at a threshold; missing values have one behind that of the largest.
                thresholds, bin_of = np.unique(nodes.threshold[top[at]], return_inverse=True)
                lower = np.arange(len(thresholds) + 1) <= bin_of[:, None]
                left = np.concatenate([lower, left[:, MISSING:]], axis=1)
            # A split leaves all ends but those below the child to which the row does not go.
            kept = np.where(left, ~below[child[at] + 1, None], ~below[child[at], None])  # (S, B)
            table = np.full((len(trees), kept.shape[1]), ~word.type(0))
            present, start = np.unique(tree[at], return_index=True)
            table[present] = np.bitwise_and.reduceat(kept, start, axis=0)
            self._columns.append((column, thresholds, np.ascontiguousarray(table.T)))
        self.n_rows = max(_BLOCK_BYTES // max(self._all.nbytes, 1), 1)

    def __call__(self, x: Floats) -> Ints:
        """Return the node, counted through all trees, of rows (n, F) in each tree: (n, T)."""
        words = np.tile(self._all, (len(x), 1))
        kept = np.empty_like(words)
        for column, thresholds, table in self._columns:
            values = x[:, column]
            missing = np.isnan(values)
            if thresholds is None:
                place = np.where(missing, MISSING, values).astype(np.int64)
            else:
                # NaN is sorted behind all numbers, and its bin is the next one.
                place = thresholds.searchsorted(values) + missing
            words &= table.take(place, axis=0, out=kept, mode="clip")
        # A single bit is left, and its place is the number of lower ones.
        return np.asarray(self._end.take(self._first + np.bitwise_count(words - 1)))


class _Walk:
    """Walk of rows from nodes to leaves, one level a pass of NumPy.

    Splits of a column may differ in `Nodes.left`. Each pair of a column and such bits is a feature,
    so that every split compares one number with its threshold: a missing value becomes minus
    infinity if it goes left and stays NaN, which is not smaller than anything, if not; a code
    becomes 0 if it goes left and 1 if not. Feature 0 is zero. Leaves compare it with infinity and
    so lead to themselves.

    Parameters
    ----------
    nodes : Nodes
    n_codes : int
        Number of columns of codes, which come first.
    """

    def __init__(self, nodes: Nodes, n_codes: int) -> None:
        split = nodes.column >= 0
        column, left = nodes.column[split].astype(np.int64), nodes.left
        features, place = np.unique(column * 256 + left, return_inverse=True)
        self._column, self._left = np.divmod(features, 256)  # codes come first, as columns do
        self._n_coded = int((self._column < n_codes).sum())
        self._split = split
        self._feature = np.zeros(len(split), dtype=np.int64)
        self._feature[split] = place + 1
        self._threshold = np.full(len(split), np.inf, dtype=nodes.threshold.dtype)
        self._threshold[split] = nodes.threshold
        # All children are allotted in pairs, one tree after the other, behind the tree's root.
        tree = np.repeat(np.arange(len(nodes.output)), 2 * nodes.sizes - 1)
        preceding: Ints = np.cumsum(split) - split  # number of splits before each node
        self._child = np.where(split, 2 * preceding + tree + 1, np.arange(len(split)))

    def __call__(self, x: Floats, node: Ints) -> Ints:
        """Return the leaf below the node, counted through all trees, of each row and tree."""
        n_rows, values = len(x), self._values(x).ravel()
        reached = node.ravel()
        active = np.flatnonzero(self._split.take(reached))
        under_way, row = reached.take(active), active // node.shape[1]
        while len(active):
            for _ in range(_PASSES):
                # The second child follows the first, so the outcome of the comparison is added to
                # the number of the first; at a leaf, whose threshold is infinite, nothing is added.
                value = values.take(self._feature.take(under_way) * n_rows + row)
                right = ~(value <= self._threshold.take(under_way))
                under_way = self._child.take(under_way) + right
            reached[active] = under_way
            remaining = np.flatnonzero(self._split.take(under_way))
            active, under_way, row = (part.take(remaining) for part in (active, under_way, row))
        return reached.reshape(node.shape)

    def _values(self, x: Floats) -> Floats:
        """Return the features of rows (n, F), one feature after the other: (1 + Q, n)."""
        values, left, n_coded = x.T[self._column], self._left[:, None], self._n_coded
        missing = np.isnan(values)
        out = np.where(missing & (left >> MISSING == 1), -np.inf, values)
        codes = np.where(missing[:n_coded], MISSING, values[:n_coded]).astype(np.int64)
        out[:n_coded] = ~(left[:n_coded] >> codes) & 1
        return np.concatenate([np.zeros_like(out, shape=(1, len(x))), out])
