"""What comes next in a study: confirmations of the trials that the plan cut short."""

import time
from dataclasses import replace
from functools import partial

import pytest
from optuna.trial import FixedTrial

from autoimb.assessment.uncertainty import Score
from autoimb.budget import Deadline
from autoimb.policy import Folds, SearchPolicy
from autoimb.runs.folder import RunFolder
from autoimb.runs.record import TrialRecord
from autoimb.search.agenda import METHODS_SHARE, Agenda, next_to_confirm, next_to_raise
from autoimb.space.components import COMPONENTS
from autoimb.space.draw import Space, draw
from autoimb.space.ensemble import draws_balanced_rows
from autoimb.space.portfolio import first_methods, first_networks, matched_control_of
from autoimb.training.plan import STRATEGIES_ON_FEW_RARE_ROWS
from tests.support import studies
from tests.support.studies import FINGERPRINT, material, study
from tests.support.tables import chosen, strategy_with

POLICY = SearchPolicy()
SURVIVORS, CONFIRMING = POLICY.folds.confirmed_trials, 4.0
ENOUGH = STRATEGIES_ON_FEW_RARE_ROWS
SPACE = Space.restricted()
NETWORK = draw(FixedTrial(first_networks(SPACE)[0]), SPACE)
METHODS = [draw(FixedTrial(params), SPACE) for params in first_methods(SPACE, NETWORK)]


def record(number, strategy, *, ended=False, **changed):
    outcome = studies.complete(strategy, material().dataset, seconds=1.0)
    made = TrialRecord.of(number, outcome, stage="method", strategy=strategy)
    return replace(made, ended=ended, **changed)


def confirmed_in_turn(ranked, seconds=100.0, **how):
    how = {"work": CONFIRMING, "policy": POLICY} | how
    numbers = []
    while (found := next_to_confirm(ranked, numbers, seconds=seconds, **how)) is not None:
        numbers.append(found.number)
    return numbers


def test_the_best_control_is_confirmed_first_and_then_the_best():
    treated = [method for method in METHODS if not method.is_control][:10]
    ranked = [record(i, method) for i, method in enumerate(treated)] + [record(10, NETWORK)]
    assert confirmed_in_turn(ranked) == [10, *range(SURVIVORS)]


def test_what_is_not_complete_or_was_confirmed_is_not_confirmed():
    ranked = [
        record(1, METHODS[1], stage="confirm"),
        record(2, METHODS[2], status="timeout"),
        record(3, METHODS[3], status="partial", rung=0.25),
        record(4, METHODS[4]),
    ]
    assert confirmed_in_turn(ranked) == [4]


def test_what_could_not_win_is_not_confirmed_but_what_the_verdict_compares_is():
    def scored(number, strategy, value):
        return record(number, strategy, score=Score(value, 0.01, (value,), False, value))

    treated = [method for method in METHODS if not method.is_control]
    ranked = [scored(i, treated[i], 0.5 - 0.015 * i) for i in range(3)]
    assert confirmed_in_turn([*ranked, scored(3, NETWORK, 0.1)]) == [3, 0, 1]
    # nor is the best method left out, so that the verdict compares like with like
    assert confirmed_in_turn([scored(0, NETWORK, 0.5), scored(1, treated[0], 0.1)]) == [0, 1]
    # where there is nothing else to do, all are
    assert confirmed_in_turn([*ranked, scored(3, NETWORK, 0.1)], every=True) == [3, 0, 1, 2]


def test_the_best_are_confirmed_however_they_ended():
    ranked = [
        record(0, METHODS[0], ended=True),
        record(1, METHODS[1]),
        record(2, NETWORK, ended=True),
    ]
    assert confirmed_in_turn(ranked) == [2, 0, 1]
    assert confirmed_in_turn(ranked, policy=SearchPolicy(folds=Folds(confirmed_trials=1))) == [2, 0]
    assert confirmed_in_turn(ranked, work=0.0) == []


def test_what_would_not_end_in_time_is_not_begun():
    same = Score(0.5, 0.01, (0.5,), False, 0.5)
    ranked = [record(0, NETWORK, seconds=9.0, score=same), record(1, METHODS[0], score=same)]
    assert confirmed_in_turn(ranked, seconds=9.0 * CONFIRMING) == [1]
    assert confirmed_in_turn(ranked, seconds=12.0 * CONFIRMING) == [0, 1]


def better_by_more_work(job, judge):
    """A trial that its patience never ends; other folds give it another score."""
    time.sleep(0.02 * (0.5 + studies.chance(job.strategy)))
    value = studies.chance(job.strategy) / 2 + (0.5 if job.plan.repeats != (0,) else 0.0)
    scored = studies.complete(job.strategy, job.data.dataset, seconds=0.02, value=value)
    return replace(scored, trace=replace(scored.trace, ended=False))


@pytest.mark.slow
def test_the_last_part_of_a_search_confirms_the_best_and_they_compete_as_confirmed(tmp_path):
    once = SearchPolicy(folds=Folds(rows_for_one_repeat=0, rare_rows_per_confirming_fold=1))
    given = {"n_trials": None, "evaluate": better_by_more_work, "policy": once}
    # its last third has time for nine trials where other programs take most of the machine
    with RunFolder.open(tmp_path / "run", fingerprint=FINGERPRINT) as folder:
        result = study(folder, deadline=Deadline.after(15.0), **given)
    confirming = [r for r in result.records if r.stage == "confirm" and r.status == "complete"]
    assert SURVIVORS <= len(confirming) <= SURVIVORS + 1
    assert confirming[0].strategy.is_control
    for again in confirming:
        assert again.number in result.results
        assert again.follows not in result.results
        assert again.follows not in {r.number for r in result.records}  # a line each
    # and a search that goes on does not confirm them once more
    with RunFolder.open(tmp_path / "run", fingerprint=FINGERPRINT, resume=True) as folder:
        resumed = study(folder, deadline=Deadline.after(2.0), **given)
    strategies = [r.strategy for r in resumed.records if r.stage == "confirm"]
    assert len(strategies) == len(set(strategies))
    assert {r.number for r in confirming} <= resumed.results.keys()


def repeated(job, judge):
    assert job.plan.effort == material().plan.effort  # the same networks, on more folds
    return studies.complete(job.strategy, job.data.dataset, seconds=0.01 * len(job.plan.repeats))


def test_where_minority_rows_are_few_so_are_strategies_and_the_rest_goes_to_more_folds():
    result = study(n_trials=None, deadline=Deadline.after(20.0), evaluate=repeated)
    first = [r for r in result.records if r.stage != "confirm" and r.status == "complete"]
    again = [r for r in result.records if r.stage == "confirm"]
    assert ENOUGH <= len(again) <= ENOUGH + 1  # one may be on its way
    assert {round(r.seconds, 6) for r in again} == {0.01 * (1 + POLICY.folds.repeats)}
    assert not first  # each strategy is shown as it was confirmed


def disappointing(job, judge):
    value = studies.chance(job.strategy) / len(job.plan.repeats)
    return replace(repeated(job, judge), score=Score(value, 0.01, (value,), False, value))


@pytest.mark.slow
def test_confirmed_trials_keep_their_networks_however_they_disappoint():
    result = study(n_trials=None, deadline=Deadline.after(20.0), evaluate=disappointing)
    best = max(result.results.values(), key=lambda one: one.score.utility)
    assert all(r.stage == "confirm" for r in result.records if r.number in result.results)
    assert best.fitted is not None


def test_a_search_without_a_deadline_confirms_nothing():
    result = study(n_trials=50, evaluate=better_by_more_work)
    assert {r.stage for r in result.records} == {"network", "method", "search"}


def stages(result):
    """The stage of each strategy by the order of their starts, but for matched controls."""
    return [r.stage for r in sorted(result.records, key=lambda r: r.number)]


def test_after_the_first_networks_they_and_imbalance_methods_take_turns():
    given = stages(study(n_trials=12))
    first = POLICY.suggestions.networks_before_methods
    assert given[:first] == ["network"] * first
    assert given[first : first + 5] == ["method", "network", "method", "network", "method"]


def leading(*, method_seconds, method_leads):
    """Whether methods come next in a search with a deadline: 5 networks, 1 method so far."""
    agenda = Agenda(SPACE, 100.0)
    networks = [record(i, NETWORK, stage="network", seconds=2.0) for i in range(5)]
    value = 2.0 if method_leads else -2.0
    score = Score(value, 0.01, (value,), False, value)
    method = record(5, METHODS[0], seconds=method_seconds, score=score)
    ranked = sorted([*networks, method], key=lambda r: r.rank)
    plans = [*(f"network.{i}" for i in range(5)), "method.0"]
    return agenda._propose_new(plans, ranked).stage


def test_until_one_leads_methods_have_a_share_of_the_time():
    share = METHODS_SHARE
    most = 10.0 * share / (1 - share)
    assert leading(method_seconds=0.9 * most, method_leads=False) == "method"
    assert leading(method_seconds=1.1 * most, method_leads=False) == "network"
    assert leading(method_seconds=1.1 * most, method_leads=True) == "method"


# --- rungs ----------------------------------------------------------------------------------------

LOW, QUARTER = POLICY.training.rungs[:2]


def at(number, rung, value, *, status="partial", **changed):
    score = Score(value, 0.01, (value,), False, value)
    return record(number, NETWORK, rung=rung, score=score, status=status, **changed)


def raised(records, already=(), *, seconds=1000.0, least=0, **how):
    already = set(already)
    return next_to_raise(records, already, seconds=seconds, policy=POLICY, least=least, **how)


def test_the_first_strategy_goes_on_at_once_and_then_a_third_of_its_rung():
    one = at(0, QUARTER, 0.5)
    assert raised([one]) == (one, 1.0)
    worse = [at(i, QUARTER, 0.4 - 0.01 * i) for i in range(1, 5)]
    assert raised([one, *worse[:2]], [0]) is None
    assert raised([one, *worse], [0]) == (worse[0], 1.0)


def test_values_are_compared_at_one_rung_and_the_highest_goes_first():
    low, quarter = at(0, LOW, 0.9), at(1, QUARTER, 0.1)
    assert raised([low, quarter]) == (quarter, 1.0)
    assert raised([low, quarter], [1]) == (low, QUARTER)


def test_a_rung_that_gave_no_score_does_not_count_for_complete():
    records = [at(i, QUARTER, 0.5 - 0.1 * i) for i in range(3)]
    lost = replace(at(9, 1.0, 0.0), status="failed", score=None, follows=0)
    assert raised([*records, lost], [0], least=1) == (records[1], 1.0)
    assert raised(records, [0], least=1) is None  # it runs


def test_what_its_patience_ended_does_not_go_on_but_counts():
    done, other = at(0, QUARTER, 0.9, status="complete", ended=True), at(1, QUARTER, 0.5)
    assert raised([done, other]) is None


def test_a_rung_that_would_not_end_in_time_is_not_begun():
    slow, quick = at(0, QUARTER, 0.5, seconds=30.0), at(1, QUARTER, 0.4, seconds=1.0)
    others = [at(i, QUARTER, 0.1) for i in range(2, 6)]
    assert raised([slow, quick, *others], seconds=100.0) == (quick, 1.0)


def test_beyond_the_planned_work_goes_the_best_when_it_is_time():
    known = [at(i, 1.0, 0.5 - 0.1 * i, status="complete") for i in range(4)]
    assert raised(known) is None
    assert raised(known, longer=True) == (known[0], 4.0)
    assert raised([replace(known[0], ended=True), *known[1:]], longer=True) == (known[1], 4.0)
    assert raised([replace(known[0], stage="confirm"), *known[1:]], longer=True)[0] == known[1]


def test_when_no_new_strategy_comes_the_best_go_on_until_enough_are_complete():
    records = [at(i, QUARTER, 0.5 - 0.01 * i) for i in range(20)]
    numbers = []
    while (found := raised(records, numbers, least=POLICY.training.min_complete)) is not None:
        numbers.append(found[0].number)
        done = replace(found[0], number=100 + len(numbers), rung=1.0, status="complete")
        records.append(replace(done, follows=found[0].number))
    assert numbers == list(range(max(POLICY.training.min_complete, 7)))


def by_steps(job, judge):
    """A trial that its patience never ends, and that is better the more work it is given."""
    value = studies.chance(job.strategy) * job.plan.rung
    scored = studies.complete(job.strategy, job.data.dataset, value=value)
    return replace(scored, trace=replace(scored.trace, ended=False))


def test_a_search_of_so_many_strategies_ends_when_the_best_of_them_are_complete():
    result = study(n_trials=20, evaluate=by_steps)
    assert len({r.strategy for r in result.records}) == len(result.records) == 20
    complete = [r for r in result.records if r.status == "complete"]
    assert {r.rung for r in complete} == {1.0}
    assert POLICY.training.min_complete <= len(complete) < 20
    assert {r.status for r in result.records} == {"complete", "partial"}
    assert set(result.results) == {r.number for r in complete}


# --- matched controls -----------------------------------------------------------------------------

BALANCED = [option for option in COMPONENTS["ensemble"] if draws_balanced_rows(option.name)]


@pytest.mark.parametrize("option", BALANCED, ids=lambda option: option.name)
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_balanced_ensemble_has_a_matched_control_as_large_on_rows_as_they_are(option, share):
    space = Space.restricted({"ensemble": COMPONENTS["ensemble"].names})
    given = strategy_with(ensemble=chosen(option, share), loss=chosen(COMPONENTS["loss"]["focal"]))
    matched_control = draw(FixedTrial(matched_control_of(space, given)), space)
    assert replace(matched_control, ensemble=given.ensemble) == given
    other = COMPONENTS["ensemble"][matched_control.ensemble.name]
    assert not draws_balanced_rows(other.name)
    mine, its = (
        o.code(**s.ensemble.values) for o, s in ((option, given), (other, matched_control))
    )
    assert mine.members * mine.rounds == its.members * its.rounds
    assert replace(matched_control, loss=NETWORK.loss).is_control
    assert not replace(given, loss=NETWORK.loss).is_control


def test_a_strategy_without_a_balanced_ensemble_has_no_matched_control():
    assert matched_control_of(SPACE, NETWORK) is None
    narrow = Space.restricted({"ensemble": ["single", "self_paced"]})
    assert matched_control_of(narrow, strategy_with(ensemble=chosen(BALANCED[0]))) is None


def test_a_strength_that_gave_way_comes_back_into_its_range():
    loss = chosen(COMPONENTS["loss"]["logit_adjusted"], tau=0.01)
    params = matched_control_of(SPACE, strategy_with(ensemble=chosen(BALANCED[0]), loss=loss))
    assert (
        params["loss.logit_adjusted.tau"] == COMPONENTS["loss"]["logit_adjusted"].ranges["tau"].low
    )


def likes_balance(job, judge):
    """The larger a balanced ensemble, the better."""
    choice = job.strategy.ensemble
    option = COMPONENTS["ensemble"][choice.name]
    made = option.code(**choice.values)
    size = draws_balanced_rows(option.name) * made.members * made.rounds
    value = 0.5 * studies.chance(job.strategy) + size
    return studies.complete(job.strategy, job.data.dataset, value=value)


def test_a_study_that_tries_balanced_ensembles_tries_the_matched_control_of_the_best():
    result = study(n_trials=60, evaluate=likes_balance)
    tried = {r.strategy: r for r in result.records}
    names = {option.name for option in BALANCED}
    of_balanced = [r for r in result.records[:-1] if r.strategy.ensemble.name in names]
    assert any(r.stage == "search" for r in of_balanced)
    top = max(of_balanced, key=lambda r: (r.score.utility, -r.number))
    matched_control = draw(FixedTrial(matched_control_of(SPACE, top.strategy)), SPACE)
    assert tried[matched_control].status == "complete"


def test_forests_of_a_large_table_are_tried_where_they_are_asked_for() -> None:
    due = partial(Agenda.partners_due, tried=100, workers=2)
    small, large = (Agenda(Space.restricted(), 60.0, forests=own) for own in (True, False))
    assert due(small, POLICY.suggestions.partners) == list(POLICY.suggestions.partners)
    assert due(large, POLICY.suggestions.partners) == ["medium_trees", "small_trees", "large_trees"]
    assert due(large, ("forest",)) == ["forest"]
    began = partial(Agenda.partners_due, large, POLICY.suggestions.partners, workers=2)
    assert [len(began(tried=n)) for n in (0, 11, 12, 23, 24)] == [1, 1, 2, 2, 3]
