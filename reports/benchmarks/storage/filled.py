"""A study with a history, in a RUN's journal or shared in a database, that is gone on with."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import optuna
from optuna.distributions import distribution_to_json
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import Engine, MetaData, insert, text

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
BEGUN = {"stage": "search", "rung": 0.25}


Spent = tuple[float, float]


def _clocks() -> Spent:
    return time.perf_counter(), time.process_time()


def _since(started: Spent) -> Spent:
    wall, own = (1e3 * (now - before) for now, before in zip(_clocks(), started))
    return round(wall, 1), round(own, 1)


class Study:
    """A study as one driver sees it.

    Parameters
    ----------
    journal : Journal
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def ask(self) -> Spent:
        """Ask for a strategy that the sampler draws; return what that took. It is told then."""
        started = _clocks()
        asked = self._journal.exclusively(self._drawn)
        took = _since(started)
        self._finish(asked)
        return took

    def pass_on(self, number: int) -> Spent:
        """Let a trial go on to the next rung: all that storage does for one, and no draw.

        Returns
        -------
        tuple of two floats
            Milliseconds of the wall clock, and of this process.
        """
        started = _clocks()
        self._finish(self._journal.exclusively(lambda: self._raised(number)))
        return _since(started)

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
    begun = []
    for number in range(trials):
        trial = drawn.ask()
        draw(trial, SPACE)
        begun.append(trial)
        record, result = _ended(trial)
        assert record.number == number
        journal._files.save(record, result, trial.params)
    if journal.shared:
        _fill_tables(journal._held.sharing.database.engine, begun)
        return
    for trial in begun:
        journal._held.create(BEGUN, like=trial, state=TrialState.RUNNING)
        journal._tell(_ended(trial)[0])


def _fill_tables(engine: Engine, trials: list[Trial]) -> None:
    """Write complete trials into empty tables at once: one by one they take half an hour."""
    described = MetaData()
    described.reflect(engine)
    said = BEGUN | {"status": "partial", "driver": "filled"}
    rows: dict[str, list[dict[str, object]]] = defaultdict(list)
    for number, trial in enumerate(trials):
        own = {"trial_id": number + 1}
        rows["trials"].append(own | {"number": number, "study_id": 1, "state": "COMPLETE"})
        value = {"objective": 0, "value": _ended(trial)[0].score.value, "value_type": "FINITE"}
        rows["trial_values"].append(own | value)
        for key, told in said.items():
            attribute = {"key": key, "value_json": json.dumps(told)}
            rows["trial_user_attributes"].append(own | attribute)
        for name, kind in trial.distributions.items():
            drawn = {
                "param_name": name,
                "param_value": kind.to_internal_repr(trial.params[name]),
                "distribution_json": distribution_to_json(kind),
            }
            rows["trial_params"].append(own | drawn)
    with engine.begin() as connection:
        for name, every in rows.items():
            connection.execute(insert(described.tables[name]), every)
        last = text("SELECT setval(pg_get_serial_sequence('trials', 'trial_id'), :last)")
        connection.execute(last, {"last": len(trials)})


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
