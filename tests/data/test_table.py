import bz2
import gzip
import lzma
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from autoimb.data.files import read_file, read_pieces
from autoimb.data.table import frame_of, read_table, row_weights, split_target
from autoimb.data.target import encode_target, match_labels
from autoimb.errors import TableError, TargetError

FRAME = pd.DataFrame(
    {"age": [30, 41, 52], "city": ["Rome", "Oslo", "Bonn"], "fee": [0.5, None, 2.0]}
)
PACKERS = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
}


def write_zip(path: Path, **members: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(f"{name}.csv", text)
    return path


# --- files ---


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_text_is_read_whatever_separates(tmp_path, separator):
    path = tmp_path / "table.csv"
    FRAME.to_csv(path, index=False, sep=separator)
    pd.testing.assert_frame_equal(read_table(path), FRAME)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_first_name_may_be_empty(tmp_path, separator):
    path = tmp_path / "table.csv"
    FRAME[["age"]].to_csv(path, sep=separator)
    assert list(read_table(path).columns) == ["Unnamed: 0", "age"]


@pytest.mark.parametrize("suffix", PACKERS)
def test_packed_text(tmp_path, suffix):
    path = tmp_path / f"table.csv{suffix}"
    path.write_bytes(PACKERS[suffix](FRAME.to_csv(index=False).encode()))
    pd.testing.assert_frame_equal(read_table(str(path)), FRAME)


@pytest.mark.parametrize("suffix", ["", *PACKERS])
def test_packed_text_in_pieces(tmp_path, suffix):
    path = tmp_path / f"TABLE.CSV{suffix.upper()}"
    path.write_bytes(PACKERS.get(suffix, bytes)(FRAME.to_csv(index=False, sep=";").encode()))
    first, *others = read_pieces(path, cells=3, texts=["age", "none"])
    assert [len(piece) for piece in (first, *others)] == [1, 1, 1]
    assert first.to_dict("records") == [{"age": "30", "city": "Rome", "fee": 0.5}]


def binary_tables() -> dict[str, pd.DataFrame]:
    n = 1_000
    whole = pd.DataFrame(
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
    return {"plain": whole, "indexed": whole.set_index("text"), "without rows": whole[:0]}


@pytest.mark.parametrize("kind", ["parquet", "feather"])
@pytest.mark.parametrize("name", binary_tables())
def test_binary_files_in_pieces_are_what_they_are_whole(tmp_path, kind, name):
    table, path = binary_tables()[name], tmp_path / f"table.{kind}"
    if kind == "parquet":
        table.to_parquet(path, row_group_size=300)
    else:
        table.reset_index(drop=True).to_feather(path, chunksize=300)
    pieces = list(read_pieces(path, cells=700))
    assert len(pieces) >= (1 if table.empty else 10)
    got = pd.concat(pieces, ignore_index=True)
    pd.testing.assert_frame_equal(got, read_file(path).reset_index(drop=True))


def test_a_row_group_at_a_time_is_in_memory(tmp_path):
    path, rows = tmp_path / "long.parquet", 200_000
    pd.DataFrame(np.random.default_rng(0).normal(size=(rows, 10))).rename(columns=str).to_parquet(
        path, row_group_size=rows // 20
    )
    pool = pa.default_memory_pool()
    before, most = pool.bytes_allocated(), 0
    for piece in read_pieces(path, cells=rows // 2):
        most = max(most, pool.bytes_allocated() - before + int(piece.memory_usage().sum()))
    assert most < rows * 10 * 8 / 2


def test_zip_holds_one_table(tmp_path):
    text = FRAME.to_csv(index=False)
    one = write_zip(tmp_path / "one.csv.zip", a=text)
    pd.testing.assert_frame_equal(read_table(one), FRAME)
    two = write_zip(tmp_path / "two.csv.zip", a=text, b=text)
    with pytest.raises(TableError, match=r"two.csv.zip' can't be read .* Only one file per ZIP"):
        read_table(two)


@pytest.mark.parametrize("kind", ["parquet", "feather"])
def test_binary_tables(tmp_path, kind):
    path = tmp_path / f"table.{kind}"
    getattr(FRAME, f"to_{kind}")(path)
    pd.testing.assert_frame_equal(read_table(path), FRAME)


def test_byte_order_mark_and_blank_lines(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b"\xef\xbb\xbf\n\nage,city\n1,Rome\n")
    assert list(read_table(path).columns) == ["age", "city"]


def test_row_names_of_r_are_no_column(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("age,fee\n1,30,0.5\n2,41,0.7\n")
    assert read_table(path).to_dict("list") == {"age": [30, 41], "fee": [0.5, 0.7]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("table.xlsx", b"", r"is not a table file. Choices: .csv, .tsv, .txt, .parquet, .feather"),
        ("table", b"", "is not a table file"),
        ("table.csv", b"a,b\n\xff\xfe,2\n", "can't be read as a .csv table"),
        ("table.csv", b"a,b\n", r"Found array with 0 sample\(s\) \(shape=\(0, 2\)\)"),
        ("table.csv", b"a" * 200_000, "can't be read as a .csv table: field larger than"),
        (
            "table.csv.gz",
            gzip.compress(b"a,b")[:10] + b"\xff" * 20,
            "can't be read as a .csv table",
        ),
        ("table.parquet.gz", b"", "is not a table file"),
        ("table.csv.zip", b"no zip", "can't be read as a .csv table"),
        ("table.csv.zst", b"no zstd", "can't be read as a .csv table"),
        ("table.feather", b"ARROW or not", "can't be read as a .feather table"),
    ],
)
def test_bad_files_are_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(TableError, match=message) as caught:
        read_table(path)
    assert name in str(caught.value) or "0 sample" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b,a\n1,2,3\n", "table.csv' can't .* Column names must differ; repeated: 'a'"),
        (b'a,b\n1,2\n3,4\n"5,6\n', "table.csv' can't be read as a .csv table"),
        (b"", "table.csv' can't be read as a .csv table: No columns to parse"),
    ],
)
def test_bad_files_are_named_in_pieces_too(tmp_path, content, message):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(TableError, match=message):
        list(read_pieces(path, cells=2))


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(TableError, match=r"There is no file '.*gone.csv'"):
        read_table(tmp_path / "gone.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(TableError, match=r"There is no file '.*folder.csv'"):
        read_table(tmp_path / "folder.csv")


# --- memory ---


def test_a_frame_is_taken_as_it_is():
    frame = pd.DataFrame({1: [1.0, 2.0], "b": ["x", "y"]}, index=[7, 9])
    table = read_table(frame)
    assert list(table.columns) == ["1", "b"]
    assert list(table.index) == [7, 9]
    assert list(frame.columns) == [1, "b"]
    assert np.shares_memory(table["1"].to_numpy(), frame[1].to_numpy())


def test_an_array_gets_names_and_its_objects_types():
    table = read_table(np.array([[1, "a", 0.5], [2, "b", None]], dtype=object))
    assert list(table.columns) == ["x0", "x1", "x2"]
    assert table["x0"].dtype == np.int64
    assert table["x2"].dtype == np.float64
    assert frame_of([[1, "a"], [2, "b"]])["x0"].dtype == np.int64


def test_anything_that_becomes_pandas():
    table = pa.table({"a": [1, 2]})
    for source in (table, table.to_reader(), pl.DataFrame(table)):
        assert read_table(source).to_dict("list") == {"a": [1, 2]}
    records = np.array([(1, "x"), (2, "y")], dtype=[("a", int), ("b", "U1")])
    assert read_table(records).to_dict("list") == {"a": [1, 2], "b": ["x", "y"]}


def test_columns_that_are_only_numbered_are_those_of_an_array():
    frame = pd.DataFrame([[1, 2], [3, 4]], columns=[1, 0])
    assert frame_of(frame).to_dict("list") == {"x1": [1, 3], "x0": [2, 4]}
    assert list(frame_of(frame.set_axis([2019, 2020], axis=1)).columns) == ["2019", "2020"]


def test_weights_are_numbers_of_any_type():
    for given in ([1, 2.5], ["1", "2.5"], pa.array([1, 2.5]), pd.array([1, 2.5], "Float32")):
        assert row_weights(given, 2).tolist() == [1.0, 2.5]
    assert row_weights(None, 2) is None


# --- the target ---


def test_split_target():
    features, target = split_target(FRAME, "city")
    assert list(features.columns) == ["age", "fee"]
    assert target.name == "city"
    with pytest.raises(TargetError, match=r"Unknown target column 'citty'. Did you mean 'city'?"):
        split_target(FRAME, "citty")
    with pytest.raises(TargetError, match="no column other than the target"):
        split_target(FRAME[["age"]], "age")


def test_the_positive_class_is_the_rarest_or_the_named():
    labels = ["a"] * 3 + ["b"] * 2 + ["c"] * 2
    assert encode_target(labels).positive == 2
    assert encode_target(labels, positive="b").positive == 1
    assert encode_target([0, 1, 1], positive="1").positive == 1
    assert encode_target([0.0, 1.0, 1.0], positive="1").positive == 1
    assert encode_target([True, True, False], positive=True).positive == 1
    with pytest.raises(TargetError, match=r"Unknown positive class 'd'. Choices: a, b, c"):
        encode_target(labels, positive="d")


def test_rare_classes_are_allowed_and_named():
    target = encode_target([0] * 5 + [1] * 2 + [2])
    assert target.counts.tolist() == [5, 2, 1]
    assert target.notices == (
        "Classes with one or two rows, whose scores are meaningless: '1' (2), '2' (1).",
    )
    assert encode_target([0, 0, 0, 1, 1, 1]).notices == ()


def test_labels_of_other_rows():
    classes = np.array([0, 1])
    assert match_labels(pd.Series(["1", "0"]), classes).tolist() == [1, 0]
    assert match_labels(np.array([1.0, 0.0]), classes).tolist() == [1, 0]
    with pytest.raises(TargetError, match=r"Unknown label 2. Choices: 0, 1"):
        match_labels([0, 2], classes)
    with pytest.raises(TargetError, match="misses a label in row 1"):
        match_labels([0.0, np.nan], classes)
