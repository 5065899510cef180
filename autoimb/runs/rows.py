"""Trials as rows of Optuna's tables, read and changed in a few round trips.

Optuna takes three for each parameter, some seventy for a strategy of ours, while other drivers
wait, and one transaction for each attribute (``reports/decisions/0054-one-study-many-drivers.md``).
And it reads all trials again that had not ended, which at a hundred drivers is half of what they
wait for (``reports/decisions/0057-a-hundred-workers.md``).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import MetaData, Table, func, insert, select, update

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Row

__all__ = ["TrialRows"]

NAMES = ("studies", "trials", "trial_params", "trial_user_attributes", "trial_values")
AT_ONCE = 1_000  # trials that are read with one query for each table: a query has a most of values


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
        self._known: list[FrozenTrial] = []  # by number
        self._ended = 0  # all trials below have ended

    @cached_property
    def _tables(self) -> Mapping[str, Table]:
        described = MetaData()
        described.reflect(self._engine, only=NAMES)
        return described.tables

    def every(self) -> list[FrozenTrial]:
        """Return all trials by number; read are new ones, and those of another state than before.

        All that is written to a trial is written before its state changes, or with it.
        """
        known, trials = self._known, self._tables["trials"]
        while self._ended < len(known) and known[self._ended].state.is_finished():
            self._ended += 1
        here = (trials.c.study_id == self._study) & (trials.c.number >= self._ended)
        query = select(trials.c.trial_id, trials.c.number, trials.c.state).where(here)
        with self._engine.connect() as connection:
            changed = [
                row.trial_id
                for row in connection.execute(query.order_by(trials.c.number))
                if row.number >= len(known) or row.state != known[row.number].state.name
            ]
            for first in range(0, len(changed), AT_ONCE):
                for trial in self._read(connection, changed[first : first + AT_ONCE]):
                    known[trial.number : trial.number + 1] = [trial]
        return list(known)

    def _read(self, connection: Connection, numbers: Sequence[int]) -> Iterator[FrozenTrial]:
        """Read trials by Optuna's numbers of them; yield them by their own."""
        _, trials, params, attributes, values = (self._tables[name] for name in NAMES)

        def rows_of(table: Table, order: str) -> Mapping[int, list[Row[Any]]]:
            found = defaultdict(list)
            query = select(table).where(table.c.trial_id.in_(numbers)).order_by(table.c[order])
            for row in connection.execute(query):
                found[row.trial_id].append(row)
            return found

        begun, scores = rows_of(trials, "number"), rows_of(values, "objective")
        drawn, said = rows_of(params, "param_id"), rows_of(attributes, "trial_user_attribute_id")
        for (own,) in begun.values():
            kinds = {row.param_name: _kind(row.distribution_json) for row in drawn[own.trial_id]}
            yield FrozenTrial(
                number=own.number,
                trial_id=own.trial_id,
                state=TrialState[own.state],
                value=next((row.value for row in scores[own.trial_id]), None),
                datetime_start=own.datetime_start,
                datetime_complete=own.datetime_complete,
                params={
                    row.param_name: kinds[row.param_name].to_external_repr(row.param_value)
                    for row in drawn[own.trial_id]
                },
                distributions=kinds,
                user_attrs={row.key: json.loads(row.value_json) for row in said[own.trial_id]},
                system_attrs={},
                intermediate_values={},
            )

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


@cache
def _kind(text: str) -> BaseDistribution:
    """Read a distribution; a study has a few, and no one changes them."""
    return json_to_distribution(text)


def _said(trial_id: int, said: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
        for key, value in said.items()
    ]


def _now() -> datetime:
    """Return the moment as Optuna writes it."""
    return datetime.now(UTC).replace(tzinfo=None)
