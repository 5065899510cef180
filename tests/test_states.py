"""Trainings that one driver of a shared study leaves at a rung, and another goes on with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from studies import complete, judge_of
from tables import chosen, dataset_of, mixed_table, short_plan, strategy_with
from test_sharing import driver

from autoimb.data.folds import plan_folds
from autoimb.data.profile import profile
from autoimb.data.schema import infer_schema
from autoimb.data.target import encode_target
from autoimb.errors import RunError
from autoimb.evaluation.basis import Basis
from autoimb.evaluation.trial import evaluate
from autoimb.fields import FieldError
from autoimb.policy import SearchPolicy
from autoimb.runs.folder import RunFolder
from autoimb.runs.places import FolderPlace
from autoimb.runs.record import TrialRecord
from autoimb.runs.seal import Arrays, read_sealed, sealed
from autoimb.runs.sharing import SharedStudy
from autoimb.runs.states import read_state, state_bytes
from autoimb.runs.trials import TrialFiles
from autoimb.runtime.progress import Event
from autoimb.search.begun import Begun
from autoimb.search.kept import Kept
from autoimb.search.known import Known
from autoimb.search.study import StudyResult, StudySettings, run_study
from autoimb.space.draw import Space
from autoimb.space.network.component import NETWORK
from autoimb.space.strategy import Strategy
from autoimb.training import fit as fitting
from autoimb.training.fit import Job
from autoimb.training.parts import Parts
from autoimb.training.states import Waiting, waiting_key
from autoimb.training.store import Store

SPACE = Space.restricted({"network": ["mlp"], "ensemble": ["single"], "loss": ["cross_entropy"]})
FRAME, Y = mixed_table("binary")


def basis() -> Basis:
    """A plan of 16 checkpoints that no patience ends."""
    dataset = dataset_of(FRAME, Y)
    folds = replace(plan_folds(dataset.y, cv=2, random_state=0), further=())
    plan = short_plan(dataset, folds, checkpoints=16, patience=1000)
    return Basis(dataset, plan, judge_of(dataset, plan))


# --- files ----------------------------------------------------------------------------------------


def strategy_of(width: int = 8) -> Strategy:
    values = {"schedule": "constant", "embedding": "none", "dropout": 0.25, "width": width}
    return strategy_with(network=chosen(NETWORK["mlp"], 0.0, **values))


@pytest.fixture(scope="module")
def waiting() -> Waiting:
    """What a trial left after a quarter of the planned work."""
    given, strategy = basis(), strategy_of()
    parts = Parts(given.dataset, given.plan.folds, seed=given.plan.seed)
    evaluate(Job(strategy, given.plan.at(0.25), parts), given.judge)
    found = parts.states.find(waiting_key(strategy))
    assert isinstance(found, Waiting)
    return found


def read(content: bytes, folder: Path, *, run: str = "it", number: int = 3) -> Waiting:
    path = folder / "0003.state.safetensors"
    path.write_bytes(content)
    return read_state(path, run=run, number=number)


def test_a_state_comes_back_whole(waiting: Waiting, tmp_path: Path) -> None:
    again = read(state_bytes(waiting, run="it", number=3), tmp_path)
    assert (again.counts, again.size) == (waiting.counts, waiting.size)
    assert again.arrays.keys() == waiting.arrays.keys()
    for name, own in again.arrays.items():
        np.testing.assert_array_equal(own, waiting.arrays[name])
    np.testing.assert_array_equal(again.shown.weights, waiting.shown.weights)
    stopping, before = again.shown.stopping, waiting.shown.stopping
    assert (stopping.values, stopping.newest) == (before.values, before.newest)
    assert (stopping.curve, stopping.floor) == (before.curve, before.floor)
    np.testing.assert_array_equal(stopping.best, before.best)
    np.testing.assert_array_equal(stopping.chosen, before.chosen)
    for own, old in zip(again.shown.posteriors, waiting.shown.posteriors, strict=True):
        np.testing.assert_array_equal(own, old)


def test_one_that_diverged_after_its_checkpoint_goes_on_as_it_would_have(
    waiting: Waiting, tmp_path: Path
) -> None:
    values = np.full_like(waiting.arrays["values"], np.nan)
    diverged = replace(waiting, arrays=waiting.arrays | {"values": values})
    again = read(state_bytes(diverged, run="it", number=3), tmp_path)
    np.testing.assert_array_equal(again.arrays["values"], values)


def test_one_of_another_trial_or_study_is_refused(waiting: Waiting, tmp_path: Path) -> None:
    content = state_bytes(waiting, run="it", number=3)
    for bound in ({"number": 4}, {"run": "another"}):
        with pytest.raises(RunError, match="it is of trial 3 of it"):
            read(content, tmp_path, **bound)


FORGED: dict[str, Callable[[Arrays], Arrays]] = {
    "an array more": lambda own: {"code": own["kept"]},
    "another kind": lambda own: {"mean": own["mean"].astype("float64")},
    "a shorter vector": lambda own: {"square": own["square"][1:]},
    "weights that are no numbers": lambda own: {"kept": own["kept"] * np.nan},
    "a probability of 2": lambda own: {"posteriors": own["posteriors"] + 1.0},
    "a later checkpoint": lambda own: {"chosen": own["chosen"] + 4},
    "another fold": lambda own: {"newest": np.array([2])},
    "a checkpoint less": lambda own: {"measured": own["measured"][1:]},
    "fewer rows": lambda own: {"rows": own["rows"] - 1},
    "a fold of all rows": lambda own: {"rows": own["rows"] * 2},
}


@pytest.mark.parametrize("change", FORGED.values(), ids=FORGED)
def test_what_no_training_leaves_is_refused(
    waiting: Waiting, tmp_path: Path, change: Callable[[Arrays], Arrays]
) -> None:
    read(state_bytes(waiting, run="it", number=3), tmp_path)
    header, arrays = read_sealed(tmp_path / "0003.state.safetensors", run="it", number=3)
    own = {"counts": header["counts"]}
    with pytest.raises(FieldError, match="the state"):
        read(sealed(arrays | change(arrays), own, run="it", number=3), tmp_path)


@pytest.mark.parametrize("counts", ['{"checkpoint": 4}', "[4, 16, 16]", "4"])
def test_other_counts_are_refused(waiting: Waiting, tmp_path: Path, counts: str) -> None:
    read(state_bytes(waiting, run="it", number=3), tmp_path)
    _, arrays = read_sealed(tmp_path / "0003.state.safetensors", run="it", number=3)
    with pytest.raises(FieldError, match="counts must be an object"):
        read(sealed(arrays, {"counts": counts}, run="it", number=3), tmp_path)


# --- what is kept ---------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> TrialFiles:
    return TrialFiles(FolderPlace(tmp_path), "it", on_damage=lambda *_: pytest.fail("damage"))


def record_of(number: int, width: int, value: float, *, follows: TrialRecord | None = None) -> Any:
    """A strategy's record at a quarter of the work, or at all of it where it follows that."""
    strategy, checkpoints = strategy_of(width), 4 if follows is None else 16
    result = complete(strategy, dataset_of(FRAME, Y), value=value)
    trace = replace(result.trace, ended=False, curve=(value,) * checkpoints)
    return TrialRecord.of(
        number,
        replace(result, trace=trace),
        stage="search",
        strategy=strategy,
        rung=0.25 if follows is None else 1.0,
        before=follows,
    )


def kept_by(files: TrialFiles, known: Known) -> Kept:
    return Kept(SimpleNamespace(shared_files=files), known)  # type: ignore[arg-type]  # all it asks


def test_the_states_of_the_best_of_each_rung_lie_there_until_they_are_passed(
    files: TrialFiles, waiting: Waiting
) -> None:
    known, states = Known(SearchPolicy(states_kept=1)), Store()
    own = kept_by(files, known)
    lying = []

    def end(record: TrialRecord, *, checkpoint: int = 4) -> None:
        counts = waiting.counts | {"checkpoint": checkpoint}
        states.put(waiting_key(record.strategy), replace(waiting, counts=counts), size=1)
        known.add(record, None)
        own.keep(record, states)
        lying.append(files.states())

    first, second, third = record_of(0, 8, 0.5), record_of(1, 16, 0.7), record_of(2, 32, 0.6)
    for record in (first, second, third):
        end(record)
    end(record_of(3, 16, 0.7, follows=second))  # its state is that of the rung below: none is left
    assert lying == [[0], [1], [1], []]


def test_what_another_driver_left_goes_when_nobody_waits_for_it(
    files: TrialFiles, waiting: Waiting
) -> None:
    for number in (0, 1, 5):
        files.save_state(number, waiting)
    known = Known(SearchPolicy(states_kept=1))
    for record in (record_of(0, 8, 0.5), record_of(1, 16, 0.7)):
        known.add(record, None)
    last = record_of(2, 32, 0.4)
    known.add(last, None)
    kept_by(files, known).keep(last, Store())
    assert files.states() == [1, 5]  # of the fifth trial this driver has not heard


def test_a_state_of_a_lower_rung_makes_way_for_that_of_another_driver(
    files: TrialFiles, waiting: Waiting
) -> None:
    strategy, states = strategy_of(), Store()
    key, trial = waiting_key(strategy), Begun(2, "search", strategy, {}, 1.0, follows=1)
    own = kept_by(files, Known(SearchPolicy()))
    states.put(key, "of trial 0", size=1)
    own.fetch(trial, states)
    assert states.find(key) == "of trial 0"  # which is better than none
    files.save_state(1, waiting)
    own.fetch(trial, states)
    assert states.find(key).counts == waiting.counts


# --- two drivers ----------------------------------------------------------------------------------


def search(
    folder: RunFolder | None = None, storage: SharedStudy | None = None, **more: Any
) -> StudyResult:
    """Search one strategy: a quarter of the planned work, and then all of it."""
    target, (schema, _) = encode_target(Y == 1), infer_schema(FRAME)
    settings = StudySettings(n_trials=1, storage=storage, **more)
    given = profile(FRAME, schema, target)
    return run_study(basis(), SPACE, profile=given, settings=settings, folder=folder)


def bytes_of(result: StudyResult) -> list[bytes]:
    """All that can be exported, and what the leaderboard says of it."""
    found = []
    for number, one in result.results.items():
        assert one.fitted is not None
        (pack,) = one.fitted.packs
        board = [(r.number, r.follows, r.strategy, r.score, r.curve) for r in result.records]
        found += [repr((number, board)).encode(), one.oof.tobytes()]
        found += [array.tobytes() for _, array in sorted(pack.state.items())]
    return found


@pytest.fixture(scope="module")
def alone() -> list[bytes]:
    return bytes_of(search())


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The checkpoints that are trained in this process."""
    found, train = list[int](), fitting.train

    def counted(*args: Any, **named: Any) -> Iterator[int]:
        for checkpoint in train(*args, **named):
            found.append(checkpoint)
            yield checkpoint

    monkeypatch.setattr(fitting, "train", counted)
    return found


def leave(path: Path, **more: Any) -> list[int]:
    """A driver that ends after a first trial; return whose states lie there."""

    def enough(event: Event) -> None:
        if event.finished is not None:
            raise KeyboardInterrupt

    with driver(path, "first") as (shared, folder):
        search(folder, shared, on_event=enough, **more)
        return folder.files.states()


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_another_driver_goes_on_with_what_one_left(
    tmp_path: Path, alone: list[bytes], trained: list[int], n_jobs: int
) -> None:
    assert leave(tmp_path, n_jobs=n_jobs) == [0]
    trained.clear()
    with driver(tmp_path, "second") as (shared, folder):
        result = search(folder, shared)
        assert trained == list(range(4, 16))
        assert folder.files.states() == [1]  # for four times the work
    assert bytes_of(result) == alone


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def misplace(path: Path) -> None:
    header, arrays = read_sealed(path, run="it", number=0)
    path.write_bytes(sealed(arrays, {"counts": header["counts"]}, run="it", number=7))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (flip, "its arrays have not the checksum that it says"),
        (misplace, "it is of trial 7 of it"),
        (lambda path: path.write_bytes(b"\x80\x04N."), "SafetensorError"),
        (Path.unlink, None),
    ],
    ids=["flipped", "misplaced", "a pickle", "gone"],
)
def test_a_state_that_is_damaged_or_gone_costs_the_steps_before_it(
    tmp_path: Path,
    alone: list[bytes],
    trained: list[int],
    damage: Callable[[Path], object],
    told: str | None,
) -> None:
    leave(tmp_path)
    damage(tmp_path / "place" / "it" / "0000.state.safetensors")
    trained.clear()
    with driver(tmp_path, "second") as (shared, folder):
        result = search(folder, shared)
        assert trained == list(range(16))
        said = folder.damaged
    assert list(said) == ([] if told is None else ["0000.state.safetensors"])
    assert all(told in reason for reason in said.values() if told is not None)
    assert bytes_of(result) == alone


def test_a_driver_goes_on_from_its_own_cache_and_alone_writes_no_states(
    tmp_path: Path, alone: list[bytes], trained: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrialFiles, "state", lambda *_: pytest.fail("read"))
    with driver(tmp_path) as (shared, folder):
        assert bytes_of(search(folder, shared)) == alone
    monkeypatch.setattr(TrialFiles, "save_state", lambda *_: pytest.fail("written"))
    with RunFolder.open(tmp_path / "own", fingerprint="0" * 16) as folder:
        assert bytes_of(search(folder)) == alone
    assert trained == 2 * list(range(16))
