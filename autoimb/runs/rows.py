"""Trials as rows of Optuna's tables, changed in a few round trips.

Optuna takes three for each parameter, some seventy for a strategy of ours, while other drivers
wait, and one transaction for each attribute (``reports/decisions/0054-one-study-many-drivers.md``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from optuna.distributions import distribution_to_json
from optuna.trial import TrialState
from sqlalchemy import MetaData, Table, func, insert, select, update

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial
    from sqlalchemy import Engine

__all__ = ["TrialRows"]

NAMES = ("studies", "trials", "trial_params", "trial_user_attributes", "trial_values")


class TrialRows:
    """Optuna's tables of trials, as the database describes them.

    Parameters
    ----------
    engine : Engine
        Of an `RDBStorage`, which has made them.
    study : int
        Optuna's number of the study.
    """

    def __init__(self, engine: Engine, study: int) -> None:
        self._engine, self._study = engine, study

    @cached_property
    def _tables(self) -> Mapping[str, Table]:
        described = MetaData()
        described.reflect(self._engine, only=NAMES)
        return described.tables

    def add(self, trial: FrozenTrial) -> int:
        """Add a trial that has not ended, and return its number.

        As Optuna does, the row of the study is locked while the trials are counted, of which the
        number is made.

        Parameters
        ----------
        trial : FrozenTrial
            Without values; its number is not read.
        """
        studies, trials, params, attributes, _ = (self._tables[name] for name in NAMES)
        kinds = trial.distributions
        own = select(studies.c.study_id).where(studies.c.study_id == self._study)
        count = select(func.count()).select_from(trials).where(trials.c.study_id == self._study)
        values = {"study_id": self._study, "state": trial.state.name}
        if trial.state == TrialState.RUNNING:
            values["datetime_start"] = _now()
        with self._engine.begin() as connection:
            connection.execute(own.with_for_update())
            number = int(connection.scalar(count) or 0)
            added = connection.execute(insert(trials).values(number=number, **values))
            assert added.inserted_primary_key is not None
            trial_id = added.inserted_primary_key[0]
            drawn = [
                {
                    "trial_id": trial_id,
                    "param_name": name,
                    "param_value": kinds[name].to_internal_repr(value),
                    "distribution_json": distribution_to_json(kinds[name]),
                }
                for name, value in trial.params.items()
            ]
            if drawn:
                connection.execute(insert(params), drawn)
            connection.execute(insert(attributes), _said(trial_id, trial.user_attrs))
        return number

    def end(
        self, number: int, state: TrialState, value: float | None, said: Mapping[str, Any]
    ) -> bool:
        """End a trial, with attributes that it has not; False where it had ended before."""
        _, trials, _, attributes, values = (self._tables[name] for name in NAMES)
        here = (trials.c.study_id == self._study) & (trials.c.number == number)
        unended = trials.c.state.in_([TrialState.WAITING.name, TrialState.RUNNING.name])
        with self._engine.begin() as connection:
            own = select(trials.c.trial_id).where(here & unended).with_for_update()
            trial_id = connection.scalar(own)
            if trial_id is None:
                return False
            connection.execute(insert(attributes), _said(trial_id, said))
            if value is not None:
                score = {"objective": 0, "value": value, "value_type": "FINITE"}
                connection.execute(insert(values).values(trial_id=trial_id, **score))
            ended = {"state": state.name, "datetime_complete": _now()}
            connection.execute(update(trials).where(here).values(ended))
        return True

    def status(self, number: int) -> str | None:
        """Return what a trial was closed with; None of one that has not ended."""
        _, trials, _, attributes, _ = (self._tables[name] for name in NAMES)
        here = (trials.c.study_id == self._study) & (trials.c.number == number)
        query = (
            select(attributes.c.value_json)
            .join_from(trials, attributes, trials.c.trial_id == attributes.c.trial_id)
            .where(here & (attributes.c.key == "status"))
        )
        with self._engine.connect() as connection:
            found = connection.scalar(query)
        return None if found is None else str(json.loads(found))


def _said(trial_id: int, said: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
        for key, value in said.items()
    ]


def _now() -> datetime:
    """Return the moment as Optuna writes it."""
    return datetime.now(UTC).replace(tzinfo=None)
