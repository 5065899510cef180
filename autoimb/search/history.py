"""The trials of a study: their records and results, and what its file and its sampler see of them.

A trial is written to the file when it starts and again when it ends. So after a kill the file says
which trials were running: they are recorded as killed, and proposed again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from optuna.trial import BaseTrial, FixedTrial, FrozenTrial

from autoimb.evaluation.outcome import Outcome, Scored
from autoimb.runs.folder import understood
from autoimb.runs.record import Stage, StoredTrial, TrialRecord, usable
from autoimb.search.sampler import as_trial
from autoimb.space.draw import Space, draw
from autoimb.space.strategy import Strategy

if TYPE_CHECKING:
    from autoimb.runs.store import TrialStore

__all__ = ["INTERRUPTED", "KILLED", "Proposal", "TrialHistory"]

KILLED = "the program ended while this trial ran"
INTERRUPTED = "the search was interrupted while this trial ran"
# Number of the best trials whose fitted networks are retained; a blend takes at most ten.
_MAX_NETWORKS = 12


@dataclass(frozen=True)
class Proposal:
    """What a study tries next.

    Attributes
    ----------
    stage : Stage
    values : mapping of str to value
        Fixed values by Optuna's names; the sampler draws the others.
    plan : str
        The name of a planned trial.
    repeats : int or None
        The trial whose values are taken as they are.
    """

    stage: Stage
    values: Mapping[str, Any] = field(default_factory=dict)
    plan: str = ""
    repeats: int | None = None


class TrialHistory:
    """The trials of a study while it runs.

    Parameters
    ----------
    space : Space
        What the strategies are drawn from.
    store : TrialStore or None
        The file of the trials; None keeps them in memory alone.

    Attributes
    ----------
    records : dict of int to TrialRecord
        Of all trials that have ended, by number.
    results : dict of int to Scored
        What could be exported; most without networks.
    running : dict of int to StoredTrial
    trials : dict of int to FrozenTrial
        All trials as Optuna sees them, by number.
    plans : list of str
        The planned trials that were proposed.
    n_proposed : int
        The number of the next trial. Proposals that repeated a known strategy are counted.
    """

    def __init__(self, space: Space, store: TrialStore | None = None) -> None:
        self._space, self._store = space, store
        self.records: dict[int, TrialRecord] = {}
        self.results: dict[int, Scored] = {}
        self.running: dict[int, StoredTrial] = {}
        self.trials: dict[int, FrozenTrial] = {}
        self.plans: list[str] = []
        self.n_proposed = 0
        self._n_saved_plans = 0

    # --- what is known ------------------------------------------------------------------------

    @property
    def started(self) -> list[TrialRecord]:
        """The records of all trials, also of those that run."""
        return [*self.records.values(), *(trial.record for trial in self.running.values())]

    @property
    def strategies(self) -> list[TrialRecord]:
        """The records of all trials of the search; partners and duels are none."""
        return [record for record in self.records.values() if not record.apart]

    @property
    def duels(self) -> list[TrialRecord]:
        """The records of matched duels, by number."""
        return [self.records[n] for n in sorted(self.records) if self.records[n].stage == "duel"]

    @property
    def _partners(self) -> tuple[int, ...]:
        """The numbers of the partners that gave something, also where time ended their growth."""
        return tuple(n for n in sorted(self.results) if self.records[n].stage == "partner")

    @property
    def ranked(self) -> list[TrialRecord]:
        """The usable trials of strategies, complete ones first, best first.

        Partners and duels are none.
        """
        usable = [self.records[number] for number in self.results]
        return sorted((r for r in usable if not r.apart), key=lambda record: record.rank)

    @property
    def has_control(self) -> bool:
        """Whether a strategy without a method is usable, so that methods can be put into it."""
        return any(record.strategy.is_control for record in self.ranked)

    def usable(self) -> dict[int, Scored]:
        """Return what can be exported: of complete trials, else what the deadline left."""
        usable = [record.number for record in self.ranked if record.status == "complete"]
        if not any(self.results[number].fitted is not None for number in usable):
            ranked = (record.number for record in self.ranked)
            usable = [number for number in ranked if self.results[number].fitted is not None]
        return {n: self.results[n] for n in (*usable, *(self._partners if usable else ()))}

    # --- what changes -------------------------------------------------------------------------

    def restore(self) -> None:
        """Read the trials of the file; those that were running are recorded as killed."""
        if self._store is None:
            return
        for stored in self._store.load():
            record, drawn = stored.record, FixedTrial(dict(stored.params))
            if record.stage != "partner":
                with understood(self._store.path, f"trial {record.number}"):
                    draw(drawn, self._space)
            self.n_proposed = record.number + 1
            self.plans += stored.plans
            if record.status == "running":
                record = replace(record, status="killed", reason=KILLED)
                self._store.save(replace(stored, record=record))
            self.trials[record.number] = as_trial(record, drawn)
            self._add(record, stored.result)
        self._n_saved_plans = len(self.plans)
        self._drop_networks()

    def count(self, proposal: Proposal) -> None:
        """Count a proposal, whether or not it becomes a trial."""
        self.n_proposed += 1
        self.plans += [proposal.plan] if proposal.plan else []

    def start(
        self, proposal: Proposal, strategy: Strategy, drawn: BaseTrial | None = None
    ) -> TrialRecord:
        """Record that a trial starts.

        Parameters
        ----------
        proposal : Proposal
        strategy : Strategy
        drawn : BaseTrial or None
            What the strategy was drawn from; None for a partner.
        """
        record = TrialRecord(
            number=self.n_proposed,
            stage=proposal.stage,
            strategy=strategy,
            status="running",
            reason="",
            score=None,
            seconds=0.0,
        )
        self.count(proposal)
        plans = tuple(self.plans[self._n_saved_plans :])
        trial = StoredTrial(record, None, {} if drawn is None else drawn.params, plans)
        self._save(trial, drawn)
        self._n_saved_plans = len(self.plans)
        self.running[record.number] = trial
        return record

    def finish(self, number: int, outcome: Outcome) -> TrialRecord:
        """Record the end of a trial, and delete networks that are no longer among the best."""
        trial = self.running.pop(number)
        start = trial.record
        record = TrialRecord.of(number, outcome, stage=start.stage, strategy=start.strategy)
        result = self._add(record, usable(outcome))
        self._save(replace(trial, record=record, result=result), self.trials[number])
        self._drop_networks()
        return record

    def interrupt(self) -> None:
        """Record the trials that run as killed, so that a resumed search proposes them again."""
        for number, trial in self.running.items():
            record = replace(trial.record, status="killed", reason=INTERRUPTED)
            self._add(record, None)
            self._save(replace(trial, record=record), self.trials[number])
        self.running.clear()

    def publish(self) -> None:
        """Bring the study that ``optuna-dashboard`` shows up to date."""
        if self._store is not None:
            self._store.publish(self.trials)

    def _save(self, trial: StoredTrial, drawn: BaseTrial | None) -> None:
        if self._store is not None:
            self._store.save(trial)
        number = trial.record.number
        before, self.trials[number] = self.trials.get(number), as_trial(trial.record, drawn)
        if before is not None:
            self.trials[number].datetime_start = before.datetime_start

    def _add(self, record: TrialRecord, result: Scored | None) -> Scored | None:
        """Add a trial; return its result, with its networks only while it is among the best."""
        self.records[record.number] = record
        if result is None:
            return None
        self.results[record.number] = result
        if result.fitted is None or record.number in self._best():
            return result
        return replace(result, fitted=None)

    def _drop_networks(self) -> None:
        """Delete the networks that are not among the best."""
        best, dropped = self._best(), []
        for number, result in self.results.items():
            if number not in best and result.fitted is not None:
                self.results[number] = replace(result, fitted=None)
                dropped.append(number)
        if dropped and self._store is not None:
            self._store.drop_networks(dropped)

    def _best(self) -> set[int]:
        """Return the trials whose networks are kept: the best, the best control, and partners."""
        ranked = self.ranked
        control = [record.number for record in ranked if record.strategy.is_control]
        best = {*(record.number for record in ranked[:_MAX_NETWORKS]), *control[:1]}
        return best.union(self._partners)
