"""What comes next in a study."""

from dataclasses import replace

from optuna.trial import FixedTrial

from autoimb.assessment.uncertainty import Score
from autoimb.policy import SearchPolicy
from autoimb.runs.record import TrialRecord
from autoimb.search.agenda import next_to_raise
from autoimb.space.draw import Space, draw
from autoimb.space.portfolio import duels_of, first_networks
from tests.support import studies
from tests.support.studies import material, study

POLICY = SearchPolicy()
SPACE = Space.restricted()
NETWORK = draw(FixedTrial(first_networks(SPACE)[0]), SPACE)
METHODS = [draw(FixedTrial(params), SPACE) for params in duels_of(SPACE, NETWORK)[1:]]


def record(number, strategy, *, ended=False, **changed):
    outcome = studies.complete(strategy, material().dataset, seconds=1.0)
    made = TrialRecord.of(number, outcome, stage="search", strategy=strategy)
    return replace(made, ended=ended, **changed)


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
