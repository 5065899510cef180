"""From an Optuna trial to a strategy: the only place where ranges meet ``suggest_*``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING

from autoimb.errors import OptionError, choices
from autoimb.space.ensemble import Ensemble
from autoimb.space.option import Float, Int, Option, Profile, Range, Value
from autoimb.space.rooms import PLAIN, ROOMS
from autoimb.space.strategy import Choice, Strategy

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

__all__ = ["Space", "draw", "infeasible", "suggest"]

# the parameters that say how strongly an option shifts the classes' balance
_STRENGTHS = ("strength", "tau")


@dataclass(frozen=True)
class Space:
    """The options that a study may choose from; fixed for its whole life.

    Attributes
    ----------
    allowed : tuple of (str, tuple of str)
        Each room's options, in the rooms' order.
    """

    allowed: tuple[tuple[str, tuple[str, ...]], ...]

    @classmethod
    def restricted(
        cls, rooms: Mapping[str, Sequence[str]] | None = None, *, costs: bool = False
    ) -> Space:
        """Build from what the user named.

        Combinations that make no sense are excluded here and nowhere else: an ensemble that draws
        balanced rows leaves resampling and class weights nothing to do.

        Parameters
        ----------
        rooms : mapping of room to option names, optional
            Rooms that are not named keep every option that is searched by default.
        costs : bool
            Whether the user gave costs: then they are the class weights.

        Raises
        ------
        OptionError
            For an unknown name, an empty list, or rooms that exclude each other.
        """
        named = {room: tuple(names) for room, names in (rooms or {}).items()}
        for unknown in (room for room in named if room not in ROOMS):
            raise OptionError(choices("room", unknown, ROOMS))
        allowed: dict[str, tuple[str, ...]] = {}
        for room in ROOMS.values():
            names = named.get(room.name, tuple(o.name for o in room if o.searched))
            if not names:
                raise OptionError(f"The room {room.name!r} needs an option, got an empty list.")
            for name in names:
                room[name]  # raises for an unknown one
            allowed[room.name] = tuple(dict.fromkeys(names))
        if costs:
            allowed["class_weight"] = ("costs",)
        allowed["ensemble"] = _possible_ensembles(allowed)
        return cls(tuple(allowed.items()))

    def names(self, room: str) -> tuple[str, ...]:
        """Return the allowed options of a room."""
        return dict(self.allowed)[room]

    @property
    def least_networks(self) -> int:
        """How many networks a fold the smallest allowed ensemble trains from their start."""
        options = [ROOMS["ensemble"][name] for name in self.names("ensemble")]
        smallest: list[Ensemble] = [option.code(**option.lowest) for option in options]
        return min(one.members * (1 if one.continues else one.rounds) for one in smallest)


def _possible_ensembles(allowed: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    plain_before = all(_idle(room, allowed[room]) for room in ("resampling", "class_weight"))
    room = ROOMS["ensemble"]
    left = tuple(n for n in allowed["ensemble"] if plain_before or not room[n].samples_rows)
    if not left:
        raise OptionError(
            f"The ensemble {allowed['ensemble'][0]!r} draws its own balanced rows, so it goes only "
            f"with resampling 'none' and class_weight 'none'; got resampling "
            f"{list(allowed['resampling'])} and class_weight {list(allowed['class_weight'])}."
        )
    return left


def _idle(room: str, names: tuple[str, ...]) -> str | None:
    """Return the option that leaves the rows alone, if it is allowed; costs stay what they are."""
    return next((n for n in (PLAIN[room], "costs") if n in names), None)


def draw(trial: BaseTrial, space: Space) -> Strategy:
    """Draw a strategy.

    Strengths of two levers that shift the balance sum to at most 1: where they were drawn
    larger, both shrink by the same factor. ``draw(FixedTrial(trial.params)) == strategy``.

    Parameters
    ----------
    trial : optuna.trial.BaseTrial
    space : Space

    Returns
    -------
    Strategy
    """
    drawn = {"network": _choice(trial, "network", space)}
    drawn["ensemble"] = _choice(trial, "ensemble", space)
    balanced = ROOMS["ensemble"][drawn["ensemble"].name].samples_rows
    for room in ("resampling", "class_weight"):
        idle = _idle(room, space.names(room))
        if balanced and idle is not None:
            drawn[room] = Choice(idle)
        else:
            drawn[room] = _choice(trial, room, space)
    drawn["loss"] = _choice(trial, "loss", space)
    return Strategy(**_within_one(drawn))


def _choice(trial: BaseTrial, room: str, space: Space) -> Choice:
    name = trial.suggest_categorical(room, space.names(room))
    option = ROOMS[room][name]
    params = tuple(
        (key, suggest(trial, f"{room}.{name}.{key}", bounds))
        for key, bounds in option.ranges.items()
    )
    return Choice(name, params)


def suggest(trial: BaseTrial, name: str, bounds: Range) -> Value:
    """Ask a trial for one value of a range, all of the range's fields passed on."""
    if isinstance(bounds, Float):
        return trial.suggest_float(name, bounds.low, bounds.high, log=bounds.log)
    if isinstance(bounds, Int):
        return trial.suggest_int(name, bounds.low, bounds.high, log=bounds.log)
    value = trial.suggest_categorical(name, bounds.values)
    assert value is not None  # no range holds None
    return value


def _within_one(drawn: dict[str, Choice]) -> dict[str, Choice]:
    strengths = [
        float(value) for room in PLAIN for key, value in drawn[room].params if key in _STRENGTHS
    ]
    total = sum(strengths)
    if len(strengths) < 2 or total <= 1.0:
        return drawn
    shrunk = dict(drawn)
    for room in PLAIN:
        params = tuple(
            (key, floor(float(value) / total * 1e4) / 1e4 if key in _STRENGTHS else value)
            for key, value in drawn[room].params
        )
        shrunk[room] = Choice(drawn[room].name, params)
    return shrunk


def infeasible(strategy: Strategy, profile: Profile) -> str | None:
    """Return None where every option of a strategy can run on the table, else the sentence."""
    options: list[Option] = [room[getattr(strategy, room.name).name] for room in ROOMS.values()]
    return next((s for s in (o.feasible(profile) for o in options) if s is not None), None)
