"""File of a study's work, which all worker processes of a machine map into memory."""

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
    """File of a study's work, in a folder that also contains the arrays that workers share.

    Parameters
    ----------
    work : Work
    scratch : Scratch
        Folder of the file.
    """

    work: Work
    scratch: Scratch

    @classmethod
    def of(cls, work: Work, place: Path | None = None) -> Self:
        """Write a work to a new folder in `place`, or in the temporary folder of this process."""
        scratch = Scratch.make(warm_up() if place is None else place)
        try:
            work.dump(scratch.path / FILE)
        except BaseException:
            scratch.remove()
            raise
        return cls(work, scratch)

    @property
    def file(self) -> Path:
        """The file that `Work.load` reads."""
        return self.scratch.path / FILE

    def parts(self) -> Parts:
        """Return the folds of the search, with the arrays that the workers stored."""
        return Jobs(self.work, self.scratch.path).parts

    def remove(self) -> None:
        """Remove the folder."""
        self.scratch.remove()
