"""Facts before the first trial: the table, the plan and the dry run of a search."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy, deepcopy
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from autoimb.assessment.checks import Finding
from autoimb.data.profile import Profile
from autoimb.evaluation.limits import options_beyond
from autoimb.evaluation.workload import input_bytes
from autoimb.report.formats import count, percent, plain
from autoimb.runtime.pool import LOCAL
from autoimb.search.arguments import prepare_arguments
from autoimb.search.prepare import Preparation, check_table
from autoimb.space.components import COMPONENTS
from autoimb.training.plan import Plan

__all__ = ["DryRun", "dry_run", "plan_facts", "profile_facts"]

# Bytes of a searching process before it holds rows; reported by a dry run only
# (reports/design/long-searches.md).
_PROCESS_BYTES = 300_000_000


@dataclass(frozen=True)
class DryRun:
    """Description of a planned search; nothing is trained or written.

    Attributes
    ----------
    request : dict
        Parameters of the search.
    columns : dict of str to str
        The kind of each column.
    profile, plan : dict
        Counts of the table; folds and rows of the plan, as in the report.
    notices : tuple of str
        Notices about the table.
    findings : tuple of Finding
        Findings of the checks that need no trial.
    infeasible : dict of str to str
        Options that cannot run on this table, such as ``"resampling smote"``, with the reasons.
    trials : int
        Expected number of strategies.
    memory : int
        Expected maximum memory of all processes in bytes.
    """

    request: dict[str, Any]
    columns: dict[str, str]
    profile: dict[str, Any]
    plan: dict[str, Any]
    notices: tuple[str, ...]
    findings: tuple[Finding, ...]
    infeasible: dict[str, str]
    trials: int
    memory: int

    @classmethod
    def of(cls, preparation: Preparation) -> DryRun:
        """Build the description from a prepared search by its plan and checks, without a clock."""
        return cls(
            request=preparation.request.to_json(),
            columns={column.name: column.kind for column in preparation.schema.columns},
            profile=profile_facts(preparation.profile),
            plan=plan_facts(preparation.task.plan),
            notices=preparation.notices,
            findings=check_table(preparation),
            infeasible=dict(_infeasible(preparation)),
            trials=_expected_trials(preparation),
            memory=_expected_memory(preparation),
        )

    def to_json(self) -> dict[str, Any]:
        """Return strict JSON values, with findings as ``"checks"`` as in a report."""
        values: dict[str, Any] = plain(asdict(self))
        values["checks"] = values.pop("findings")
        return values

    def __str__(self) -> str:
        """Return the description as text of several lines."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        profile, plan, request = self.profile, self.plan, self.request
        yield f"{count(profile['rows'])} rows, {count(len(self.columns))} columns:"
        for kind in profile["columns"]:
            names = (name for name, column_kind in self.columns.items() if column_kind == kind)
            yield f"  {kind}: {', '.join(names)}"
        yield "classes:"
        for row in profile["classes"]:
            positive = ", positive" if row["label"] == profile["positive"] else ""
            yield f"  {row['label']}: {count(row['count'])} ({percent(row['share'])}){positive}"
        yield (
            f"folds: {plan['folds']}; {count(plan['rows_training_a_fold'])} rows train in one, "
            f"{count(plan['rows_scored'])} are scored"
        )
        yield from self.notices
        yield from (f"{name}: {reason}" for name, reason in self.infeasible.items())
        yield from map(str, self.findings)
        seconds, workers = request["time_budget"], request["n_jobs"]
        within = "" if seconds is None else f" in {seconds:g} seconds"
        tried = "1 strategy" if self.trials == 1 else f"about {count(self.trials)} strategies"
        yield (
            f"expected: {tried}{within} with {workers} worker{'s' * (workers > 1)}, and "
            f"{self.memory / 1e9:.1f} GB of memory"
        )


def dry_run(estimator: BaseEstimator, X: Any, y: Any, *args: Any, **kwargs: Any) -> DryRun:
    """Describe what an estimator's `fit` would do with these arguments.

    Parameters
    ----------
    estimator : AutoImbClassifier
        The estimator, which is not changed.
    X, y, *args, **kwargs
        The arguments of `AutoImbClassifier.fit`.

    Returns
    -------
    DryRun
        The description, which can be printed.

    Raises
    ------
    InputError
        If the table, the target or a parameter is invalid.
    """
    estimator_copy = copy(estimator)
    estimator_copy.random_state = deepcopy(estimator.random_state)
    return DryRun.of(prepare_arguments(estimator_copy, X, y, *args, **kwargs))


def _infeasible(preparation: Preparation) -> Iterator[tuple[str, str]]:
    profile, limits = preparation.trial_profile, preparation.task.limits
    for component, names in preparation.space.allowed:
        for name in names:
            reason = COMPONENTS[component][name].feasible(profile)
            if reason is not None:
                yield f"{component} {name}", reason
    if limits.deployment is not None:
        yield from options_beyond(preparation.space, limits)


def _expected_trials(preparation: Preparation) -> int:
    """Return the expected number of strategies, within the limits of the user."""
    request, training = preparation.request, preparation.policy.training
    limits: list[float] = [] if request.n_trials is None else [request.n_trials]
    if request.time_budget is not None:
        limits.append(training.trials_per_worker * request.n_jobs)
    return int(min(limits))


def _expected_memory(preparation: Preparation) -> int:
    """Return the bytes of the table, of the processes, and of the inputs in each worker."""
    request, task = preparation.request, preparation.task
    columns = task.dataset.columns
    remote = request.backend != LOCAL.name
    no_workers = remote or (request.n_jobs == 1 and request.time_budget is None)
    workers = 0 if no_workers else request.n_jobs
    inputs = max(workers, 1) * input_bytes(task.dataset, task.plan.folds)
    table = columns.numbers.nbytes + columns.codes.nbytes
    return _PROCESS_BYTES * (1 + workers) + inputs + table


def profile_facts(profile: Profile) -> dict[str, Any]:
    """Return the counts of a table as JSON values."""
    counts = profile.class_counts
    return {
        "rows": profile.n_rows,
        "columns": dict(profile.kinds),
        "classes": [
            {"label": name, "count": count, "share": count / sum(counts)}
            for name, count in zip(profile.class_names, counts)
        ],
        "positive": profile.class_names[profile.positive],
        "missing": dict(profile.missing),
        "cardinality": dict(profile.cardinality),
    }


def plan_facts(plan: Plan) -> dict[str, Any]:
    """Return folds and rows of a plan as JSON values."""
    folds = plan.folds.folds
    counted: int | str = len(folds)
    scoring = [fold for fold in folds if len(fold.score)]
    if plan.folds.deploys_last:
        counted = f"{len(scoring)} forward, and one of all rows that is exported"
    return {
        "folds": "one hold-out" if len(folds) == 1 else counted,
        "rows_scored": len(plan.folds.scored),
        "rows_training_a_fold": int(np.mean([len(fold.train) for fold in scoring])),
        "device": plan.device,
    }
