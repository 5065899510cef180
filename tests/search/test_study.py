from __future__ import annotations

import math
import os
import signal
import time
from dataclasses import replace
from functools import partial

import optuna
import pytest
from optuna.trial import FixedTrial

from autoimb.budget import Deadline
from autoimb.evaluation.outcome import Cut, Infeasible
from autoimb.evaluation.trial import evaluate
from autoimb.policy import SearchPolicy, Suggestions
from autoimb.runs.folder import RunFolder
from autoimb.search import propose as propose_module
from autoimb.search.history import KILLED, TrialHistory
from autoimb.search.propose import MAX_USELESS_TRIALS
from autoimb.space.draw import Space, draw
from autoimb.space.portfolio import first_networks
from tests.support import studies
from tests.support.studies import FINGERPRINT, complete, study

POLICY = SearchPolicy()
NARROW = Space.restricted(
    {
        "resampling": ["none"],
        "class_weight": ["none"],
        "loss": ["cross_entropy"],
        "ensemble": ["single"],
        "network": ["mlp"],
    }
)


PLANNED = len(first_networks(Space.restricted()))


def opened(path, *, resume=True):
    return RunFolder.open(path, fingerprint=FINGERPRINT, resume=resume)


def optuna_trials(path):
    """The trials that ``optuna-dashboard`` shows, by the numbers of the search."""
    loaded = optuna.load_study(study_name="autoimb", storage=f"sqlite:///{path}/study.db")
    return {trial.user_attrs["trial"]: trial for trial in loaded.get_trials(deepcopy=False)}


def board(result):
    return [(r.number, r.stage, r.status, r.strategy, r.score) for r in result.records]


# --- evaluations -------------------------------------------------------------------------------


def fail_often(task, trial):
    if studies.chance(trial.strategy) < 0.5:
        raise ZeroDivisionError("by chance")
    return studies.evaluate(task, trial)


def fail_always(task, trial):
    raise MemoryError


def refuse(task, trial):
    return Infeasible("too few rows in a fold")


def score_nothing(task, trial):
    """Evaluate by a metric that is never defined."""
    metric = replace(task.judge.metric, rows=lambda rows: math.nan, worst=math.nan)
    return evaluate(replace(task, judge=task.judge.with_metric(metric)), trial)


def never_complete(task, trial):
    """Be ended by the deadline with a usable score."""
    return Cut("late", studies.evaluate(task, trial), seconds=0.1)


def stop_short(task, trial):
    """Complete above a half, else ended by the deadline."""
    short = studies.chance(trial.strategy) < 0.5
    return never_complete(task, trial) if short else studies.evaluate(task, trial)


# --- order -------------------------------------------------------------------------------------


def test_all_that_is_planned_comes_before_what_the_search_draws():
    result = study(n_trials=PLANNED + 3)
    assert [r.stage for r in result.records] == [*["network"] * PLANNED, *["search"] * 3]
    assert all(not r.strategy.methods for r in result.records if r.stage == "network")


def test_no_network_of_the_list_stands_in_it_twice():
    space = Space.restricted()
    assert len({draw(FixedTrial(params), space) for params in first_networks(space)}) == len(
        first_networks(space)
    )


def test_the_same_seed_gives_the_same_leaderboard():
    first, second, other = (study(n_trials=PLANNED + 2, random_state=seed) for seed in (1, 1, 2))
    assert board(first) == board(second)
    assert board(first) != board(other)
    assert list(first.results) == list(second.results)


@pytest.mark.slow
def test_a_resumed_study_goes_on_like_one_that_was_never_stopped(tmp_path):
    whole = study(n_trials=PLANNED + 2)
    with opened(tmp_path) as folder:
        study(folder, n_trials=PLANNED - 1)
    with opened(tmp_path) as folder:
        resumed = study(folder, n_trials=PLANNED + 2)
    assert board(resumed) == board(whole)


def test_n_trials_counts_those_that_ran():
    result = study(n_trials=12, evaluate=fail_often)
    assert len([r for r in result.records if r.status in ("complete", "failed")]) == 12


# --- outcomes ----------------------------------------------------------------------------------


def test_all_predictions_and_the_best_networks_are_kept(tmp_path):
    with opened(tmp_path) as folder:
        result = study(folder, n_trials=15)
        on_disk = folder.store.load()
    utilities = [scored.score.utility for scored in result.results.values()]
    assert utilities == sorted(utilities, reverse=True)
    assert len(utilities) == 15
    assert all(scored.oof is not None for scored in result.results.values())
    with_networks = {n for n, scored in result.results.items() if scored.fitted is not None}
    controls = [r for r in result.records if r.strategy.is_control]
    control = max(controls, key=lambda r: r.score.utility)
    assert with_networks == {*list(result.results)[:12], control.number}
    assert {r.number for r, result in on_disk if result.fitted is not None} == with_networks


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_failures_are_recorded_and_never_fatal(tmp_path, n_jobs):
    with opened(tmp_path) as folder:
        result = study(folder, n_trials=16, evaluate=fail_often, n_jobs=n_jobs)
    failed = [r for r in result.records if r.status == "failed"]
    assert failed
    assert {r.reason for r in failed} == {"ZeroDivisionError: by chance"}
    assert set(result.results) == {r.number for r in result.records} - {r.number for r in failed}
    trials = optuna_trials(tmp_path)
    assert {trials[r.number].state.name for r in failed} == {"PRUNED"}


def test_a_search_without_hope_ends():
    result = study(n_trials=500, evaluate=fail_always)
    assert len(result.records) == MAX_USELESS_TRIALS
    assert {(r.status, r.reason) for r in result.records} == {("failed", "MemoryError")}
    assert result.results == {}
    refused = study(n_trials=500, evaluate=refuse)
    assert len(refused.records) == MAX_USELESS_TRIALS


def test_a_score_that_is_none_fails_the_trial():
    result = study(n_trials=3, evaluate=score_nothing)
    assert {(r.status, r.reason) for r in result.records} == {("failed", "its score is nan")}


def test_infeasible_strategies_cost_no_evaluation(tmp_path, monkeypatch):
    def no_smote(strategy, profile):
        return "too few rows" if "smote" in strategy.resampling.name else None

    monkeypatch.setattr(propose_module, "infeasible", no_smote)
    tally = tmp_path / "tally.txt"
    work = partial(studies.counted, tally=str(tally), then=studies.evaluate)
    result = study(n_trials=30, evaluate=work)
    refused = [r for r in result.records if r.status == "infeasible"]
    assert refused
    assert {r.reason for r in refused} == {"too few rows"}
    assert len(result.records) == 30 + len(refused)
    assert len(tally.read_text().splitlines()) == 30


def test_a_strategy_is_evaluated_once(tmp_path):
    same = next(entry for entry in POLICY.suggestions.first_networks if entry[0] == "mlp")
    policy = SearchPolicy(suggestions=Suggestions(first_networks=(same,) * 5))
    tally = tmp_path / "tally.txt"
    work = partial(studies.counted, tally=str(tally), then=studies.evaluate)
    for n_trials in (2, 4):  # what was proposed in vain stays so in a resumed search
        with opened(tmp_path / "run") as folder:
            result = study(folder, space=NARROW, n_trials=n_trials, evaluate=work, policy=policy)
    assert len(tally.read_text().splitlines()) == 4
    assert len({r.strategy for r in result.records}) == 4
    assert [r.number for r in result.records[:2]] == [0, 5]
    assert board(result) == board(study(space=NARROW, n_trials=4, policy=policy))


def test_a_space_that_is_used_up_ends_the_search(monkeypatch):
    only = study(space=NARROW, n_trials=1).records[0].strategy
    monkeypatch.setattr(propose_module, "draw", lambda trial, space: only)
    assert len(study(space=NARROW, n_trials=9).records) == 1


def test_partial_results_count_only_where_nothing_is_complete():
    mixed = study(n_trials=12, evaluate=stop_short)
    assert set(mixed.results) == {r.number for r in mixed.records if r.status == "complete"}
    assert 0 < len(mixed.results) < 12
    partial_only = study(n_trials=5, evaluate=never_complete)
    assert len(partial_only.results) == 5
    assert all(o.fitted is not None for o in partial_only.results.values())


# --- time --------------------------------------------------------------------------------------


def test_nothing_starts_without_time():
    assert study(deadline=Deadline.after(0.0)).records == ()


def test_a_trial_has_its_own_limit():
    forever = partial(studies.evaluate_slowly, seconds=600)
    result = study(n_trials=1, evaluate=forever, deadline=Deadline.after(60.0), trial_limit=0.2)
    assert [r.status for r in result.records] == ["timeout"]
    assert result.results == {}


def test_no_trial_starts_that_would_not_end():
    def long(task, trial):
        return complete(trial.strategy, task.dataset, seconds=1000.0)

    result = study(n_trials=9, evaluate=long, deadline=Deadline.after(300.0))
    assert len(result.records) == 1


# --- Ctrl-C ------------------------------------------------------------------------------------


def after(n, deed):
    """An evaluation whose n-th call does something first."""
    calls = []

    def evaluate(task, trial):
        calls.append(trial.strategy)
        if len(calls) == n:
            deed()
        return studies.evaluate(task, trial)

    return evaluate


def press():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(1.0)  # interrupted


def test_ctrl_c_keeps_what_had_finished(tmp_path):
    with opened(tmp_path) as folder:
        result = study(folder, evaluate=after(6, press))
    assert result.interrupted
    assert [r.status for r in result.records] == ["complete"] * 5 + ["killed"]
    assert len(result.results) == 5
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with opened(tmp_path) as folder:
        resumed = study(folder, n_trials=8)
    assert not resumed.interrupted
    assert [r.status for r in resumed.records] == ["complete"] * 5 + ["killed"] + ["complete"] * 3
    assert resumed.records[6].strategy == result.records[5].strategy


def test_ctrl_c_waits_while_a_trial_is_written_down():
    """It comes while an event is told, which is after the trial was saved."""
    pressed = []

    def press_once(event):
        if event.finished is not None and event.finished.number == 3 and not pressed:
            pressed.append(event)
            os.kill(os.getpid(), signal.SIGINT)

    result = study(n_trials=8, on_event=press_once)
    assert result.interrupted
    assert sum(r.status == "complete" for r in result.records) == 4


# --- what was cut off --------------------------------------------------------------------------


def test_a_trial_that_the_user_interrupts_is_proposed_until_it_ends(tmp_path):
    for n_before in (2, 0, 0):
        with opened(tmp_path) as folder:
            study(folder, n_trials=4, evaluate=after(n_before + 1, press))
    with opened(tmp_path) as folder:
        records = study(folder, n_trials=4).records
    assert [r.status for r in records] == ["complete"] * 2 + ["killed"] * 3 + ["complete"] * 2
    assert len({r.strategy for r in records[2:6]}) == 1


def test_a_trial_that_ran_while_the_program_ended_is_proposed_once_more_and_only_once(
    tmp_path, monkeypatch
):
    """It may be what killed the program."""

    def kill():
        monkeypatch.setattr(TrialHistory, "end_running", lambda history, reason: None)
        raise KeyboardInterrupt

    for n_before in (5, 0):
        with opened(tmp_path) as folder:
            study(folder, n_trials=6, evaluate=after(n_before + 1, kill))
        monkeypatch.undo()
    with opened(tmp_path) as folder:
        records = study(folder, n_trials=6).records
    assert [r.status for r in records] == ["complete"] * 5 + ["killed"] * 2 + ["complete"]
    assert {r.reason for r in records[5:7]} == {KILLED}
    assert records[5].strategy == records[6].strategy != records[7].strategy
    trials = optuna_trials(tmp_path)
    assert [trials[n].state.name for n in range(8)] == [
        *["COMPLETE"] * 5,
        *["FAIL"] * 2,
        "COMPLETE",
    ]
