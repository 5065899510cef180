"""Trials as rows of Optuna's tables, added in a few round trips.

Optuna takes three for each parameter, some seventy for a strategy of ours, while other drivers
wait (``reports/decisions/0054-one-study-many-drivers.md``).
"""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING

from optuna.distributions import distribution_to_json
from sqlalchemy import MetaData, Table, func, insert, select

if TYPE_CHECKING:
    from collections.abc import Mapping

    from optuna.trial import FrozenTrial
    from sqlalchemy import Engine

__all__ = ["TrialRows"]

NAMES = ("studies", "trials", "trial_params", "trial_user_attributes")


class TrialRows:
    """Optuna's tables of trials, as the database describes them.

    Parameters
    ----------
    engine : Engine
        Of an `RDBStorage`, which has made them.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @cached_property
    def _tables(self) -> Mapping[str, Table]:
        described = MetaData()
        described.reflect(self._engine, only=NAMES)
        return described.tables

    def add(self, study: int, trial: FrozenTrial) -> None:
        """Add a trial that has not ended.

        As Optuna does, the row of the study is locked while the trials are counted, of which the
        number is made.

        Parameters
        ----------
        study : int
            Optuna's number of it.
        trial : FrozenTrial
            Without values; its number is not read.
        """
        studies, trials, params, attributes = (self._tables[name] for name in NAMES)
        kinds = trial.distributions
        own = select(studies.c.study_id).where(studies.c.study_id == study).with_for_update()
        count = select(func.count()).select_from(trials).where(trials.c.study_id == study)
        with self._engine.begin() as connection:
            connection.execute(own)
            values = {"study_id": study, "state": trial.state.name}
            number = connection.scalar(count)
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
            said = [
                {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
                for key, value in trial.user_attrs.items()
            ]
            for table, rows in ((params, drawn), (attributes, said)):
                if rows:
                    connection.execute(insert(table), rows)
