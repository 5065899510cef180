"""The files of a study's finished trials in a RUN folder.

::

    NNNN.safetensors            the record and the out-of-fold predictions of trial NNNN
    NNNN.weights.safetensors    its fitted networks, of the best ones

They are sealed: one that is damaged, or of another study or trial, is set aside.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from autoimb.files import write_file
from autoimb.runs.record import (
    StoredTrial,
    TrialRecord,
    read_header,
    read_trial,
    read_weights,
    trial_bytes,
    weights_bytes,
)

if TYPE_CHECKING:
    from autoimb.evaluation.outcome import Scored

__all__ = ["TrialFiles"]

Content = TypeVar("Content")

ENDING = ".safetensors"
BROKEN = ".broken"  # the ending of a file that was set aside


class TrialFiles:
    """The files of the trials of one study.

    Parameters
    ----------
    folder : Path
    study : str
        Its name, to which all files are bound.
    on_damage : callable
        Told the name of a file that was set aside, and what is wrong with it.
    """

    def __init__(
        self, folder: Path, study: str, *, on_damage: Callable[[str, Exception], None]
    ) -> None:
        self._folder, self._run, self._on_damage = folder, study, on_damage

    def numbers(self) -> list[int]:
        """Return the trials that have a file; the names of other files have more dots."""
        stems = (path.stem for path in self._folder.glob(f"*{ENDING}") if path.is_file())
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
        number = record.number
        if result is not None and result.fitted is not None:
            weights = weights_bytes(result.fitted, run=self._run, number=number)
            write_file(self._weights(number), weights, make_folders=False)
        content = trial_bytes(record, result, params, run=self._run)
        write_file(self._trial(number), content, make_folders=False)

    def drop_weights(self, number: int) -> None:
        """Delete the networks of a trial that is no longer among the best."""
        self._weights(number).unlink(missing_ok=True)

    def records(self) -> tuple[TrialRecord, ...]:
        """Read the records of all finished trials, by number; no predictions, no networks.

        Files that can't be read are passed over.
        """
        found = []
        for number in self.numbers():
            with contextlib.suppress(Exception):
                found.append(read_header(self._trial(number), run=self._run, number=number))
        return tuple(found)

    def moments(self) -> dict[int, float]:
        """Return when each file was written, in seconds since the epoch, by the trial's number."""
        return {number: self._trial(number).stat().st_mtime for number in self.numbers()}

    def load(self) -> dict[int, StoredTrial]:
        """Read all finished trials, with their networks; a file that is damaged is set aside.

        Returns
        -------
        dict of int to StoredTrial
            In the order of the numbers.
        """
        found: dict[int, StoredTrial] = {}
        for number in self.numbers():
            stored = self._read(
                self._trial(number), partial(read_trial, run=self._run, number=number)
            )
            if stored is None:
                continue
            if stored.result is not None:
                fitted = self._read(
                    self._weights(number), partial(read_weights, run=self._run, number=number)
                )
                stored = replace(stored, result=replace(stored.result, fitted=fitted))
            found[number] = stored
        return found

    def _read(self, path: Path, read: Callable[[Path], Content]) -> Content | None:
        """Read a file, or set it aside; None where there is none.

        A disk that can't be read says nothing of its files: its errors are raised.
        """
        if not path.is_file():
            return None
        try:
            return read(path)
        except OSError:
            raise
        except Exception as error:  # what is damaged can fail in any way
            path.replace(path.with_suffix(BROKEN))
            self._on_damage(path.name, error)
            return None

    def _trial(self, number: int) -> Path:
        return self._folder / f"{number:04d}{ENDING}"

    def _weights(self, number: int) -> Path:
        return self._folder / f"{number:04d}.weights{ENDING}"
