"""Trees of one fold as arrays over their nodes, and the tables that predict rows.

A set of leaves of a tree is a word with a bit for each leaf, as in QuickScorer (Lucchese et al.,
"QuickScorer: a fast algorithm to rank documents with additive ensembles of regression trees",
2015). The thresholds of all splits of a column divide its values into bins, and for each bin and
tree a table has the leaves that these splits leave. A row is at the leaf that all columns leave.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from autoimb.arrays import MAX_LOGIT, Array, Arrays, check_arrays
from autoimb.assessment.calibration import correct_prior
from autoimb.errors import ArtifactError
from autoimb.partners.reader import READER_ARRAYS, Reader
from autoimb.text import BriefRepr

__all__ = ["MISSING", "FittedTrees", "Nodes"]

MISSING = 7  # bit of `Nodes.left` for missing values; the lower ones are for codes of categories

_MAX_LEAVES = 64  # of a tree: the bits of the longest word of NumPy
_BLOCK_BYTES = 2**17  # words of the rows that are predicted together, which fit into the cache
_TABLE_WORDS = 2**21  # approximate size of the tables of the trees that are looked up together

_MIN_PROBA = 1e-12  # keeps the logarithm finite

# The letters are those of the shapes below.
_ARRAYS = READER_ARRAYS | {
    "column": Array("int32", "n", low=-1),
    "threshold": Array("float64", "s", high=np.inf),
    "left": Array("uint8", "s"),
    "answer": Array("float64", "lK"),
    "output": Array("int64", "TK", low=0),
    "baseline": Array("float64", "C", low=-np.inf),
    "log_prior": Array("float64", "C", -MAX_LOGIT, MAX_LOGIT),
}

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Nodes(NamedTuple):
    """Nodes of T trees, one tree after the other: s splits and l leaves, n in all.

    The nodes of a tree are in breadth-first order. The children of its k-th split, counted from 0,
    are therefore its nodes 2k + 1 (left) and 2k + 2, and no link between nodes is stored.

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
    answer : float64 ndarray of shape (l, K)
        Values that each leaf adds to the scores.
    output : int64 ndarray of shape (T, K)
        The classes whose scores the answers are added to.
    """

    column: NDArray[np.int32]
    threshold: Floats
    left: NDArray[np.uint8]
    answer: Floats
    output: Ints

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

    def blocks(self) -> list[Nodes]:
        """Divide the trees into blocks, so that the tables of all blocks remain small.

        The table of a block has a word for each of its trees and of their splits.
        """
        n_trees, leaves = len(self.output), np.cumsum(self.sizes)
        n_blocks = math.ceil(math.sqrt(n_trees * len(self.threshold) / _TABLE_WORDS))
        edges = np.linspace(0, n_trees, max(n_blocks, 1) + 1).astype(np.int64)
        blocks = []
        for first, last in pairwise(edges.tolist()):
            leaf = slice(leaves[first - 1] if first else 0, leaves[last - 1] if last else 0)
            # A tree has one split fewer than leaves.
            split = slice(leaf.start - first, leaf.stop - last)
            node = slice(leaf.start + split.start, leaf.stop + split.stop)
            blocks.append(
                Nodes(
                    column=self.column[node],
                    threshold=self.threshold[split],
                    left=self.left[split],
                    answer=self.answer[leaf],
                    output=self.output[first:last],
                )
            )
        return blocks


_NO_NODES = Nodes(
    column=np.empty(0, dtype=np.int32),
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
        The scores before the first tree; minus infinity for a class that training lacked.
    log_prior : float64 ndarray of shape (C,)
        Added to log-probabilities: log of (real prior / prior in training).
    bagged : bool
        True if scores are probabilities, of which one class has the remainder to 1; False if they
        are log-probabilities up to a constant.
    """

    reader: Reader
    nodes: Nodes
    baseline: Floats
    log_prior: Floats
    bagged: bool = False

    @property
    def path_nodes(self) -> float:
        """Number of nodes from the roots to the leaves of a row, as if all trees were balanced."""
        return float(np.log2(np.diff(self.nodes.ends, prepend=-1) + 1).sum())

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
        """Prepare the tables for many rows.

        Returns
        -------
        callable
            From rows as a `Reader` gives them, (n, F), to the scores of the classes, (n, C). The
            scores of a row do not depend on the rows beside it.
        """
        blocks = [_Tables(nodes, self.reader.codes) for nodes in self.nodes.blocks()]

        def score(x: Floats) -> Floats:
            scores = np.tile(self.baseline, (len(x), 1))
            for tables in blocks:
                for start in range(0, len(x), tables.n_rows):
                    rows = slice(start, start + tables.n_rows)
                    tables.add(x[rows], scores[rows])
            return scores

        return score

    def posterior(self, scores: Floats) -> Floats:
        """Return probabilities under the real prior, (n, C), from scores (n, C)."""
        if self.bagged:
            # A forest stores the probabilities of all classes but one, which has what they leave of
            # 1; its baseline is the only one above 0.
            proba, rest = scores.copy(), int(np.argmax(self.baseline))
            proba[:, rest] = 1.0 + scores[:, rest] - scores.sum(axis=1)
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
        if nodes.sizes.max(initial=0) > _MAX_LEAVES:
            raise ArtifactError(f"{name} must have at most {_MAX_LEAVES} leaves a tree.")
        if not ((nodes.column < reader.width).all() and (nodes.output < len(baseline)).all()):
            raise ArtifactError(f"{name} must read columns of the table, and predict its classes.")
        if not np.isfinite(baseline).any():
            raise ArtifactError(
                f"{name} must have a finite score of a class before the first tree."
            )
        return cls(reader, nodes, baseline, log_prior, bagged)


class _Tables:
    """Tables from the values of columns to the leaves that they leave, for a block of trees.

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
        sizes, split = nodes.sizes, np.flatnonzero(nodes.column >= 0)
        trees = np.arange(len(sizes))
        self._first = np.cumsum(sizes) - sizes  # leaf of each tree
        root = 2 * self._first - trees
        tree = np.repeat(trees, sizes - 1)  # of each split
        rank = np.arange(len(split)) - (self._first - trees)[tree]  # of each split in its tree
        child = root[tree] + 2 * rank + 1  # the left one of each split
        # The leaves below each node as bits: a leaf itself, or those below both children. Children
        # follow their split, so the last splits of all trees come first.
        word = np.min_scalar_type(2 ** int(sizes.max(initial=1)) - 1)
        below = np.zeros(len(nodes.column), dtype=word)
        bit = np.arange(len(nodes.answer)) - np.repeat(self._first, sizes)
        below[nodes.column < 0] = np.ones(1, dtype=word) << bit.astype(word)
        for number in range(rank.max(initial=-1), -1, -1):
            at = np.flatnonzero(rank == number)
            below[split[at]] = below[child[at]] | below[child[at] + 1]
        self._all = below[root]
        self._columns = []
        for column in np.unique(nodes.column[split]).tolist():
            at = np.flatnonzero(nodes.column[split] == column)
            left = nodes.left[at, None] >> np.arange(MISSING + 1) & 1 == 1  # (S, 8)
            thresholds = None
            if column >= n_codes:
                # A bin ends at a threshold; missing values have one behind that of the largest.
                thresholds, place = np.unique(nodes.threshold[at], return_inverse=True)
                lower = np.arange(len(thresholds) + 1) <= place[:, None]
                left = np.concatenate([lower, left[:, MISSING:]], axis=1)
            # A split leaves all leaves but those below the child to which the row does not go.
            kept = np.where(left, ~below[child[at] + 1, None], ~below[child[at], None])  # (S, B)
            table = np.full((len(trees), kept.shape[1]), ~word.type(0))
            present, start = np.unique(tree[at], return_index=True)
            table[present] = np.bitwise_and.reduceat(kept, start, axis=0)
            self._columns.append((column, thresholds, np.ascontiguousarray(table.T)))
        self._outputs = [
            (answer, label, np.flatnonzero(labels == label))
            for answer, labels in zip(np.ascontiguousarray(nodes.answer.T), nodes.output.T)
            for label in np.unique(labels).tolist()
        ]
        self.n_rows = max(_BLOCK_BYTES // max(self._all.nbytes, 1), 1)

    def add(self, x: Floats, scores: Floats) -> None:
        """Add the answers of the trees for rows (n, F) to the scores (n, C), in place."""
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
        leaf = self._first + np.bitwise_count(words - 1)
        for answer, label, trees in self._outputs:
            reached = leaf if len(trees) == leaf.shape[1] else leaf[:, trees]
            scores[:, label] += answer.take(reached).sum(axis=1)
