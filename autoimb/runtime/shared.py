"""File of a study's work, which all worker processes of a machine map into memory."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from autoimb.runtime.process import warm_up
from autoimb.runtime.worker import Jobs, Work
from autoimb.training.parts import Parts

__all__ = ["Shared"]


@dataclass(frozen=True)
class Shared:
    """File of a study's work, in a folder that also contains the arrays that workers share.

    Parameters
    ----------
    work : Work
    file : Path
        The file that `Work.load` reads.
    """

    work: Work
    file: Path

    @classmethod
    def of(cls, work: Work, place: Path | None = None) -> Self:
        """Write a work to a new folder in `place`, or in the temporary folder of this process."""
        place = warm_up() if place is None else place
        place.mkdir(parents=True, exist_ok=True)
        shared = cls(work, Path(tempfile.mkdtemp(dir=place)) / "work.joblib")
        try:
            work.dump(shared.file)
        except BaseException:
            shared.remove()
            raise
        return shared

    def parts(self) -> Parts:
        """Return the folds of the search, with the arrays that the workers stored."""
        return Jobs(self.work, self.file.parent).parts

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.file.parent, ignore_errors=True)
