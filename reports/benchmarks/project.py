"""What the questions need of the package's inside: the one module that imports it.

All else goes through the public ``autoimb`` and its command line.
"""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch
from zlib import crc32

import msgspec
import numpy as np
import optuna
import pandas as pd
import torch
from msgspec import structs
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial, FrozenTrial, Trial

import autoimb
from autoimb.assessment.calibration import Calibrator, row_log_loss
from autoimb.assessment.checks import STRUCTURE_ERRORS
from autoimb.assessment.crossfit import stratified_groups
from autoimb.assessment.decision import DecisionRule
from autoimb.assessment.duels import TEST_LEVEL, Gain, holm, word
from autoimb.assessment.judge import Judge
from autoimb.assessment.metrics import get_metric
from autoimb.assessment.structure import find_structure
from autoimb.assessment.uncertainty import Score, jackknife
from autoimb.budget import Budget
from autoimb.data.dataset import Dataset
from autoimb.data.encoding.layout import Layout, plan_layout
from autoimb.data.schema import Schema
from autoimb.evaluation.assemble import Calibration, assemble
from autoimb.evaluation.blend import blend
from autoimb.evaluation.outcome import Outcome, Scored
from autoimb.evaluation.task import Task
from autoimb.evaluation.task import Trial as Evaluated
from autoimb.evaluation.trial import evaluate
from autoimb.nn.network import build
from autoimb.nn.spec import NetworkSpec
from autoimb.pipeline import container
from autoimb.pipeline.artifact import artifact_bytes
from autoimb.pipeline.fitted import FittedPipeline
from autoimb.policy import DEFAULT_POLICY, Comparisons, SearchPolicy, Suggestions, Training
from autoimb.report.facts import build_facts
from autoimb.runs.folder import RunFolder, run_text
from autoimb.runs.record import TrialRecord
from autoimb.search import search as searching
from autoimb.search.prepare import Preparation, Table, prepare
from autoimb.search.request import Request, restricted_components
from autoimb.search.sampler import as_trial, ask
from autoimb.search.study import StudyResult
from autoimb.space import portfolio
from autoimb.space.components import COMPONENTS, CONTROL
from autoimb.space.draw import Space, draw
from autoimb.space.ensemble import ENSEMBLE
from autoimb.space.option import Choice, OneOf, Range, Value
from autoimb.space.strategy import Strategy
from autoimb.training.plan import Outline, Plan
from reports.benchmarks.cases import JOBS, SEED

__all__ = [
    "DEFAULT_POLICY",
    "ENCODINGS",
    "FIRST_NETWORKS",
    "PARTS",
    "SMALL",
    "SMALLER",
    "TABM",
    "TEST_LEVEL",
    "Asking",
    "FittedPipeline",
    "Gain",
    "Given",
    "Judge",
    "Network",
    "Outcome",
    "Planned",
    "Run",
    "Scored",
    "Strategy",
    "Way",
    "artifact_bytes",
    "artifact_parts",
    "blend",
    "conclusions",
    "draw_control",
    "first_networks",
    "holm",
    "jackknife",
    "network_of",
    "places_of",
    "reason",
    "row_log_loss",
    "sealed_run",
    "search",
    "searched_networks",
    "small_search",
    "strategy",
    "stratified_groups",
    "structure_of",
    "told",
    "value_on",
    "word",
    "words_of_placebos",
    "write_artifact",
]

# an option with its parameters, as plain values
Given = tuple[str, Mapping[str, Any]]
Network = dict[str, Any]  # {"name": ..., "params": ...}


# --- strategies -----------------------------------------------------------------------------------


def strategy(network: str, params: Mapping[str, Any], **methods: Given) -> Strategy:
    """Return a network with imbalance methods by component, or none."""
    chosen = {component: Choice(name) for component, name in CONTROL.items()}
    for component, (name, own) in methods.items():
        chosen[component] = Choice(name, tuple(own.items()))
    return Strategy(**chosen, network=Choice(network, tuple(params.items())))


def told(given: Given) -> str:
    """Name an option with its parameters."""
    name, params = given
    return str(Choice(name, tuple(params.items())))


def network_of(one: Strategy) -> Network:
    """Return the network of a strategy as plain values."""
    network: Network = one.to_json()["network"]
    return network


TABM: Network = {
    "name": "tabm",
    "params": {
        "k": 8,
        "width": 38,
        "depth": 2,
        "dropout": 0.0,
        "activation": "silu",
        "embedding": "ple",
        "learning_rate": 0.018,
        "weight_decay": 0.0064,
        "batch_factor": 2.0,
        "schedule": "constant",
    },
}


# --- the networks that a search draws -------------------------------------------------------------

FIRST_NETWORKS = Path(autoimb.__file__).with_name("first_networks.json")
CONTROLS = {component: (name,) for component, name in CONTROL.items()}  # no imbalance method


def first_networks() -> list[Strategy]:
    """Return today's list, without an imbalance method."""
    space = Space.restricted(CONTROLS)
    return [draw(FixedTrial(params), space) for params in portfolio.first_networks(space)]


def draw_control(trial: Trial) -> Strategy:
    """Draw a network without an imbalance method."""
    return draw(trial, Space.restricted(CONTROLS))


def searched_networks() -> list[tuple[str, str]]:
    """Return every network that a search draws with each of its embeddings."""
    return [
        (name, embedding)
        for name in Space.restricted().names("network")
        for embedding in COMPONENTS["network"][name].ranges["embedding"].values
    ]


# --- encodings ------------------------------------------------------------------------------------


def _beside(dataset: Dataset) -> Layout:
    """Embed the columns that have statistics as well."""
    layout = _levels(dataset)
    return structs.replace(layout, embedded=tuple(sorted((*layout.embedded, *layout.statistics))))


def _levels(dataset: Dataset) -> Layout:
    return structs.replace(
        plan_layout(dataset.columns, n_classes=dataset.n_classes), repeated=False
    )


def _rows(dataset: Dataset) -> Layout:
    plain = plan_layout(dataset.columns)
    return structs.replace(plain, repeated=True, n_classes=dataset.n_classes)


ENCODINGS: dict[str, Callable[[Dataset], Layout]] = {
    "embeddings": lambda dataset: plan_layout(dataset.columns),
    "statistics": _levels,
    "beside": _beside,
    "categories": lambda dataset: structs.replace(_levels(dataset), integers=()),
    "rows": _rows,
}


# --- trials ---------------------------------------------------------------------------------------


@dataclass
class Planned:
    """A table as a search with a budget and two workers plans it, on one thread.

    Attributes
    ----------
    folds : list of (train, score)
        Rows of the whole table, before any are left out.
    dataset : Dataset
        Of the rows that trials see.
    plan : Plan
    judge : Judge
        Of the rows that are scored, by average precision.
    schema : Schema
    classes : ndarray of shape (C,)
        The labels.
    task : Task
        What trials are given, with encoded and resampled rows that they share.
    """

    folds: list[tuple[np.ndarray, np.ndarray]]
    dataset: Dataset
    plan: Plan
    judge: Judge
    schema: Schema
    classes: np.ndarray
    task: Task = field(init=False)

    def __post_init__(self) -> None:
        """Begin with nothing encoded."""
        self.task = Task(self.dataset, self.plan, self.judge)

    @classmethod
    def of(
        cls,
        table: tuple[pd.DataFrame, pd.Series],
        *,
        budget: float,
        seed: int = SEED,
        cv: int | None = None,
    ) -> Planned:
        """Plan columns and labels."""
        torch.set_num_threads(1)
        request = Request(
            target="target", time_budget=budget, n_jobs=JOBS, random_state=seed, cv=cv
        )
        preparation = prepare(Table(*table), request)
        task, classes = preparation.task, preparation.target.classes
        folds = [(fold.train, fold.score) for fold in preparation.folds.folds]
        return cls(folds, task.dataset, task.plan, task.judge, preparation.schema, classes)

    def encoded(self, name: str) -> Planned:
        """Return the same rows and folds with the columns written otherwise, by `ENCODINGS`."""
        return self._laid_out(ENCODINGS[name](self.dataset))

    def screened(self, most: int | None) -> Planned:
        """Return the same rows and folds, of whose columns each fold keeps so many, or all."""
        return self._laid_out(structs.replace(self.dataset.layout, screened=most))

    def _laid_out(self, layout: Layout) -> Planned:
        dataset = replace(self.dataset, layout=layout)
        plan = replace(self.plan, outline=Outline.of(dataset))
        return replace(self, dataset=dataset, plan=plan)

    def pipeline(self, one: Strategy) -> FittedPipeline | None:
        """Train a strategy alone, without a decision rule; None where it can't be."""
        outcome = evaluate(self.task, Evaluated(one))
        if not isinstance(outcome, Scored) or outcome.fitted is None:
            return None
        return self._assembled(outcome)[0]

    def trial(self, one: Strategy, *, more: int = 0) -> Outcome:
        """Evaluate a strategy; with another seed by so much."""
        task = self.task
        if more:
            task = replace(task, plan=replace(self.plan, seed=self.plan.seed + more))
        return evaluate(task, Evaluated(one))

    def predict(self, outcomes: Sequence[Scored], frame: pd.DataFrame) -> list[np.ndarray]:
        """Predict new rows with the networks of each trial, as the mean over the folds."""
        fitted = [one.fitted for one in outcomes if one.fitted is not None]
        pipeline, identity = self._assembled(outcomes[0])
        pipeline = replace(pipeline, calibrator=identity)
        return [replace(pipeline, strategies=(one,)).predict_proba(frame) for one in fitted]

    def _assembled(self, outcome: Scored) -> tuple[FittedPipeline, Calibrator]:
        """Return a pipeline that learned nothing from a trial's out-of-fold probabilities."""
        identity = Calibrator.identity(self.dataset.n_classes)
        pipeline, _ = assemble(
            self.task,
            [outcome.fitted],
            [1.0],
            schema=self.schema,
            classes=self.classes,
            calibration=Calibration(identity, outcome.oof, outcome.likeliest, outcome.oof),
            rule=DecisionRule(),
        )
        return pipeline, identity

    def labels(self, metric: str, outcome: Scored) -> np.ndarray:
        """Label the scored rows by the rule that the other folds fit for a metric."""
        return self._judge(metric).labels(outcome.view)

    def difference(
        self, metric: str, mine: tuple[Scored, np.ndarray], theirs: tuple[Scored, np.ndarray]
    ) -> tuple[float, float]:
        """Compare two outcomes with their labels by a metric: the difference and its error."""
        own, other = ((outcome.oof, labels) for outcome, labels in (mine, theirs))
        return self._judge(metric).compare(own, other)

    def log_loss(self, outcome: Scored) -> float:
        """Return the mean log-loss of the scored rows."""
        y = self.judge.y
        own = np.clip(outcome.oof[np.arange(len(y)), y], 1e-15, 1.0)
        return float(-np.average(np.log(own), weights=self.judge.weight))

    def _judge(self, metric: str) -> Judge:
        data = self.dataset
        chosen = get_metric(metric, n_classes=data.n_classes, positive=data.positive)
        return self.judge.with_metric(chosen)


def reason(outcome: Outcome) -> str:
    """Say why a trial is not complete; nothing where it is."""
    return "" if isinstance(outcome, Scored) else outcome.reason


# --- searches, perhaps without a part -------------------------------------------------------------


def _no_embedding(task: Task, trial: Evaluated) -> Outcome:
    """Evaluate a strategy with its numbers as they are."""
    network = trial.strategy.network
    params = tuple((k, "none" if k == "embedding" else v) for k, v in network.params)
    strategy = replace(trial.strategy, network=Choice(network.name, params))
    return evaluate(task, replace(trial, strategy=strategy))


def _as_planned(dataset: Dataset) -> Layout:
    return dataset.layout


def _plain(dataset: Dataset) -> Layout:
    """Embed all columns of many levels, and leave whole numbers as they are."""
    own = dataset.layout
    plain = plan_layout(dataset.columns, screened=own.screened)
    return structs.replace(plain, repeated=own.repeated, n_classes=own.n_classes)


def _every_column(dataset: Dataset) -> Layout:
    """Keep all columns where some would be left out."""
    own = dataset.layout
    most = max(dataset.columns.numbers.shape[1], len(own.onehot))
    return (
        own if own.screened is None or most <= own.screened else structs.replace(own, screened=None)
    )


def _quick_network(policy: SearchPolicy) -> SearchPolicy:
    """Begin with the first network of the list, and nothing else."""
    suggestions = policy.suggestions
    first = replace(suggestions, first_networks=suggestions.first_networks[:1])
    return replace(policy, suggestions=first)


def _with(**changes: Mapping[str, Any]) -> Callable[[SearchPolicy], SearchPolicy]:
    """Return the change of a policy to these settings, by the name of their group."""

    def changed(policy: SearchPolicy) -> SearchPolicy:
        groups = {name: replace(getattr(policy, name), **own) for name, own in changes.items()}
        return replace(policy, **groups)

    return changed


@dataclass(frozen=True)
class _Without:
    """What a search is given in order to go without a part."""

    policy: Callable[[SearchPolicy], SearchPolicy] = lambda policy: policy
    components: Mapping[str, Sequence[str]] = field(default_factory=dict)
    evaluate: Callable[[Task, Evaluated], Outcome] = evaluate
    layout: Callable[[Dataset], Layout] = _as_planned


PARTS = {
    "portfolio": _Without(_quick_network),
    "blend": _Without(_with(result={"max_blended": 1}, suggestions={"partners": ()})),
    "other networks": _Without(components={"network": ["mlp"]}),
    "embeddings": _Without(evaluate=_no_embedding),
    "methods": _Without(components=CONTROLS),
    "partners": _Without(_with(suggestions={"partners": ()})),
    "duels": _Without(_with(comparisons={"share": 0.0})),
    "statistics of levels": _Without(layout=_plain),
    "statistics of rows": _Without(
        layout=lambda dataset: structs.replace(dataset.layout, repeated=False)
    ),
    "screening": _Without(layout=_every_column),
}


def encodes_alike(table: tuple[pd.DataFrame, Any], *, without: str | None) -> bool:
    """Tell whether a part is one of the encoding, and this table is encoded alike without it."""
    part = PARTS[without] if without else _Without()
    dataset = prepare(Table(*table), Request()).dataset
    return part.layout is not _as_planned and part.layout(dataset) == dataset.layout


def search(
    table: tuple[pd.DataFrame, Any],
    *,
    seconds: float,
    seed: int,
    networks: Sequence[Network],
    metric: str = "average_precision",
    without: str | None = None,
) -> searching.SearchResult:
    """Search as the one call of the package does, but with other first networks.

    Parameters
    ----------
    table : tuple of DataFrame and labels
    seconds : float
    seed : int
    networks : sequence of Network
        Tried first, in this order.
    metric : str
    without : str or None
        A part of `PARTS` that the search goes without.

    Returns
    -------
    SearchResult
        The facts for its report were computed as well, within the seconds.
    """
    part = PARTS[without] if without else _Without()
    listed = tuple((one["name"], dict(one["params"])) for one in networks)
    policy = part.policy(SearchPolicy(suggestions=Suggestions(first_networks=listed)))
    budget = Budget.start(seconds)
    request = Request(
        metric=metric,
        time_budget=seconds,
        n_jobs=JOBS,
        random_state=seed,
        components=restricted_components(part.components),
        partners=policy.suggestions.partners,
    )
    prepared = prepare(Table(*table), request, policy=policy)
    dataset = replace(prepared.dataset, layout=part.layout(prepared.dataset))
    prepared = replace(prepared, dataset=dataset)
    result = searching.search(prepared, budget=budget, evaluate=part.evaluate)
    build_facts(result, deadline=budget.deadline)
    return result


# --- conclusions ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """A way to conclude a search.

    Attributes
    ----------
    blend : str
        As the option of the estimator.
    without : tuple of str
        Tree models whose results are left out.
    few_rare_rows : int or None
        Number of rare rows below which tree models have half of a blend, if it is another one.
    """

    blend: str = "small"
    without: tuple[str, ...] = ()
    few_rare_rows: int | None = None

    def conclude(self, preparation: Preparation, study: StudyResult) -> searching.SearchResult:
        """Conclude a finished study, without a limit of time."""
        policy = preparation.policy
        if self.few_rare_rows is not None:
            sizes = replace(policy.sizes, few_rare_rows=self.few_rare_rows)
            policy = replace(policy, sizes=sizes)
        request = replace(preparation.request, blend=self.blend)
        left_out = {r.number for r in study.records if r.strategy.network.name in self.without}
        kept = {number: one for number, one in study.results.items() if number not in left_out}
        return searching.conclude(
            replace(preparation, request=request, policy=policy),
            replace(study, results=kept),
            budget=Budget.start(None),
            timing={},
        )


def conclusions(
    table: tuple[pd.DataFrame, Any], ways: Mapping[str, Way], *, seconds: float, seed: int
) -> dict[str, searching.SearchResult]:
    """Search a table once, with one worker, and conclude the search in several ways."""
    budget = Budget.start(seconds)
    request = Request(
        metric="average_precision",
        time_budget=seconds,
        random_state=seed,
        partners=DEFAULT_POLICY.suggestions.partners,
    )
    prepared = prepare(Table(*table), request)
    concluded: dict[str, searching.SearchResult] = {}

    def of_all(
        preparation: Preparation, study: StudyResult, **named: Any
    ) -> searching.SearchResult:
        result = conclude(preparation, study, **named)
        concluded.update({name: way.conclude(preparation, study) for name, way in ways.items()})
        return result

    # The results that a search returns have no networks, so it is concluded within the search.
    conclude = searching.conclude
    with patch.object(searching, "conclude", of_all):
        searching.search(prepared, budget=budget)
    return concluded


# --- placebos -------------------------------------------------------------------------------------

# small trials, and a duel for every method
_PLACEBO = SearchPolicy(
    training=Training(unlimited_seconds=1.0), comparisons=Comparisons(per_strategy=10.0)
)
_PLACEBO_ROWS = 600


def _placebo(task: Task, trial: Evaluated) -> Outcome:
    """Evaluate, in place of a strategy with a method, its matched control with another seed."""
    one = trial.strategy
    if not one.is_control:
        seed = crc32(repr(one).encode())
        ensemble = ENSEMBLE.make(one.ensemble).matched_control or Choice(CONTROL["ensemble"])
        chosen = {component: Choice(name) for component, name in CONTROL.items()}
        control = Strategy(**chosen | {"ensemble": ensemble}, network=one.network)
        task = replace(task, plan=replace(task.plan, seed=seed))
        trial = replace(trial, strategy=control)
    return evaluate(task, trial)


def words_of_placebos(seed: int) -> list[str]:
    """Search a generated table whose methods are placebos; return what is said of each."""
    random = np.random.default_rng(seed)
    y = (np.arange(_PLACEBO_ROWS) % 8 == 0).astype(int)
    frame = pd.DataFrame(random.normal(size=(len(y), 6)) + 0.5 * y[:, None] * random.random(6))
    request = Request(
        metric="average_precision",
        time_budget=None,
        n_trials=3,
        n_jobs=1,
        random_state=seed,
        components=restricted_components({"network": ["mlp"]}),
        partners=(),
    )
    prepared = prepare(Table(frame.add_prefix("x"), y), request, policy=_PLACEBO)
    found = searching.search(prepared, budget=Budget.start(None), evaluate=_placebo)
    return [str(finding.word) for finding in found.verdict.findings]


# --- small searches -------------------------------------------------------------------------------

SMALL = SearchPolicy(training=Training(unlimited_seconds=15.0))
# strategies of a tenth of a minute's work
SMALLER = SearchPolicy(training=Training(unlimited_seconds=6.0))


def small_search(
    table: tuple[pd.DataFrame, Any], *, policy: SearchPolicy, seed: int, **limits: Any
) -> searching.SearchResult:
    """Search by a small policy on one worker; `limits` are fields of the request."""
    torch.set_num_threads(1)
    request = Request(**{"time_budget": None, "n_jobs": 1, "random_state": seed} | limits)
    budget = Budget.start(request.time_budget)
    return searching.search(prepare(Table(*table), request, policy=policy), budget=budget)


def value_on(result: searching.SearchResult, frame: pd.DataFrame, codes: np.ndarray) -> float:
    """Score what a search found on other rows, of class codes (n,), by its own metric."""
    proba = result.pipeline.predict_proba(frame)
    metric = result.preparation.metric
    return metric(codes, proba, result.pipeline.rule.apply(proba))


# --- asking ---------------------------------------------------------------------------------------


class Asking:
    """A search without evaluations: it is asked for strategies, and told their scores.

    Parameters
    ----------
    seed : int
    shown : tuple of two ints
        How many of the best strategies, and of the newest, the sampler learns from.
    trials : sequence of FrozenTrial
        The history of another search.
    """

    def __init__(
        self, seed: int, shown: tuple[int, int], trials: Sequence[FrozenTrial] = ()
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.trials = list(trials)
        self._seed, self._space = seed, Space.restricted()
        best, newest = shown
        self._policy = SearchPolicy(
            suggestions=Suggestions(sampler_best=best, sampler_newest=newest)
        )

    def ask(self) -> tuple[int, Strategy]:
        """Return the next trial's number and strategy."""
        number = len(self.trials)
        how = {"number": number, "random_state": self._seed, "policy": self._policy}
        return self._started(ask(self.trials, {}, **how))

    def draw(self) -> tuple[int, Strategy]:
        """Return a trial's number and strategy, drawn without a look at the others."""
        return self._started(optuna.create_study(sampler=RandomSampler()).ask())

    def tell(self, number: int, strategy: Strategy, score: float) -> None:
        """Record what a strategy reached with the planned work."""
        reached = Score(score, 0.0, score)
        self._record(TrialRecord(number, "search", strategy, "complete", score=reached))

    def forget(self, number: int, strategy: Strategy) -> None:
        """Close a trial so that no sampler sees it."""
        self._record(TrialRecord(number, "search", strategy, "killed", "timed"))

    def _started(self, drawn: Trial) -> tuple[int, Strategy]:
        number, strategy = len(self.trials), draw(drawn, self._space)
        record = TrialRecord(number, "search", strategy, params=drawn.params)
        self.trials.append(as_trial(record, drawn.distributions))
        return number, strategy

    def _record(self, record: TrialRecord) -> None:
        before = self.trials[record.number]
        record = replace(record, params=before.params)
        self.trials[record.number] = as_trial(record, before.distributions)


def places_of(one: Strategy) -> dict[str, tuple[str, dict[str, float | str]]]:
    """Return a strategy's options, and where in its range each parameter is: from 0 to 1.

    The value of a parameter that has a few is its text.
    """
    found = {}
    for component in COMPONENTS:
        choice: Choice = getattr(one, component)
        ranges = COMPONENTS[component][choice.name].ranges
        own = {name: _place(value, ranges[name]) for name, value in choice.params}
        found[component] = (choice.name, own)
    return found


def _place(value: Value, bounds: Range) -> float | str:
    if isinstance(bounds, OneOf):
        return str(value)
    scale = math.log if bounds.log else float
    low, high = scale(bounds.low), scale(bounds.high)
    return (scale(float(value)) - low) / (high - low)


# --- what a search leaves behind ------------------------------------------------------------------


class Run:
    """A RUN folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def pipeline(self) -> Path:
        """The file of the winner, there or not."""
        return self.path / "pipeline.autoimb"

    def records(self) -> list[TrialRecord]:
        """Read the trials that have ended."""
        there = (self.path / "run.json").is_file()
        return list(RunFolder.view(self.path).store.records()) if there else []

    def finished(self) -> dict[int, tuple[str, str]]:
        """Read the digests of the trials that ended by themselves, by number."""
        killed = {record.number for record in self.records() if record.status == "killed"}
        rows = self._select("number, record_sha256, predictions_sha256", "ended IS NOT NULL")
        return {number: (record, oof) for number, record, oof in rows if number not in killed}

    def end_times(self) -> dict[int, float]:
        """Read when each trial ended, in seconds since the epoch, by number."""
        return RunFolder.view(self.path).store.end_times()

    def score(self) -> float:
        """Return the winner's score."""
        value: float = RunFolder.view(self.path).read_run()["results"]["scores"][0]["value"]
        return value

    def left_running(self) -> int:
        """Count the trials that run as far as the folder says."""
        return len(self._select("number", "ended IS NULL"))

    def _select(self, columns: str, where: str) -> list[tuple[Any, ...]]:
        path = self.path / "study.db"
        if not path.is_file():
            return []
        with closing(sqlite3.connect(path)) as db:
            return db.execute(f"SELECT {columns} FROM autoimb_trials WHERE {where}").fetchall()


def artifact_parts(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    """Read the plain values and the arrays of a pipeline's file."""
    with container.opened(path) as opened:
        return msgspec.json.decode(opened.manifest()), opened.arrays()


def write_artifact(path: Path, manifest: Any, arrays: Any) -> None:
    """Write a pipeline's file of any values and arrays; its checksums hold."""
    path.write_bytes(container.packed(manifest, arrays))


def network_shapes(spec: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the weights of a network, by name."""
    network = build(msgspec.convert(spec, NetworkSpec), 1, device="meta")
    return {p.name: (1, *p.shape) for p in network.parameters.declared}


def sealed_run(values: dict[str, Any]) -> str:
    """Write a ``run.json`` of any values; its checksum holds."""
    return run_text({name: own for name, own in values.items() if name != "sha256"})


# --- structure ------------------------------------------------------------------------------------


def structure_of(frame: pd.DataFrame, labels: pd.Series, seconds: float) -> dict[str, Any]:
    """Return what a search of so many seconds detects of structure, and how long that takes."""
    preparation = prepare(Table(frame, labels), Request(time_budget=seconds))
    dataset = preparation.task.dataset
    began = time.process_time()
    structure = find_structure(dataset, preparation.schema, time_budget=seconds, random_state=SEED)
    return {
        "rows": len(dataset.y),
        "rarest": int(np.bincount(dataset.y).min()),
        "seconds": time.process_time() - began,
        "compared": [asdict(difference) for difference in structure.compared],
        "undeclared": [difference.column for difference in structure.undeclared(STRUCTURE_ERRORS)],
        "order": structure.order,
    }
