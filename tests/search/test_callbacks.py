"""A function of the user's after each trial."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from autoimb import AutoImbClassifier
from autoimb.errors import OptionError
from autoimb.evaluation.outcome import Outcome
from autoimb.evaluation.task import Task, Trial
from autoimb.runs.folder import RunFolder
from autoimb.runtime.pool import InProcess, Local
from autoimb.runtime.progress import Event
from autoimb.runtime.shared import Evaluate
from tests.support.studies import FINGERPRINT, evaluate, study
from tests.support.tables import ONE_TRIAL

pytestmark = pytest.mark.usefixtures("minimal_work")
TWO_TRIALS = ONE_TRIAL | {"cv": 2, "n_trials": 2}


def rows(n_rows: int = 90) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    signal = rng.normal(size=n_rows)
    return pd.DataFrame({"signal": signal}), signal + 0.5 * rng.normal(size=n_rows) > 0.8


def test_each_trial_is_told_and_nothing_is_changed() -> None:
    told: list[Event] = []
    model = AutoImbClassifier(**TWO_TRIALS, callbacks=[told.append]).fit(*rows())
    numbers = [event.finished.number for event in told if event.finished is not None]
    assert len(numbers) == len(told)
    assert {record.number for record in model.records_} <= set(numbers)
    assert told[-1].best is not None
    assert told[-1].n_trials == 2
    same = AutoImbClassifier(**TWO_TRIALS).fit(*rows())
    assert [r.score for r in same.records_] == [r.score for r in model.records_]


def test_what_a_callback_raises_comes_out_of_a_fitted_estimator() -> None:
    def fail(event: Event) -> None:
        raise ZeroDivisionError(f"after {event.finished.number if event.finished else None}")

    model = AutoImbClassifier(**TWO_TRIALS | {"n_trials": 8}, callbacks=[fail])
    with pytest.raises(ZeroDivisionError, match="after 0"):
        model.fit(*rows())
    assert [record.number for record in model.records_] == [0]
    assert len(model.predict(rows()[0])) == 90


def test_an_interrupt_ends_the_search_early() -> None:
    def enough(_: Event) -> None:
        raise KeyboardInterrupt

    model = AutoImbClassifier(**TWO_TRIALS | {"n_trials": 8}, callbacks=[enough])
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(*rows())
    assert [record.number for record in model.records_] == [0]


class _InPairs:
    """Two workers whose trials end together."""

    def __init__(self, task: Task, evaluate: Evaluate) -> None:
        self._one, self._ended = InProcess(task, evaluate), dict[int, Outcome]()

    @property
    def running(self) -> tuple[int, ...]:
        return tuple(self._ended)

    @property
    def idle(self) -> int:
        return 2 - len(self._ended)

    def submit(self, number: int, trial: Trial) -> None:
        self._one.submit(number, trial)
        self._ended |= dict(self._one.collect(0.0))

    def collect(self, _: float) -> list[tuple[int, Outcome]]:
        ended, self._ended = self._ended, {}
        return list(ended.items())

    def close(self) -> None:
        self._one.close()


def test_trials_that_ended_together_are_all_written_down_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(event: Event) -> None:
        if event.finished is not None:
            raise KeyboardInterrupt

    monkeypatch.setattr(Local, "runner", lambda _, *work: _InPairs(*work[:2]))
    with RunFolder.open(tmp_path / "run", fingerprint=FINGERPRINT) as folder:
        result = study(folder, on_event=fail, evaluate=evaluate)
        assert result.interrupted
        assert [record.number for record in result.records] == [0, 1]
        assert [record.number for record in folder.store.records()] == [0, 1]


@pytest.mark.parametrize("callbacks", [print, [None], "log"])
def test_what_cannot_be_called_is_refused(callbacks: object) -> None:
    with pytest.raises(OptionError, match="callbacks must be a list of functions"):
        AutoImbClassifier(**ONE_TRIAL, callbacks=callbacks).fit(*rows())
