"""Tables in one or several files, which are read part by part and piece by piece."""

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
    """Consecutive rows of one part of a table.

    Attributes
    ----------
    frame : DataFrame
    part : Path
        File of the rows.
    start : int
        Position of the first row in the file.
    """

    frame: pd.DataFrame
    part: Path
    start: int

    @property
    def place(self) -> str:
        """Description of the position of the rows, for errors."""
        return f"Rows from {self.start} on of {str(self.part)!r}"


@dataclass(frozen=True)
class Source:
    """A table that consists of one or several files.

    Attributes
    ----------
    parts : tuple of Path
        Files of the table, sorted by name.
    names : tuple of str
        Columns of all parts, in the order of the first part.
    n_bytes : int
        Expected size of the whole table in memory.
    """

    parts: tuple[Path, ...]
    names: tuple[str, ...]
    n_bytes: int

    @classmethod
    def of(cls, path: Path) -> Source:
        """Find the parts of a table and compare their columns, without reading rows.

        Parameters
        ----------
        path : Path
            A file, a folder or a pattern (``parts/2024-*.parquet``). The parts of a folder are its
            table files, except for subfolders, hidden files and names that begin with ``_``.

        Returns
        -------
        Source

        Raises
        ------
        TableError
            If there is no file or no part, if parts are of several kinds, if a part cannot be read,
            or if its columns differ from those of the first part.
        """
        parts = _parts(path)
        first, *following = ((part, read_header(part)) for part in parts)
        for part_header in following:
            _check_same(first, part_header)
        headers = [header for _, header in (first, *following)]
        return cls(parts, first[1].names, sum(header.n_bytes for header in headers))

    def pieces(
        self, *, cells: int, texts: Iterable[str] = (), columns: Sequence[str] | None = None
    ) -> Generator[Piece]:
        """Read the rows in order, one piece at a time.

        Parameters
        ----------
        cells, texts, columns
            As in `autoimb.data.files.read_pieces`.

        Yields
        ------
        Piece
            At least one piece of each part, with columns in the order of the first part.

        Raises
        ------
        TableError
            If a part cannot be read.
        """
        # Columns of all pieces are returned in the order of the first piece.
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
        parts = [part for part in path.iterdir() if part.is_file() and part.name[0] not in "._"]
        parts = [part for part in parts if kind_of(part) in (*TEXT, *BINARY)]
    elif glob.has_magic(str(path)) and not path.exists():
        parts = [Path(part) for part in glob.glob(str(path))]
    else:
        return (path,)
    if not parts:
        raise TableError(
            f"{str(path)!r} has no table file: parts end in one of {', '.join((*TEXT, *BINARY))}, "
            "and those of subfolders are named by a pattern, as 'folder/*/*.parquet'."
        )
    kinds = sorted({kind_of(part) for part in parts})
    if len(kinds) > 1:
        raise TableError(
            f"{str(path)!r} has files of several kinds: {', '.join(kinds)}. Name the parts of one "
            f"table by a pattern, as 'folder/*{kinds[0]}'."
        )
    return tuple(sorted(parts))


def _check_same(first: tuple[Path, Header], second: tuple[Path, Header]) -> None:
    """Check that a part has the columns of the first one, with the same kinds of values."""
    (first_path, header), (second_path, second_header) = first, second
    lacking = [f"lacks {name!r}" for name in header.names if name not in second_header.names]
    beyond = [f"has {name!r} besides" for name in second_header.names if name not in header.names]
    # Kinds are compared where both files record one.
    second_kinds = dict(zip(second_header.names, second_header.holds))
    unlike = [
        f"holds {second_kinds[name]} in {name!r} instead of {kind}"
        for name, kind in zip(header.names, header.holds)
        if kind and second_kinds.get(name) and second_kinds[name] != kind
    ]
    wrong = lacking + beyond + unlike
    if wrong:
        further = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise TableError(
            f"The parts of a table must have the same columns, but {str(second_path)!r} {wrong[0]}"
            f"{further}, unlike {str(first_path)!r}."
        )
