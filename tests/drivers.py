"""One driver of a shared study, as a program: URL PLACE RUN N_JOBS SECONDS."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from autoimb.assessment.judge import Judge
from autoimb.budget import Budget
from autoimb.cli.sharing import opened
from autoimb.evaluation.trial import Outcome, evaluate
from autoimb.pipeline.artifact import save
from autoimb.policy import SearchPolicy
from autoimb.runs.sharing import SharedStudy
from autoimb.search.prepare import Prepared, Table, prepare
from autoimb.search.request import Request
from autoimb.search.search import search
from autoimb.search.terms import terms_of
from autoimb.training.fit import Job

NAME = "three-drivers"
N_TRIALS = 6
# soon found dead, and looked at often
POLICY = SearchPolicy(beat_seconds=0.2, silent_seconds=2.0, look_seconds=0.2)


def prepared(*, policy: SearchPolicy = POLICY, **asked: object) -> Prepared:
    """A search of a small table, without a clock and on few methods."""
    random = np.random.default_rng(0)
    amount = random.normal(size=150)
    fraud = np.where(amount + 0.5 * random.normal(size=150) > 1.0, "yes", "no")
    frame = pd.DataFrame({"amount": amount, "age": random.integers(18, 80, 150)})
    components = (
        ("resampling", ("none", "random_over")),
        ("class_weight", ("none",)),
        ("loss", ("cross_entropy",)),
        ("ensemble", ("single",)),
        ("network", ("mlp",)),
    )
    given = {"n_trials": N_TRIALS, "time_budget": None, "cv": 2, "n_jobs": 2} | asked
    request = Request(target="fraud", components=components, **given)
    return prepare(Table(frame, fraud), request, policy=policy)


def join(url: str, place: str, given: Prepared, *, name: str = NAME) -> SharedStudy:
    return SharedStudy.join(
        url,
        place,
        name=name,
        terms=terms_of(given),
        workers=given.request.n_jobs,
        policy=given.policy,
    )


def slowly(job: Job, judge: Judge, *, seconds: float) -> Outcome:
    """Take at least so long, and say always the same of how long it took."""
    time.sleep(seconds)
    return replace(evaluate(job, judge), seconds=seconds)


def main() -> None:
    url, place, run, n_jobs, seconds = sys.argv[1:]
    given = prepared(n_jobs=int(n_jobs))
    with (
        join(url, place, given) as study,
        opened(Path(run), study, fingerprint="0123456789abcdef", resume=False) as folder,
    ):
        found = search(
            given,
            budget=Budget.start(None),
            folder=folder,
            storage=study,
            evaluate=partial(slowly, seconds=float(seconds)),
        )
        unstamped = found.pipeline.info | {"created": ""}
        save(replace(found.pipeline, info=unstamped), folder.pipeline)
        folder.update_run({"best": found.winner.single})


if __name__ == "__main__":
    main()
