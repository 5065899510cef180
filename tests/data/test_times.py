"""``time=``: no row trains for an earlier one, and what is deployed knows the newest rows."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from autoimb import AutoImbClassifier, dry_run, load
from autoimb.assessment.crossfit import leave_group_out
from autoimb.assessment.forecast import forecast
from autoimb.cli import main
from autoimb.data.dataset import Dataset
from autoimb.data.folds import FoldPlan
from autoimb.data.forward import (
    forward_duel_folds,
    forward_hold_out,
    plan_forward,
    time_chunks,
)
from autoimb.data.schema import infer_schema
from autoimb.data.times import Times, read_times
from autoimb.errors import InputError, OptionError, SchemaError
from autoimb.evaluation.assemble import calibrate
from autoimb.evaluation.blend import blend
from autoimb.evaluation.outcome import Scored
from autoimb.policy import DEFAULT_POLICY
from autoimb.search.untouched import held_out
from tests.support import tables
from tests.support.searches import minimal_work
from tests.training import test_law1 as law1

pytestmark = pytest.mark.usefixtures("minimal_work")
ONE_TRIAL = tables.ONE_TRIAL


def payments(n_rows: int = 400, *, days: int = 200, seed: int = 0) -> tuple[pd.DataFrame, Any]:
    """Generate payments in no order, of many customers, with more fraud at weekends."""
    random = np.random.default_rng(seed)
    day = random.integers(0, days, n_rows)
    frame = pd.DataFrame(
        {
            "date": pd.Timestamp("2024-01-01") + pd.to_timedelta(day, unit="D"),
            "customer": [f"c{number}" for number in random.integers(0, n_rows // 4, n_rows)],
            "amount": random.normal(0.0, 1.0, n_rows),
            "shop": random.choice(["a", "b", "c"], n_rows),
        }
    )
    weekend = frame["date"].dt.day_of_week >= 5
    signal = frame["amount"] + weekend + random.normal(0.0, 0.5, n_rows)
    return frame, np.where(signal > np.quantile(signal, 0.8), "yes", "no")


def days_of(n_rows: int, *, seed: int = 3, days: int = 60) -> Times:
    return Times(np.random.default_rng(seed).integers(0, days, n_rows).astype(float), dated=False)


# --- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        pd.to_datetime(["2024-03-01", "2024-01-01", "2024-02-01"]),
        ["2024-03-01", "2024-01-01", "2024-02-01"],
        ["01.03.2024", "01.01.2024", "15.02.2024"],
        pd.PeriodIndex(["2024-03", "2024-01", "2024-02"], freq="M"),
        [3, 1, 2],
        ["3", "1", "2"],
    ],
)
def test_times_are_dates_text_of_dates_or_numbers(values: Any) -> None:
    times = read_times("t", pd.DataFrame({"t": values}))
    assert times is not None
    assert np.argsort(times.values).tolist() == [1, 2, 0]


def test_instants_are_compared_in_utc_and_gaps_are_in_their_unit() -> None:
    stamps = pd.to_datetime(["2024-03-31 00:30", "2024-03-31 03:30"]).tz_localize("Europe/Berlin")
    times = read_times("t", pd.DataFrame({"t": stamps}), gap="12h")
    assert times is not None
    assert np.diff(times.values) * 24 == pytest.approx(2.0)  # summer time began between them
    assert times.gap == 0.5
    assert times.text(times.values[0]) == "2024-03-30 23:30:00"
    numbers = pd.DataFrame({"year": [2, 1, 2], "month": [1, 9, 2]})
    assert read_times("year", numbers, gap="3").gap == 3.0
    assert read_times(["year", "month"], numbers).values.tolist() == [1, 0, 2]
    assert read_times(np.array([5, 4, 3]), numbers).values.tolist() == [5, 4, 3]
    assert read_times(None, numbers) is None


@pytest.mark.parametrize(
    ("time", "options", "error", "words"),
    [
        ("dat", {}, SchemaError, "Did you mean 'date'"),
        ("shop", {}, SchemaError, "'shop' must hold dates of one format, or numbers"),
        (np.arange(3), {}, OptionError, "time has 3 values and the table 10 rows"),
        ([1.0] * 9 + [np.nan], {}, OptionError, "has no value in 1 rows, the first is row 9"),
        (np.zeros(10), {}, OptionError, "all 10 rows are of one time"),
        ("date", {"gap": "soon"}, OptionError, "gap must be days, or text such as '7d'"),
        ("date", {"gap": -1}, OptionError, "not below 0; got -1"),
        (["date", "amount"], {"gap": 1}, OptionError, "gap= needs one column of time"),
        (None, {"gap": 1}, OptionError, "gap=1 needs time="),
        (np.arange(10), {"further": pd.DataFrame()}, OptionError, "must name columns"),
    ],
)
def test_what_is_no_time(time: Any, options: Any, error: type[InputError], words: str) -> None:
    frame, _ = payments()
    with pytest.raises(error, match=words):
        read_times(time, frame[:10], **options)


def test_dates_that_could_be_of_two_formats_are_refused() -> None:
    with pytest.raises(SchemaError, match="alike; write them as 2020-12-31"):
        read_times("t", pd.DataFrame({"t": ["01/02/2024", "03/02/2024"]}))


# --- splitting ------------------------------------------------------------------------------------


def plans(y: np.ndarray, times: Times, cluster: np.ndarray | None) -> list[FoldPlan]:
    plan = plan_forward(y, times, random_state=0, cluster=cluster)
    duels = forward_duel_folds(y, times, random_state=1, cluster=cluster, policy=DEFAULT_POLICY)
    assert duels is not None
    return [plan, duels]


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_no_row_trains_or_chooses_for_an_earlier_one(seed: int, grouped: bool) -> None:
    random = np.random.default_rng(seed)
    n = int(random.integers(200, 900))
    y = (random.random(n) < 0.2).astype(np.int64)
    times = replace(days_of(n, seed=seed), gap=2.0)
    cluster = random.integers(0, 60, n) if grouped else None
    for plan in plans(y, times, cluster):
        scoring = [fold for fold in plan.folds if len(fold.score)]
        rows = np.concatenate([fold.score for fold in scoring])
        assert len(np.unique(rows)) == len(rows)
        assert set(rows.tolist()) <= set(plan.scored.tolist())
        for fold in scoring:
            first = times.values[fold.score].min()
            assert times.values[fold.train].max() < first - times.gap
            teachers = [fold.choose] if len(fold.choose) else []
            for number in fold.choosers or ():
                other = plan.folds[number]
                teachers.append(other.choose if len(other.choose) else other.score)
            assert len(teachers) > 0
            for own in teachers:
                assert times.values[own].max(initial=-1) < first
            if cluster is not None:
                mine = set(cluster[fold.score].tolist())
                assert not mine & set(cluster[fold.train].tolist())
                assert all(not mine & set(cluster[own].tolist()) for own in teachers)
    study = plans(y, times, cluster)[0]
    assert study.deploys_last
    assert len(study.folds[-1].train) == n
    rare = [int(y[study.period == block].sum()) for block in np.unique(study.period)]
    assert max(rare) < 2.5 * min(rare)


@pytest.mark.parametrize("grouped", [False, True])
def test_a_block_learns_calibration_from_earlier_blocks_and_other_groups(grouped: bool) -> None:
    random = np.random.default_rng(0)
    y, times = (random.random(600) < 0.2).astype(np.int64), days_of(600)
    cluster = random.integers(0, 60, 600) if grouped else None
    plan = plan_forward(y, times, random_state=0, cluster=cluster)
    rows = plan.scored
    own = cluster if cluster is None else cluster[rows]
    parts = leave_group_out(y[rows], plan.group[rows], cluster=own, period=plan.period[rows])
    used = np.zeros(len(rows), dtype=np.int64)
    for learn, use in parts:
        used += use
        if learn.any():
            assert times.values[rows][learn].max() < times.values[rows][use].min()
        if own is not None:
            assert not set(own[learn]) & set(own[use])
    assert (used == 1).all()


def test_too_few_rare_rows_or_times_are_refused_with_what_is_needed() -> None:
    y = np.zeros(100, dtype=np.int64)
    y[:19] = 1
    with pytest.raises(OptionError, match=r"has 19 rows outside .* at least 20 are needed"):
        plan_forward(y, Times(np.arange(100.0), dated=False), random_state=0)
    y[:50] = 1
    with pytest.raises(OptionError, match="at 3 different times"):
        plan_forward(y, Times(np.arange(100.0) % 3, dated=False), random_state=0)
    with pytest.raises(OptionError, match="Give a shorter gap="):
        plan_forward(y, Times(np.arange(100.0), dated=False, gap=60.0), random_state=0)
    one = (np.arange(100) < 30).astype(np.int64)
    with pytest.raises(OptionError, match="occurs in 1 group of the 2"):
        plan_forward(one, days_of(100), random_state=0, cluster=one)


@pytest.mark.parametrize("grouped", [False, True])
def test_an_evaluation_set_is_cut_by_time(grouped: bool) -> None:
    y, times = np.arange(400) % 2, Times(np.arange(400.0), dated=False)
    cluster = np.concatenate([np.arange(250) // 5, 100 + np.arange(150) % 25]) if grouped else None
    plan = forward_hold_out(y, times, np.arange(250, 400), random_state=0, cluster=cluster)
    (fold,) = plan.folds
    assert fold.train.tolist() == list(range(250))
    assert fold.choose.min() >= 250
    assert fold.choose.max() < fold.score.min()
    assert set(plan.period[fold.score].tolist()) == {0, 1, 2}
    if cluster is not None:
        assert not set(cluster[fold.choose]) & set(cluster[fold.score])


def test_chunks_hold_whole_times_of_one_block() -> None:
    times, period = days_of(500), np.repeat([0, 1], 250)
    chunk = time_chunks(times, period)
    assert 10 < len(np.unique(chunk)) <= 20
    for block in (0, 1):
        own = period == block
        pairs = {(t, c) for t, c in zip(times.values[own], chunk[own])}
        assert len(pairs) == len(np.unique(times.values[own]))


def test_the_last_share_of_time_is_held_out() -> None:
    time = np.random.default_rng(0).integers(0, 50, 300).astype(float)
    held = held_out(np.arange(300) % 2, 0.2, random_state=0, time=time)
    assert time[held].min() > time[~held].max()
    assert held.mean() == pytest.approx(0.2, abs=0.03)


# --- columns --------------------------------------------------------------------------------------


def test_parts_of_dates_are_features_where_they_recur() -> None:
    dates = pd.DataFrame({"t": pd.date_range("2023-01-01", periods=200, freq="D")})

    def parts(frame: pd.DataFrame, **options: Any) -> tuple[str, ...]:
        schema, _ = infer_schema(frame.assign(x=range(len(frame))), **options)
        return schema.columns[0].parts

    assert parts(dates) == ("days", "month", "day", "weekday")
    assert parts(dates, recurring=True) == ("day", "weekday")
    years = pd.DataFrame({"t": pd.date_range("2020-01-01", periods=1_000, freq="D")})
    assert parts(years, recurring=True) == ("month", "day", "weekday")
    assert parts(years[:10], recurring=True) == ()
    hours = pd.DataFrame({"t": pd.date_range("2020-01-01", periods=60, freq="h")})
    assert parts(hours, recurring=True) == ("hour",)
    _, notices = infer_schema(years[:10].assign(x=range(10)), recurring=True)
    assert any("later than all of these dates: 't'" in notice for notice in notices)


# --- no leak --------------------------------------------------------------------------------------


@cache
def timed(kind: str) -> tuple[Dataset, FoldPlan]:
    """Give the rows of the leak tests times and, where there are both, groups of two."""
    plain = law1.base_dataset()
    y = plain.y.copy()
    y[np.random.default_rng(1).choice(len(y), 40, replace=False)] = 1
    cluster = np.random.default_rng(3).permutation(len(y)) // 2 if kind == "both" else None
    times = days_of(len(y), days=40)
    dataset = replace(plain, y=y, cluster=cluster, times=times)
    return dataset, plan_forward(y, times, random_state=0, cluster=cluster)


def test_later_rows_count_more_in_training() -> None:
    dataset, folds = timed("time")
    weight, time = dataset.training_weight, dataset.time
    assert time is not None
    half = (time.max() + time.min()) / 2
    newest, middle = weight[time == time.max()][0], weight[time == half]
    assert (np.diff(weight[np.argsort(time, kind="stable")]) >= 0).all()
    assert weight.mean() == pytest.approx(1.0)
    assert middle == pytest.approx(newest / 2) or not len(middle)
    parts = tables.parts_of(dataset, tables.short_plan(dataset, folds))
    rows = folds.folds[-1].train
    part = parts.training(len(folds.folds) - 1, tables.strategy_with().resampling)
    assert part.weight.tolist() == weight[rows].tolist()
    assert (replace(dataset, times=None).training_weight == dataset.weight).all()


def later_changed(dataset: Dataset, fold: Any) -> Dataset:
    """Change all labels from the time of a fold's rows on, and the features of the other rows."""
    times = dataset.time
    assert times is not None
    changed = times >= times[fold.score].min()
    columns, others = dataset.columns, changed.copy()
    others[fold.score] = False
    numbers, codes = columns.numbers.copy(), columns.codes.copy()
    numbers[others], codes[others] = 1e3, 0
    return replace(
        dataset,
        y=np.where(changed, 1 - dataset.y, dataset.y),
        columns=replace(columns, numbers=numbers, codes=codes),
    )


@pytest.mark.parametrize("kind", ["time", "both"])
@pytest.mark.parametrize("number", [0, 1])
def test_later_rows_reach_nothing_that_predicts_a_row(number: int, kind: str) -> None:
    """From the rows to calibrated probabilities and labels: networks and blends of them."""
    dataset, folds = timed(kind)
    strategy = law1.calibrated_strategies()[number]
    plan = tables.short_plan(dataset, folds, checkpoints=5)
    own = [fold for fold in folds.folds if len(fold.score)][-1]
    seen = np.isin(folds.scored, own.score)
    results = []
    for one in (dataset, later_changed(dataset, own)):
        outcome = tables.outcome_of(strategy, one, plan, "f1")
        assert isinstance(outcome, Scored), outcome.reason
        judge = tables.judge_of(one, plan, "f1")
        outcomes = {0: outcome, 1: outcome}
        (mixed,) = blend(judge, outcomes)
        found = calibrate(
            judge, mixed.proba, lambda part, m=mixed, o=outcomes: m.view(o, part), class_costs=None
        )
        results.append(
            [
                outcome.oof[seen],
                np.asarray(outcome.labels)[seen],
                found.proba[seen],
                found.labels[seen],
            ]
        )
    for before, after in zip(*results):
        assert before.tobytes() == after.tobytes()


# --- the rate -------------------------------------------------------------------------------------


def test_the_rate_is_forecast_by_what_was_best_for_the_blocks_so_far() -> None:
    def masses(rates: list[float]) -> np.ndarray:
        return 1_000 * np.array([[1 - rate, rate] for rate in rates])

    steady = forecast(masses([0.1, 0.12, 0.09, 0.11, 0.1, 0.1]), 1)
    assert steady.rule == "all"
    assert steady.low < 0.1 < steady.high
    rising = forecast(masses([0.05, 0.06, 0.07, 0.08, 0.1, 0.1]), 1)
    assert rising.rule == "newest"
    assert rising.rates[1] == pytest.approx(0.1, abs=0.002)
    assert rising.to_info(1)["value"] == rising.rates[1]
    random = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        rates = 0.1 * np.exp(random.normal(0.0, 0.2, 7))
        blocks = random.binomial(2_000, rates)
        own = forecast(np.column_stack([2_000 - blocks[:6], blocks[:6]]).astype(float), 1)
        held += own.low <= rates[6] <= own.high
    assert held >= 270


# --- the faces ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted() -> tuple[AutoImbClassifier, pd.DataFrame, np.ndarray]:
    frame, y = payments()
    with minimal_work():
        model = AutoImbClassifier(**ONE_TRIAL | {"n_trials": 2}).fit(frame, y, time="date")
    return model, frame, y


def test_what_is_exported_is_one_training_through_the_newest_rows(fitted: Any) -> None:
    model, frame, _ = fitted
    pipeline = model.pipeline_
    assert len(pipeline.encoders) == 1
    assert all((pack.fold == 0).all() for one in pipeline.strategies for pack in one.packs)
    rate = model.inspect()["info"]["rate"]
    newest = frame["date"] >= pd.Timestamp(model.facts_.time["blocks"][-1]["first"])
    expected = pipeline.predict_proba(frame[newest])[:, pipeline.positive].mean()
    assert expected == pytest.approx(rate["value"], abs=0.01)
    assert rate["low"] < rate["value"] < rate["high"]


def test_the_score_is_of_later_rows_and_says_so(fitted: Any) -> None:
    model, frame, y = fitted
    lines = model.facts_.result_lines
    assert lines[1].startswith("Expected average precision on later rows: ")
    assert lines[2].startswith("Expected rate of yes on later rows: ")
    blocks = model.facts_.time["blocks"]
    assert [block["score"] is None for block in blocks] == [True] + [False] * (len(blocks) - 1)
    assert all(one["last"] < other["first"] for one, other in pairwise(blocks))
    oof = model.oof_
    first = pd.Timestamp(blocks[0]["first"])
    assert (oof["proba_yes"].isna().to_numpy() == (frame["date"] < first).to_numpy()).all()
    counted = (oof["fold"] > 0).fillna(False).to_numpy(bool)
    assert counted.sum() == sum(block["rows"] for block in blocks[1:])
    assert sum(block["positives"] for block in blocks[1:]) == (y[counted] == "yes").sum()


def test_rows_to_predict_may_lack_the_columns_of_time(fitted: Any) -> None:
    model, frame, _ = fitted
    assert model.feature_names_in_.tolist() == ["customer", "amount", "shop"]
    assert model.columns_apart_ == ("date",)
    whole = model.predict_proba(frame)
    assert whole.shape == model.predict_proba(frame.drop(columns="date")).shape
    assert (model.pipeline_.predict_proba(frame) == whole).all()
    (column,) = (c for c in model.pipeline_.schema.columns if c.name == "date")
    assert "weekday" in column.parts
    assert not {"days", "year", "month"} & set(column.parts)  # a year has each month once


def test_a_number_or_an_array_of_times_is_no_feature() -> None:
    frame, y = payments()
    day = (frame["date"] - frame["date"].min()).dt.days
    numbered = frame.drop(columns="date").assign(day=day)
    model = AutoImbClassifier(**ONE_TRIAL).fit(numbered, y, time="day")
    names = ["customer", "amount", "shop"]
    assert [column.name for column in model.pipeline_.schema.columns] == names
    given = AutoImbClassifier(**ONE_TRIAL).fit(numbered.drop(columns="day"), y, time=day)
    later = numbered.drop(columns="day")
    assert (model.predict_proba(numbered) == given.predict_proba(later)).all()
    kept = AutoImbClassifier(**ONE_TRIAL).fit(numbered, y, time="day", keep_time=True)
    assert "day" in [column.name for column in kept.pipeline_.schema.columns]
    assert kept.predict_proba(later).shape == (len(y), 2)


def test_groups_and_times_together(fitted: Any) -> None:
    _, frame, y = fitted
    model = AutoImbClassifier(**ONE_TRIAL).fit(frame, y, time="date", groups="customer", gap="2d")
    assert model.facts_.reported["estimate"] == "later rows of new groups (customer)"
    assert model.columns_apart_ == ("customer", "date")
    assert model.predict_proba(frame[["amount", "shop"]]).shape == (len(y), 2)


@pytest.mark.slow
def test_the_other_arguments_of_fit_go_with_times() -> None:
    frame, y = payments(600)
    late = (frame["date"] >= pd.Timestamp("2024-04-15")).to_numpy()
    weight = np.where(np.arange(len(y)) % 11 == 0, 0.0, 1.0)
    model = AutoImbClassifier(**ONE_TRIAL, holdout=0.2)
    model.fit(frame, y, sample_weight=weight, time="date")
    assert model.facts_.test["rows"] == pytest.approx(0.2 * (weight > 0).sum(), abs=10)
    chosen = AutoImbClassifier(**ONE_TRIAL)
    chosen.fit(frame[~late], y[~late], eval_set=(frame[late], y[late]), time="date")
    assert chosen.facts_.reported["estimate"] == "later rows"
    table, later = (pa.Table.from_pandas(part) for part in (frame[~late], frame[late]))
    streamed = AutoImbClassifier(**ONE_TRIAL)
    streamed.fit(table.to_reader(), y[~late], eval_set=(later.to_reader(), y[late]), time="date")
    assert streamed.best_score_ == chosen.best_score_
    assert chosen.oof_["fold"].notna().sum() < late.sum()
    with pytest.raises(OptionError, match="must be later than all rows of the table"):
        chosen.fit(frame[late], y[late], eval_set=(frame[~late], y[~late]), time="date")
    counts = {"yes": int((y == "yes").sum()), "no": 3 * int((y == "no").sum())}
    drawn = AutoImbClassifier(**ONE_TRIAL).fit(frame, y, class_counts=counts, time="date")
    assert drawn.inspect()["info"]["rate"]["value"] < 0.15
    with pytest.raises(OptionError, match=r"cv and time exclude each other.*got cv=3"):
        AutoImbClassifier(**ONE_TRIAL, cv=3).fit(frame, y, time="date")
    with pytest.raises(OptionError, match="holdout does not go with both"):
        model.fit(frame, y, time="date", groups="customer")
    plan = dry_run(AutoImbClassifier(**ONE_TRIAL), frame, y, time="date").plan
    assert plan["folds"] == "4 forward, and one of all rows that is exported"
    weekly = AutoImbClassifier(**ONE_TRIAL | {"strategy": chosen.best_strategy_, "network": None})
    assert weekly.fit(frame, y, time="date").facts_.reported["estimate"] == "later rows"


@pytest.mark.slow
def test_from_the_command_line_to_a_refit(
    tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    frame, y = payments()
    data, run = tmp_path / "payments.csv", tmp_path / "run"
    frame.assign(fraud=y).to_csv(data, index=False)
    words = ["search", str(data), "--target", "fraud", "--time", "date", "--gap", "1"]
    words += ["--groups", "customer"]
    words += ["--network", "mlp", "--n-jobs", "1", "--partners", "none", "--out", str(run)]
    assert main([*words, "--n-trials", "1"]) == 0
    assert "Expected rate of yes on later rows" in capsys.readouterr().out
    assert main([*words, "--n-trials", "2", "--resume"]) == 0
    told = json.loads((run / "run.json").read_text())
    assert told["request"]["time"] == ["date"]
    assert told["request"]["groups"] == ["customer"]
    assert told["results"]["time"]["rate"].keys() == {"value", "low", "high", "rule"}
    page = (run / "report.html").read_text()
    assert "The winner by block of time" in page
    estimated = "later rows of new groups (customer), estimated on rows"
    assert f"Average precision on {estimated}" in page
    newer = tmp_path / "newer.autoimb"
    assert main(["refit", str(run), str(data), "-o", str(newer)]) == 0
    schema = load(newer).schema
    assert [column.name for column in schema.columns] == ["date", "amount", "shop"]
    assert schema.optional == ("date",)
    assert load(newer).info["rate"] == told["results"]["time"]["rate"]
    for option, column, meant in (("--time", "dat", "date"), ("--groups", "costumer", "customer")):
        assert main([*words[:4], option, column, "--n-trials", "1"]) == 2
        assert f"Did you mean '{meant}'" in capsys.readouterr().err
