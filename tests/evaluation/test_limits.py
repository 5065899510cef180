"""What is handed over keeps the limits of its size and of its seconds."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from autoimb import AutoImbClassifier
from autoimb.cli import main
from autoimb.errors import OptionError
from autoimb.evaluation import limits as module
from autoimb.evaluation.blend import blend
from autoimb.evaluation.limits import MEGABYTE, Limits, check_limits, networks_within
from autoimb.evaluation.outcome import Cut, Failed, Infeasible, Scored
from autoimb.evaluation.task import Task, Trial
from autoimb.evaluation.trial import evaluate, within
from autoimb.pipeline.artifact import inspect
from autoimb.policy import DEFAULT_POLICY
from autoimb.search.request import Request
from autoimb.space.draw import Space
from autoimb.space.option import Choice
from autoimb.space.portfolio import listed_networks
from autoimb.space.strategy import Strategy, partner
from tests.evaluation.test_blend import case, result_of
from tests.support.studies import material, study
from tests.support.tables import ONE_TRIAL

PLAIN = {
    "resampling": Choice("none"),
    "class_weight": Choice("none"),
    "loss": Choice("cross_entropy"),
}
ENSEMBLES = [
    Choice("single"),
    Choice("bagging", (("members", 3),)),
    Choice("boosting", (("rounds", 3),)),
]


def rows(n_rows: int = 300) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    signal = rng.normal(size=n_rows)
    frame = pd.DataFrame({"signal": signal, "ward": rng.choice(["east", "west"], n_rows)})
    frame["noise"] = rng.normal(size=n_rows)
    return frame, np.where(signal + rng.normal(size=n_rows) > 1.3, "bad", "good")


def limits_of(megabytes: float = np.inf, seconds: float = np.inf) -> Limits:
    """Limits of the small study."""
    inputs = material()
    return Limits.of(inputs.dataset, inputs.plan, seconds=seconds, megabytes=megabytes)


def by_network(name: str, ensemble: Choice = ENSEMBLES[0]) -> Strategy:
    network = next(
        network for network in listed_networks(Space.restricted()) if network.name == name
    )
    return Strategy(**PLAIN, ensemble=ensemble, network=network)


# --- what is counted ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "ensemble"),
    [
        *((name, ENSEMBLES[0]) for name in ("mlp", "realmlp", "resnet", "tabm")),
        *(("mlp", ensemble) for ensemble in ENSEMBLES[1:]),
    ],
)
def test_what_is_counted_before_training_is_there_after_it(network: str, ensemble: Choice) -> None:
    inputs, strategy = material(), by_network(network, ensemble)
    deployment = limits_of().deployment
    assert deployment is not None
    plan = replace(inputs.plan, work=1 / 16)
    outcome = evaluate(Task(inputs.dataset, plan, inputs.judge), Trial(strategy))
    assert isinstance(outcome, Scored)
    assert outcome.fitted is not None
    planned = deployment.planned_footprint(strategy.network, strategy.ensemble)
    counted = deployment.fitted_footprint(outcome.fitted)
    assert planned.seconds == pytest.approx(counted.seconds)
    assert planned.bytes == pytest.approx(counted.bytes, rel=0.05)


def test_a_limit_is_broken_by_its_value() -> None:
    strategy = by_network("tabm")
    assert limits_of().broken_by(strategy) is None
    assert limits_of(megabytes=100, seconds=100).broken_by(strategy) is None
    reason = limits_of(megabytes=0.05).broken_by(strategy)
    assert reason is not None
    assert "MB, where max_artifact_mb is 0.05" in reason
    both = limits_of(megabytes=0.05, seconds=1e-6).broken_by(strategy)
    assert both is not None
    assert "s for 1,000 rows, where max_predict_seconds is 1e-06" in both
    assert Limits().broken_by(strategy) is None


def test_counting_reads_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law 8: what is feasible is the same on every machine."""
    monkeypatch.setattr(module, "time", None)
    assert limits_of(seconds=1e-6).broken_by(by_network("mlp")) is not None


@pytest.mark.parametrize("name", ["small_trees", "deep_extra_trees"])
def test_trees_that_break_a_limit_are_infeasible(name: str) -> None:
    inputs = material()
    trees = partner(name, costs=False)
    grown = evaluate(Task(inputs.dataset, inputs.plan, inputs.judge), Trial(trees))
    assert isinstance(grown, Scored)
    assert limits_of(megabytes=1e-3).broken_by(trees) is None  # not known before
    for outcome in (grown, Cut("time", grown, seconds=2.0)):
        assert within(outcome, limits_of(megabytes=10)) is outcome
        infeasible = within(outcome, limits_of(megabytes=1e-3))
        assert isinstance(infeasible, Infeasible)
        assert "max_artifact_mb" in infeasible.reason
        assert infeasible.seconds == outcome.seconds
        slow = within(outcome, limits_of(seconds=1e-6))
        assert isinstance(slow, Infeasible)
        assert "max_predict_seconds" in slow.reason
    failed = Failed("why")
    assert within(failed, limits_of(megabytes=1e-3)) is failed


# --- what a search does ---------------------------------------------------------------------------


def tight() -> Limits:
    """Limits that no listed network keeps, and the smallest one does."""
    space = Space.restricted()
    for megabytes in np.linspace(0.01, 0.2, 100):
        limits, listed = limits_of(megabytes=megabytes), listed_networks(space)
        with contextlib.suppress(OptionError):
            check_limits(space, limits)
            assert all(limits.broken(network, ENSEMBLES[0]) is not None for network in listed)
            return limits
    raise AssertionError("no limit is as tight")


def test_the_smallest_network_comes_where_no_other_keeps_the_limits() -> None:
    ((name, params),) = networks_within(Space.restricted(), tight(), DEFAULT_POLICY)
    assert name == "network.smallest"
    assert params["network.mlp.width"] == 32


@pytest.mark.slow
def test_what_breaks_a_limit_is_listed_and_not_trained() -> None:
    limits = limits_of(megabytes=0.1)
    result = study(n_trials=20, limits=limits)
    reasons = {r.number: r.reason for r in result.records if r.status == "infeasible"}
    assert reasons
    assert all("max_artifact_mb is 0.1" in reason for reason in reasons.values())
    assert not reasons.keys() & result.results.keys()
    for record in result.records:
        broken = limits.broken_by(record.strategy) is not None
        assert broken == (record.number in reasons)
    assert sum(record.status == "complete" for record in result.records) == 20


def shares_of(*shares: float) -> Any:
    """Return limits of which every strategy takes these shares."""
    return SimpleNamespace(shares=lambda fitted: np.array(shares))


def test_a_blend_drops_the_lightest_until_it_keeps_the_limits() -> None:
    judge, results = case()
    (free,) = blend(judge, results)
    assert len(free.weights) > 2
    (mixture,) = blend(judge, results, limits=shares_of(0.2, 0.5))
    assert list(mixture.weights) == list(free.weights)[:2]
    assert sum(mixture.weights.values()) == pytest.approx(1)
    assert all(len(weights) <= 2 for weights in mixture.by_part)


@pytest.mark.parametrize("share", [0.4, 0.9])
def test_partners_leave_a_network_its_place(share: float) -> None:
    judge, results = case(k=4)
    better = 0.8 * np.eye(2)[judge.y] + 0.2 * results[0].oof
    results |= {number: result_of(judge, better) for number in (4, 5)}
    mixture = blend(judge, results, partners=[4, 5], limits=shares_of(share, 0.0))[-1]
    assert len(mixture.weights) <= int(1 / share)
    assert mixture.weights.keys() & {0, 1, 2, 3}
    assert sum(mixture.weights.values()) == pytest.approx(1)


# --- both faces -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("minimal_work")
def test_the_result_keeps_its_limits_and_says_what_it_takes(tmp_path: Path) -> None:
    params: dict[str, Any] = ONE_TRIAL | {"n_trials": 4, "cv": 3, "partners": None}
    model = AutoImbClassifier(**params, max_artifact_mb=0.2, max_predict_seconds=30).fit(*rows())
    path = model.export(tmp_path / "pipeline.autoimb")
    size, deployed = path.stat().st_size, model.facts_.deployed
    assert size <= 0.2 * MEGABYTE
    assert deployed["bytes"] == size
    assert size <= deployed["counted_bytes"] <= deployed["max_bytes"] == 0.2 * MEGABYTE
    assert 0 < deployed["counted_seconds"] <= deployed["max_seconds"] == 30
    assert deployed["seconds"] > 0
    inspected = inspect(path)
    assert inspected["info"]["deployed"].items() <= deployed.items()
    assert inspected["bytes"] == size
    json.dumps(model.facts_.to_json(), allow_nan=False)
    page = model.report(tmp_path / "report.html").read_text()
    assert "at most 0.2" in page
    assert "1,000 rows take" in page


@pytest.mark.usefixtures("minimal_work")
def test_a_search_without_limits_measures_and_writes_nothing_of_it() -> None:
    model = AutoImbClassifier(**ONE_TRIAL).fit(*rows())
    assert model.facts_.deployed["max_bytes"] is None
    assert model.facts_.deployed["seconds"] > 0
    assert "deployed" not in model.pipeline_.info


@pytest.mark.usefixtures("minimal_work")
def test_a_slower_machine_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoimb.search.search.timed", lambda *_: 99.0)
    model = AutoImbClassifier(**ONE_TRIAL, max_predict_seconds=30).fit(*rows())
    notice = "takes 99 s for 1,000 rows, where max_predict_seconds is 30"
    assert any(notice in line for line in model.facts_.notices)
    assert "seconds" not in model.pipeline_.inspect()["info"]["deployed"]  # no clock in its bytes


@pytest.mark.parametrize(
    "params", [{"max_artifact_mb": 1e-3}, {"max_predict_seconds": 1e-9}], ids=str
)
def test_limits_that_nothing_keeps_are_refused_before_anything_is_trained(
    params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoimb.search.search.run_study", None)
    X, y = rows()
    name, limit = next(iter(params.items()))
    with pytest.raises(OptionError, match=f"mlp.* would take .* where {name} is {limit:g}"):
        AutoImbClassifier(**ONE_TRIAL | params).fit(X, y)
    strategy = by_network("tabm").to_json()
    with pytest.raises(OptionError, match=r"strategy= breaks a limit, tabm"):
        AutoImbClassifier(**{"strategy": strategy, "time_budget": None} | params).fit(X, y)


@pytest.mark.parametrize("value", [0, -1.0, np.nan, np.inf, "1", True])
@pytest.mark.parametrize("name", ["max_artifact_mb", "max_predict_seconds"])
def test_a_limit_is_a_number_above_0(name: str, value: object) -> None:
    with pytest.raises(OptionError, match=f"{name} must be a number above 0"):
        Request(**{name: value})  # type: ignore[arg-type]  # what is refused


def test_a_dry_run_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    X, y = rows()
    X.assign(y=y).to_csv(tmp_path / "rows.csv", index=False)
    words = ["search", str(tmp_path / "rows.csv"), "--target", "y", "--trials", "5"]
    limits = ["--max-artifact-mb", "0.06", "--max-predict-seconds", "2"]
    assert main([*words, *limits, "--dry-run", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["request"]["max_predict_seconds"] == 2
    assert "max_artifact_mb is 0.06" in printed["infeasible"]["network resnet"]
    assert "ensemble self_paced" in printed["infeasible"]
    assert "network mlp" not in printed["infeasible"]
    assert main([*words, "--max-artifact-mb", "0.001", "--out", str(tmp_path / "run")]) == 2
    assert "would take" in capsys.readouterr().err
