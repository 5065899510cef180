"""Drivers of one study that take turns in one process, without a server and without training."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
import studies
from fsspec.implementations.memory import MemoryFileSystem
from optuna.trial import TrialState
from sqlalchemy import event
from sqlalchemy.exc import OperationalError, ProgrammingError
from studies import complete, material, study
from tables import strategy_with

from autoimb.assessment.judge import Judge
from autoimb.cli.sharing import check_storage
from autoimb.errors import RunError, StorageLostError
from autoimb.evaluation.trial import Outcome
from autoimb.policy import SearchPolicy
from autoimb.runs.database import _passwords, holds_password, reach
from autoimb.runs.drivers import Pulse
from autoimb.runs.folder import RunFolder
from autoimb.runs.journal import Journal
from autoimb.runs.patience import Patience
from autoimb.runs.places import FolderPlace, ObjectPlace, Place, open_place
from autoimb.runs.record import StoredTrial, TrialRecord
from autoimb.runs.rows import TrialRows
from autoimb.runs.shared_status import studies_at
from autoimb.runs.sharing import SharedStudy
from autoimb.runs.trials import TrialFiles
from autoimb.search.begun import Begun
from autoimb.search.known import Known
from autoimb.search.study import StudyResult
from autoimb.space.draw import Space
from autoimb.training.fit import Job

TERMS = {"version": "1", "metric": "f1", "plan": {"time_budget": 60.0}}
SPACE = Space.restricted()


@contextmanager
def driver(
    path: Path, run: str = "run", *, place: str | None = None, terms: Any = TERMS, **policy: float
) -> Iterator[tuple[SharedStudy, RunFolder]]:
    """Join the study in a folder."""
    given = SharedStudy.join(
        f"sqlite:///{path}/study.db",
        str(path / "place") if place is None else place,
        name="it",
        terms=terms,
        workers=3,
        policy=SearchPolicy(**policy),
    )
    with given as shared:
        opened = RunFolder.open(
            path / run, fingerprint="0" * 16, resume=True, study="it", place=shared.place
        )
        with opened as folder:
            yield shared, folder


def search(path: Path, run: str, n_trials: int, **more: Any) -> StudyResult:
    with driver(path, run, **more) as (shared, folder):
        return study(folder, storage=shared, n_trials=n_trials)


def journal(shared: SharedStudy, folder: RunFolder) -> Journal:
    return Journal.open(folder, space=SPACE, storage=shared, random_state=0)


def begin(own: Journal) -> Begun:
    """Ask for a strategy."""
    own.queue.enqueue({}, stage="search", rung=1.0)
    asked = own.queue.ask()
    assert asked is not None
    return Begun.of(asked, SPACE)


def finish(own: Journal, trial: Begun, **more: Any) -> bool:
    result = complete(trial.strategy, material().dataset)
    record = TrialRecord.of(trial.number, result, stage="search", strategy=trial.strategy)
    return own.finish(record, result, trial.params, **more)


def test_who_joins_later_knows_all_and_repeats_nothing(tmp_path: Path) -> None:
    alone = study(n_trials=9)
    first = search(tmp_path, "first", 6)
    second = search(tmp_path, "second", 9)
    assert second.records[:6] == first.records
    assert [r.strategy for r in second.records] == [r.strategy for r in alone.records]
    again = search(tmp_path, "third", 9)
    assert again.records == second.records
    kept = [n for n, result in second.results.items() if result.fitted is not None]
    assert kept == [n for n, result in again.results.items() if result.fitted is not None]
    assert len(kept) == len(second.results)
    assert not list((tmp_path / "first" / "trials").iterdir())


def reads(shared: SharedStudy, monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, list[int]]]:
    """Note which trials' files are read, and whether others have to wait meanwhile."""
    found, loaded = list[tuple[bool, list[int]]](), TrialFiles.load

    def load(
        files: TrialFiles, numbers: Iterable[int] | None = None, **more: bool
    ) -> dict[int, StoredTrial]:
        own = files.numbers() if numbers is None else list(numbers)
        if own:
            found.append((shared._inside, own))
        return loaded(files, own, **more)

    monkeypatch.setattr(TrialFiles, "load", load)
    return found


def test_what_others_have_ended_is_read_before_they_have_to_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with driver(tmp_path, "one") as (shared, folder), driver(tmp_path, "two") as two:
        mine, other, read = journal(shared, folder), journal(*two), reads(shared, monkeypatch)
        asked = [begin(other) for _ in range(3)]
        assert mine.heard() == {}
        for trial in asked[:2]:
            finish(other, trial)
        heard = mine.heard()
        assert [own.record.strategy for own in heard.values()] == [t.strategy for t in asked[:2]]
        finish(other, asked[2])
        assert list(mine.exclusively(mine.news)) == [asked[2].number]
        assert read == [(False, [0, 1]), (True, [2])]


def test_a_search_keeps_no_driver_waiting_while_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with driver(tmp_path, "one") as (shared, folder), driver(tmp_path, "two") as two:
        other, read = journal(*two), reads(shared, monkeypatch)

        def meanwhile(job: Job, judge: Judge) -> Outcome:
            finish(other, other.exclusively(lambda: begin(other)))
            return studies.evaluate(job, judge)

        study(folder, storage=shared, n_trials=4, evaluate=meanwhile)
    assert read
    assert not any(inside for inside, _ in read)


def test_trials_are_read_again_where_their_state_has_changed(tmp_path: Path) -> None:
    with driver(tmp_path, "one") as (shared, folder), driver(tmp_path, "two") as two:
        mine, other = journal(shared, folder), journal(*two)
        number = shared.storage.get_study_id_from_name("it")
        rows = shared.rows(number)
        asked = [begin(other) for _ in range(3)]
        other.queue.enqueue({}, stage="search", rung=0.25)
        finish(other, asked[0])
        other.drop(asked[1].number, "dropped")
        assert rows.every() == shared.storage.get_all_trials(number)
        assert [t.state.name for t in rows.every()] == ["COMPLETE", "FAIL", "RUNNING", "WAITING"]
        queries = list[str]()

        def count(_: object, __: object, statement: str, *___: object) -> None:
            queries.append(statement)

        event.listen(shared.database.engine, "before_cursor_execute", count)
        before = rows.every()
        assert len(queries) == 1
        finish(mine, begin(mine))  # it takes what waits
        after = rows.every()
        assert after == shared.storage.get_all_trials(number)
        assert [now is then for now, then in zip(after, before)] == [True, True, True, False]


def test_an_object_store_serves_as_a_folder_does(tmp_path: Path) -> None:
    first = search(tmp_path, "first", 3, place="memory://bucket/shared")
    second = search(tmp_path, "second", 3, place="memory://bucket/shared")
    assert second.records == first.records
    assert all(result.fitted is not None for result in second.results.values())
    assert MemoryFileSystem().exists("/bucket/shared/it/0000.safetensors")


def test_a_place_that_is_away_is_waited_for_and_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, tries = f"memory://{tmp_path.name}", list[object]()
    first = search(tmp_path, "first", 3, place=place)

    def away(*asked: object) -> None:
        tries.append(asked)
        raise ConnectionError("503")

    with driver(tmp_path, "second", place=place, storage_patience=0.3) as (shared, folder):
        monkeypatch.setattr(MemoryFileSystem, "cat_file", away)
        with pytest.raises(StorageLostError, match=r"the loss of what the study's drivers share"):
            folder.files.load()
        assert len(tries) > 1
        assert journal(shared, folder).networks(0) is None
        monkeypatch.undo()
        assert not folder.damaged
    assert search(tmp_path, "third", 3, place=place).records == first.records


def test_a_file_that_cannot_be_read_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with driver(tmp_path) as (shared, folder):
        study(folder, storage=shared, n_trials=1)

        def broken(*_: object, **__: object) -> None:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr("autoimb.runs.trials.read_trial", broken)
        with pytest.raises(StorageLostError, match="which can't be read"):
            folder.files.load()
        assert not folder.damaged


def test_what_is_given_up_is_not_waited_for_again() -> None:
    def away() -> None:
        tries.append(1)
        raise ConnectionError

    tries, patience = list[int](), Patience("it", 0.0, is_away=lambda _: True)
    for _ in range(2):
        with pytest.raises(StorageLostError, match="the loss of it, away for 0 seconds"):
            patience.wait(away)
    assert len(tries) == 1


def test_own_networks_stay_where_the_place_has_none() -> None:
    known, number, strategy = Known(SearchPolicy()), 3, strategy_with()
    result = complete(strategy, material().dataset)
    known.add(TrialRecord.of(number, result, stage="search", strategy=strategy), result)
    known.read_networks(lambda _: None)
    assert known.results[number].fitted is result.fitted
    other = complete(strategy, material().dataset)
    known.read_networks(lambda _: other.fitted)
    assert known.results[number].fitted is other.fitted


@pytest.fixture(params=["folder", "objects"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    where = str(tmp_path) if request.param == "folder" else f"memory://{tmp_path.name}"
    return open_place(where, "it")


def test_a_place_holds_whole_files(place: Place) -> None:
    assert isinstance(place, FolderPlace | ObjectPlace)
    place.write("a.x", b"1")
    place.write("a.x", b"2")
    place.write("b.x", b"3")
    with place.reading("a.x") as path:
        assert path.read_bytes() == b"2"
    place.set_aside("b.x")
    place.set_aside("b.x")
    assert sorted(place.names()) == ["a.x", "b.broken"]
    place.remove("a.x")
    place.remove("a.x")
    with pytest.raises(FileNotFoundError), place.reading("a.x"):
        pass


def test_a_place_that_cannot_be_reached(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(RunError, match=r"can't be reached \(folder\)"):
        open_place(str(tmp_path / "file"), "it")
    with pytest.raises(RunError, match=r"can't be reached \(no\)") as caught:
        open_place("no://me:secret@host/path", "it")
    assert "secret" not in str(caught.value)


def test_the_plan_of_the_first_is_obeyed_and_other_terms_are_refused(tmp_path: Path) -> None:
    with driver(tmp_path, "first"):
        pass
    with driver(tmp_path, "second", terms=TERMS | {"plan": {"time_budget": 5.0}}) as (shared, _):
        assert shared.terms == TERMS
    with (
        pytest.raises(RunError, match="its version is 1, and here it is 2"),
        driver(tmp_path, "third", terms=TERMS | {"version": "2"}),
    ):
        pass


def test_a_trial_of_a_silent_driver_is_asked_for_once_more(tmp_path: Path) -> None:
    with (
        driver(tmp_path, "silent") as (gone, folder),
        driver(tmp_path, "other", silent_seconds=-1.0) as (shared, own_folder),
    ):
        silent, own = journal(gone, folder), journal(shared, own_folder)
        first, second = begin(silent), begin(silent)
        saved = TrialRecord.of(
            second.number,
            complete(second.strategy, material().dataset),
            stage="search",
            strategy=second.strategy,
        )
        folder.files.save(saved, None, second.params)  # and then it was killed
        news = own.exclusively(own.news)
        assert [(n, one.record.status) for n, one in news.items()] == [
            (first.number, "killed"),
            (second.number, "complete"),
        ]
        again = own.exclusively(own.queue.ask)
        assert again is not None
        assert again.user_attrs["again"] == first.number
        assert Begun.of(again, SPACE).strategy == first.strategy
        # it was only slow, and comes too late: no networks make room for it
        assert not finish(silent, first, before_told=lambda: pytest.fail("told"))
        late = silent.exclusively(silent.news)
        assert late[first.number].record.status == "killed"
        assert own.exclusively(own.news) == {}


def test_a_trial_of_a_living_driver_is_left_alone(tmp_path: Path) -> None:
    with driver(tmp_path, "one") as (one, first), driver(tmp_path, "two") as (two, second):
        running, other = journal(one, first), journal(two, second)
        trial = begin(running)
        assert other.restore() == {}
        assert [one.number for one in other.elsewhere()] == [trial.number]
        seen = list[int]()

        def before_told() -> None:
            seen.extend(first.files.numbers())
            seen.extend(one.number for one in other.exclusively(other.elsewhere))

        assert finish(running, trial, before_told=before_told)
        assert seen == [trial.number, trial.number]
        assert list(other.exclusively(other.news)) == [trial.number]
        assert other.exclusively(other.elsewhere) == []


def test_a_step_that_was_planned_twice_is_done_once(tmp_path: Path) -> None:
    with driver(tmp_path) as (shared, folder):
        own = journal(shared, folder)
        for _ in range(2):
            own.queue.enqueue({}, stage="network", rung=1.0, plan="network.0")
        assert own.queue.ask() is not None
        assert own.queue.ask() is None
        storage = shared.storage
        twice = storage.get_all_trials(storage.get_study_id_from_name("it"))[1]
        assert (twice.state, twice.user_attrs["status"]) == (TrialState.FAIL, "repeated")


def test_a_start_that_was_not_confirmed_is_taken_up(tmp_path: Path) -> None:
    """As where the connection broke after the database had begun the trial."""
    with driver(tmp_path) as (shared, folder):
        own = journal(shared, folder)
        trial = begin(own)
        own._held._asked.clear()
        asked = own.exclusively(own.queue.ask)
        assert asked is not None
        assert asked.number == trial.number
        assert own.queue.ask() is None
        partner = own.queue.begin_partner("medium_trees")
        own._held._asked.discard(partner)
        assert own.exclusively(lambda: own.queue.begin_partner("medium_trees")) == partner
        assert own.queue.begin_partner("medium_trees") is None


def test_status_counts_who_lives(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    search(tmp_path, "first", 3)
    with driver(tmp_path, "second") as (shared, folder):
        own = journal(shared, folder)
        own.restore()
        finish(own, begin(own))
        (told,) = studies_at(url)
        assert (told.name, told.drivers, told.workers) == ("it", 1, 3)
        assert told.trials_a_minute > 0
        assert told.strategies == {"complete": 4}
        assert told.best is not None
        (silent,) = studies_at(url, policy=SearchPolicy(silent_seconds=-1.0))
        assert (silent.drivers, silent.trials_a_minute) == (0, 0)
    study(n_trials=1, storage=url)
    assert [one.name for one in studies_at(url)] == ["it"]


def test_a_run_stays_with_its_study(tmp_path: Path) -> None:
    search(tmp_path, "run", 1)
    with pytest.raises(RunError, match="had a part in the study 'it'"):
        RunFolder.open(tmp_path / "run", fingerprint="0" * 16, resume=True)
    RunFolder.open(tmp_path / "own", fingerprint="0" * 16).close()
    with pytest.raises(RunError, match="had a part in the study"), driver(tmp_path, "own"):
        pass


def test_a_study_of_another_program_is_not_joined(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    optuna.create_study(study_name="it", storage=url).ask()
    with pytest.raises(RunError, match="is none of autoimb"), driver(tmp_path):
        pass


def test_joining_waits_for_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = [OperationalError("SELECT", {}, Exception("no connection")) for _ in range(3)]
    create, beat = optuna.create_study, Pulse._beat

    def flaky(do: Any) -> Any:
        pending = [errors.pop()]

        def step(*given: Any, **more: Any) -> Any:
            if pending:
                raise pending.pop()
            return do(*given, **more)

        return step

    monkeypatch.setattr(optuna, "create_study", flaky(create))
    monkeypatch.setattr(Pulse, "_beat", flaky(beat))
    with driver(tmp_path) as (shared, folder):
        monkeypatch.setattr(optuna, "create_study", flaky(create))
        assert journal(shared, folder).restore() == {}
    assert not errors


def test_what_a_database_refuses_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise ProgrammingError("SELECT", {}, Exception("permission denied\nLINE 1"))

    monkeypatch.setattr(optuna, "create_study", refused)
    with (
        pytest.raises(RunError, match=r"refuses something: .*permission denied$"),
        driver(tmp_path),
    ):
        pass


def test_a_storage_without_a_scheme_is_told_the_rule() -> None:
    with pytest.raises(RunError, match=r"must be a URL, such as sqlite:///study\.db; got 'study"):
        reach("study.db")


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("postgresql://u:a#b@h/d", "a#b"),
        ("postgresql://u:p/x@h/d", "p/x"),
        ("postgresql://u@h/d?sslpassword=sesame", "sesame"),
        ("postgresql://u:open%2Fsesame@h/d", "open/sesame"),
        ("s3://key:sesame@bucket/path", "sesame"),
    ],
)
def test_passwords_are_seen_as_the_database_reads_them(url: str, secret: str) -> None:
    assert secret in _passwords(url)
    assert not holds_password("postgresql://u@h/d?sslmode=require")


def test_a_password_of_the_place_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    check_storage("sqlite:///study.db", "s3://key:sesame@bucket/path", None)
    said = capsys.readouterr().err
    assert "the URL of --shared holds a password" in said
    assert "sesame" not in said


def test_a_new_run_of_a_shared_study_is_discarded_whatever_others_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search(tmp_path, "first", 2)
    with driver(tmp_path, "second") as (_, folder):
        monkeypatch.setattr(FolderPlace, "names", lambda _: pytest.fail("asked the place"))
        folder.discard()
        assert not folder.path.exists()


def test_a_lost_database_ends_a_search_with_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = [1, 2, 3]

    def evaluate(job: Any, judge: Any) -> Any:
        tries.pop()
        if not tries:
            monkeypatch.setattr(TrialRows, "every", lost)
        return studies.evaluate(job, judge)

    def lost(*_: object, **__: object) -> None:
        raise OperationalError("SELECT", {}, Exception("no connection"))

    with driver(tmp_path, storage_patience=0.0) as (shared, folder):
        found = study(folder, storage=shared, n_trials=9, evaluate=evaluate)
    assert found.interrupted == "the loss of the study's database, away for 0 seconds"
    assert len(found.results) == 3
