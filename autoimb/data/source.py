"""A table as one file or many: its parts in order, and its rows piece by piece."""

from __future__ import annotations

import glob
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from autoimb.data.files import BINARY, TEXT, Header, kind_of, read_header, read_pieces
from autoimb.errors import TableError

__all__ = ["Piece", "Source"]


@dataclass(frozen=True, eq=False)
class Piece:
    """Rows that follow each other in one part of a table.

    Attributes
    ----------
    frame : DataFrame
    part : Path
        The file they are of.
    start : int
        How many of its rows come before them.
    """

    frame: pd.DataFrame
    part: Path
    start: int

    @property
    def place(self) -> str:
        """Where its rows stand, for an error about one of them."""
        return f"Rows from {self.start} on of {str(self.part)!r}"


@dataclass(frozen=True)
class Source:
    """A table that lies in files.

    Attributes
    ----------
    parts : tuple of Path
        In the order of their rows, that of their names.
    names : tuple of str
        The columns, which all parts have, in the order of the first part.
    n_bytes : int
        Of memory that the whole table is expected to take.
    """

    parts: tuple[Path, ...]
    names: tuple[str, ...]
    n_bytes: int

    @classmethod
    def of(cls, path: Path) -> Source:
        """Find the parts of a table and check that they have the same columns; no row is read.

        Parameters
        ----------
        path : Path
            A file; a folder, whose table files are the parts (subfolders, hidden files and names
            that begin with ``_`` are none of them); or a pattern (``parts/2024-*.parquet``).

        Returns
        -------
        Source

        Raises
        ------
        TableError
            No such file, no part or parts of several kinds, a part that can't be read, or one whose
            columns are not those of the first.
        """
        parts = _parts(path)
        first, *others = ((part, read_header(part)) for part in parts)
        for other in others:
            _check_same(first, other)
        headers = [header for _, header in (first, *others)]
        return cls(parts, first[1].names, sum(header.n_bytes for header in headers))

    def pieces(
        self, *, cells: int, texts: Iterable[str] = (), columns: Sequence[str] | None = None
    ) -> Generator[Piece]:
        """Read the rows in order and in pieces, so that no more of them is in memory.

        Parameters
        ----------
        cells, texts, columns
            As in `autoimb.data.files.read_pieces`.

        Yields
        ------
        Piece
            At least one for each part; its columns in the order of the first part.

        Raises
        ------
        TableError
            Where a part can't be read.
        """
        order: list[str] | None = None
        for part in self.parts:
            start = 0
            with closing(read_pieces(part, cells=cells, texts=texts, columns=columns)) as pieces:
                for frame in pieces:
                    order = order or list(frame.columns)
                    yield Piece(frame[order], part, start)
                    start += len(frame)


def _parts(path: Path) -> tuple[Path, ...]:
    if path.is_dir():
        found = [part for part in path.iterdir() if part.is_file() and part.name[0] not in "._"]
        found = [part for part in found if kind_of(part) in (*TEXT, *BINARY)]
    elif glob.has_magic(str(path)) and not path.exists():
        found = [Path(part) for part in glob.glob(str(path))]
    else:
        return (path,)
    if not found:
        raise TableError(
            f"{str(path)!r} has no table file: parts end in one of {', '.join((*TEXT, *BINARY))}, "
            "and those of subfolders are named by a pattern, as 'folder/*/*.parquet'."
        )
    kinds = sorted({kind_of(part) for part in found})
    if len(kinds) > 1:
        raise TableError(
            f"{str(path)!r} has files of several kinds: {', '.join(kinds)}. Name the parts of one "
            f"table by a pattern, as 'folder/*{kinds[0]}'."
        )
    return tuple(sorted(found))


def _check_same(first: tuple[Path, Header], other: tuple[Path, Header]) -> None:
    """Refuse a part that lacks a column, has one more, or holds another kind of values in one."""
    (one, own), (two, its) = first, other
    lacking = [f"lacks {name!r}" for name in own.names if name not in its.names]
    beyond = [f"has {name!r} besides" for name in its.names if name not in own.names]
    theirs = dict(zip(its.names, its.holds))
    unlike = [
        f"holds {theirs[name]} in {name!r} instead of {held}"
        for name, held in zip(own.names, own.holds)
        if held and theirs.get(name) and theirs[name] != held
    ]
    wrong = lacking + beyond + unlike
    if wrong:
        others = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise TableError(
            f"The parts of a table must have the same columns, but {str(two)!r} {wrong[0]}"
            f"{others}, unlike {str(one)!r}."
        )
