"""A search by the real scheduler on any number of simulated workers, in virtual time."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from math import ceil
from pathlib import Path

from autoimb.assessment.judge import Judge
from autoimb.evaluation.basis import Basis, plan_duels
from autoimb.evaluation.trial import Outcome, evaluate
from autoimb.policy import DEFAULT_POLICY
from autoimb.runs.record import TrialRecord, standing
from autoimb.runtime.batches import Synchronous
from autoimb.runtime.pool import InProcess, Resources
from autoimb.runtime.progress import Event
from autoimb.runtime.worker import Work
from autoimb.search.prepare import Planned, Table, plan_study, prepare
from autoimb.search.request import Request
from autoimb.search.study import StudySettings, run_study
from autoimb.training.fit import Job
from reports.benchmarks import cases
from reports.benchmarks.rows import Row
from reports.benchmarks.scaling.simulated import (
    ClockDeadline,
    Costs,
    Measured,
    ProcessorClock,
    Simulated,
    Trials,
    VirtualClock,
    kind_of,
)

__all__ = ["measured", "planned", "searched", "went_on"]

TABLE = 5_000  # rows, of which a twentieth are positive; they decide what is feasible


class _Here:
    """A backend that runs trials in this process, whether or not they can be killed there."""

    name = "here"

    def workers(self, n_jobs: int | None) -> int:
        """Return how many workers `n_jobs` is."""
        return n_jobs or 1

    def runner(self, work: Work, resources: Resources) -> InProcess:  # noqa: ARG002 - a Backend
        """Return what runs one at a time."""
        return InProcess(work)


@cache
def planned(rows: int = TABLE) -> tuple[Planned, Basis | None]:
    """Plan a search of a simulated table and its duels, for a minute on two workers."""
    with tempfile.TemporaryDirectory() as folder:
        table = cases.with_target(cases.simulated(rows, Path(folder), rate=0.05))
    request = Request(target="target", time_budget=cases.MINUTE, n_jobs=cases.JOBS)
    found = plan_study(prepare(Table(*table), request), time_budget=cases.MINUTE)
    return found, plan_duels(found.basis)


def searched(
    trials: Trials, *, workers: int, synchronous: bool, budget: float, seed: int, costs: Costs
) -> Row:
    """Search a simulated table within so many virtual seconds.

    Returns
    -------
    dict
        Of all workers' seconds the shares that trials took (`busy`), that trials took which their
        deadline cut (`cut`), and that trials took at rungs to which they would not have gone on,
        had all been known that was known in the end (`early`); of the seconds of the search those
        of the driver; trials, and those that went on; the worth of what would be exported.
    """
    study, duels = planned()
    clock = VirtualClock()
    backend = Simulated(trials, clock, costs)
    ended = _ran(
        study,
        duels,
        StudySettings(
            deadline=ClockDeadline(budget, clock),
            n_jobs=workers,
            random_state=seed,
            trial_limit=DEFAULT_POLICY.trial_share * budget,
            backend=Synchronous(backend) if synchronous else backend,
        ),
    )
    capacity = workers * max(budget, clock.now())
    followed, early = went_on(ended)
    return {
        "busy": sum(trial.seconds for trial in backend.spent) / capacity,
        "cut": sum(trial.seconds for trial in backend.spent if trial.cut) / capacity,
        "early": sum(early) / capacity,
        "driver": backend.driver / max(budget, clock.now()),
        "trials": len(backend.spent),
        "strategies": len({r.strategy for r in ended if r.stage != "duel"}),
        "went_on": followed,
        "went_on_early": len(early),
        "worth": _chosen(ended, trials),
    }


def measured(rows: int, *, budget: float) -> list[Measured]:
    """Search a simulated table of so many rows for so many seconds of this process.

    Returns
    -------
    list of Measured
        Every trial that gave a score.
    """
    study, duels = planned(rows)
    clock = ProcessorClock()

    def timed(job: Job, judge: Judge) -> Outcome:
        began = clock.now()
        return replace(evaluate(job, judge), seconds=clock.now() - began)

    ended = _ran(
        study,
        duels,
        StudySettings(
            deadline=ClockDeadline(clock.now() + budget, clock),
            n_jobs=1,
            trial_limit=DEFAULT_POLICY.trial_share * budget,
            backend=_Here(),
            evaluate=timed,
        ),
    )
    before = {record.number: record.seconds for record in ended}
    return [
        Measured(
            kind_of(record.rung, confirm=record.confirmed, duel=record.stage == "duel"),
            record.strategy.network.name,
            round(record.seconds - before.get(record.follows, 0.0), 4),
            record.ended,
        )
        for record in ended
        if record.status in ("complete", "partial")
    ]


def _ran(study: Planned, duels: Basis | None, settings: StudySettings) -> list[TrialRecord]:
    """Run a study; return the records of all of its trials, in the order in which they ended."""
    ended = []

    def listen(event: Event) -> None:
        if event.finished is not None:
            ended.append(event.finished)

    run_study(
        study.basis,
        study.prepared.space,
        profile=study.trial_profile,
        settings=replace(settings, on_event=listen),
        duels=duels,
    )
    return ended


def _chosen(records: Sequence[TrialRecord], trials: Trials) -> float | None:
    """Return the worth of what a search would export; None where nothing is complete."""
    ranked = [r for r in standing(records) if r.status == "complete" and not r.apart]
    if not ranked:
        return None
    return trials.worth(min(ranked, key=lambda record: record.rank).strategy)


def went_on(records: Sequence[TrialRecord]) -> tuple[int, list[float]]:
    """Count the trials that went on to the next rung, and find those that did so too early.

    Returns
    -------
    int
        That went on, confirmations apart.
    list of float
        Of each that is not among the best of its rung in the end, the seconds of the next rung.
    """
    known = {record.number: record for record in records}
    followed = {r.follows: r for r in records if r.follows is not None and not r.confirmed}
    early = []
    for number, after in followed.items():
        before = known[number]
        rung = [r for r in records if r.rung == before.rung and _scored(r)]
        most = ceil(DEFAULT_POLICY.promoted_share * len(rung))
        if before not in sorted(rung, key=lambda record: record.merit)[:most]:
            early.append(after.seconds - before.seconds)
    return len(followed), early


def _scored(record: TrialRecord) -> bool:
    return record.status in ("complete", "partial") and not (record.confirmed or record.apart)
