"""A study with a history, in a RUN's journal or shared in a database, that is gone on with."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from autoimb.assessment.uncertainty import Score
from autoimb.evaluation.trial import Scored
from autoimb.runs.folder import RunFolder
from autoimb.runs.journal import Journal
from autoimb.runs.record import TrialRecord
from autoimb.runs.sharing import SharedStudy
from autoimb.space.draw import Space, draw

__all__ = ["Study", "fill", "opened"]

SPACE = Space.restricted()
SCORED = 1_000  # rows whose predictions a trial keeps
NAME = "filled"


class Study:
    """A study as one driver sees it.

    Parameters
    ----------
    journal : Journal
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def ask(self) -> float:
        """Ask for a strategy that the sampler draws; return the seconds. It is told then."""
        started = time.perf_counter()
        asked = self._journal.exclusively(self._drawn)
        took = time.perf_counter() - started
        self._finish(asked)
        return took

    def pass_on(self, number: int) -> float:
        """Let a trial go on to the next rung: all that storage does for one, and no draw.

        Returns
        -------
        float
            Seconds.
        """
        started = time.perf_counter()
        self._finish(self._journal.exclusively(lambda: self._raised(number)))
        return time.perf_counter() - started

    def restore(self) -> int:
        """Take over what has finished; return how many trials that are."""
        return len(self._journal.restore())

    def _drawn(self) -> FrozenTrial:
        self._journal.news()
        self._journal.queue.enqueue({}, stage="search", rung=0.25)
        return self._asked()

    def _raised(self, number: int) -> FrozenTrial:
        self._journal.news()
        self._journal.queue.enqueue_higher(number, stage="search", rung=1.0)
        return self._asked()

    def _asked(self) -> FrozenTrial:
        asked = self._journal.queue.ask()
        assert asked is not None
        return asked

    def _finish(self, asked: FrozenTrial) -> None:
        record, result = _ended(asked)
        self._journal.finish(record, result, asked.params)


def _ended(asked: Trial | FrozenTrial) -> tuple[TrialRecord, Scored]:
    """Return what became of a trial, without training."""
    random = np.random.default_rng(asked.number)
    value, rare = float(random.normal()), random.random(SCORED)
    score = Score(value, 0.01, (value,), False, value)
    strategy, follows = draw(asked, SPACE), asked.user_attrs.get("follows")
    result = Scored(score, np.column_stack([1 - rare, rare]))
    own = TrialRecord.of(asked.number, result, stage="search", strategy=strategy, rung=0.25)
    return TrialRecord.from_json(own.to_json() | {"follows": follows}), result


def fill(study: Study, trials: int) -> None:
    """Give an empty study trials that were drawn at random, in fewer steps than a search's."""
    journal, drawn = study._journal, optuna.create_study(sampler=optuna.samplers.RandomSampler())
    attributes = {"stage": "search", "rung": 0.25}
    for number in range(trials):
        trial = drawn.ask()
        draw(trial, SPACE)
        journal._held.create(attributes, like=trial, state=TrialState.RUNNING)
        record, result = _ended(trial)
        assert record.number == number
        journal._files.save(record, result, trial.params)
        journal._tell(record)


@contextmanager
def opened(folder: Path, url: str | None) -> Iterator[Study]:
    """Open the study in a folder, or join the one that is shared in a database."""
    with ExitStack() as stack:
        shared = None
        if url is not None:
            place = str(folder / "shared")
            joined = SharedStudy.join(url, place, name=NAME, terms={"plan": {}}, workers=1)
            shared = stack.enter_context(joined)
        run = RunFolder.open(
            folder / "run",
            fingerprint="0" * 16,
            resume=True,
            study=None if shared is None else NAME,
            place=None if shared is None else shared.place,
        )
        own = stack.enter_context(run)
        yield Study(Journal.open(own, space=SPACE, storage=shared, random_state=0))
