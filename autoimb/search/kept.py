"""What is kept of trials beside their records: networks, and where their trainings wait.

A training that waits at a rung has its state in the cache of the driver that trained it. In a
shared study, where another driver may go on with it, the state lies beside the trial as well.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from autoimb.training.states import waiting_key

if TYPE_CHECKING:
    from autoimb.runs.journal import Journal
    from autoimb.runs.record import TrialRecord
    from autoimb.runs.trials import TrialFiles
    from autoimb.search.begun import Begun
    from autoimb.search.known import Known
    from autoimb.training.store import Store

__all__ = ["Kept"]


class Kept:
    """Keeps the networks of the best trials, and the states that others may go on from.

    Parameters
    ----------
    journal : Journal
    known : Known
        What tells which they are.
    """

    def __init__(self, journal: Journal, known: Known) -> None:
        self._journal, self._known = journal, known
        self._mine: set[int] = set()  # the trials that ended here
        self._lying: set[int] | None = None  # those whose state lies there; None before a look

    def fetch(self, trial: Begun, states: Store) -> None:
        """Fetch what a trial goes on from, where another driver has trained it.

        Parameters
        ----------
        trial : Begun
        states : Store
            Of this driver's workers. What is there stays where no other state can be read.
        """
        files, key = self._journal.shared_files, waiting_key(trial.strategy)
        if files is None or trial.follows is None:
            return
        if trial.follows in self._mine and states.find(key) is not None:
            return
        waiting = files.state(trial.follows)
        if waiting is not None:
            states.put(key, waiting, size=waiting.size)

    def keep(self, record: TrialRecord, states: Store | None) -> None:
        """Write down where the training of a trial waits, and delete what is not kept any more.

        Parameters
        ----------
        record : TrialRecord
            Of a trial that has ended here, and of which others have not heard yet.
        states : Store or None
            Of this driver's workers; None for a trial that could not run.
        """
        self.drop_weights()
        files = self._journal.shared_files
        if files is not None and states is not None:
            self._mine.add(record.number)
            self._leave(record, files, states)

    def drop_weights(self) -> None:
        """Delete the networks that are no longer among the best."""
        for number in self._known.drop():
            self._journal.drop_weights(number)

    def _leave(self, record: TrialRecord, files: TrialFiles, states: Store) -> None:
        """Leave a trial's state to others; where the disk has no room they repeat its steps."""
        lying = set(files.states()) if self._lying is None else self._lying
        kept = self._known.waiting
        waiting = states.find(waiting_key(record.strategy)) if record.number in kept else None
        if waiting is not None and waiting.counts["checkpoint"] == len(record.curve):
            with suppress(OSError):
                files.save_state(record.number, waiting)
                lying.add(record.number)
        gone = (lying - kept) & self._known.records.keys()  # others may know of more trials
        if record.follows is not None:
            gone.add(record.follows)
        for number in gone:
            files.drop_state(number)
        self._lying = lying - gone
