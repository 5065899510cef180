"""What comes next in a study: confirmations of the trials that the plan cut short."""

from dataclasses import replace
from functools import partial

import pytest
import studies
from optuna.trial import FixedTrial
from studies import FINGERPRINT, material, study
from tables import chosen, strategy_with

from autoimb.data import folds
from autoimb.data.folds import DEALS
from autoimb.search.agenda import ENOUGH, SURVIVORS, TASTE, next_to_confirm
from autoimb.search.budget import Deadline
from autoimb.search.choose import is_plain
from autoimb.search.planning import CONFIRMING
from autoimb.search.record import TrialRecord
from autoimb.search.run_folder import RunFolder
from autoimb.space.draw import Space, draw
from autoimb.space.portfolio import (
    BEFORE_LEVERS,
    first_levers,
    first_networks,
    unbalanced_twin,
)
from autoimb.space.rooms import ROOMS

SPACE = Space.restricted()
NETWORK = draw(FixedTrial(first_networks(SPACE)[0]), SPACE)
LEVERS = [draw(FixedTrial(params), SPACE) for params in first_levers(SPACE, NETWORK)]


def record(number, strategy, ticks=5, planned=5, **changed):
    outcome = studies.complete(strategy, material().dataset, seconds=1.0)
    made = TrialRecord.of(number, outcome, stage="lever", strategy=strategy)
    return replace(made, curve=(0.1,) * ticks, planned=planned, **changed)


def confirmed_in_turn(ranked, seconds=100.0, **how):
    numbers = []
    while (found := next_to_confirm(ranked, numbers, seconds=seconds, **how)) is not None:
        numbers.append(found.number)
    return numbers


def test_the_best_without_a_lever_is_confirmed_first_and_then_the_best():
    pulled = [lever for lever in LEVERS if not is_plain(record(0, lever))][:10]
    ranked = [record(i, lever) for i, lever in enumerate(pulled)] + [record(10, NETWORK)]
    assert confirmed_in_turn(ranked) == [10, *range(SURVIVORS)]


def test_what_ended_by_its_own_patience_or_was_confirmed_is_not_confirmed():
    ranked = [
        record(0, LEVERS[0], ticks=4),
        record(1, LEVERS[1], stage="confirm"),
        record(2, LEVERS[2], status="timeout"),
        record(3, LEVERS[3], ticks=0, planned=0),
        record(4, LEVERS[4]),
    ]
    assert confirmed_in_turn(ranked) == [4]


def test_on_further_folds_the_best_are_confirmed_however_they_ended():
    ranked = [record(0, LEVERS[0], ticks=4), record(1, LEVERS[1]), record(2, NETWORK, ticks=4)]
    assert confirmed_in_turn(ranked, repeats=True) == [2, 0, 1]
    assert confirmed_in_turn(ranked, repeats=True, most=1) == [2, 0]


def test_what_would_not_end_in_time_is_not_begun():
    ranked = [record(0, NETWORK, seconds=9.0), record(1, LEVERS[0])]
    assert confirmed_in_turn(ranked, seconds=9.0 * CONFIRMING) == [1]


def better_by_more_work(strategy, dataset, plan, **given):
    """A trial that runs out of ticks; more work than the plan's gives it another score."""
    planned = material().plan.effort
    more = plan.effort.operations / planned.operations
    outcome = studies.evaluate_slowly(strategy, dataset, plan, seconds=0.02, **given)
    value = outcome.score.value / 2 + (0.5 if more > 1 else 0.0)
    assert more in (1, CONFIRMING)
    return replace(
        outcome,
        score=replace(outcome.score, value=value, utility=value),
        curve=(0.1,) * 5,
        planned=5,
        seconds=0.02,
    )


def test_the_last_part_of_a_search_confirms_the_best_and_they_compete_as_confirmed(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(folds, "FEW_ROWS", 0)
    # its last third has time for nine trials where other programs take most of the machine
    with RunFolder.open(tmp_path / "run", fingerprint=FINGERPRINT) as folder:
        result = study(
            folder, n_trials=None, deadline=Deadline.after(15.0), evaluate=better_by_more_work
        )
    confirming = [r for r in result.records if r.stage == "confirm" and r.status == "complete"]
    by_strategy = {r.strategy: r for r in result.records if r.stage != "confirm"}
    assert SURVIVORS <= len(confirming) <= SURVIVORS + 1
    assert is_plain(confirming[0])
    for again in confirming:
        assert again.number in result.outcomes
        assert by_strategy[again.strategy].number not in result.outcomes
    # and a search that goes on does not confirm them once more
    with RunFolder.open(tmp_path / "run", fingerprint=FINGERPRINT, resume=True) as folder:
        resumed = study(
            folder, n_trials=None, deadline=Deadline.after(2.0), evaluate=better_by_more_work
        )
    strategies = [r.strategy for r in resumed.records if r.stage == "confirm"]
    assert len(strategies) == len(set(strategies))
    assert {r.number for r in confirming} <= resumed.outcomes.keys()


def repeated(strategy, dataset, plan, **given):
    assert plan.effort == material().plan.effort  # the same networks, on more folds
    return replace(studies.complete(strategy, dataset, seconds=0.02), seconds=0.01 * plan.deals)


def test_where_minority_rows_are_few_so_are_strategies_and_the_rest_goes_to_more_folds():
    result = study(n_trials=None, deadline=Deadline.after(20.0), evaluate=repeated)
    first = [r for r in result.records if r.stage != "confirm" and r.status == "complete"]
    again = [r for r in result.records if r.stage == "confirm"]
    assert ENOUGH <= len(first) <= ENOUGH + 1  # one may be on its way
    assert {r.seconds for r in again} == {0.01 * DEALS}
    assert {r.strategy for r in again} == {r.strategy for r in first}


def disappointing(strategy, dataset, plan, **given):
    outcome = repeated(strategy, dataset, plan, **given)
    value = outcome.score.value / plan.deals
    return replace(outcome, score=replace(outcome.score, value=value, utility=value))


def test_confirmed_trials_keep_their_networks_however_they_disappoint():
    result = study(n_trials=None, deadline=Deadline.after(20.0), evaluate=disappointing)
    best = max(result.outcomes.values(), key=lambda outcome: outcome.score.utility)
    assert all(r.stage == "confirm" for r in result.records if r.number in result.outcomes)
    assert best.fitted is not None


def test_a_search_without_a_deadline_confirms_nothing():
    work = partial(better_by_more_work)
    result = study(n_trials=50, evaluate=work)
    assert {r.stage for r in result.records} == {"network", "lever", "search"}


def likes_levers(strategy, dataset, plan, *, liking, **given):
    outcome = studies.complete(strategy, dataset)
    # an ensemble on rows as they are, such as the twin, is no lever
    value = 0.1 * outcome.score.value + liking * (not is_plain(record(0, strategy)))
    return replace(outcome, score=replace(outcome.score, value=value, utility=value))


@pytest.mark.parametrize(("liking", "then"), [(1.0, "lever"), (-1.0, "network")])
def test_after_a_taste_of_levers_come_more_of_them_only_where_one_leads(liking, then):
    tasted = BEFORE_LEVERS + TASTE + 1  # the twin of the balanced one among them
    result = study(n_trials=tasted + 4, evaluate=partial(likes_levers, liking=liking))
    assert [r.stage for r in result.records[BEFORE_LEVERS:tasted]] == ["lever"] * (TASTE + 1)
    assert [r.stage for r in result.records[tasted:]] == [then] * 4


# --- twins ----------------------------------------------------------------------------------------

BALANCED = [option for option in ROOMS["ensemble"] if option.samples_rows]


@pytest.mark.parametrize("option", BALANCED, ids=lambda option: option.name)
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_balanced_ensemble_has_a_twin_as_large_on_rows_as_they_are(option, share):
    space = Space.restricted({"ensemble": ROOMS["ensemble"].names})
    given = strategy_with(ensemble=chosen(option, share), loss=chosen(ROOMS["loss"]["focal"]))
    twin = draw(FixedTrial(unbalanced_twin(space, given)), space)
    assert replace(twin, ensemble=given.ensemble) == given
    other = ROOMS["ensemble"][twin.ensemble.name]
    assert not other.samples_rows
    mine, its = (o.code(**s.ensemble.values) for o, s in ((option, given), (other, twin)))
    assert mine.members * mine.rounds == its.members * its.rounds
    assert is_plain(record(0, replace(twin, loss=NETWORK.loss)))
    assert not is_plain(record(0, replace(given, loss=NETWORK.loss)))


def test_a_strategy_without_a_balanced_ensemble_has_no_twin():
    assert unbalanced_twin(SPACE, NETWORK) is None
    narrow = Space.restricted({"ensemble": ["single", "self_paced"]})
    assert unbalanced_twin(narrow, strategy_with(ensemble=chosen(BALANCED[0]))) is None


def test_a_strength_that_gave_way_comes_back_into_its_range():
    loss = chosen(ROOMS["loss"]["logit_adjusted"], tau=0.01)
    params = unbalanced_twin(SPACE, strategy_with(ensemble=chosen(BALANCED[0]), loss=loss))
    assert params["loss.logit_adjusted.tau"] == ROOMS["loss"]["logit_adjusted"].ranges["tau"].low


def likes_balance(strategy, dataset, plan, **given):
    """The larger a balanced ensemble, the better."""
    outcome = studies.complete(strategy, dataset)
    option, values = ROOMS["ensemble"][strategy.ensemble.name], strategy.ensemble.values
    made = option.code(**values)
    value = 0.5 * outcome.score.value + option.samples_rows * made.members * made.rounds
    return replace(outcome, score=replace(outcome.score, value=value, utility=value))


def test_a_study_that_tries_balanced_ensembles_tries_the_twin_of_the_best():
    result = study(n_trials=60, evaluate=likes_balance)
    tried = {r.strategy: r for r in result.records}
    names = {option.name for option in BALANCED}
    of_balanced = [r for r in result.records[:-1] if r.strategy.ensemble.name in names]
    assert any(r.stage == "search" for r in of_balanced)
    top = max(of_balanced, key=lambda r: (r.score.utility, -r.number))
    twin = draw(FixedTrial(unbalanced_twin(SPACE, top.strategy)), SPACE)
    assert tried[twin].status == "complete"
