"""What a study computes once."""

import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from autoimb.data.folds import plan_folds
from autoimb.space.resampling import cleaning, smote
from autoimb.space.resampling.component import RESAMPLING
from autoimb.training import store as store_module
from autoimb.training.parts import Parts
from autoimb.training.store import Store
from tests.support.tables import chosen, dataset_of, mixed_table


def size(array):
    return array.nbytes


def refuse():
    raise AssertionError("computed twice")


@pytest.mark.parametrize("shared", [False, True])
def test_a_value_is_made_once(tmp_path, shared):
    store = Store(tmp_path if shared else None)
    first = store.get(("a", 1), lambda: np.arange(5), size=size)
    assert store.get(("a", 1), refuse, size=size) is first


def test_another_process_maps_what_one_made(tmp_path):
    made = Store(tmp_path).get(("a", 1), lambda: np.arange(5), size=size)
    mapped = Store(tmp_path).get(("a", 1), refuse, size=size)
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(mapped, made)


def test_an_array_without_columns_is_kept(tmp_path):
    for _ in range(2):
        kept = Store(tmp_path).get(("a",), lambda: np.empty((5, 0), np.float32), size=size)
        assert kept.shape == (5, 0)


def test_who_asks_meanwhile_waits(tmp_path):
    made = []

    def slowly():
        time.sleep(0.2)
        made.append(1)
        return np.arange(5)

    with ThreadPoolExecutor(3) as pool:
        stores = [Store(tmp_path) for _ in range(3)]
        list(pool.map(lambda store: store.get(("a",), slowly, size=size), stores))
    assert made == [1]


def test_what_fails_is_not_kept(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(AssertionError, match="computed twice"):
        store.get(("a",), refuse, size=size)
    assert store.get(("a",), lambda: np.arange(3), size=size).sum() == 3


@pytest.mark.parametrize("shared", [False, True])
def test_what_was_not_used_longest_goes_first(tmp_path, monkeypatch, shared):
    monkeypatch.setattr(store_module, "MAX_BYTES", 30_000)
    store = Store(tmp_path if shared else None)
    for key in ("a", "b", "a", "c", "d"):
        store.get((key,), lambda: np.zeros(1_200), size=size)
        time.sleep(0.02)  # file times are coarse
    asked = Store(tmp_path) if shared else store
    for key in ("d", "c"):
        asked.get((key,), refuse, size=size)
    with pytest.raises(AssertionError, match="computed twice"):
        asked.get(("b",), refuse, size=size)


@pytest.mark.parametrize(
    ("name", "values", "search"),
    [
        ("smote", {"k_neighbors": (2, 7)}, (smote, "_neighbours")),
        ("tomek_links", {"strength": (0.4, 1.0)}, (cleaning, "nearest")),
    ],
)
def test_neighbours_are_searched_once_a_fold(monkeypatch, name, values, search):
    dataset = dataset_of(*mixed_table("binary", 300, seed=3))
    folds = plan_folds(dataset.y, cv=3, random_state=0)
    ((key, pair),) = values.items()
    one, other = (chosen(RESAMPLING[name], **{key: value}) for value in pair)
    calls = []
    real = getattr(*search)
    monkeypatch.setattr(*search, lambda *args: calls.append(args) or real(*args))
    parts = Parts(dataset, folds, seed=0)
    parts.training(0, one)
    shared = parts.training(0, other)
    assert len(calls) == 1
    alone = Parts(dataset, folds, seed=0).training(0, other)
    np.testing.assert_array_equal(shared.encoded.numbers, alone.encoded.numbers)
    np.testing.assert_array_equal(shared.encoded.codes, alone.encoded.codes)


def test_without_room_on_the_disk_each_process_has_its_own(tmp_path, monkeypatch):
    """A full disk is no fault of a trial, and costs time alone."""
    full = Store(tmp_path)

    def dump(value, path):
        path.write_bytes(b"half of")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store_module.joblib, "dump", dump)
    assert full.get("a", lambda: np.arange(5), size=size).tolist() == [0, 1, 2, 3, 4]
    full.get("a", refuse, size=size)
    assert [path for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_a_file_that_another_drops_meanwhile_is_no_error(tmp_path):
    (tmp_path / "gone").symlink_to(tmp_path / "elsewhere")
    Store(tmp_path).get("a", lambda: np.arange(3), size=size)
    assert Store(tmp_path).find("a").tolist() == [0, 1, 2]
