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
from autoimb.pipeline import artifact, container
from autoimb.pipeline.artifact import inspect, load, save
from autoimb.version import __version__
from reports.benchmarks.damage.extremes import extreme, wide_first
from tests.support.pipelines import pipeline, scored_rows, table
from tests.support.programs import python

PIPELINE = pipeline()
VERSION = re.escape(__version__)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save(PIPELINE, tmp_path / "pipeline.autoimb")
    return tmp_path / "pipeline.autoimb"


def parts(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        return manifest, safetensors.numpy.load(archive.read("weights.safetensors"))


def rewrite(path: Path, manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Forge a file: its checksums hold."""
    path.write_bytes(container.packed(manifest, arrays))


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
    for name in ("schema", "rule", "weights", "positive", "calibrator"):
        assert getattr(after, name) == getattr(before, name)
    assert after.describe() == before.describe()
    assert set(after.info["versions"]) == {"autoimb", "numpy", "torch", "python"}
    save(after, tmp_path / "b.autoimb")
    assert (tmp_path / "b.autoimb").read_bytes() == (tmp_path / "a.autoimb").read_bytes()


def test_numpy_scalars_in_the_info_are_saved_as_plain_values(tmp_path: Path) -> None:
    save(replace(PIPELINE, info={"score": np.float64(0.5), "n": np.int64(3)}), tmp_path / "a")
    assert inspect(tmp_path / "a")["info"]["score"] == 0.5
    with pytest.raises(ArtifactError, match="can't hold"):
        save(replace(PIPELINE, info={"score": object()}), tmp_path / "b")


def test_inspect_says_what_is_inside(path: Path) -> None:
    summary = inspect(path)
    assert json.loads(json.dumps(summary)) == summary
    assert summary["format"] == 1
    assert (summary["target"], summary["classes"]) == ("fraud", ["no", "yes"])
    assert summary["positive"] == "yes"
    assert summary["columns"]["shop"] == "categorical"
    assert [strategy["weight"] for strategy in summary["strategies"]] == [0.7, 0.3]
    assert summary["strategies"][0]["description"] == "focal(gamma=1), tabm 8x2"
    assert summary["rule"] == PIPELINE.rule.name
    assert summary["info"]["metric"] == "average_precision"
    assert summary["bytes"] == path.stat().st_size


# --- nothing is executed --------------------------------------------------------------------------

LOADED_UNDER_GUARD = """
import sys
for name in ("sklearn", "optuna", "imblearn", "matplotlib", "jinja2", "typer", "numba"):
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
labels = pipe.with_threshold("recall>=0.8").predict(frame)
assert 0.0 <= pipe.score(frame, labels) <= 1.0
assert pipe.inspect()["positive"] == "yes"
assert "autoimb.search" not in sys.modules
"""


def test_load_executes_nothing_and_needs_no_search_packages(path: Path, tmp_path: Path) -> None:
    frame = table(50)
    frame.to_parquet(tmp_path / "rows.parquet")
    answer = tmp_path / "answer.npy"
    process = python("-c", LOADED_UNDER_GUARD, path, tmp_path / "rows.parquet", answer)
    assert process.returncode == 0, process.stderr
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


def lying_size(path: Path) -> None:
    content = path.read_bytes()
    at = content.rindex(b"PK\x01\x02", 0, content.rindex(b"weights.safetensors"))
    path.write_bytes(content[: at + 24] + (2**31).to_bytes(4, "little") + content[at + 28 :])


def with_members(
    compression: int = zipfile.ZIP_STORED, **changes: bytes | None
) -> Callable[[Path], None]:
    """Return a damage that replaces members by others, whose checksums hold, or removes them."""

    def damage(path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in container._MEMBERS}
        changed = {name: changes.get(name.partition(".")[0], members[name]) for name in members}
        sums = b"".join(container._sum(n, c) for n, c in changed.items() if c is not None)
        changed["SHA256SUMS"] = changes.get("SHA256SUMS", sums)
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, content in changed.items():
                if content is not None:
                    archive.writestr(name, content)

    return damage


def with_manifest(content: str) -> Callable[[Path], None]:
    return with_members(manifest=content.encode())


TWO_ARRAYS = safetensors.numpy.save({"a": np.zeros(2), "b": np.zeros(1)})
DEEP = '{"format": 1, "deep": ' + "[" * 100_000
LACKING = f"autoimb {VERSION} reads files with manifest.json, .*; this one has"


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (no_zip, "is no whole .autoimb file"),
        (truncated, "is no whole .autoimb file"),
        (flipped_byte, "is damaged"),
        (lying_size, "can't have 2,147,483,648 bytes"),
        (Path.unlink, "There is no pipeline file at"),
        (with_members(manifest=None), f"{LACKING} SHA256SUMS, weights.safetensors"),
        (with_members(weights=None), f"{LACKING} SHA256SUMS, manifest.json"),
        (with_members(SHA256SUMS=None), f"{LACKING} manifest.json, weights.safetensors"),
        (with_members(SHA256SUMS=b""), "the SHA-256 of manifest.json is not the one in SHA256SUMS"),
        (with_members(zipfile.ZIP_DEFLATED, manifest=bytes(2**24)), "manifest.json is compressed"),
        (with_manifest(" " * (17 * 2**20)), "17,825,792 bytes of manifest.json, the limit is"),
        (with_manifest("{"), "is damaged"),
        (with_manifest(DEEP), "is damaged"),
        (with_manifest("[0" + ",0" * 1_100_000 + "]"), "1,100,001 values, the limit is 1,000,000"),
        (with_manifest("[]"), "manifest.json: Expected `object`, got `array`"),
        (with_manifest('{"format": "1"}'), "manifest.json: Expected `int`, got `str`"),
        (with_manifest('{"format": 2}'), f"has format 2, and autoimb {VERSION} reads format 1"),
        (with_members(weights=b"\x08"), "is damaged"),
        (with_members(weights=b"\xff" * 8), "bytes of its list of arrays, the limit is"),
        # The first array overlaps the second or leaves a gap.
        *(
            (with_members(weights=TWO_ARRAYS.replace(b"[0,16]", place)), "can't be at")
            for place in (b"[0,8] ", b"[8,16]", b"[0,9] ")
        ),
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


# What `reports.benchmarks.damage` does not draw by chance; None removes an array.
ARRAYS: dict[str, list[Any]] = {
    "encoders.0.bins": [lambda a: a + 1, lambda a: a * 10**9],
    "encoders.0.edges": [lambda a: a[::-1], lambda a: a[:-1]],
    "encoders.0.factor": [lambda a: -a],
    "encoders.0.indicator": [lambda a: a + 1],
    "encoders.0.levels": [lambda a: a[:-1], lambda a: a[::-1]],
    "encoders.0.onehot_mean": [lambda a: a[:-1], lambda a: a / 2],
    "encoders.0.read_categories": [lambda a: a - 1, lambda a: a + 1, lambda a: a[::-1]],
    "encoders.0.read_numbers": [lambda a: a - 1, lambda a: a + 1, lambda a: a[::-1]],
    "encoders.0.seen": [lambda a: a + 1],
    "encoders.0.statistics": [lambda a: a[:, :1]],
    "encoders.0.value_column": [None],
    "ranges.low": [lambda a: a[:-1], lambda a: a + 1e9],
    "strategies.0.packs.0.state.heads.bias": [lambda a: a[:, :1], lambda a: a + np.float32(np.inf)],
    "strategies.0.packs.0.state.hidden0.weight": [None],
    "strategies.0.packs.1.fold": [lambda a: a + 1, lambda a: a - 1],
    "strategies.0.packs.1.log_prior": [lambda a: a[:, :1], lambda a: a + np.inf],
    "strategies.0.packs.1.weight": [lambda a: a * np.nan, lambda a: -a, lambda a: a[1:]],
    "strategies.1.packs.0.weight": [lambda a: a * 0],
    "thresholds.counts": [lambda a: -a, lambda a: a[:, :1]],
    "thresholds.cuts": [lambda a: a[:-1], lambda a: a[::-1]],
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_do_not_fit_are_refused(name: str, path: Path) -> None:
    manifest, arrays = parts(path)
    for change in ARRAYS[name]:
        changed = {} if change is None else {name: np.ascontiguousarray(change(arrays[name]))}
        rewrite(path, manifest, {n: a for n, a in arrays.items() if n != name} | changed)
        with pytest.raises(ArtifactError):
            load(path)


PACK, COLUMN = "strategies[0].packs[0].spec", "schema.columns[2]"
VALUES = [
    ("format", True),
    ("more", 1),
    ("weights", [-1.0, 2.0]),
    ("weights", [0.0, 0.0]),
    ("weights", [1.0]),
    ("positive", 2),
    ("positive", "yes"),
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
# Values inside of a part, whose place the message names.
NESTED = [
    # Sizes are refused before memory is taken.
    (PACK, "width", 10**9, "Expected `int`"),
    (PACK, "depth", 10**9, "Expected `int`"),
    (PACK, "k", 10**9, "Expected `int`"),
    (PACK, "n_inputs", 10**12, "Expected `int`"),
    (COLUMN, "form", "a", "'a' is not a format of dates or durations"),
    (COLUMN, "more", 1, "Object contains unknown field `more`"),
    (COLUMN, "kind", "colour", "Invalid enum value 'colour'"),
]


@pytest.mark.parametrize(
    ("place", "key", "value", "sentence"), [*(("", *own, "") for own in VALUES), *NESTED]
)
def test_values_that_do_not_fit_are_refused(
    place: str, key: str, value: Any, sentence: str, path: Path
) -> None:
    manifest, arrays = parts(path)
    part: Any = manifest
    for name in re.findall(r"\w+", place):
        part = part[int(name) if name.isdigit() else name]
    part[key] = value
    rewrite(path, manifest, arrays)
    named = rf"{sentence}.* - at `\$\.{re.escape(place)}" if place else None
    with pytest.raises(ArtifactError, match=named):
        load(path)


def test_an_undefined_error_is_null(tmp_path: Path) -> None:
    info = {"metric": "f1", "score": 0.5, "error": float("nan")}
    save(replace(PIPELINE, info=info), tmp_path / "a.autoimb")
    after = load(tmp_path / "a.autoimb")
    assert after.info["error"] is None
    assert "f1 0.5000 ± undefined" in after.describe()


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


def test_a_wide_network_takes_no_more_memory_than_its_file(path: Path) -> None:
    """Its scaled weights, which a prediction allocates, are 1 GB."""
    peak = Path("/proc/self/clear_refs")
    if not peak.exists():
        pytest.skip("Linux tells the peak of memory")
    manifest, arrays = extreme(parts(path), wide_first)
    rewrite(path, manifest, arrays)
    peak.write_text("5", encoding="utf-8")
    before = memory("VmRSS")
    load(path)
    assert memory("VmHWM") - before < 300 * 2**10


def memory(name: str) -> int:
    """Return a quantity of this process in kB."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.findall(rf"{name}:\s+(\d+)", status)[0])


def test_levels_that_would_take_too_much_memory_are_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifact, "_MAX_LEVELS", 1000)
    with pytest.raises(ArtifactError, match="bytes as strings; the limit is 1,000"):
        load(path)
    with pytest.raises(ArtifactError, match="bytes as strings; the limit is 1,000"):
        save(PIPELINE, path)


def test_probabilities_that_are_not_finite_are_an_error(path: Path) -> None:
    manifest, arrays = parts(path)
    for name in arrays:
        if ".state." in name:
            arrays[name] = np.full_like(arrays[name], np.finfo(np.float32).max)
    rewrite(path, manifest, arrays)
    with pytest.raises(ArtifactError, match="aren't finite"), np.errstate(all="ignore"):
        load(path).predict_proba(table(20))


# --- no training row --------------------------------------------------------------------------


def test_no_training_row_is_in_a_file(path: Path) -> None:
    """Neither a row's out-of-fold probability, its logarithm nor its odds, nor rows in line."""
    codes, proba = scored_rows(2)
    manifest, arrays = parts(path)
    logs = np.log(proba)
    secrets = np.concatenate([proba.ravel(), logs.ravel(), logs[:, 0] - logs[:, 1]])
    plain = [float(number) for number in re.findall(r"-?\d+\.\d+", json.dumps(manifest))]
    numbers = np.concatenate([np.ravel(a).astype(np.float64) for a in (*arrays.values(), plain)])
    for values in (secrets, -secrets):
        distance = np.abs(numbers[:, None] - values[None]).min(axis=0)
        assert (distance > 1e-12).all()
    assert (arrays["thresholds.counts"].sum(axis=1)[1:-1] >= 3).all()
    np.testing.assert_array_equal(arrays["thresholds.counts"].sum(axis=0), np.bincount(codes))
