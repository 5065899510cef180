"""Small study with inexpensive evaluations, for the tests of the search."""

from __future__ import annotations

import json
import os
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from autoimb.assessment.calibration import Calibrator
from autoimb.assessment.judge import Judge
from autoimb.assessment.uncertainty import Score
from autoimb.budget import Deadline
from autoimb.data.dataset import Dataset
from autoimb.data.encoding.layout import plan_layout
from autoimb.data.folds import plan_folds
from autoimb.data.profile import Profile, profile
from autoimb.data.schema import Columns, infer_schema
from autoimb.data.target import encode_target
from autoimb.evaluation.limits import Limits
from autoimb.evaluation.outcome import Outcome, Scored
from autoimb.evaluation.task import Task, Trial, plan_duels
from autoimb.evaluation.workload import make_plan, trial_operations
from autoimb.nn.network import build
from autoimb.pipeline.fitted import FittedMemberPack, FittedStrategy
from autoimb.policy import DEFAULT_POLICY, SearchPolicy
from autoimb.randomness import Key
from autoimb.runs.folder import RunFolder
from autoimb.runtime.shared import Evaluate
from autoimb.search.propose import Agenda
from autoimb.search.study import StudyResult, StudySettings, run_study
from autoimb.space.draw import Space
from autoimb.space.strategy import Strategy
from autoimb.training.plan import Plan
from tests.support.pipelines import table
from tests.support.tables import dataset_of, judge_of, tiny_spec

FINGERPRINT = "0123456789abcdef"
# Seconds until a test gives up; nothing takes as long on the slowest machine.
PATIENCE = 300.0


@dataclass(frozen=True)
class Material:
    """Inputs of `run_study`."""

    dataset: Dataset
    plan: Plan
    judge: Judge
    profile: Profile


def material(n_rows: int = 120, *, policy: SearchPolicy = DEFAULT_POLICY) -> Material:
    frame = table(n_rows)
    target = encode_target(np.arange(n_rows) % 6 == 0)
    schema, _ = infer_schema(frame)
    dataset = dataset_of(frame, target.codes)
    folds = plan_folds(target.codes, cv=3, random_state=0, policy=policy)
    operations = trial_operations(10.0, policy)
    plan = make_plan(dataset, folds, random_state=0, operations=operations, policy=policy)
    return Material(
        dataset=dataset,
        plan=plan,
        judge=judge_of(dataset, plan),
        profile=profile(frame, schema, target),
    )


def fitted(strategy: Strategy) -> FittedStrategy:
    spec = tiny_spec(width=4, n_inputs=3)
    network = build(spec, 1)
    network.draw([Key(int(1e6 * chance(strategy)))], [3])
    pack = FittedMemberPack(
        spec=spec,
        fold=np.zeros(1, dtype=np.int64),
        weight=np.ones(1),
        log_prior=np.zeros((1, 2)),
        focal_gamma=0.0,
        state=network.state(),
    )
    return FittedStrategy(
        strategy=strategy.to_json(),
        description=strategy.describe(),
        packs=(pack,),
        calibrator=Calibrator.identity(2),
    )


def chance(strategy: Strategy) -> float:
    """Return a number in [0, 1) that depends on the strategy alone."""
    return zlib.crc32(json.dumps(strategy.to_json(), sort_keys=True).encode()) / 2**32


def complete(
    strategy: Strategy, dataset: Dataset, seconds: float = 0.1, *, value: float | None = None
) -> Scored:
    """Return a complete trial, with the strategy's chance or a value as score."""
    probability = chance(strategy)
    value = probability if value is None else value
    return Scored(
        score=Score(value, 0.01, value),
        oof=np.full((len(dataset.y), 2), [1.0 - probability, probability]),
        fitted=fitted(strategy),
        seconds=seconds,
    )


def evaluate(task: Task, trial: Trial) -> Outcome:
    return complete(trial.strategy, task.dataset)


def evaluate_slowly(task: Task, trial: Trial, *, seconds: float) -> Outcome:
    time.sleep(seconds * (0.5 + chance(trial.strategy)))
    return complete(trial.strategy, task.dataset)


def counted(task: Task, trial: Trial, *, tally: str, then: Evaluate) -> Outcome:
    """Append a line to a file for each call, then call another evaluation."""
    with Path(tally).open("a") as file:
        file.write(f"{os.getpid()} {trial.strategy.describe()}\n")
    return then(task, trial)


def study(
    folder: RunFolder | None = None,
    *,
    space: Space | None = None,
    policy: SearchPolicy = DEFAULT_POLICY,
    duels: bool = False,
    limits: Limits | None = None,
    **settings: Any,
) -> StudyResult:
    """Run a study on the small table, in this process unless `settings` need workers."""
    inputs = material(policy=policy)
    task = Task(
        inputs.dataset,
        inputs.plan,
        inputs.judge,
        limits or Limits(),
        duels_of_material(policy=policy) if duels else None,
    )
    agenda = Agenda(
        task=task,
        space=space or Space.restricted(),
        profile=inputs.profile,
        n_trials=settings.pop("n_trials", 10),
        n_workers=settings.pop("n_jobs", 1),
        random_state=settings.pop("random_state", 0),
        partners=settings.pop("partners", ()),
    )
    settings = {"evaluate": evaluate, "deadline": Deadline()} | settings
    return run_study(agenda, settings=StudySettings(**settings), folder=folder)


def resumed(path: Path, n_trials: int, **settings: Any) -> StudyResult:
    """Run a study in a folder, from where it ended."""
    with RunFolder.open(path, fingerprint=FINGERPRINT, resume=True) as folder:
        return study(folder, n_trials=n_trials, **settings)


def duels_of_material(*, policy: SearchPolicy = DEFAULT_POLICY) -> Task | None:
    """Return the task of matched duels on the small table."""
    inputs = material(policy=policy)
    return plan_duels(Task(inputs.dataset, inputs.plan, inputs.judge))


def without(columns: Columns, names: str) -> Columns:
    """Return columns without numbers or without categories."""
    if names == "number_names":
        return replace(columns, numbers=columns.numbers[:, :0], number_names=())
    return replace(columns, codes=columns.codes[:, :0], category_names=(), vocabularies=())


def with_columns(dataset: Dataset, columns: Columns) -> Dataset:
    return replace(dataset, columns=columns, layout=plan_layout(columns))


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def alive(session: int) -> list[int]:
    """Return the running processes of a session."""
    processes = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, process_session = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(process_session) == session and state != "Z":
            processes.append(int(path.parent.name))
    return processes


def main() -> None:
    """Search in a folder, from the start or from where it was killed: FOLDER N_TRIALS SECONDS."""
    folder, n_trials, seconds = sys.argv[1:]
    work = partial(
        counted,
        tally=f"{folder}/tally.txt",
        then=partial(evaluate_slowly, seconds=float(seconds)),
    )
    with RunFolder.open(folder, fingerprint=FINGERPRINT, resume=True) as run:
        study(run, n_jobs=2, n_trials=int(n_trials), evaluate=work)


if __name__ == "__main__":
    main()
