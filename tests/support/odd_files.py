"""Odd files as input of the command line."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import pyarrow as pa
from pyarrow import feather, parquet

from tests.support.odd_tables import ESCAPES, LABELS, N_ROWS, PLAIN, spread


@dataclass(frozen=True)
class File:
    """Odd file with its expected result.

    Attributes
    ----------
    name : str
    ending : str
        Suffix of its path.
    make : callable
        Returns its bytes.
    refused : str
        Regular expression of the error message; empty if a search must accept it.
    """

    name: str
    ending: str
    make: Callable[[], bytes]
    refused: str = ""


UNREADABLE = "can't be read"


def lines(header: str = "a,city,y", separator: str = ",", end: str = "\n") -> str:
    """Return the text of a plain table."""
    rows = zip(PLAIN, spread("Bern", "Lima", ""), LABELS)
    cells = [separator.join(map(str, row)) for row in rows]
    return end.join([header.replace(",", separator), *cells, ""])


def csv(name: str, make: Callable[[], str], refused: str = "") -> File:
    return File(name, ".csv", lambda: make().encode(), refused)


def zipped(**members: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def table(**columns: pa.Array) -> pa.Table:
    return pa.table({"a": PLAIN, **columns, "y": LABELS})


def stored(write: Callable[..., None], rows: pa.Table, **options: str) -> bytes:
    buffer = io.BytesIO()
    write(rows, buffer, **options)
    return buffer.getvalue()


def packed(name: str, rows: Callable[[], pa.Table], refused: str = "") -> File:
    return File(name, ".parquet", lambda: stored(parquet.write_table, rows()), refused)


def feathered(name: str, rows: Callable[[], pa.Table], **options: str) -> File:
    return File(name, ".feather", lambda: stored(feather.write_feather, rows(), **options))


def damaged(name: str, content: Callable[[], bytes], ending: str = ".parquet") -> File:
    return File(name, ending, content, UNREADABLE)


def many_types() -> pa.Table:
    return table(
        level=pa.array(spread("b", "a", None)).dictionary_encode(),
        day=pa.array(spread(dt.date(1, 1, 1), None, dt.date(9999, 12, 31))),
        seen=pa.array(spread(0, 10**9, None), pa.timestamp("s", "Europe/Zurich")),
        hour=pa.array(spread(dt.time(1), dt.time(23), None)),
        span=pa.array(spread(dt.timedelta(1), None)),
        price=pa.array(spread(Decimal("1.5"), None)),
        flag=pa.array(spread(True, None, False)),
        large=pa.array(spread(2**64 - 1, None, 1), pa.uint64()),
        raw=pa.array(spread(b"\xff", None)),
        nothing=pa.nulls(N_ROWS),
    )


RUNS = pa.RunEndEncodedArray.from_arrays(pa.array([9, N_ROWS]), pa.array(["b", "c"]))
LIST = pa.array(spread([1], [2, 3]))
TEXTS = (
    csv("ends of lines of Windows", lambda: lines(end="\r\n")),
    csv("ends of lines of old machines", lambda: lines(end="\r")),
    csv("no end of the last line", lambda: lines().rstrip("\n")),
    csv("other separators in a quoted name", lambda: '"a,b,c,d"' + lines(";city;y", ";")),
    csv("a new line in a quoted name", lambda: lines('a,"ci\nty",y')),
    csv("a new line in a cell", lambda: lines().replace("Bern", '"Be\nrn"')),
    csv("a quote in a cell", lambda: lines().replace("Bern", '"Be""rn"')),
    csv(
        "one more separator in each line",
        lambda: lines("a,city,y,").replace("s\n", "s,\n").replace("o\n", "o,\n"),
    ),
    csv("short lines", lambda: "y,a,city\n" + "no,1\nyes,2,Bern\n" * 20),
    csv("control characters", lambda: lines(f"a{ESCAPES},city,y").replace("Bern", f"B{ESCAPES}")),
    csv("formulas", lambda: lines("a,=1+1,y").replace("yes", "@SUM(A1)")),
    csv(
        "labels beyond 64 bits in text", lambda: lines().replace("yes", "1" * 30).replace("no", "7")
    ),
    csv(
        "zeros before labels", lambda: lines().replace("yes", "007").replace("no", "7"), "one class"
    ),
    File("Latin-1", ".csv", lambda: lines("ä,city,y").encode("latin-1"), "'utf-8' codec can't"),
    csv("NUL bytes", lambda: lines().replace("Bern", "B\0ern")),
    csv("nothing", lambda: "", "No columns to parse"),
    csv("names alone", lambda: "a,city,y\n", r"0 sample\(s\)"),
    csv("a long line", lambda: lines() + "1,2,3,4\n", "Expected 3 fields in line 42, saw 4"),
    csv("infinity", lambda: lines() + "inf,Bern,no\n", "infinity.*column 'a', row 40"),
    csv("numbers beyond the floats", lambda: lines() + "1e999,Bern,no\n", "infinity.*'a', row 40"),
    csv("no label in a row", lambda: lines() + "1,Bern,\n", "misses 1 of 41 values.* in row 40"),
    csv("a label called NA", lambda: lines().replace("yes", "NA"), "misses 10 of 40"),
    damaged("gzip that ends too soon", lambda: gzip.compress(lines().encode())[:-20], ".csv.gz"),
    File("text called gzip", ".csv.gz", lines().encode, "can't be read.*[Nn]ot a gzipped file"),
    File("a zip of two tables", ".csv.zip", lambda: zipped(a=lines(), b=lines()), "Multiple files"),
)

BINARIES = (
    packed("Parquet of many types", many_types),
    packed("Parquet with an index", lambda: pa.Table.from_pandas(table().to_pandas()[::-1])),
    packed("Parquet of lists", lambda: table(many=LIST), "'many' holds a ndarray in row 0"),
    packed("Parquet of no row group", lambda: table().slice(0, 0), r"0 sample\(s\)"),
    packed("Parquet of no column", lambda: pa.table({}), "target|0 feature"),
    damaged("an empty file called Parquet", bytes),
    feathered("Feather of many types", many_types),
    feathered("Feather of runs", lambda: table(run=RUNS), compression="uncompressed"),
    damaged("Feather that ends too soon", lambda: feathered("", table).make()[:-20], ".feather"),
)

FILES = (*TEXTS, *BINARIES)
