"""Reading of tables in one or several files, completely or piece by piece."""

from __future__ import annotations

import csv
import glob
import lzma
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from autoimb.errors import TableError

__all__ = ["Source", "check_names", "read_file"]

TEXT = (".csv", ".tsv", ".txt")
BINARY: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".parquet": pd.read_parquet,
    ".feather": pd.read_feather,
}
PACKINGS = (".bz2", ".gz", ".xz", ".zip", ".zst")
BROKEN = (
    *(OSError, EOFError, ValueError, csv.Error, lzma.LZMAError, zipfile.BadZipFile, zlib.error),
    pa.ArrowException,
)
QUOTED = re.compile('"[^"]*("|$)')
NO_SEPARATOR = "\x1f"  # a control character that tables do not contain
CELL = 8  # bytes of a number in memory
UNPACKED = {".feather": 4, "text": 2, "packed": 12}  # approximate bytes in memory per file byte


def read_file(path: Path) -> pd.DataFrame:
    """Read a table file in the format that its name extension denotes.

    Parameters
    ----------
    path : Path
        File with an extension of `TEXT`, possibly followed by one of `PACKINGS`, or of `BINARY`.

    Returns
    -------
    DataFrame

    Raises
    ------
    TableError
        If the extension is unknown, the file does not exist or is not in the format of its
        extension, or column names are repeated.
    """
    with _reading(path) as kind:
        if kind in BINARY:
            return BINARY[kind](path)
        separator, _ = _read_header(path)
        return pd.read_csv(_source(path), sep=separator, low_memory=False).reset_index(drop=True)


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
        schemas, sizes = zip(*map(_read_columns, parts))
        for part, schema in zip(parts[1:], schemas[1:]):
            if difference := _difference(schemas[0], schema):
                raise TableError(
                    f"The parts of a table must have the same columns, but {str(part)!r} "
                    f"{difference}, unlike {str(parts[0])!r}."
                )
        return cls(parts, tuple(schemas[0].names), sum(sizes))

    def pieces(
        self, *, cells: int, texts: Iterable[str] = (), columns: Sequence[str] | None = None
    ) -> Generator[tuple[pd.DataFrame, str]]:
        """Read the rows in order, piece by piece, to limit the memory that they take.

        Parquet files are unpacked by row groups, Feather files by batches.

        Parameters
        ----------
        cells : int
            Number of cells of a piece; a piece has at least one row.
        texts : iterable of str
            Columns of text files that are read as text whatever their values look like.
        columns : sequence of str, optional
            Columns of binary files to read; all columns of text files are read.

        Yields
        ------
        frame : DataFrame
            At least one piece of each part, which is empty if the part has no rows. The columns are
            in the order of the first piece.
        place : str
            Description of the position of the rows, for errors.

        Raises
        ------
        TableError
            If a part cannot be read.
        """
        order: list[str] | None = None
        for part in self.parts:
            start = 0
            with _reading(part) as kind:
                if kind in BINARY:
                    frames = _binary_pieces(part, kind, cells, columns)
                else:
                    frames = _text_pieces(part, cells, texts)
                with closing(frames):
                    for frame in frames:
                        order = order or list(frame.columns)
                        yield frame[order], f"Rows from {start} on of {str(part)!r}"
                        start += len(frame)


def _parts(path: Path) -> tuple[Path, ...]:
    if path.is_dir():
        parts = [part for part in path.iterdir() if part.is_file() and part.name[0] not in "._"]
        parts = [part for part in parts if _kind_of(part) in (*TEXT, *BINARY)]
    elif glob.has_magic(str(path)) and not path.exists():
        parts = [Path(part) for part in glob.glob(str(path))]
    else:
        return (path,)
    if not parts:
        raise TableError(
            f"{str(path)!r} has no table file: parts end in one of {', '.join((*TEXT, *BINARY))}, "
            "and those of subfolders are named by a pattern, as 'folder/*/*.parquet'."
        )
    kinds = sorted({_kind_of(part) for part in parts})
    if len(kinds) > 1:
        raise TableError(
            f"{str(path)!r} has files of several kinds: {', '.join(kinds)}. Name the parts of one "
            f"table by a pattern, as 'folder/*{kinds[0]}'."
        )
    return tuple(sorted(parts))


def _difference(first: pa.Schema, second: pa.Schema) -> str:
    """Return how the columns of a part differ from those of the first one; empty if they do not."""
    wrong = [f"lacks {name!r}" for name in first.names if name not in second.names]
    wrong += [f"has {name!r} besides" for name in second.names if name not in first.names]
    if wrong:
        return f"{wrong[0]} (and {len(wrong) - 1} more)" if len(wrong) > 1 else wrong[0]
    try:
        pa.unify_schemas([first, second], promote_options="permissive")
    except pa.ArrowException as error:
        return f"has columns of other types ({error})"
    return ""


# --- columns -------------------------------------------------------------------------------------


def _read_columns(path: Path) -> tuple[pa.Schema, int]:
    """Return the columns of a file, and the expected size of its rows in memory.

    Text files do not record types, so that theirs are null. Categories have the type of their
    values.
    """
    with _reading(path) as kind:
        size = path.stat().st_size
        if kind not in BINARY:
            names = dict.fromkeys(_read_header(path)[1])
            expansion = UNPACKED["packed" if path.suffix.lower() in PACKINGS else "text"]
            return pa.schema([(name, pa.null()) for name in names]), expansion * size
        with pa.OSFile(str(path)) as file:
            fields, _ = BATCHES[kind](file)
        types = [t.value_type if pa.types.is_dictionary(t) else t for t in fields.types]
        schema = pa.schema(list(zip(fields.names, types)))
        if kind != ".parquet":
            return schema, UNPACKED[kind] * size
        metadata = pq.read_metadata(path)
        groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
        # The estimate is the larger of the size in pandas and the uncompressed size in the file.
        row = sum(t.bit_width // 8 if pa.types.is_floating(t) else CELL for t in fields.types)
        unpacked = sum(group.total_byte_size for group in groups)
        return schema, max(row * metadata.num_rows, unpacked)


def check_names(names: Iterable[str]) -> None:
    """Check that column names are unique."""
    repeated = [repr(name) for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise TableError(f"Column names must differ; repeated: {', '.join(repeated)}.")


def _read_header(path: Path) -> tuple[str, list[str]]:
    """Return the separator and the column names of a text file.

    The separator is the most frequent of ``, ; tab |`` outside of quotes in the first line that is
    not empty. The names are checked here because pandas would silently rename a repeated column.
    """
    with pd.read_csv(
        _source(path),
        sep=NO_SEPARATOR,
        quoting=csv.QUOTE_NONE,
        names=["line"],
        chunksize=1,
        dtype=str,
        keep_default_na=False,
        skip_blank_lines=False,  # pandas would skip the tab before the first name as well
    ) as chunks:
        lines = (str(line) for chunk in chunks for line in chunk["line"])
        line = next((line for line in lines if line.strip()), "")
    # Separators within quotes do not count.
    separator = max(",;\t|", key=QUOTED.sub("", line).count)
    names = next(csv.reader([line], delimiter=separator))
    check_names(name for name in names if name)
    return separator, names


# --- pieces --------------------------------------------------------------------------------------


def _text_pieces(path: Path, cells: int, texts: Iterable[str]) -> Generator[pd.DataFrame]:
    separator, names = _read_header(path)
    dtype = dict.fromkeys(texts, str)
    rows = _rows_of_piece(cells, names)
    with pd.read_csv(_source(path), sep=separator, dtype=dtype, chunksize=rows) as pieces:
        for piece in pieces:
            yield piece.reset_index(drop=True)


def _binary_pieces(
    path: Path, kind: str, cells: int, columns: Sequence[str] | None
) -> Generator[pd.DataFrame]:
    with pa.OSFile(str(path)) as file:
        schema, batches = BATCHES[kind](file)
        if columns is not None:
            fields = [field for field in schema if field.name in columns]
            schema = pa.schema(fields, metadata=schema.metadata)
        rows = _rows_of_piece(cells, schema.names)
        # Batches of Feather files may be larger than a piece.
        pieces = (
            batch.slice(start, rows)
            for batch in batches(rows, columns and schema.names)
            for start in range(0, batch.num_rows, rows)
        )
        first = next(pieces, pa.RecordBatch.from_pylist([], schema))
        for piece in chain([first], pieces):
            # Tables, unlike batches, are converted by the pandas metadata of their schema.
            table = pa.Table.from_batches([piece], schema)
            yield table.to_pandas().reset_index(drop=True)


def _rows_of_piece(cells: int, names: Sequence[str]) -> int:
    return max(cells // max(len(names), 1), 1)


Batches = Callable[[int, Sequence[str] | None], Iterator[pa.RecordBatch]]


def _parquet(file: pa.NativeFile) -> tuple[pa.Schema, Batches]:
    parquet = pq.ParquetFile(file, pre_buffer=False)  # otherwise the whole file is read at once
    check_names(parquet.schema_arrow.names)
    return parquet.schema_arrow, lambda rows, names: chain.from_iterable(
        parquet.iter_batches(batch_size=rows, row_groups=[group], columns=names, use_threads=False)
        for group in range(parquet.num_row_groups)
    )


def _feather(file: pa.NativeFile) -> tuple[pa.Schema, Batches]:
    reader = pa.ipc.open_file(file)
    check_names(reader.schema.names)
    return reader.schema, lambda _, names: (
        reader.get_batch(number).select(names or reader.schema.names)
        for number in range(reader.num_record_batches)
    )


BATCHES = {".parquet": _parquet, ".feather": _feather}


# --- files ---------------------------------------------------------------------------------------


def _kind_of(path: Path) -> str:
    """Return the extension of a name without that of a packing: ``.csv`` for ``rows.CSV.gz``."""
    kind = path.suffix.lower()
    if kind in PACKINGS and (packed := Path(path.stem).suffix.lower()) in TEXT:
        return packed
    return kind


@contextmanager
def _reading(path: Path) -> Iterator[str]:
    """Yield the kind of a table file; raise its read errors as `TableError`."""
    kind = _kind_of(path)
    if kind not in (*TEXT, *BINARY):
        raise TableError(
            f"{str(path)!r} is not a table file. Choices: {', '.join((*TEXT, *BINARY))}; text may "
            f"be packed as {', '.join(PACKINGS)}."
        )
    if not path.is_file():
        raise TableError(f"There is no file {str(path)!r}.")
    try:
        yield kind
    except BROKEN as error:
        reason = str(error).partition("\n")[0]
        raise TableError(f"{str(path)!r} can't be read as a {kind} table: {reason}") from error


def _source(path: Path) -> Any:
    """Return the path or stream that pandas reads; pandas unpacks all packings but zstd itself."""
    return pa.input_stream(str(path), "zstd") if path.suffix.lower() == ".zst" else path
