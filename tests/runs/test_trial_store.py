"""The file of a search's trials: what comes back, through kills, damage and other readers."""

from __future__ import annotations

import errno
import os
import random
import sqlite3
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import FixedTrial

from autoimb.assessment.calibration import Calibrator, Finishing
from autoimb.cli import main
from autoimb.errors import RunError
from autoimb.evaluation.outcome import Failed
from autoimb.runs.folder import RunFolder
from autoimb.runs.record import TrialRecord
from autoimb.runs.store import TrialStore
from autoimb.search.sampler import as_trial
from autoimb.space.draw import Space, draw
from autoimb.space.portfolio import first_networks
from tests.support import studies
from tests.support.programs import python
from tests.support.studies import FINGERPRINT, complete, material, resumed, study

SPACE = Space.restricted()
STRATEGY = draw(FixedTrial(first_networks(SPACE)[0]), SPACE)
STORED = [f"study.db{suffix}" for suffix in ("", "-journal", "-wal", "-shm")]  # by SQLite


@pytest.fixture
def store(tmp_path):
    store = TrialStore(tmp_path / "study.db", FINGERPRINT)
    store.create()
    return store


def ended(number, **scored):
    result = replace(complete(STRATEGY, material().dataset), **scored)
    params = {"network": "tabm", "x": 0.5}
    record = TrialRecord(number, "network", STRATEGY, plan="network.3", params=params)
    return record.ended(result), result


def running(number):
    return replace(ended(number)[0], status="running", score=None)


def change(path, statement, *values):
    """Change the file as no search does."""
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute(statement, values).rowcount != 0


# --- what comes back ---------------------------------------------------------------------------


def test_trials_come_back_as_they_were(store):
    record, result = ended(3)
    store.save(record, result)
    assert store.records() == (record,)
    ((stored, stored_result),) = store.load()
    assert stored == record
    np.testing.assert_array_equal(stored_result.oof, result.oof)
    assert stored_result.score == result.score
    assert stored_result.seconds == result.seconds
    state = stored_result.fitted.packs[0].state
    for name, array in result.fitted.packs[0].state.items():
        np.testing.assert_array_equal(state[name], array)
    store.drop_networks([3])
    assert store.load()[0][1].fitted is None


def test_how_a_trial_was_finished_comes_back(store):
    oof = ended(3)[1].oof
    calibrators = (Calibrator(0.5, (0.0, 1.0)), Calibrator(2.0, (1.0, 0.0)))
    for class_costs in (None, (1.0, 2.0)):
        record, result = ended(3, finishing=Finishing(oof, calibrators, class_costs))
        store.save(record, result)
        stored = store.load()[0][1]
        for part in (0, 1):
            np.testing.assert_array_equal(stored.view(part), result.view(part))


def test_a_trial_without_a_score_comes_back(store):
    record = TrialRecord(0, "search", STRATEGY).ended(Failed("why"))
    assert (record.status, record.reason, record.score) == ("failed", "why", None)
    store.save(record)
    assert store.load() == [(record, None)]


def test_a_running_trial_has_no_record_until_it_ends(store):
    store.save(running(0))
    assert store.records() == ()
    assert store.end_times() == {}
    assert [record.status for record, _ in store.load()] == ["running"]
    store.save(*ended(0))
    assert [record.status for record in store.records()] == ["complete"]


def test_trials_end_one_after_the_other_also_where_the_clock_is_set_back(store, monkeypatch):
    for number, moment in ((1, 100.0), (0, 50.0), (2, 50.0), (3, 200.0)):
        monkeypatch.setattr("time.time", lambda moment=moment: moment)
        store.save(*ended(number))
    ends = store.end_times()
    assert sorted(ends, key=ends.get) == [1, 0, 2, 3]
    assert ends[3] == 200.0


# --- Optuna's study ----------------------------------------------------------------------------


def shown(path):
    """What ``optuna-dashboard sqlite:///PATH`` reads."""
    return optuna.load_study(study_name="autoimb", storage=f"sqlite:///{path}").trials


def test_the_search_is_an_optuna_study(searched):
    path, records = searched
    trials = shown(path / "study.db")
    assert [trial.user_attrs["trial"] for trial in trials] == [r.number for r in records]
    assert [trial.value for trial in trials] == [r.score.utility for r in records]
    assert all("network" in trial.params for trial in trials)
    assert {trial.state.name for trial in trials} == {"COMPLETE"}


def test_trials_that_the_optuna_study_lacks_are_added_once_in_the_order_of_their_ends(store):
    trials = {}
    for record in (ended(1)[0], ended(0)[0], running(3), ended(2)[0]):
        store.save(record)
        number = record.number
        trials[number] = as_trial(replace(record, params={}), {})
        if number == 0:
            store.publish(trials)
    for _ in range(2):
        TrialStore(store.path, FINGERPRINT).publish(trials)
    assert [trial.user_attrs["trial"] for trial in shown(store.path)] == [1, 0, 2]


def test_any_name_of_a_folder_will_do(tmp_path):
    path = tmp_path / "{x} % ?#"
    path.mkdir()
    store = TrialStore(path / "study.db", FINGERPRINT)
    store.create()
    store.save(*ended(0))
    store.publish({0: as_trial(replace(ended(0)[0], params={}), {})})
    assert [file.name for file in path.iterdir()] == ["study.db"]


# --- kills -------------------------------------------------------------------------------------

KILLS = [
    (("TrialStore", "save", 6), 2, "killed"),  # the end of the third
    (("TrialStore", "publish", 3), 3, "complete"),  # the third is written, and Optuna lacks it
    (("RDBStorage", "create_new_trial", 3), 3, "complete"),
]
KILLED = f"""
import os, signal, sys
from optuna.storages import RDBStorage
from autoimb.runs.folder import RunFolder
from autoimb.runs.store import TrialStore
from tests.support import studies

def search(path, owner, name, left):
    method = getattr(owner, name)

    def killed(*args, **kwargs):
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return method(*args, **kwargs)

    setattr(owner, name, killed)
    with RunFolder.open(path, fingerprint=studies.FINGERPRINT) as folder:
        studies.study(folder, n_trials=9)

for (owner, name, left), _, _ in {KILLS}:
    child = os.fork()
    if child == 0:
        search(os.path.join(sys.argv[1], name), globals()[owner], name, left)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A folder with a RUN for each of `KILLS`, by the name of the method."""
    if sys.platform == "win32":
        pytest.skip("SIGKILL is of POSIX")
    path = tmp_path_factory.mktemp("killed")
    done = python("-c", KILLED, str(path))
    assert done.returncode == 0, done.stderr
    return path


@pytest.mark.parametrize(("kill", "n_left", "status"), KILLS)
def test_a_kill_between_two_writes_loses_no_finished_trial(killed, kill, n_left, status):
    path = killed / kill[1]
    store = RunFolder.view(path).store
    assert [record.number for record in store.records()] == list(range(n_left))
    whole = study(n_trials=6).records
    result = resumed(path, n_trials=6)
    by_strategy = {r.strategy: r.score for r in result.records if r.status == "complete"}
    assert by_strategy == {r.strategy: r.score for r in whole}
    assert result.records[2].status == status
    assert {trial.user_attrs["trial"] for trial in shown(store.path)} == {
        r.number for r in result.records
    }
    assert len(shown(store.path)) == len(result.records)


@pytest.mark.parametrize("begin", [Path.touch, lambda path: TrialStore(path, FINGERPRINT).create()])
def test_a_file_that_a_killed_search_had_only_begun_is_taken_over(tmp_path, begin):
    begin(tmp_path / "study.db")
    with RunFolder.open(tmp_path, fingerprint=FINGERPRINT) as folder:
        assert folder.store.records() == ()


# --- damage ------------------------------------------------------------------------------------


def refused(run, capsys, reason):
    """Whether resuming and looking both end in one clear error."""
    with pytest.raises(RunError, match=reason):
        resumed(run, n_trials=4)
    assert main(["status", str(run)]) == 2
    error = capsys.readouterr().err
    assert "study.db" in error
    assert error.count("\n") == 1


def page_of(path, table):
    """Where the first page of a table begins, and the size of a page."""
    with closing(sqlite3.connect(path)) as db:
        (root,) = db.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = ?", [table]
        ).fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    return (root - 1) * size, size


def overwrite(path, at, content):
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


def clear_page(path):
    at, size = page_of(path, "autoimb_trials")
    overwrite(path, at, bytes(size))


def make_folder(path):
    path.unlink()
    path.mkdir()


def replace_by_other_search(path):
    path.unlink()
    other = TrialStore(path, "f" * 16)
    other.create()
    other.save(*ended(0))


def forge_record(path):
    store = RunFolder.view(path.parent).store
    record, result = store.load()[1]
    store.save(replace(record, seconds="much"), result)


OTHER_TABLE = "does not hold the trials of an autoimb search"


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: overwrite(path, 0, b"not SQLite"), "damaged: file is not a database"),
        (clear_page, "is damaged"),
        (Path.unlink, r"study\.db"),
        (lambda path: path.write_bytes(b""), r"study\.db"),
        (make_folder, "unable to open database file"),
        (replace_by_other_search, "checksum mismatch in record of trial 0"),
        (forge_record, r"damaged: .*Expected `float`, got `str` - at `\$\.seconds`"),
        ("UPDATE autoimb_trials SET number = 7 WHERE number = 2", "record of trial 7"),
        ("CREATE TRIGGER more AFTER UPDATE ON autoimb_trials BEGIN SELECT 1; END", OTHER_TABLE),
        ("ALTER TABLE autoimb_trials ADD COLUMN more", OTHER_TABLE),
    ],
)
def test_a_damaged_file_is_refused_by_resuming_and_looking(run, capsys, damage, reason):
    path = run / "study.db"
    change(path, damage) if isinstance(damage, str) else damage(path)
    refused(run, capsys, reason)


@pytest.mark.parametrize("column", ["record", "predictions", "networks"])
def test_a_value_that_does_not_match_its_digest_is_refused(run, column):
    statement = f"UPDATE autoimb_trials SET {column} = (SELECT {column} FROM autoimb_trials "
    change(run / "study.db", statement + "WHERE number = 1) WHERE number = 2")
    with pytest.raises(RunError, match=f"checksum mismatch in {column} of trial 2"):
        resumed(run, n_trials=4)


def test_one_bit_never_changes_what_is_read(searched, tmp_path):
    """Wherever it is: either the file is refused or all trials are as they were."""
    path, records = searched
    whole, chance, n_refused = (path / "study.db").read_bytes(), random.Random(0), 0
    before = {t.number: r for t, r in TrialStore(path / "study.db", FINGERPRINT).load()}
    at, _ = page_of(path / "study.db", "autoimb_trials")
    places = [*range(0, 100, 3), *range(at, at + 64, 3)]
    places += [chance.randrange(len(whole)) for _ in range(30)]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << chance.randrange(8)
        (tmp_path / "study.db").write_bytes(damaged)
        store = TrialStore(tmp_path / "study.db", FINGERPRINT)
        try:
            after = store.load()
            assert store.records() == records
        except RunError:
            n_refused += 1
            continue
        assert [record for record, _ in after] == list(records)
        for record, result in after:
            np.testing.assert_array_equal(result.oof, before[record.number].oof)
    assert n_refused > 15


def test_a_file_without_its_run_json_is_no_new_search(run):
    (run / "run.json").unlink()
    with pytest.raises(RunError, match=r"the run\.json of their search is missing"):
        RunFolder.open(run, fingerprint=FINGERPRINT, resume=True)


def test_a_file_of_another_program_stays_what_it_is(tmp_path):
    path = tmp_path / "study.db"
    change(path, "CREATE TABLE mine (a)")
    before = path.read_bytes()
    with pytest.raises(RunError, match="does not hold the trials of an autoimb search"):
        RunFolder.open(tmp_path, fingerprint=FINGERPRINT)
    assert path.read_bytes() == before


# --- hostile files, full disks, other readers ----------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="links are of POSIX")
@pytest.mark.parametrize("name", [*STORED, ".lock", ".pid", ".cache", "run.json"])
def test_no_link_in_a_received_folder_is_followed(run, tmp_path, name):
    outside, link = tmp_path / "outside", run / name
    if link.exists():
        link.rename(outside)
    elif name == ".cache":
        outside.mkdir()
    else:
        outside.write_text("mine")
    link.symlink_to(outside)
    before = sorted(outside.iterdir()) if outside.is_dir() else outside.read_bytes()
    assert main(["status", str(run)]) == (2 if name in STORED else 0)
    with pytest.raises(RunError, match="symbolic link"):
        resumed(run, n_trials=4)
    assert before == (sorted(outside.iterdir()) if outside.is_dir() else outside.read_bytes())


def test_a_journal_that_names_another_file_is_refused(run, capsys, tmp_path):
    """SQLite would delete that file."""
    mine = tmp_path / "mine.csv"
    mine.write_text("mine")
    name = str(mine).encode()
    end = len(name).to_bytes(4, "big") + sum(name).to_bytes(4, "big")
    magic = bytes.fromhex("d9d505f920a163d7")
    content = magic + bytes(504) + name + end + magic
    (run / "study.db-journal").write_bytes(content)
    refused(run, capsys, "names another file")
    assert mine.read_text() == "mine"


def test_a_full_disk_is_an_error_of_the_system_and_tears_nothing(store, monkeypatch):
    store.save(*ended(0))
    connect = TrialStore._connect

    def full(self, mode="rw"):
        db = connect(self, mode)
        db.execute("PRAGMA max_page_count = 1")  # no page more than there are
        return db

    with monkeypatch.context() as patch:
        patch.setattr(TrialStore, "_connect", full)
        with pytest.raises(OSError, match="No space left") as caught:
            store.save(*ended(1, oof=np.full((10_000, 2), 0.5)))
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.filename == str(store.path)
        with pytest.raises(OSError, match="No space left"):
            store.publish({0: as_trial(replace(ended(0)[0], params={}), {})})
    assert [record.number for record, _ in store.load()] == [0]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_a_folder_that_can_only_be_read_can_be_looked_at(run, capsys):
    (run / "study.db").chmod(0o444)
    run.chmod(0o555)
    try:
        assert main(["status", str(run)]) == 0
        with pytest.raises(RunError, match="can't be written"):
            resumed(run, n_trials=4)
    finally:
        run.chmod(0o755)


def test_a_search_without_a_folder_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(studies.study(n_trials=2).records) == 2
    assert list(Path.cwd().iterdir()) == []
