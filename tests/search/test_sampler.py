"""What the sampler sees of a study."""

import optuna
from optuna.trial import TrialState, create_trial

from autoimb.policy import SearchPolicy, Suggestions
from autoimb.search.sampler import SamplerView, as_strategies


def trial_of(number, value, **changes):
    place = {"x": optuna.distributions.FloatDistribution(0.0, 1e3)}
    trial = create_trial(
        **{"value": value, "params": {"x": float(number)}, "distributions": place} | changes
    )
    trial.number = number
    return trial


def valued(n_strategies):
    """Return trials of which every second one is better than those before."""
    return [trial_of(i, i * (-1.0) ** i) for i in range(n_strategies)]


def test_up_to_the_window_the_sampler_sees_every_strategy():
    policy = SearchPolicy(suggestions=Suggestions(sampler_best=3, sampler_newest=17))
    trials = valued(20)
    assert [t.value for t in as_strategies(trials, policy)] == [t.value for t in trials]


def test_of_very_many_strategies_the_sampler_sees_the_best_and_the_newest():
    policy = SearchPolicy(suggestions=Suggestions(sampler_best=3, sampler_newest=5))
    seen = [trial.params["x"] for trial in as_strategies(valued(20), policy)]
    assert seen == [10.0, 12.0, 14.0, 15.0, 16.0, 17.0, 18.0, 19.0]
    assert Suggestions().sampler_best >= 25  # of which Optuna's TPE makes its model of good ones


def test_the_sampler_sees_no_duel_and_nothing_that_it_would_forget():
    seen = trial_of(0, None, state=TrialState.PRUNED)
    forgotten = trial_of(1, None, state=TrialState.FAIL)
    duel = trial_of(2, 9.0, user_attrs={"stage": "duel"})
    assert [trial.params["x"] for trial in as_strategies([seen, forgotten, duel])] == [0.0]


def test_the_sampler_is_shown_trials_as_if_they_had_been_added():
    trials = [trial_of(i, float(i % 7)) for i in range(30)]

    def drawn(**storage):
        sampler = optuna.samplers.TPESampler(seed=0)
        study = optuna.create_study(direction="maximize", sampler=sampler, **storage)
        if not storage:
            study.add_trials(as_strategies(trials))
        return study.ask().suggest_float("x", 0.0, 1e3)

    assert drawn(storage=SamplerView(as_strategies(trials))) == drawn()
