from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from autoimb.data.source import Source
from autoimb.errors import TableError

FRAME = pd.DataFrame({"a": np.arange(23), "b": [f"t{i % 5}" for i in range(23)]})
WRITE = {".parquet": "to_parquet", ".feather": "to_feather", ".csv": "to_csv"}


def in_parts(folder: Path, frame: pd.DataFrame, ends: list[int], kind: str = ".parquet") -> Path:
    """Write a table as parts that end at these rows."""
    folder.mkdir(parents=True)
    for number, (start, end) in enumerate(zip([0, *ends], [*ends, len(frame)])):
        options = {"index": False} if kind == ".csv" else {}
        part = frame.iloc[start:end].reset_index(drop=True)
        getattr(part, WRITE[kind])(folder / f"part-{number:02}{kind}", **options)
    return folder


@pytest.mark.parametrize("kind", WRITE)
def test_parts_are_read_in_the_order_of_their_names(tmp_path, kind):
    folder = in_parts(tmp_path / "t", FRAME, [4, 4, 17], kind)
    (folder / "_SUCCESS").write_text("")
    (folder / f".hidden{kind}").write_text("?")
    (folder / "sub").mkdir()
    source = Source.of(folder)
    assert [part.name for part in source.parts] == [f"part-{i:02}{kind}" for i in range(4)]
    assert source.names == ("a", "b")
    pieces = list(source.pieces(cells=10))
    assert max(len(piece.frame) for piece in pieces) <= 5
    got = pd.concat([piece.frame for piece in pieces if len(piece.frame)], ignore_index=True)
    assert got.astype(FRAME.dtypes).equals(FRAME)
    assert [p.start for p in pieces if p.part.name == f"part-02{kind}"] == [0, 5, 10]


def test_a_pattern_names_parts(tmp_path):
    folder = in_parts(tmp_path / "t", FRAME, [4, 17])
    assert len(Source.of(folder / "part-0[01].parquet").parts) == 2
    in_parts(tmp_path / "t" / "sub", FRAME, [4])
    assert len(Source.of(tmp_path / "*" / "*" / "*.parquet").parts) == 2


def test_only_the_columns_that_are_asked_for_are_read(tmp_path):
    for kind in (".parquet", ".feather"):
        source = Source.of(in_parts(tmp_path / kind, FRAME, [9], kind))
        assert all(list(p.frame) == ["b"] for p in source.pieces(cells=10, columns=["b"]))


def test_columns_stand_in_the_order_of_the_first_part(tmp_path):
    folder = in_parts(tmp_path / "t", FRAME, [9])
    FRAME[["b", "a"]].to_parquet(folder / "part-02.parquet")
    assert all(list(piece.frame) == ["a", "b"] for piece in Source.of(folder).pieces(cells=99))


def test_numbers_of_other_widths_and_columns_of_gaps_are_the_same_columns(tmp_path):
    folder = in_parts(tmp_path / "t", FRAME, [])
    FRAME.assign(a=FRAME["a"] / 2).to_parquet(folder / "part-01.parquet")
    FRAME.assign(a=None, b=pd.Categorical(FRAME["b"])).to_parquet(folder / "part-02.parquet")
    assert len(Source.of(folder).parts) == 3


@pytest.mark.parametrize("kind", WRITE)
def test_how_much_memory_a_table_takes_is_told_from_its_files(tmp_path, kind):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(5_000, 10)).round(6))
    source = Source.of(in_parts(tmp_path / "t", frame.rename(columns=str), [2_000], kind))
    assert 0.5 < source.n_bytes / (8 * frame.size) < 6


def test_floats_of_half_the_width_take_half_the_memory(tmp_path):
    frame = pd.DataFrame(np.zeros((5_000, 10))).rename(columns=str).assign(n=range(5_000))
    frame.astype(dict.fromkeys(frame.columns[:-1], np.float32)).to_parquet(tmp_path / "t.parquet")
    assert Source.of(tmp_path / "t.parquet").n_bytes == 5_000 * (10 * 4 + 8)


OTHERS = {
    "lacks": (FRAME[["a"]], r"'.*part-01.parquet' lacks 'b', unlike '.*part-00.parquet'"),
    "more": (FRAME.assign(c=1, d=2), r"has 'c' besides \(and 1 more\), unlike"),
    "kind": (FRAME.assign(a="x"), r"holds text in 'a' instead of numbers, unlike"),
    "dates": (FRAME.assign(b=pd.Timestamp(0)), r"holds dates in 'b' instead of text, unlike"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_parts_of_other_columns_are_refused(tmp_path, name):
    other, message = OTHERS[name]
    folder = in_parts(tmp_path / "t", FRAME, [])
    other.to_parquet(folder / "part-01.parquet")
    with pytest.raises(TableError, match=message) as caught:
        Source.of(folder)
    assert "\n" not in str(caught.value)


def test_text_parts_of_other_columns_are_refused(tmp_path):
    folder = in_parts(tmp_path / "t", FRAME, [9], ".csv")
    (folder / "part-02.csv").write_text("a,c\n1,2\n")
    with pytest.raises(TableError, match=r"lacks 'b' \(and 1 more\)"):
        Source.of(folder)


def test_folders_that_are_no_table_are_named(tmp_path):
    (tmp_path / "empty" / "sub").mkdir(parents=True)
    with pytest.raises(TableError, match=re.escape("empty' has no table file")):
        Source.of(tmp_path / "empty")
    with pytest.raises(TableError, match=re.escape("*.csv' has no table file")):
        Source.of(tmp_path / "*.csv")
    with pytest.raises(TableError, match="There is no file"):
        Source.of(tmp_path / "gone.parquet")
    folder = in_parts(tmp_path / "t", FRAME, [])
    FRAME.to_csv(folder / "more.csv")
    with pytest.raises(TableError, match=r"several kinds: \.csv, \.parquet"):
        Source.of(folder)


def test_a_part_that_cannot_be_read_is_named(tmp_path):
    folder = in_parts(tmp_path / "t", FRAME, [9])
    (folder / "part-02.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(TableError, match=r"part-02\.parquet' can't be read as a \.parquet table"):
        Source.of(folder)


def test_a_part_whose_rows_are_damaged_is_named(tmp_path):
    folder = in_parts(tmp_path / "t", FRAME, [9])
    whole = (folder / "part-01.parquet").read_bytes()
    (folder / "part-01.parquet").write_bytes(
        whole[:4] + bytes(len(whole) // 3) + whole[4 + len(whole) // 3 :]
    )
    with pytest.raises(TableError, match=r"part-01\.parquet' can't be read as a \.parquet table"):
        list(Source.of(folder).pieces(cells=99))
