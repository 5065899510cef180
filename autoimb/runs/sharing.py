"""With whom a study is shared: with nobody, or with any number of drivers that come and go."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import optuna
from optuna.samplers import RandomSampler

from autoimb.budget import FOREVER, Deadline
from autoimb.errors import RunError
from autoimb.policy import DEFAULT_POLICY, SearchPolicy
from autoimb.runs.database import Database, quiet_optuna, reach
from autoimb.runs.places import PatientPlace, Place, open_place

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from autoimb.runs.rows import TrialRows

__all__ = ["TERMS", "Alone", "SharedStudy", "Sharing", "differing"]

T = TypeVar("T")

TERMS = "autoimb"  # the attribute of an Optuna study that holds what all of its drivers obey


class Sharing(Protocol):
    """What a journal asks about other drivers of its study.

    Attributes
    ----------
    storage : BaseStorage
    name : str
        Of the study.
    driver : str
        The name of this process among all that ever had a part in the study.
    shared : bool
        Whether there may be others.
    """

    @property
    def storage(self) -> BaseStorage: ...  # noqa: D102 - an attribute

    @property
    def name(self) -> str: ...  # noqa: D102 - an attribute

    @property
    def driver(self) -> str: ...  # noqa: D102 - an attribute

    @property
    def shared(self) -> bool: ...  # noqa: D102 - an attribute

    def living(self) -> set[str]:
        """Return the drivers that live, this one among them."""
        ...

    def exclusively(self, step: Callable[[], T]) -> T:
        """Do something while no other driver does, again from its start where that is cut short."""
        ...

    def patiently(self, step: Callable[[], T]) -> T:
        """Do what may be done twice, again from its start where it is cut short."""
        ...

    def rows(self, study: int) -> TrialRows | None:
        """Return a short way to the trials of a study (Optuna's number of it), if there is one."""
        ...


class Alone:
    """A study of one driver.

    Parameters
    ----------
    storage : BaseStorage
    name : str
    """

    shared = False

    def __init__(self, storage: BaseStorage, name: str) -> None:
        self.storage, self.name, self.driver = storage, name, secrets.token_hex(6)

    def living(self) -> set[str]:
        """Return this driver: those before it are gone."""
        return {self.driver}

    def exclusively(self, step: Callable[[], T]) -> T:
        """Do something."""
        return step()

    def patiently(self, step: Callable[[], T]) -> T:
        """Do something."""
        return step()

    def rows(self, study: int) -> TrialRows | None:  # noqa: ARG002 - a Sharing
        """Return None: Optuna's own way serves."""
        return None


class SharedStudy:
    """A study that several drivers search, each from `join` until it leaves.

    Attributes
    ----------
    storage : BaseStorage
    name, driver : str
        Of the study, and of this process in it.
    place : Place
        Where all drivers keep the files of trials.
    terms : dict
        What the first driver has set and all obey.
    """

    shared = True

    def __init__(
        self,
        database: Database,
        name: str,
        *,
        place: Place,
        terms: Mapping[str, Any],
        workers: int,
        policy: SearchPolicy = DEFAULT_POLICY,
    ) -> None:
        self.name, self.place, self.terms = name, place, dict(terms)
        self.storage, self.driver = database.storage, secrets.token_hex(6)
        self.database, self._grace, self._inside = database, policy.silent_seconds, False
        from autoimb.runs.drivers import Pulse  # a study of one driver needs no sqlalchemy

        self._pulse = Pulse(
            database.engine, name, self.driver, workers=workers, every=policy.beat_seconds
        )

    @classmethod
    def join(
        cls,
        url: str,
        where: str,
        *,
        name: str,
        terms: Mapping[str, Any],
        workers: int,
        policy: SearchPolicy = DEFAULT_POLICY,
        deadline: Deadline = FOREVER,
    ) -> Self:
        """Join a study, or begin it.

        Parameters
        ----------
        url : str
            Of the database: PostgreSQL, or SQLite for drivers on one machine.
        where : str
            A folder or the URL of an object store that all drivers reach.
        name : str
            Of the study.
        terms : mapping of str to value
            What the search is of, as plain values. Its ``"plan"`` is that of whoever comes first;
            in all else drivers must agree.
        workers : int
            Of this driver.
        policy : SearchPolicy, optional
            How often it gives a sign of life, and how long it waits for database and place.
        deadline : Deadline, optional
            After which it waits for neither.

        Raises
        ------
        RunError
            Where database or place can't be reached, or the study is of other terms.
        """
        patience = policy.storage_patience
        database = Database(reach(url), patience=patience, deadline=deadline)
        try:
            held = _agreed(database, name, terms)
            place = PatientPlace(open_place(where, name), patience=patience, deadline=deadline)
            study = cls(database, name, place=place, terms=held, workers=workers, policy=policy)
            study.exclusively(study._pulse.start)  # as it may make a table
        except BaseException:
            database.close()
            raise
        return study

    def leave(self) -> None:
        """Leave; the others need not wait to find out."""
        self._pulse.stop()
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def living(self) -> set[str]:
        """Return the drivers that were heard of lately, this one among them."""
        from autoimb.runs.drivers import drivers_of

        every = drivers_of(self.database.engine, self.name)
        return {one.name for one in every if one.silent <= self._grace} | {self.driver}

    def exclusively(self, step: Callable[[], T]) -> T:
        """Do something while no other driver does, again from its start where that is cut short."""
        if self._inside:
            return step()

        def locked() -> T:
            with self.database.lock(self.name):
                self._inside = True
                try:
                    return step()
                finally:
                    self._inside = False

        return self.database.patiently(locked)

    def patiently(self, step: Callable[[], T]) -> T:
        """Do what may be done twice, again from its start where it is cut short."""
        return self.database.patiently(step)

    def rows(self, study: int) -> TrialRows:
        """Return a short way to the trials of a study, as others are waiting."""
        from autoimb.runs.rows import TrialRows

        return TrialRows(self.database.engine, study)


def _agreed(database: Database, name: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the terms of a study, to which one's own must agree."""
    if (kind := database.engine.dialect.name) not in ("postgresql", "sqlite"):
        raise RunError(f"A study is shared through PostgreSQL, or on one machine SQLite: {kind}.")

    def locked() -> dict[str, Any]:
        with database.lock(name):
            return _terms(database.storage, name, own)

    with quiet_optuna():
        held = database.patiently(locked)
    if (difference := differing(held, own)) is not None:
        raise RunError(f"The study {name!r} is of another search: {difference}.")
    return held


def _terms(storage: BaseStorage, name: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the terms of a study, which whoever comes first writes down."""
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        direction="maximize",
        load_if_exists=True,
        sampler=RandomSampler(),
    )
    held = study.user_attrs.get(TERMS)
    if held is None:
        if study.get_trials(deepcopy=False):
            raise RunError(f"The study {name!r} is none of autoimb, or shared with nobody.")
        study.set_user_attr(TERMS, dict(own))
        held = own
    return dict(held)


def differing(held: Mapping[str, Any], own: Mapping[str, Any]) -> str | None:
    """Say the first difference between the terms of a study and one's own; None where none is."""
    for key, value in own.items():
        if key != "plan" and held.get(key) != value:
            return f"its {key} is {held.get(key)}, and here it is {value}"
    return None
