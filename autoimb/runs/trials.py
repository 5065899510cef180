"""The files of a study's finished trials, wherever they lie.

::

    NNNN.safetensors            the record and the out-of-fold predictions of trial NNNN
    NNNN.weights.safetensors    its fitted networks, of the best ones
    NNNN.state.safetensors      where its training waits, of the best ones of a shared study

They are sealed: one that is damaged, or of another study or trial, is set aside.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from autoimb.runs.record import (
    StoredTrial,
    TrialRecord,
    read_header,
    read_trial,
    read_weights,
    trial_bytes,
    weights_bytes,
)
from autoimb.runs.states import read_state, state_bytes

if TYPE_CHECKING:
    from autoimb.evaluation.trial import Scored
    from autoimb.pipeline.fitted import FittedStrategy
    from autoimb.runs.places import Place
    from autoimb.training.states import Waiting

__all__ = ["TrialFiles"]

Found = TypeVar("Found")

ENDING = ".safetensors"
STATE = f".state{ENDING}"


class TrialFiles:
    """The files of the trials of one study.

    Parameters
    ----------
    place : Place
    study : str
        Its name, to which all files are bound.
    on_damage : callable
        Told the name of a file that was set aside, and what is wrong with it.
    """

    def __init__(
        self, place: Place, study: str, *, on_damage: Callable[[str, Exception], None]
    ) -> None:
        self._place, self._run, self._on_damage = place, study, on_damage

    def numbers(self) -> list[int]:
        """Return the trials that have a file."""
        return self._numbers(ENDING)

    def _numbers(self, ending: str) -> list[int]:
        """Return the trials that have a file of this ending; those of others have more dots."""
        stems = (n.removesuffix(ending) for n in self._place.names() if n.endswith(ending))
        return sorted(int(stem) for stem in stems if stem.isdecimal())

    def save(self, record: TrialRecord, result: Scored | None, params: Mapping[str, Any]) -> None:
        """Write a finished trial; its networks first, so that no trial lacks what it should have.

        Parameters
        ----------
        record : TrialRecord
        result : Scored or None
            Its networks are written where it has them.
        params : mapping of str to value
            What the study drew, by Optuna's names.
        """
        if result is not None and result.fitted is not None:
            weights = weights_bytes(result.fitted, run=self._run, number=record.number)
            self._place.write(_weights(record.number), weights)
        self._place.write(_trial(record.number), trial_bytes(record, result, params, run=self._run))

    def drop_weights(self, number: int) -> None:
        """Delete the networks of a trial that is no longer among the best."""
        self._place.remove(_weights(number))

    def states(self) -> list[int]:
        """Return the trials that have left the state of their training."""
        return self._numbers(STATE)

    def save_state(self, number: int, waiting: Waiting) -> None:
        """Write the state in which the training of a trial waits."""
        self._place.write(_state(number), state_bytes(waiting, run=self._run, number=number))

    def state(self, number: int) -> Waiting | None:
        """Read the state in which a training waits; None where there is none, or a damaged one."""
        return self._read(_state(number), partial(read_state, run=self._run, number=number))

    def drop_state(self, number: int) -> None:
        """Delete the state of a training that nobody will go on with."""
        self._place.remove(_state(number))

    def records(self) -> tuple[TrialRecord, ...]:
        """Read the records of all finished trials, by number; no predictions, no networks.

        Files that can't be read are passed over.
        """
        found = []
        for number in self.numbers():
            with contextlib.suppress(Exception), self._place.reading(_trial(number)) as path:
                found.append(read_header(path, run=self._run, number=number))
        return tuple(found)

    def moments(self) -> dict[int, float]:
        """Return when each file was written, in seconds since the epoch, by the trial's number."""
        found = {}
        for number in self.numbers():
            with self._place.reading(_trial(number)) as path:
                found[number] = path.stat().st_mtime
        return found

    def load(
        self, numbers: Iterable[int] | None = None, *, networks: bool = True
    ) -> dict[int, StoredTrial]:
        """Read finished trials by number; a file that is damaged is set aside.

        Parameters
        ----------
        numbers : iterable of int or None
            Which, as far as there are files of them; None is all.
        networks : bool
            Whether their networks are read as well.

        Returns
        -------
        dict of int to StoredTrial
            In the order of the numbers.
        """
        found: dict[int, StoredTrial] = {}
        for number in self.numbers() if numbers is None else sorted(numbers):
            stored = self._read(_trial(number), partial(read_trial, run=self._run, number=number))
            if stored is None:
                continue
            if networks and stored.result is not None:
                result = replace(stored.result, fitted=self.networks(number))
                stored = replace(stored, result=result)
            found[number] = stored
        return found

    def networks(self, number: int) -> FittedStrategy | None:
        """Read the networks of a trial; None where there are none, or damaged ones."""
        return self._read(_weights(number), partial(read_weights, run=self._run, number=number))

    def _read(self, name: str, read: Callable[[Path], Found]) -> Found | None:
        """Read a file, or set it aside; None where there is none.

        A place that can't be reached says nothing of its files: its errors are raised.
        """
        with contextlib.suppress(FileNotFoundError), self._place.reading(name) as path:
            try:
                return read(path)
            except OSError:
                raise
            except Exception as error:  # what is damaged can fail in any way
                self._place.set_aside(name)
                self._on_damage(name, error)
        return None


def _trial(number: int) -> str:
    return f"{number:04d}{ENDING}"


def _weights(number: int) -> str:
    return f"{number:04d}.weights{ENDING}"


def _state(number: int) -> str:
    return f"{number:04d}{STATE}"
