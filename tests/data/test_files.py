"""Tables in files: formats, pieces and parts. `tests.support.odd_files` has more of them."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from autoimb.data.files import Source
from autoimb.data.table import read_table
from autoimb.errors import TableError
from tests.support.tables import in_parts

FRAME = pd.DataFrame({"a": np.arange(23), "b": [f"t{i % 5}" for i in range(23)]})
KINDS = (".parquet", ".feather", ".csv")
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda content: pa.compress(content, codec="zstd", asbytes=True),
}


def pieces_of(path: Path, cells: int, **options: object) -> list[pd.DataFrame]:
    return [frame for frame, _ in Source.of(path).pieces(cells=cells, **options)]


# --- one file -------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_detected(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "table.csv"
    FRAME.to_csv(path, index=False, sep=separator)
    pd.testing.assert_frame_equal(read_table(path), FRAME)
    # The first name of a written index is empty.
    FRAME.to_csv(path, sep=separator)
    assert list(read_table(path).columns) == ["Unnamed: 0", "a", "b"]


@pytest.mark.parametrize("suffix", PACKERS)
def test_compressed_text_is_read_whole_and_in_pieces(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"TABLE.CSV{suffix.upper()}"
    path.write_bytes(PACKERS[suffix](FRAME.to_csv(index=False, sep=";").encode()))
    pd.testing.assert_frame_equal(read_table(str(path)), FRAME)
    pieces = pieces_of(path, 20, texts=["a", "none"])
    assert [len(piece) for piece in pieces] == [10, 10, 3]
    assert pieces[0].iloc[1].to_dict() == {"a": "1", "b": "t1"}


def test_zip_archives_have_one_table(tmp_path: Path) -> None:
    path = tmp_path / "table.csv.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("table.csv", FRAME.to_csv(index=False))
    pd.testing.assert_frame_equal(read_table(path), FRAME)


def test_a_byte_order_mark_and_blank_lines_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"\xef\xbb\xbf\n\nage,city\n1,Rome\n")
    assert list(read_table(path).columns) == ["age", "city"]


def test_row_names_without_a_column_name_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("age,fee\n1,30,0.5\n2,41,0.7\n")
    assert read_table(path).to_dict("list") == {"age": [30, 41], "fee": [0.5, 0.7]}


@pytest.mark.parametrize("kind", ["parquet", "feather"])
@pytest.mark.parametrize("name", ["plain", "indexed", "empty"])
def test_pieces_of_binary_files_have_the_types_of_the_file(
    tmp_path: Path, kind: str, name: str
) -> None:
    n = 1_000
    table = pd.DataFrame(
        {
            "n": np.arange(n),
            "x": np.where(np.arange(n) % 7 == 0, np.nan, np.arange(n) / 3),
            "text": [f"row {i}" if i % 5 else None for i in range(n)],
            "level": pd.Categorical(np.array(["a", "b", "c"])[np.arange(n) % 3]),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(n), "h"),
            "maybe": pd.array([None if i % 4 == 0 else i for i in range(n)], dtype="Int64"),
            "flag": np.arange(n) % 2 == 0,
        }
    )
    table = {"plain": table, "indexed": table.set_index("text"), "empty": table[:0]}[name]
    path = tmp_path / f"table.{kind}"
    if kind == "parquet":
        table.to_parquet(path, row_group_size=300)
    else:
        table.reset_index(drop=True).to_feather(path, chunksize=300)
    pieces = pieces_of(path, 700)
    assert len(pieces) >= (1 if table.empty else 10)
    whole = getattr(pd, f"read_{kind}")(path).reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.concat(pieces, ignore_index=True), whole)


def test_one_row_group_at_a_time_is_in_memory(tmp_path: Path) -> None:
    path, rows = tmp_path / "long.parquet", 200_000
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(rows, 10))).rename(columns=str)
    table.to_parquet(path, row_group_size=rows // 20)
    pool = pa.default_memory_pool()
    before, peak = pool.bytes_allocated(), 0
    for piece, _ in Source.of(path).pieces(cells=rows // 2):
        peak = max(peak, pool.bytes_allocated() - before + int(piece.memory_usage().sum()))
    assert peak < rows * 10 * 8 / 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.xlsx", b"", r"is not a table file. Choices: .csv, .tsv, .txt, .parquet, .feather"),
        ("t.parquet.gz", b"", "is not a table file"),
        ("t.csv", b"a" * 200_000, "can't be read as a .csv table: field larger than"),
        ("t.csv.xz", b"no xz", "can't be read as a .csv table"),
        ("t.csv.zst", b"no zstd", "can't be read as a .csv table"),
        ("t.csv", b"a,b,a\n1,2,3\n", "t.csv' can't .* Column names must differ; repeated: 'a'"),
        ("t.csv", b'a,b\n1,2\n3,4\n"5,6\n', "t.csv' can't be read as a .csv table"),
    ],
)
@pytest.mark.parametrize("read", [read_table, partial(pieces_of, cells=2)], ids=["whole", "pieces"])
def test_files_that_cannot_be_read_are_named(
    tmp_path: Path, read: Callable[[Path], object], name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TableError, match=message):
        read(tmp_path / name)


# --- several files --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_parts_are_read_in_the_order_of_their_names(tmp_path: Path, kind: str) -> None:
    folder = in_parts(tmp_path / "t", FRAME, [4, 4, 17], kind)
    (folder / "_SUCCESS").write_text("")
    (folder / f".hidden{kind}").write_text("?")
    (folder / "sub").mkdir()
    source = Source.of(folder)
    assert [part.name for part in source.parts] == [f"part-{i:02}{kind}" for i in range(4)]
    assert source.names == ("a", "b")
    frames, places = zip(*source.pieces(cells=10))
    assert max(map(len, frames)) <= 5
    read = pd.concat([frame for frame in frames if len(frame)], ignore_index=True)
    assert read.astype(FRAME.dtypes).equals(FRAME)
    starts = [place.split()[2] for place in places if "part-02" in place]
    assert starts == ["0", "5", "10"]


def test_patterns_select_parts(tmp_path: Path) -> None:
    folder = in_parts(tmp_path / "t", FRAME, [4, 17])
    assert len(Source.of(folder / "part-0[01].parquet").parts) == 2
    in_parts(tmp_path / "t" / "sub", FRAME, [4])
    assert len(Source.of(tmp_path / "*" / "*" / "*.parquet").parts) == 2


@pytest.mark.parametrize("kind", [".parquet", ".feather"])
def test_columns_are_selected(tmp_path: Path, kind: str) -> None:
    folder = in_parts(tmp_path / kind, FRAME, [9], kind)
    assert all(list(piece) == ["b"] for piece in pieces_of(folder, 10, columns=["b"]))


def test_columns_are_in_the_order_of_the_first_part(tmp_path: Path) -> None:
    folder = in_parts(tmp_path / "t", FRAME, [9])
    FRAME[["b", "a"]].to_parquet(folder / "part-02.parquet")
    assert all(list(piece) == ["a", "b"] for piece in pieces_of(folder, 99))


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_in_memory_is_estimated(tmp_path: Path, kind: str) -> None:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(5_000, 10)).round(6))
    source = Source.of(in_parts(tmp_path / "t", frame.rename(columns=str), [2_000], kind))
    assert 0.5 < source.n_bytes / (8 * frame.size) < 6


def test_floats_of_half_the_width_take_half_the_memory(tmp_path: Path) -> None:
    frame = pd.DataFrame(np.zeros((5_000, 10), dtype=np.float32)).rename(columns=str)
    frame.assign(n=range(5_000)).to_parquet(tmp_path / "t.parquet")
    assert Source.of(tmp_path / "t.parquet").n_bytes == 5_000 * (10 * 4 + 8)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (FRAME[["a"]], r"'.*part-01.parquet' lacks 'b', unlike '.*part-00.parquet'"),
        (FRAME.assign(c=1, d=2), r"has 'c' besides \(and 1 more\), unlike"),
        (FRAME.assign(a="x"), "has columns of other types .*Field a .*int64 vs.*, unlike"),
        (FRAME.assign(b=pd.Timestamp(0)), "has columns of other types .*Field b .*, unlike"),
        (FRAME.assign(a=FRAME["a"] / 2), ""),
        (FRAME.assign(a=None, b=pd.Categorical(FRAME["b"])), ""),
    ],
)
def test_parts_must_have_the_same_columns(tmp_path: Path, part: pd.DataFrame, message: str) -> None:
    folder = in_parts(tmp_path / "t", FRAME, [])
    part.to_parquet(folder / "part-01.parquet")
    if not message:
        assert len(Source.of(folder).parts) == 2
        return
    with pytest.raises(TableError, match=message):
        Source.of(folder)


def test_text_parts_must_have_the_same_columns(tmp_path: Path) -> None:
    folder = in_parts(tmp_path / "t", FRAME, [9], ".csv")
    (folder / "part-02.csv").write_text("a,c\n1,2\n")
    with pytest.raises(TableError, match=r"lacks 'b' \(and 1 more\)"):
        Source.of(folder)


def test_folders_and_patterns_without_a_table_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty" / "sub.csv").mkdir(parents=True)
    with pytest.raises(TableError, match=r"There is no file '.*sub.csv'"):
        read_table(tmp_path / "empty" / "sub.csv")
    for path, message in (
        ("empty", "empty' has no table file"),
        ("*.csv", "*.csv' has no table file"),
        ("gone.parquet", "There is no file"),
    ):
        with pytest.raises(TableError, match=re.escape(message)):
            Source.of(tmp_path / path)
    folder = in_parts(tmp_path / "t", FRAME, [])
    FRAME.to_csv(folder / "more.csv")
    with pytest.raises(TableError, match=r"several kinds: \.csv, \.parquet"):
        Source.of(folder)


def test_damaged_parts_are_named(tmp_path: Path) -> None:
    folder = in_parts(tmp_path / "t", FRAME, [9])
    part = folder / "part-01.parquet"
    content, third = part.read_bytes(), part.stat().st_size // 3
    message = r"part-01\.parquet' can't be read as a \.parquet table"
    part.write_bytes(content[:4] + bytes(third) + content[4 + third :])
    with pytest.raises(TableError, match=message):
        pieces_of(folder, 99)
    part.write_bytes(b"PAR1 and no more")
    with pytest.raises(TableError, match=message):
        Source.of(folder)
