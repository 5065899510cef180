"""A function of the user's after each trial."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from autoimb import AutoImbClassifier
from autoimb.errors import OptionError
from autoimb.evaluation.outcome import Outcome
from autoimb.runs.folder import RunFolder
from autoimb.runtime.pool import InProcess
from autoimb.runtime.progress import Event
from tests.support.studies import FINGERPRINT, study
from tests.support.tables import ONE_TRIAL, mixed_table

pytestmark = pytest.mark.usefixtures("minimal_work")
TWO_TRIALS = ONE_TRIAL | {"cv": 2, "n_trials": 2}


ROWS = mixed_table("binary", 90)


def test_each_trial_is_told_and_nothing_is_changed() -> None:
    events: list[Event] = []
    model = AutoImbClassifier(**TWO_TRIALS, callbacks=[events.append]).fit(*ROWS)
    numbers = [event.finished.number for event in events if event.finished is not None]
    assert len(numbers) == len(events)
    assert {record.number for record in model.records_} <= set(numbers)
    assert events[-1].best is not None
    assert events[-1].n_trials == 2
    same = AutoImbClassifier(**TWO_TRIALS).fit(*ROWS)
    assert [r.score for r in same.records_] == [r.score for r in model.records_]


def test_what_a_callback_raises_comes_out_of_a_fitted_estimator() -> None:
    def fail(event: Event) -> None:
        raise ZeroDivisionError(f"after {event.finished.number if event.finished else None}")

    model = AutoImbClassifier(**TWO_TRIALS | {"n_trials": 8}, callbacks=[fail])
    with pytest.raises(ZeroDivisionError, match="after 0"):
        model.fit(*ROWS)
    assert [record.number for record in model.records_] == [0]
    assert len(model.predict(ROWS[0])) == 90


def test_an_interrupt_ends_the_search_early() -> None:
    def enough(_: Event) -> None:
        raise KeyboardInterrupt

    model = AutoImbClassifier(**TWO_TRIALS | {"n_trials": 8}, callbacks=[enough])
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(*ROWS)
    assert [record.number for record in model.records_] == [0]


def test_trials_that_ended_together_are_all_written_down_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(event: Event) -> None:
        if event.finished is not None:
            raise KeyboardInterrupt

    def two_at_once(self: InProcess, seconds: float) -> list[tuple[int, Outcome]]:
        return collect(self, seconds) + collect(self, seconds)

    # Without child processes a batch of two trials runs in this one.
    monkeypatch.setattr(multiprocessing.current_process(), "daemon", True)
    collect = InProcess.collect
    monkeypatch.setattr(InProcess, "collect", two_at_once)
    with RunFolder.open(tmp_path / "run", fingerprint=FINGERPRINT) as folder:
        result = study(folder, on_event=fail, n_jobs=2, synchronous=True)
        assert result.interrupted
        assert [record.number for record in result.records] == [0, 1]
        assert [record.number for record in folder.store.records()] == [0, 1]


@pytest.mark.parametrize("callbacks", [print, [None], "log"])
def test_what_cannot_be_called_is_refused(callbacks: object) -> None:
    with pytest.raises(OptionError, match="callbacks must be a list of functions"):
        AutoImbClassifier(**ONE_TRIAL, callbacks=callbacks).fit(*ROWS)
