from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from autoimb.errors import ArtifactError
from autoimb.pipeline import container
from autoimb.pipeline.artifact import FORMAT, inspect, load, save
from autoimb.version import __version__
from tests.support.pipelines import pipeline, scored_rows, table
from tests.support.programs import python

PIPELINE = pipeline()
VERSION = re.escape(__version__)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    where = tmp_path / "pipeline.autoimb"
    save(PIPELINE, where)
    return where


def parts(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        return manifest, safetensors.numpy.load(archive.read("weights.safetensors"))


def rewrite(path: Path, manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Forge a file: its checksums hold."""
    container.write(path, manifest, arrays)


@pytest.mark.parametrize(
    ("classes", "dtype"),
    [
        (("no", "yes"), None),
        (("grün", "rot", "über alles"), object),
        ((0, 1), np.int64),
        ((1, 2, 7), np.uint8),
        ((False, True), bool),
        ((False, True), object),
        ((0.0, 1.0), np.float64),
        ((0.0, 1.0, 2.5), np.float32),
        (("2024-01-01", "2024-06-01"), "datetime64[s]"),
    ],
)
def test_what_is_saved_is_loaded(classes: tuple[Any, ...], dtype: Any, tmp_path: Path) -> None:
    before = pipeline(classes, dtype=dtype)
    save(before, tmp_path / "a.autoimb")
    after = load(tmp_path / "a.autoimb")
    assert after.classes.dtype == before.classes.dtype
    assert [type(label) for label in after.classes] == [type(label) for label in before.classes]
    np.testing.assert_array_equal(after.classes, before.classes)
    frame = table(60, random_state=3)
    np.testing.assert_array_equal(after.predict_proba(frame), before.predict_proba(frame))
    np.testing.assert_array_equal(after.predict(frame), before.predict(frame))
    assert after.predict(frame).dtype == before.predict(frame).dtype
    assert (after.schema, after.rule, after.weights) == (
        before.schema,
        before.rule,
        before.weights,
    )
    assert after.describe() == before.describe()
    assert after.info["metric"] == "average_precision"
    assert set(after.info["versions"]) == {"autoimb", "numpy", "torch", "python"}


def test_the_bytes_depend_on_the_pipeline_alone(path: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.autoimb"
    save(load(path), again)
    assert again.read_bytes() == path.read_bytes()
    dated = [replace(PIPELINE, info={"created": "2026-01-01T00:00:00+00:00"}) for _ in range(2)]
    for number, each in enumerate(dated):
        save(each, tmp_path / f"{number}.autoimb")
    assert (tmp_path / "0.autoimb").read_bytes() == (tmp_path / "1.autoimb").read_bytes()


def test_numpy_scalars_in_the_info_are_saved_as_plain_values(tmp_path: Path) -> None:
    save(replace(PIPELINE, info={"score": np.float64(0.5), "n": np.int64(3)}), tmp_path / "a")
    assert inspect(tmp_path / "a")["info"]["score"] == 0.5
    with pytest.raises(ArtifactError, match="can't hold"):
        save(replace(PIPELINE, info={"score": object()}), tmp_path / "b")


def test_inspect_says_what_is_inside(path: Path) -> None:
    said = inspect(path)
    assert json.loads(json.dumps(said)) == said
    assert said["format"] == FORMAT
    assert (said["target"], said["classes"], said["positive"]) == ("fraud", ["no", "yes"], "yes")
    assert said["columns"]["shop"] == "categorical"
    assert [each["weight"] for each in said["strategies"]] == [0.7, 0.3]
    assert said["strategies"][0]["description"] == "focal(gamma=1), tabm 8x2"
    assert said["rule"] == PIPELINE.rule.name
    assert said["info"]["metric"] == "average_precision"
    assert said["bytes"] == path.stat().st_size


# --- nothing is executed --------------------------------------------------------------------------

LOADED_UNDER_GUARD = """
import sys
for name in ("optuna", "imblearn"):
    sys.modules[name] = None  # importing it fails

import autoimb
import numpy as np
import pandas as pd
import autoimb.nn.network
import autoimb.pipeline.artifact

frame = pd.read_parquet(sys.argv[2])
FORBIDDEN = {"pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "os.spawn",
             "subprocess.Popen", "socket.connect", "ctypes.dlopen", "code.__new__"}
CODE = {"exec", "compile", "marshal.loads"}

def guard(event, args):
    if event in FORBIDDEN:
        raise RuntimeError(f"{event} {args}")
    if event in CODE:
        above = sys._getframe()
        while above is not None:  # a module of an installed package may still be imported
            if above.f_code.co_filename == "<frozen importlib._bootstrap>":
                return
            above = above.f_back
        raise RuntimeError(f"{event} {args}")

sys.addaudithook(guard)
try:
    exec("1")
except RuntimeError:
    pass
else:
    raise SystemExit("the guard is asleep")
pipe = autoimb.load(sys.argv[1])
np.save(sys.argv[3], pipe.predict_proba(frame))
pipe.with_threshold("recall>=0.8").predict(frame)
assert "imblearn" not in [name for name, module in sys.modules.items() if module]
"""


def test_load_executes_nothing_and_needs_no_search_packages(path: Path, tmp_path: Path) -> None:
    frame = table(50)
    frame.to_parquet(tmp_path / "rows.parquet")
    answer = tmp_path / "answer.npy"
    done = python("-c", LOADED_UNDER_GUARD, path, tmp_path / "rows.parquet", answer)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(answer), PIPELINE.predict_proba(frame), atol=1e-7)


# --- damaged files --------------------------------------------------------------------------------


def no_zip(path: Path) -> None:
    path.write_bytes(b"PK or not, this is no archive")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])


def flipped_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))


def without(name: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            kept = {each: archive.read(each) for each in archive.namelist() if each != name}
        with zipfile.ZipFile(path, "w") as archive:
            for each, content in kept.items():
                archive.writestr(each, content)

    damage.__name__ = f"without_{name}"
    return damage


def with_weights(content: bytes, compression: int = zipfile.ZIP_STORED) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            manifest = archive.read("manifest.json")
        members = {"manifest.json": manifest, "weights.safetensors": content}
        with zipfile.ZipFile(path, "w") as archive:
            for name, own in (members | {"SHA256SUMS": container._sums(members)}).items():
                archive.writestr(name, own, compression if own is content else None)

    return damage


def with_manifest(content: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("manifest.json", content)

    return damage


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", b" " * (17 * 2**20))
    assert path.stat().st_size < 2**20


DEEP = '{"format": 1, "deep": ' + "[" * 100_000


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (no_zip, "is no whole .autoimb file"),
        (truncated, "is no whole .autoimb file"),
        (flipped_byte, "is damaged"),
        (Path.unlink, "There is no pipeline file at"),
        (without("manifest.json"), "has no manifest.json"),
        (without("weights.safetensors"), "must have .*SHA256SUMS; got SHA256SUMS, manifest.json"),
        (without("SHA256SUMS"), "must have .*SHA256SUMS; got manifest.json, weights.safetensors"),
        (bomb, "manifest.json is compressed"),
        (with_manifest(" " * (17 * 2**20)), "17,825,792 bytes of manifest.json, the limit is"),
        (with_manifest("{"), "is damaged"),
        (with_manifest(DEEP), "is damaged"),
        (with_manifest("[0" + ",0" * 1_100_000 + "]"), "1,100,001 values, the limit is 1,000,000"),
        (with_manifest("[]"), "must have a format: Expected `object`, got `array`"),
        (with_manifest('{"format": "1"}'), "must have a format: Expected `int`, got `str`"),
        (with_manifest('{"format": 0}'), f"has format 0, and autoimb {VERSION} reads format 1"),
        (with_manifest('{"format": 2}'), f"has format 2, and autoimb {VERSION} reads format 1"),
        (with_weights(b"\x08"), "is damaged"),
        (with_weights(b"\xff" * 8), "bytes of its list of arrays, the limit is"),
        (with_weights(bytes(2**20), zipfile.ZIP_DEFLATED), "weights.safetensors is compressed"),
    ],
)
def test_a_damaged_file_is_refused(
    damage: Callable[[Path], None], sentence: str, path: Path
) -> None:
    damage(path)
    with pytest.raises(ArtifactError, match=sentence) as caught:
        load(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_folder_is_pointed_at_its_pipeline(path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"Did you mean .*pipeline\.autoimb"):
        load(path.parent)


def test_a_stored_size_that_lies_is_refused(path: Path) -> None:
    content = path.read_bytes()
    at = content.rindex(b"PK\x01\x02", 0, content.rindex(b"weights.safetensors"))
    lie = content[: at + 24] + (2**31).to_bytes(4, "little") + content[at + 28 :]
    path.write_bytes(lie)
    with pytest.raises(ArtifactError, match="can't have 2,147,483,648 bytes"):
        load(path)


def shapes() -> list[tuple[str, Any]]:
    return [
        ("strategies.0.packs.0.state.heads.bias", lambda a: a[:, :1]),
        ("strategies.0.packs.0.state.heads.bias", lambda a: a[:1]),
        ("strategies.0.packs.1.log_prior", lambda a: a[:, :1]),
        ("strategies.0.packs.1.weight", lambda a: a * np.nan),
        ("strategies.0.packs.1.fold", lambda a: a + 1),
        ("strategies.0.packs.1.fold", lambda a: a - 1),
        ("strategies.0.packs.0.state.hidden0.weight", None),
        ("encoders.0.center", lambda a: a[:1]),
        ("encoders.0.bins", lambda a: a + 1),
        ("encoders.1.edges", lambda a: a[:-1]),
        ("encoders.0.statistics", lambda a: a[:-1]),
        ("encoders.0.statistics", lambda a: a[:, :1]),
        ("encoders.0.statistics", lambda a: a * np.nan),
        ("encoders.1.value", lambda a: a[1:]),
        ("encoders.1.value_column", None),
        ("encoders.1.factor", None),
        ("encoders.0.levels", lambda a: a[:-1]),
        ("encoders.0.levels", None),
        ("encoders.0.edges", lambda a: a[::-1]),
        ("encoders.0.edges", lambda a: a.astype(np.float64)),
        ("encoders.0.bins", lambda a: a * 10**9),
        ("encoders.0.factor", lambda a: -a),
        ("encoders.0.seen", lambda a: a + 1),
        ("encoders.0.onehot_mean", None),
        ("encoders.0.onehot_mean", lambda a: a[:-1]),
        ("encoders.0.onehot_mean", lambda a: a / 2),
        ("encoders.0.onehot_mean", lambda a: a * np.nan),
        ("strategies.0.packs.0.state.heads.bias", lambda a: a * np.nan),
        ("strategies.0.packs.0.state.heads.bias", lambda a: a + np.float32(np.inf)),
        ("strategies.0.packs.1.weight", lambda a: -a),
        ("strategies.1.packs.0.weight", lambda a: a * 0),
        ("strategies.0.packs.1.log_prior", lambda a: a + np.inf),
        ("thresholds.cuts", lambda a: a[:-1]),
        ("thresholds.cuts", lambda a: a[::-1]),
        ("thresholds.counts", lambda a: -a),
        ("thresholds.counts", None),
    ]


@pytest.mark.parametrize(("name", "change"), shapes())
def test_arrays_that_do_not_fit_are_refused(name: str, change: Any, path: Path) -> None:
    manifest, arrays = parts(path)
    whole = arrays.pop(name)
    if change is not None:
        arrays[name] = np.ascontiguousarray(change(whole))
    rewrite(path, manifest, arrays)
    with pytest.raises(ArtifactError):
        load(path)


@pytest.mark.parametrize("kind", ["numbers", "categories"])
@pytest.mark.parametrize(
    "wrong", [lambda a: a - 1, lambda a: a + 1, lambda a: a[::-1], lambda a: a[1:]]
)
def test_a_screen_of_no_columns_of_the_table_is_refused(wrong: Any, kind: str, path: Path) -> None:
    manifest, arrays = parts(path)
    name = f"encoders.0.read_{kind}"
    arrays[name] = np.ascontiguousarray(wrong(arrays[name]))
    rewrite(path, manifest, arrays)
    with pytest.raises(ArtifactError, match=f"encoders of its own columns|read_{kind} must be"):
        load(path)


def values() -> list[tuple[str, Any]]:
    return [
        ("format", True),
        ("more", 1),
        ("weights", [float("nan"), 1.0]),
        ("weights", [-1.0, 2.0]),
        ("weights", [0.0, 0.0]),
        ("positive", 2),
        ("positive", "yes"),
        ("weights", [1.0]),
        ("weights", []),
        ("strategies", []),
        ("encoders", []),
        ("schema", {}),
        ("classes", {"dtype": "<U3", "labels": ["no"]}),
        ("classes", {"dtype": "<U1000000000", "labels": ["no", "yes"]}),
        ("classes", {"dtype": "V8", "labels": ["no", "yes"]}),
        ("classes", {"dtype": "<U2", "labels": ["no", "yes"]}),
        ("classes", {"dtype": "<U3", "labels": ["no", "no"]}),
        ("classes", {"dtype": "|O", "labels": [["no"], ["yes"]]}),
        ("classes", {"dtype": "<i8", "labels": ["no", "yes"]}),
        ("rule", {"kind": "offsets", "offsets": [0, 0, 0], "costs": None, "name": ""}),
    ]


@pytest.mark.parametrize(("key", "value"), values())
def test_values_that_do_not_fit_are_refused(key: str, value: Any, path: Path) -> None:
    manifest, arrays = parts(path)
    rewrite(path, manifest | {key: value}, arrays)
    with pytest.raises(ArtifactError):
        load(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("width", 10**9), ("depth", 10**9), ("k", 10**9), ("n_inputs", 10**12), ("width", "8")],
)
def test_a_network_of_other_sizes_is_refused_before_memory_is_taken(
    key: str, value: Any, path: Path
) -> None:
    manifest, arrays = parts(path)
    manifest["strategies"][0]["packs"][0]["spec"][key] = value
    rewrite(path, manifest, arrays)
    place = re.escape(f"$.strategies[0].packs[0].spec.{key}")
    with pytest.raises(ArtifactError, match=f"manifest.json: Expected `int`.* - at `{place}`"):
        load(path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"form": "a"}, "'a' is not a format of dates or durations"),
        ({"more": 1}, "Object contains unknown field `more`"),
        ({"kind": "colour"}, "Invalid enum value 'colour'"),
    ],
)
def test_a_column_that_no_table_has_is_refused(
    change: dict[str, Any], sentence: str, path: Path
) -> None:
    manifest, arrays = parts(path)
    manifest["schema"]["columns"][2] |= change
    rewrite(path, manifest, arrays)
    with pytest.raises(ArtifactError, match=rf"{sentence}.* - at `\$\.schema\.columns\[2\]"):
        load(path)


def test_an_undefined_error_is_null(tmp_path: Path) -> None:
    info = {"metric": "f1", "score": 0.5, "error": float("nan")}
    save(replace(PIPELINE, info=info), tmp_path / "a.autoimb")
    after = load(tmp_path / "a.autoimb")
    assert after.info["error"] is None
    assert "f1 0.5000 ± undefined" in after.describe()


def test_every_key_of_the_manifest_is_needed(path: Path) -> None:
    manifest, arrays = parts(path)
    for key in manifest:
        rewrite(path, {name: own for name, own in manifest.items() if name != key}, arrays)
        with pytest.raises(ArtifactError):
            load(path)


def test_the_limits_leave_room(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        manifest = archive.read("manifest.json")
    assert len(manifest) * 100 < container._MAX_BYTES["manifest.json"]
    assert manifest.count(b",") * 100 < container._MAX_VALUES


def test_what_no_reader_would_take_is_not_written(tmp_path: Path) -> None:
    long = replace(PIPELINE, info={"note": ["", ""] * 500_000})
    with pytest.raises(ArtifactError, match="values, the limit is"):
        save(long, tmp_path / "a.autoimb")
    assert not (tmp_path / "a.autoimb").exists()


# --- no training row --------------------------------------------------------------------------


def test_no_training_row_is_in_a_file(path: Path) -> None:
    """Neither a row's out-of-fold probability, its logarithm nor its odds, nor rows in line."""
    codes, proba = scored_rows(2)
    manifest, arrays = parts(path)
    logs = np.log(proba)
    told = np.concatenate([proba.ravel(), logs.ravel(), (logs[:, 0] - logs[:, 1])])
    held = [np.asarray(a, dtype=np.float64).ravel() for a in arrays.values()]
    held.append(np.array([float(n) for n in re.findall(r"-?\d+\.\d+", json.dumps(manifest))]))
    numbers = np.concatenate(held)
    for each in (told, -told):
        near = np.abs(np.sort(numbers)[:, None] - each[None]).min(axis=0)
        exact = np.isclose(near, 0, atol=1e-12)
        assert not exact.any()
    assert (arrays["thresholds.counts"].sum(axis=1)[1:-1] >= 3).all()
    np.testing.assert_array_equal(arrays["thresholds.counts"].sum(axis=0), np.bincount(codes))
