"""What is handed over, trained again on all rows: networks of the folds saw fewer."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autoimb.assessment.calibration import Calibrator
from autoimb.data.encoding import Encoder
from autoimb.data.folds import Fold
from autoimb.data.table import Dataset
from autoimb.pipeline.fitted import FittedMemberPack, FittedStrategy
from autoimb.search.evaluate import Outcome
from autoimb.search.interrupt import Interrupt
from autoimb.search.pool import runner_for
from autoimb.search.worker import Assignment, Work
from autoimb.space.strategy import Strategy
from autoimb.training.parts import Parts
from autoimb.training.rounds import train_again
from autoimb.training.schedule import Replay

if TYPE_CHECKING:
    from autoimb.assessment.metrics import Metric
    from autoimb.search.budget import Deadline
    from autoimb.search.planning import Plan
    from autoimb.search.prepare import Prepared
    from autoimb.search.pruning import Bar

__all__ = ["Networks", "fit_encoders", "has_more_rows", "refit_full"]

PULSE = 0.25  # seconds between two looks at the clock


@dataclass(frozen=True)
class Networks:
    """The networks of what is handed over, and what they read.

    Attributes
    ----------
    strategies : tuple of FittedStrategy
    encoders : tuple of Encoder
        As the strategies' packs count them.
    notices : tuple of str
        Which rows they saw.
    """

    strategies: tuple[FittedStrategy, ...]
    encoders: tuple[Encoder, ...]
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Again:
    """Trains strategies on all rows; stands in for `evaluate` in a worker.

    Attributes
    ----------
    ticks : mapping of Strategy to tuple of int
        That each of its rounds ends with.
    networks : mapping of Strategy to int
        How many of them, where a fold has one.
    """

    ticks: Mapping[Strategy, tuple[int, ...]]
    networks: Mapping[Strategy, int]

    def __call__(
        self,
        strategy: Strategy,
        dataset: Dataset,
        plan: Plan,
        *,
        metric: Metric,  # noqa: ARG002 - nothing is evaluated
        deadline: Deadline,
        cache: Parts,
        bar: Bar | None,  # noqa: ARG002 - nor given up
    ) -> Outcome:
        """Return an outcome that has networks, and no score."""
        packs = train_again(
            strategy,
            cache.whole(self.networks[strategy]),
            effort=plan.effort,
            costs=None if plan.cost_weights is None else np.array(plan.cost_weights),
            replay=Replay(plan.folds, self.ticks[strategy]),
            check=deadline.check,
            device=plan.device,
        )
        if not all(np.isfinite(v).all() for pack in packs for v in pack.state.values()):
            return Outcome("failed", "The training diverged: some weights are not finite.")
        plain = Calibrator.identity(dataset.n_classes)
        fitted = FittedStrategy(strategy.to_json(), strategy.describe(), packs, plain)
        return Outcome("complete", fitted=fitted)


def has_more_rows(plan: Plan) -> bool:
    """Whether there are rows that some networks of a trial saw, and others did not.

    Not where the user's rows, or a single split, choose and score: those never train.
    """
    return len(plan.folds.folds) > 1


def refit_full(
    prepared: Prepared,
    plan: Plan,
    outcomes: Sequence[Outcome],
    weights: Sequence[float],
    *,
    deadline: Deadline,
    encoders: Sequence[Encoder] = (),
    folder: Path | None = None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Networks:
    """Train strategies again on all rows, as they were trained on those of the folds.

    For as many epochs as the median fold kept, by falling weight until the deadline: a strategy
    that is not through by then keeps the networks of its folds, as do all where the plan has a
    single split. All strategies together get about as many networks as one had on its folds:
    ``reports/benchmarks/refit.md`` has what that is worth. What calibrates and decides stays
    what was learned out of fold. Sees: all rows that some fold trains on.

    Parameters
    ----------
    prepared : Prepared
        The rows and the metric of the study, and how many jobs may run.
    plan : Plan
        As the strategies were evaluated, without their `work`.
    outcomes : sequence of Outcome
        With fitted networks.
    weights : sequence of float
        Of the blend, one an outcome.
    deadline : Deadline
    encoders : sequence of Encoder, optional
        Of the plan's folds, where they are known already.
    folder : Path or None
        For the workers' copy of the arrays.
    on_progress : callable, optional
        Told in words how far it is.

    Returns
    -------
    Networks
        Also after Ctrl-C.
    """
    fitted = [outcome.fitted for outcome in outcomes if outcome.fitted is not None]
    assert len(fitted) == len(outcomes)
    again: dict[int, tuple[FittedMemberPack, ...]] = {}
    if has_more_rows(plan) and not deadline.expired:
        work = _work(prepared, plan, outcomes)
        order = sorted(range(len(outcomes)), key=lambda i: -weights[i])
        todo = {i: Assignment(_strategy(fitted[i]), deadline, work=fitted[i].work) for i in order}
        again = _trained(work, todo, prepared.request.n_jobs, deadline, folder, on_progress)
    kept = [one for i, one in enumerate(fitted) if i not in again]
    folds = plan.folds.every[: _encoders_read(kept)]
    read = (*encoders, *fit_encoders(prepared.dataset, folds[len(encoders) :]))[: len(folds)]
    if again:
        whole = plan.folds.whole(1).folds
        read += fit_encoders(prepared.dataset, whole)
    last = len(read) - 1
    strategies = tuple(
        replace(one, packs=tuple(replace(p, fold=np.full_like(p.fold, last)) for p in again[i]))
        if i in again
        else one
        for i, one in enumerate(fitted)
    )
    return Networks(strategies, read, _notices(plan, len(again), of=len(fitted)))


def _notices(plan: Plan, again: int, *, of: int) -> tuple[str, ...]:
    if not has_more_rows(plan):
        return ()
    if not again:
        return ("What is handed over saw the rows of its folds: no time was left for all rows.",)
    which = "What is handed over was" if again == of else f"{again} of the {of} strategies were"
    rows = plan.folds.training_rows
    return (f"{which} trained again on all rows; the scores are of networks that saw {rows:,.0f}.",)


def fit_encoders(dataset: Dataset, folds: Sequence[Fold]) -> tuple[Encoder, ...]:
    """Fit one encoder a fold. Sees: the fold's training rows only."""
    columns, layout, y = dataset.columns, dataset.layout, dataset.y
    return tuple(Encoder.fit(columns, fold.train, layout=layout, y=y) for fold in folds)


def _encoders_read(strategies: Sequence[FittedStrategy]) -> int:
    """Count the encoders that members read, from the first to the last of them."""
    return max((1 + int(pack.fold.max()) for one in strategies for pack in one.packs), default=0)


def _work(prepared: Prepared, plan: Plan, outcomes: Sequence[Outcome]) -> Work:
    """Say what is to be trained, and until when."""
    ticks, networks = {}, {}
    for outcome in outcomes:
        assert outcome.fitted is not None
        strategy = _strategy(outcome.fitted)
        deals, folds = plan.times(outcome.fitted.work).deals, len(plan.folds.folds)
        chosen = np.array(outcome.epochs).reshape(deals, -1, folds)
        ticks[strategy] = tuple(int(n) for n in np.median(chosen, axis=(0, 2)))
        networks[strategy] = math.ceil(deals * folds / len(outcomes))
    return Work(_Again(ticks, networks), prepared.dataset, plan, prepared.metric, _parts)


def _parts(dataset: Dataset, plan: Plan, folder: Path | None) -> Parts:
    return Parts(dataset, plan.folds, seed=plan.seed, folder=folder)


def _strategy(fitted: FittedStrategy) -> Strategy:
    return Strategy.from_json(fitted.strategy)


def _trained(
    work: Work,
    todo: dict[int, Assignment],
    n_jobs: int,
    deadline: Deadline,
    folder: Path | None,
    on_progress: Callable[[str], None],
) -> dict[int, tuple[FittedMemberPack, ...]]:
    """Run assignments in their order until the deadline or Ctrl-C; return what was trained."""
    found: dict[int, tuple[FittedMemberPack, ...]] = {}
    count, ended, waiting = len(todo), 0, list(todo)
    runner = runner_for(work, n_jobs=n_jobs, killable=deadline.finite, folder=folder)
    try:
        with Interrupt() as interrupt, contextlib.suppress(KeyboardInterrupt):
            while (waiting or runner.running) and not deadline.expired:
                on_progress(f"training again on all rows: {ended} of {count} strategies")
                while waiting and runner.idle:
                    number = waiting.pop(0)
                    runner.submit(number, todo[number])
                with interrupt.listening():
                    done = runner.collect(min(PULSE, max(deadline.left(), 0.0)))
                ended += len(done)
                found |= {n: o.fitted.packs for n, o in done if o.fitted is not None}
    finally:
        runner.close()
    return found
