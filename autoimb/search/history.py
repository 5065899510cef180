"""Trials of a study while it runs: their records and results, in memory and in the file.

A trial is written to the file when it starts and again when it ends. After a kill the file
therefore contains the trials that were running: they are recorded as killed, and proposed again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from optuna.distributions import BaseDistribution
from optuna.trial import FixedTrial, FrozenTrial

from autoimb.evaluation.outcome import Outcome, Scored, usable
from autoimb.runs.folder import understood
from autoimb.runs.record import TrialRecord
from autoimb.runs.store import TrialStore
from autoimb.search.sampler import as_trial
from autoimb.space.draw import Space, draw

__all__ = ["INTERRUPTED", "KILLED", "TrialHistory"]

KILLED = "the program ended while this trial ran"
INTERRUPTED = "the search was interrupted while this trial ran"
# Number of the best trials whose fitted networks are retained; a blend takes at most ten.
_MAX_NETWORKS = 12


class TrialHistory:
    """Trials of a study.

    Parameters
    ----------
    store : TrialStore or None
        File of the trials; None keeps them in memory alone.

    Attributes
    ----------
    records : dict of int to TrialRecord
        All trials, running ones included, by number.
    results : dict of int to Scored
        Results of the trials; only the best have fitted networks.
    trials : dict of int to FrozenTrial
        All trials as Optuna sees them, by number.
    """

    def __init__(self, store: TrialStore | None = None) -> None:
        self._store = store
        self.records: dict[int, TrialRecord] = {}
        self.results: dict[int, Scored] = {}
        self.trials: dict[int, FrozenTrial] = {}

    @property
    def next_number(self) -> int:
        """Number of the next trial."""
        return 1 + max(self.records, default=-1)

    @property
    def running(self) -> list[TrialRecord]:
        """Records of the running trials."""
        return [record for record in self.records.values() if record.status == "running"]

    @property
    def strategies(self) -> list[TrialRecord]:
        """Records of the ended trials of the search, without partners and duels."""
        records = self.records.values()
        return [record for record in records if record.status != "running" and not record.apart]

    @property
    def duels(self) -> list[TrialRecord]:
        """Records of the ended matched duels."""
        records = self.records.values()
        return [r for r in records if r.status != "running" and r.stage == "duel"]

    @property
    def ranked(self) -> list[TrialRecord]:
        """Records of strategies with a result, complete ones first, best first."""
        with_result = (self.records[number] for number in self.results)
        return sorted((r for r in with_result if not r.apart), key=lambda record: record.rank)

    def usable(self) -> dict[int, Scored]:
        """Return what can be exported: of complete trials, else what the deadline left."""
        numbers = [record.number for record in self.ranked if record.status == "complete"]
        if not any(self.results[number].fitted is not None for number in numbers):
            ranked = (record.number for record in self.ranked)
            numbers = [number for number in ranked if self.results[number].fitted is not None]
        return {n: self.results[n] for n in (*numbers, *(self._partners if numbers else ()))}

    def restore(self, space: Space) -> None:
        """Read the trials of the file; those that were running are recorded as killed.

        Parameters
        ----------
        space : Space
            Space from which the strategies were drawn.
        """
        if self._store is None:
            return
        for record, result in self._store.load():
            drawn = FixedTrial(dict(record.params))
            if record.stage != "partner":
                with understood(self._store.path, f"trial {record.number}"):
                    draw(drawn, space)
            self.trials[record.number] = as_trial(record, drawn.distributions)
            self.records[record.number] = record
            if result is not None:
                self.results[record.number] = result
        self.end_running(KILLED)
        dropped = self._drop_networks()
        if dropped:
            self._store.drop_networks(dropped)

    def start(self, record: TrialRecord, distributions: Mapping[str, BaseDistribution]) -> None:
        """Record that a trial starts, with the distributions of its parameters."""
        self.trials[record.number] = as_trial(record, distributions)
        self._save(record)

    def finish(self, number: int, outcome: Outcome) -> TrialRecord:
        """Record the end of a trial, and delete networks that are no longer among the best."""
        record, result = self.records[number].ended(outcome), usable(outcome)
        self.records[number] = record
        if result is not None:
            self.results[number] = result
        dropped = self._drop_networks() - {number}
        self._save_end(record)
        if dropped and self._store is not None:
            self._store.drop_networks(dropped)
        return record

    def publish(self) -> None:
        """Update the study that ``optuna-dashboard`` shows."""
        if self._store is not None:
            self._store.publish(self.trials)

    def end_running(self, reason: str) -> None:
        """Record the running trials as killed, so that a resumed search proposes them again."""
        for running in self.running:
            self._save_end(replace(running, status="killed", reason=reason))

    def _save_end(self, record: TrialRecord) -> None:
        """Store the record of a trial that has ended, also as Optuna sees it."""
        before = self.trials[record.number]
        trial = as_trial(record, before.distributions)
        trial.datetime_start = before.datetime_start
        self.trials[record.number] = trial
        self._save(record)

    def _save(self, record: TrialRecord) -> None:
        """Store a record in memory and in the file."""
        self.records[record.number] = record
        if self._store is not None:
            self._store.save(record, self.results.get(record.number))

    @property
    def _partners(self) -> tuple[int, ...]:
        """Numbers of the partners with a result, also where the deadline ended their growth."""
        return tuple(n for n in sorted(self.results) if self.records[n].stage == "partner")

    def _drop_networks(self) -> set[int]:
        """Delete the networks that are not among the best in memory; return their trials.

        The networks of the best trials, of the best control and of partners are retained.
        """
        ranked, dropped = self.ranked, set()
        control = [record.number for record in ranked if record.strategy.is_control]
        best = {record.number for record in ranked[:_MAX_NETWORKS]}
        best.update(control[:1], self._partners)
        for number, result in self.results.items():
            if number not in best and result.fitted is not None:
                self.results[number] = replace(result, fitted=None)
                dropped.add(number)
        return dropped
