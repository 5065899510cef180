"""Results of matched duels by imbalance method, from the duel trials of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from autoimb.assessment.duels import Duel, gain
from autoimb.assessment.metrics import get_metric
from autoimb.evaluation.outcome import Scored
from autoimb.evaluation.task import Task
from autoimb.runs.record import TrialRecord
from autoimb.space.components import CONTROL
from autoimb.space.draw import Space
from autoimb.space.ensemble import ENSEMBLE
from autoimb.space.option import Choice
from autoimb.space.portfolio import methods_of
from autoimb.space.strategy import Strategy

__all__ = ["duel_results"]


def duel_results(
    space: Space, duels: Mapping[int, tuple[TrialRecord, Scored | None]], task: Task | None
) -> list[Duel]:
    """Return the result of the duel of each method of a space.

    Parameters
    ----------
    space : Space
    duels : mapping of int to (TrialRecord, Scored or None)
        Records and results of the duels by trial. Sees: out-of-fold predictions of the rows of the
        duels.
    task : Task or None
        Task of the duels; None where the rarest class has too few rows.

    Returns
    -------
    list of Duel
        One duel for each method; a duel that did not take place has the reason.
    """
    if task is None:
        only = space.only is not None
        why = "one strategy was asked for" if only else "the rarest class has too few rows"
        return [Duel(component, option, option, why) for component, option in methods_of(space)]
    records = [duels[number][0] for number in sorted(duels)]
    base = next((r.strategy.ensemble for r in records if r.strategy.is_control), None)
    results = {
        n: result
        for n, (r, result) in duels.items()
        if result is not None and r.status == "complete"
    }
    controls = {
        (record.strategy.network, record.strategy.ensemble): results[record.number]
        for record in records
        if record.strategy.is_control and record.number in results
    }
    # A trial with a result has precedence over one without, and the newer one over the older.
    preferred = sorted(records, key=lambda record: record.number in results)[::-1]
    why = "the time ended before its turn" if controls else "no control network has a score"
    compared = []
    for component, option in methods_of(space):
        record = next((r for r in preferred if getattr(r.strategy, component).name == option), None)
        if record is None:
            compared.append(Duel(component, option, option, why))
            continue
        duel = Duel(component, option, getattr(record.strategy, component).brief)
        method = results.get(record.number)
        ensembles = _control_ensembles(record.strategy, base)
        # A duel is complete only if the method and all of its controls have a score.
        keys = [(record.strategy.network, ensemble) for ensemble in ensembles]
        scored = [controls[key] for key in keys if key in controls]
        if method is None:
            reason = record.reason.rstrip(".")
            duel = replace(duel, reason=reason, infeasible=record.status == "infeasible")
        elif not scored or len(scored) < len(ensembles):
            duel = replace(duel, reason="its matched control has no score")
        else:
            duel = _compared(duel, method, scored, task)
            if component == "ensemble":
                names = [_in_words(ensemble) for ensemble in ensembles]
                duel = replace(duel, control_name=names[0], matched_name=names[-1])
        compared.append(duel)
    return compared


def _control_ensembles(strategy: Strategy, base: Choice | None) -> list[Choice]:
    """Return the ensembles of a method's controls; the common control of all duels is the first.

    A balanced ensemble also has a control of the same size, whose rows are not balanced.
    """
    both = (base, ENSEMBLE.make(strategy.ensemble).matched_control)
    return list(dict.fromkeys(choice for choice in both if choice is not None))


def _in_words(ensemble: Choice) -> str:
    """Describe the ensemble of a control."""
    if ensemble.name == CONTROL["ensemble"]:
        return "the single network of the same work"
    sizes = {"members": "networks", "rounds": "rounds"}
    parts = [f"{value} {sizes[key]}" for key, value in ensemble.params]
    return f"{ensemble.name} of {' and '.join(parts)}"


def _compared(duel: Duel, method: Scored, controls: Sequence[Scored], task: Task) -> Duel:
    """Compare a method with the common control, and an ensemble also with its matched control."""
    judge, share = task.judge, task.plan.folds.test_share
    log_loss = get_metric(
        "log_loss", n_classes=judge.metric.n_classes, positive=judge.metric.positive
    )
    prediction = (method.oof, method.likeliest)
    baselines = [(control.oof, control.likeliest) for control in controls]
    first, *matched = [
        gain(judge, prediction, baseline, test_share=share) for baseline in baselines
    ]
    return replace(
        duel,
        control=controls[0].score.value,
        gain=first,
        log_loss=gain(judge.with_metric(log_loss), prediction, baselines[0], test_share=share),
        matched=matched[0] if matched else None,
    )
