"""A study's work as the worker processes of a machine share it: one file, mapped by all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from autoimb.runtime.process import warm_up
from autoimb.runtime.scratch import Scratch
from autoimb.runtime.worker import Jobs, Work
from autoimb.training.parts import Parts

__all__ = ["Shared"]

FILE = "work.joblib"


@dataclass(frozen=True)
class Shared:
    """The file of a work, in a folder that also holds what workers keep for each other.

    Parameters
    ----------
    work : Work
    scratch : Scratch
        The folder.
    """

    work: Work
    scratch: Scratch

    @classmethod
    def of(cls, work: Work, place: Path | None = None) -> Self:
        """Write a work down; `place` is where, None the system's place for such."""
        scratch = Scratch.make(warm_up() if place is None else place)
        try:
            work.dump(scratch.path / FILE)
        except BaseException:
            scratch.remove()
            raise
        return cls(work, scratch)

    @property
    def file(self) -> Path:
        """What `Work.load` reads."""
        return self.scratch.path / FILE

    def parts(self) -> Parts:
        """Return the folds of the search, with all that the workers keep here."""
        return Jobs(self.work, self.scratch.path).parts

    def remove(self) -> None:
        """Remove the folder."""
        self.scratch.remove()
