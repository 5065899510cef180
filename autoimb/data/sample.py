"""Samples of tables that exceed the memory, with the class counts of the whole tables."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from autoimb.data.files import Source
from autoimb.data.memory import machine_bytes, read_bytes
from autoimb.data.subsample import allotted
from autoimb.data.table import read_table, split_target, split_weight
from autoimb.data.target import label_codes
from autoimb.data.values import text_of
from autoimb.errors import InputError, OptionError, SchemaError, TargetError, check_choice
from autoimb.policy import DEFAULT_POLICY, SearchPolicy
from autoimb.randomness import Purpose, stream

__all__ = ["Sample", "read", "reweighted"]

# Share of the machine's memory for a search, unless the user sets a limit.
_MEMORY_SHARE = 0.5
# Share of that memory for the rows of a table; larger tables are sampled
# (reports/design/tables-larger-than-memory.md).
_TABLE_SHARE = 1 / 16

CELLS = 4_000_000  # per piece
Rows = NDArray[np.int64]
Weight = NDArray[np.float64] | None
# Rows, the codes of their labels, and the labels by code.
Pieces = Iterator[tuple[pd.DataFrame, Rows, list[str]]]


@dataclass(frozen=True, eq=False)
class Sample:
    """A table, or rows drawn from it class by class.

    Attributes
    ----------
    frame : DataFrame of shape (n, p)
        Columns without the target and the weights.
    y : Series or ndarray of shape (n,)
        Labels of the rows.
    weight : ndarray of shape (n,) or None
        Sample weights of the user.
    class_counts : mapping of label to int, or None
        Number of rows of each class in the whole table, by label or by its text; None if the sample
        is the whole table.
    rows : ndarray of int64, shape (n,), or None
        Positions of the rows in the whole table; None if the whole table was read at once.
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
    """Read a table, or as many of its rows as the memory limit allows.

    Rows are drawn in two passes over the files. The first pass counts the classes and, in text
    files, determines the columns that contain text. The second pass draws rows of every class
    without replacement; the rarer classes remain complete as far as possible. The drawn rows depend
    on the seed, the labels and the order of the rows. They depend neither on other columns nor on
    the division of the table into parts and pieces.

    Parameters
    ----------
    path : path-like
        A file, a folder of parts, or a pattern; see `autoimb.data.files.Source.of`.
    target : str
        Name of the target column.
    max_memory : str, int or None
        Memory limit of a whole search, as ``"4GB"`` or in bytes; a sixteenth of it is available to
        the rows as they are read. None is half of the machine's memory. The program and its
        packages take about 1 GB. At least 20,000 rows are always drawn.
    weight : str or None
        Name of a column of row weights; rows of weight 0 are neither counted nor drawn.
    random_state : int
        Seed, at least 0.
    policy : SearchPolicy, optional
        Share of memory for the rows, minimum number of rows, and maximum number of classes.

    Returns
    -------
    Sample
        Rows in the order of the table. A single file that fits into memory is read completely.

    Raises
    ------
    InputError
        If there is no table file, if parts cannot be read or differ in their columns, or if a
        column name, label, weight or the seed is invalid.
    """
    if not 0 <= random_state < 2**64:
        raise OptionError(f"random_state must be from 0 to 2^64 - 1, got {random_state}.")
    memory = _MEMORY_SHARE * machine_bytes() if max_memory is None else read_bytes(max_memory)
    # Rows as they are read may take this part of the memory of a search.
    max_bytes = _TABLE_SHARE * memory
    source = Source.of(Path(path))
    counts: Mapping[str, int] | None = None
    rows: Rows | None = None
    if len(source.parts) == 1 and source.n_bytes <= max_bytes:
        table = read_table(source.parts[0])
    else:
        check_choice("target column", target, source.names, TargetError)
        if weight is not None:
            check_choice("weight column", weight, source.names, SchemaError)
        labelled = _labelled(source, target, weight, only_labels=True)
        counts, texts = _count(labelled, policy.sizes.max_classes)
        share = max_bytes / max(source.n_bytes, 1)
        max_rows = max(int(share * sum(counts.values())), policy.sizes.min_training_rows)
        drawn = _draw(counts, max_rows, random_state)
        frames = list(_taken(_labelled(source, target, weight, texts=texts), drawn))
        table = read_table(_joined(frames, source.names))
        rows = np.concatenate([frame.index.to_numpy(np.int64) for frame in frames])
        # If all rows fitted, they are the table, and no weights have to make up for missing rows.
        if len(table) == sum(counts.values()):
            counts = None
    frame, y = split_target(table, target)
    frame, values = split_weight(frame, weight)
    return Sample(frame, y, values, counts, rows)


def reweighted(rows: Sample) -> tuple[pd.DataFrame, pd.Series | NDArray[Any], Weight]:
    """Return the rows of a sample with weights that make them represent the whole table.

    Parameters
    ----------
    rows : Sample

    Returns
    -------
    frame : DataFrame of shape (n, p)
    y : Series or ndarray of shape (n,)
    weight : ndarray of shape (n,) or None
        Weight of the user times the number of rows of the class per drawn row; the weight of the
        user if the sample is the whole table.
    """
    if rows.class_counts is None:
        return rows.frame, rows.y, rows.weight
    # A drawn row represents the rows of its class in the table per drawn row of the class.
    codes, levels = label_codes(rows.y)
    totals = {text_of(label): count for label, count in rows.class_counts.items()}
    class_weight = np.array([totals[text_of(level)] for level in levels]) / np.bincount(codes)
    weight = class_weight[codes] if rows.weight is None else class_weight[codes] * rows.weight
    return rows.frame, rows.y, weight


def _count(pieces: Pieces, max_classes: int) -> tuple[Counter[str], list[str]]:
    """Return the number of rows of each class, and the columns of text files that contain text."""
    counts: Counter[str] = Counter()
    kinds: defaultdict[str, set[str]] = defaultdict(set)
    for frame, codes, labels in pieces:
        counts.update(dict(zip(labels, np.bincount(codes).tolist())))
        if len(counts) > max_classes:
            raise TargetError(
                f"The target has more than {max_classes:,} classes: is it an identifier?"
            )
        for name, column in frame.items():
            if not column.isna().all():  # an empty column may be of any kind
                kinds[str(name)].add(column.dtype.kind)
    # pandas infers one type for all pieces of a column only if it holds numbers or booleans alone.
    texts = [name for name, found in kinds.items() if not (found <= set("iuf") or found == {"b"})]
    return counts, texts


def _draw(counts: Mapping[str, int], max_rows: int, random_state: int) -> dict[str, Rows]:
    """Draw rows of each class; return their sorted positions within the class."""
    labels = sorted(counts)
    sizes = np.array([counts[label] for label in labels], dtype=np.int64)
    numbers = sizes if sizes.sum() <= max_rows else allotted(sizes, max_rows)
    drawn = {}
    for index, (label, size, number) in enumerate(zip(labels, sizes, numbers)):
        # Each class has a stream of its own, so that its rows do not depend on the draws before.
        random = stream(Purpose.DRAWN_ROWS, random_state, index=index)
        # A shuffled draw of more than a 50th of a class would allocate an array of all its rows.
        drawn[label] = np.sort(random.choice(size, number, replace=False, shuffle=False))
    return drawn


def _taken(pieces: Pieces, drawn: Mapping[str, Rows]) -> Iterator[pd.DataFrame]:
    """Yield the drawn rows of each piece."""
    # Positions within a class continue from piece to piece.
    n_read = dict.fromkeys(drawn, 0)
    for frame, codes, labels in pieces:
        # Positions in the class that fall into this piece, as positions in the piece.
        taken = []
        for code, label in enumerate(labels):
            if label not in drawn:
                raise TargetError(f"The target contains {label!r} both as a number and as text.")
            class_rows = np.flatnonzero(codes == code)
            start, end = n_read[label], n_read[label] + len(class_rows)
            first, last = np.searchsorted(drawn[label], [start, end])
            taken.append(class_rows[drawn[label][first:last] - start])
            n_read[label] = end
        yield frame.iloc[np.sort(np.concatenate(taken))]


def _labelled(
    source: Source,
    target: str,
    weight: str | None,
    *,
    texts: Sequence[str] = (),
    only_labels: bool = False,
) -> Pieces:
    """Yield the rows with weights above 0, the codes of their labels, and the labels as text.

    The index of a row is its position in the table.
    """
    columns = [target, *filter(None, [weight])] if only_labels else None
    n_before = 0
    with closing(source.pieces(cells=CELLS, texts=texts, columns=columns)) as pieces:
        for piece, place in pieces:
            frame = piece.set_axis(range(n_before, n_before + len(piece)))
            n_before += len(piece)
            try:
                _, values = split_weight(frame, weight)
                if values is not None:
                    frame = frame[values > 0]
                if not len(frame):
                    continue
                codes, levels = label_codes(frame[target])
            except InputError as error:  # row numbers count from the start of the piece
                raise type(error)(f"{place}: {error}") from error
            yield frame, codes, [text_of(level) for level in levels]


def _joined(frames: list[pd.DataFrame], names: Sequence[str]) -> pd.DataFrame:
    """Concatenate pieces; columns that are categorical in all of them remain categorical."""
    if not frames:
        return pd.DataFrame(columns=list(names))
    categorical = [
        name
        for name in frames[0].columns
        if all(isinstance(frame[name].dtype, pd.CategoricalDtype) for frame in frames)
    ]
    joined = pd.concat(frames, ignore_index=True)
    return joined.astype(dict.fromkeys(categorical, "category"))
