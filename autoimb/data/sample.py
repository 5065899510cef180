"""A table that memory does not hold: a sample of its rows, and the counts of all of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types
from pandas.api.types import union_categoricals

from autoimb.data.memory import machine_bytes, read_bytes
from autoimb.data.source import Piece, Source
from autoimb.data.subsample import allotted
from autoimb.data.table import read_table, split_target, split_weight
from autoimb.data.target import label_array
from autoimb.data.values import text_of
from autoimb.errors import InputError, OptionError, SchemaError, TargetError, choices
from autoimb.policy import DEFAULT_POLICY, SearchPolicy
from autoimb.randomness import Purpose, stream

__all__ = ["Sample", "read", "reweighted"]

CELLS = 4_000_000  # of a piece
GUESSED: tuple[set[str], ...] = ({"numbers"}, {"booleans"})  # in every piece that has values
Rows = NDArray[np.int64]
Weight = NDArray[np.float64] | None


@dataclass(frozen=True, eq=False)
class Sample:
    """A table, or rows that were drawn from it class by class.

    Attributes
    ----------
    frame : DataFrame of shape (n, p)
        The columns, without the target and the weights.
    y : Series or ndarray of shape (n,)
        The labels.
    weight : ndarray of shape (n,) or None
        The user's weights.
    class_counts : mapping of label to int, or None
        Rows of each class in the whole table, by the label or its text; None where all are here.
    rows : ndarray of int64, shape (n,), or None
        Their positions in the whole table; None where all are here.
    """

    frame: pd.DataFrame
    y: pd.Series | NDArray[Any]
    weight: Weight = None
    class_counts: Mapping[Any, int] | None = None
    rows: Rows | None = None


def read(
    path: str | PathLike[str],
    target: str,
    *,
    max_memory: str | int | None = None,
    weight: str | None = None,
    random_state: int = 0,
    policy: SearchPolicy = DEFAULT_POLICY,
) -> Sample:
    """Read a table, or as many rows of it as memory may hold, in two passes over its files.

    The first pass counts the classes, and of text files finds out which columns are text. The
    second one keeps rows of every class, drawn without replacement: the rarer classes whole as far
    as possible. Which rows are drawn depends on the seed, on the labels and on the order of the
    rows; neither on other columns nor on how the rows lie in parts and pieces.

    Parameters
    ----------
    path : path-like
        A file, a folder of parts, or a pattern: see `autoimb.data.source.Source.of`.
    target : str
        Name of the target column.
    max_memory : str, int or None
        What a search of the rows may take in all, as ``"4GB"`` or in bytes; a sixteenth of it is
        for the rows as they are read. None is half of the machine's. A program with its packages
        takes about 1 GB, and 20,000 rows are always drawn.
    weight : str or None
        Name of a column of row weights; rows of weight 0 are neither counted nor drawn.
    random_state : int
        From 0.
    policy : SearchPolicy, optional
        Which share the rows may take, how many are drawn at least, how many classes there may be.

    Returns
    -------
    Sample
        In the order of the table. One file that fits is read whole.

    Raises
    ------
    InputError
        No table file, parts that can't be read or are not of the same columns, an unknown column,
        a label, a weight or a seed that can't be one.
    """
    if not 0 <= random_state < 2**64:
        raise OptionError(f"random_state must be from 0 to 2^64 - 1, got {random_state}.")
    memory = policy.memory_share * machine_bytes() if max_memory is None else read_bytes(max_memory)
    most_bytes = policy.table_share * memory
    source = Source.of(Path(path))
    counts: Mapping[str, int] | None = None
    rows: Rows | None = None
    if len(source.parts) == 1 and source.n_bytes <= most_bytes:
        whole = read_table(source.parts[0])
    else:
        columns = _Columns.of(source, target, weight)
        share = most_bytes / max(source.n_bytes, 1)
        whole, rows, counts = _drawn(
            source, columns, share, random_state=random_state, policy=policy
        )
    frame, y = split_target(whole, target)
    frame, values = split_weight(frame, weight)
    return Sample(frame, y, values, counts, rows)


def reweighted(rows: Sample) -> tuple[pd.DataFrame, pd.Series | NDArray[Any], Weight]:
    """Let the rows of a sample stand for the whole table.

    Parameters
    ----------
    rows : Sample

    Returns
    -------
    frame : DataFrame of shape (n, p)
    y : Series or ndarray of shape (n,)
    weight : ndarray of shape (n,) or None
        Times the user's weight, the rows of the class for each that was drawn; where nothing was
        drawn the user's weight.
    """
    if rows.class_counts is None:
        return rows.frame, rows.y, rows.weight
    codes, levels = pd.factorize(label_array(rows.y))
    whole = {text_of(label): count for label, count in rows.class_counts.items()}
    each = np.array([whole[text_of(level)] for level in levels]) / np.bincount(codes)
    weight = each[codes] if rows.weight is None else each[codes] * rows.weight
    return rows.frame, rows.y, weight


@dataclass(frozen=True)
class _Columns:
    """The columns that tell which rows are drawn."""

    target: str
    weight: str | None

    @classmethod
    def of(cls, source: Source, target: str, weight: str | None) -> _Columns:
        """Check that the table has them."""
        if target not in source.names:
            raise TargetError(choices("target column", target, source.names))
        if weight is not None and weight not in source.names:
            raise SchemaError(choices("weight column", weight, source.names))
        return cls(target, weight)

    @property
    def names(self) -> list[str]:
        """Their names."""
        return [self.target] if self.weight is None else [self.target, self.weight]


def _drawn(
    source: Source, columns: _Columns, share: float, *, random_state: int, policy: SearchPolicy
) -> tuple[pd.DataFrame, Rows, Mapping[str, int] | None]:
    """Draw about this share of the rows.

    Returns
    -------
    frame : DataFrame of shape (n, p)
    rows : ndarray of int64, shape (n,)
        Their positions in the table.
    counts : mapping of str to int, or None
        Of all rows, where some were not drawn.
    """
    counts, texts = _count(source, columns, most_classes=policy.most_classes)
    n_rows = sum(counts.values())
    most = max(int(share * n_rows), policy.least_training_rows)
    drawn = _draw(counts, most, random_state)
    frames = list(_taken(source, columns, texts=texts, drawn=drawn))
    frame = read_table(_joined(frames, source.names))
    rows = np.concatenate([own.index.to_numpy(np.int64) for own in frames])
    return frame, rows, counts if len(frame) < n_rows else None


def _count(
    source: Source, columns: _Columns, *, most_classes: int
) -> tuple[Counter[str], list[str]]:
    """Count the rows of each class, and name the columns of text files that are text."""
    counts: Counter[str] = Counter()
    guesses: defaultdict[str, set[str]] = defaultdict(set)
    for frame, codes, labels in _labelled(source, columns, only=columns.names):
        counts.update(dict(zip(labels, np.bincount(codes).tolist())))
        if len(counts) > most_classes:
            raise TargetError(
                f"The target has more than {most_classes:,} classes: is it an identifier?"
            )
        for name, column in frame.items():
            if not column.isna().all():  # else it may be anything
                guesses[str(name)].add(_guess(column))
    return counts, [name for name, kinds in guesses.items() if kinds not in GUESSED]


def _guess(column: pd.Series) -> str:
    if types.is_bool_dtype(column.dtype):
        return "booleans"
    return "numbers" if types.is_numeric_dtype(column.dtype) else "text"


def _draw(counts: Mapping[str, int], most: int, random_state: int) -> dict[str, Rows]:
    """Draw rows of each class by their number in the class, sorted."""
    labels = sorted(counts)
    sizes = np.array([counts[label] for label in labels], dtype=np.int64)
    numbers = sizes if sizes.sum() <= most else allotted(sizes, most)
    drawn = {}
    for index, (label, size, number) in enumerate(zip(labels, sizes, numbers)):
        random = stream(Purpose.DRAWN_ROWS, random_state, index=index)
        # unshuffled, as else an array of all rows of the class is made for a 50th of them
        drawn[label] = np.sort(random.choice(size, number, replace=False, shuffle=False))
    return drawn


def _taken(
    source: Source, columns: _Columns, *, texts: Sequence[str], drawn: Mapping[str, Rows]
) -> Generator[pd.DataFrame]:
    """Yield the drawn rows of each piece."""
    seen = dict.fromkeys(drawn, 0)
    for frame, codes, labels in _labelled(source, columns, texts=texts):
        taken = []
        for code, label in enumerate(labels):
            if label not in drawn:
                raise TargetError(f"The target holds {label!r} as a number and as text.")
            own = np.flatnonzero(codes == code)
            first, last = np.searchsorted(drawn[label], [seen[label], seen[label] + len(own)])
            taken.append(own[drawn[label][first:last] - seen[label]])
            seen[label] += len(own)
        yield frame.iloc[np.sort(np.concatenate(taken))]


def _labelled(
    source: Source,
    columns: _Columns,
    *,
    texts: Sequence[str] = (),
    only: Sequence[str] | None = None,
) -> Generator[tuple[pd.DataFrame, NDArray[np.intp], list[str]]]:
    """Yield the rows of a weight above 0, the codes of their labels, and the labels as text.

    The index of the rows is their position in the table.
    """
    n_before = 0
    with closing(source.pieces(cells=CELLS, texts=texts, columns=only)) as pieces:
        for piece in pieces:
            if not len(piece.frame):
                continue
            with _at(piece):
                frame, values = piece.frame, split_weight(piece.frame, columns.weight)[1]
                frame = frame.set_axis(range(n_before, n_before + len(frame)))
                n_before += len(frame)
                if values is not None:
                    frame = frame[values > 0]
                if not len(frame):
                    continue
                codes, levels = _factorized(frame[columns.target])
            yield frame, codes, [text_of(level) for level in levels]


def _factorized(labels: pd.Series) -> tuple[NDArray[np.intp], NDArray[Any]]:
    try:
        codes, levels = pd.factorize(label_array(labels))
    except TypeError as error:
        raise TargetError(f"The labels of the target must be of one type: {error}.") from None
    return codes, np.asarray(levels)


@contextmanager
def _at(piece: Piece) -> Generator[None]:
    """Say of which rows an error is, whose own numbers begin with the piece."""
    try:
        yield
    except InputError as error:
        raise type(error)(f"{piece.place}: {error}") from error


def _joined(frames: list[pd.DataFrame], names: Sequence[str]) -> pd.DataFrame:
    """Put pieces together; categories of all of them are those of each."""
    if not frames:
        return pd.DataFrame(columns=list(names))
    for name, dtype in frames[0].dtypes.items():
        if not isinstance(dtype, pd.CategoricalDtype):
            continue
        columns = [frame[name] for frame in frames]
        if all(isinstance(column.dtype, pd.CategoricalDtype) for column in columns):
            every = union_categoricals(columns, ignore_order=True).categories
            frames = [
                frame.assign(**{str(name): column.cat.set_categories(every)})
                for frame, column in zip(frames, columns)
            ]
    return pd.concat(frames, ignore_index=True)
