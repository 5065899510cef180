"""Encoded folds and resampled training parts: computed once a study, shared by its trials."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from autoimb.data.dataset import Dataset
from autoimb.data.encoding.encoder import Encoder
from autoimb.data.encoding.rows import Encoded
from autoimb.data.folds import FoldPlan
from autoimb.randomness import Purpose, seed_for
from autoimb.space.option import Choice, Sizes
from autoimb.space.resampling.component import RESAMPLING, Once, Rows, Shares
from autoimb.training.store import Store

__all__ = ["Parts", "TrainingPart"]


@dataclass(frozen=True)
class TrainingPart:
    """What a fold trains on after resampling. Sees: the fold's training rows only.

    Attributes
    ----------
    encoded : Encoded
        n rows, real ones first.
    y : int64 array of shape (n,)
    weight : float64 array of shape (n,)
        The user's row weights; a synthetic row gets the mean of its parents', or of its class's
        rows where it has none.
    prior : float64 array of shape (C,)
        Weighted class shares of the fold's real training rows: what probabilities go back to.
    shares : callable or None
        See `Resampled`.
    """

    encoded: Encoded
    y: np.ndarray
    weight: np.ndarray
    prior: np.ndarray
    shares: Shares | None = None

    @property
    def size(self) -> int:
        """Bytes held."""
        return self.encoded.size + self.y.nbytes + self.weight.nbytes


class Parts:
    """The folds of a study as arrays, each computed once.

    Parameters
    ----------
    dataset : Dataset
    folds : FoldPlan
    seed : int
        The study's: resampling draws the same for every trial.
    folder : Path, optional
        Where the processes of a study share them.

    Attributes
    ----------
    states : Store
        Trainings that wait for more work; one that is gone costs time and no more.
    """

    def __init__(
        self, dataset: Dataset, folds: FoldPlan, *, seed: int, folder: Path | None = None
    ) -> None:
        self.dataset, self.folds, self.seed = dataset, folds, seed
        self._store, self.repeat_number = Store(folder), 0
        self.states = Store(None if folder is None else folder.with_name("states"))

    def repeat(self, number: int) -> Parts:
        """Return the parts of a repeat, a split of all rows into folds; 0 is the plan's own."""
        if number == 0:
            return self
        other = copy(self)
        other.folds, other.repeat_number = self.folds.repeat(number), number
        return other

    def encoder(self, fold: int) -> Encoder:
        """Return the fold's encoder, fitted on its training rows."""
        rows, data = self.folds.folds[fold].train, self.dataset
        return self._store.get(
            _encoder_key(self.repeat_number, fold),
            lambda: Encoder.fit(
                data.columns, rows, layout=data.layout, y=data.y, weight=data.weight
            ),
            size=lambda encoder: encoder.edges.nbytes,
        )

    def encoders(self, number: int) -> tuple[Encoder, ...]:
        """Return those of the first folds of all repeats, one after the other."""
        repeats = (self.repeat(each) for each in range(1 + len(self.folds.further)))
        places = ((one, fold) for one in repeats for fold in range(len(one.folds.folds)))
        return tuple(one.encoder(fold) for one, fold in islice(places, number))

    def in_memory(self) -> Parts:
        """Return the same parts in this process alone, with the encoders that are made already."""
        own = Parts(self.dataset, self.folds, seed=self.seed)
        own.hold(self.made())
        return own

    def made(self, *, but: Container[tuple[int, int]] = ()) -> dict[tuple[int, int], Encoder]:
        """Return the encoders that are made already, by repeat and fold, all but some."""
        encoders = {}
        for repeat in range(1 + len(self.folds.further)):
            for fold in range(len(self.repeat(repeat).folds.folds)):
                if (repeat, fold) in but:
                    continue
                with suppress(Exception):  # what can't be read is fitted again
                    found = self._store.find(_encoder_key(repeat, fold))
                    if isinstance(found, Encoder):
                        encoders[repeat, fold] = found
        return encoders

    def hold(self, encoders: Mapping[tuple[int, int], Encoder]) -> None:
        """Keep encoders that were made elsewhere, by repeat and fold."""
        for (repeat, fold), encoder in encoders.items():
            self._store.put(_encoder_key(repeat, fold), encoder, size=encoder.edges.nbytes)

    def free_first(self) -> Iterator[int]:
        """Yield all folds, those first for which no other process fits the encoder meanwhile.

        So processes that begin together share the work.
        """
        left = list(range(len(self.folds.folds)))
        while left:
            free = (
                fold
                for fold in left
                if not self._store.elsewhere(_encoder_key(self.repeat_number, fold))
            )
            fold = next(free, left[0])
            left.remove(fold)
            yield fold

    def evaluation(self, fold: int) -> Encoded:
        """Return the rows that choose the epoch, then those that are scored, encoded."""
        encoder, rows = self.encoder(fold), self.evaluated_rows(fold)
        return self._store.get(
            ("evaluation", self.repeat_number, fold),
            lambda: encoder.transform(self.dataset.columns, rows),
            size=lambda encoded: encoded.size,
        )

    def _training_rows(self, fold: int) -> Encoded:
        """Return the rows that train, encoded for it."""
        encoder, rows, data = self.encoder(fold), self.folds.folds[fold].train, self.dataset
        return self._store.get(
            ("rows", self.repeat_number, fold),
            lambda: encoder.transform_training(
                data.columns, rows, data.y, data.weight, data.cluster, data.time
            ),
            size=lambda encoded: encoded.size,
        )

    def evaluated_rows(self, fold: int) -> np.ndarray:
        """Return the numbers of the rows that choose, then of those that are scored."""
        one = self.folds.folds[fold]
        return np.concatenate([one.choose, one.score])

    def training(self, fold: int, resampling: Choice) -> TrainingPart:
        """Return the fold's training part after resampling.

        Raises
        ------
        InfeasibleError
            Where the method can't run on these rows.
        """
        return self._store.get(
            ("training", self.repeat_number, fold, resampling),
            lambda: self._resampled(fold, resampling),
            size=lambda part: part.size,
        )

    def _resampled(self, fold: int, resampling: Choice) -> TrainingPart:
        data, rows = self.dataset, self.folds.folds[fold].train
        encoded = self._training_rows(fold)
        y, weight = data.y[rows], data.training_weight[rows]
        mass = np.bincount(y, weights=weight, minlength=data.n_classes)
        own = seed_for(Purpose.RESAMPLING, self.seed, repeat=self.repeat_number, fold=fold)
        part = Rows(encoded, y, once=self._once(fold), labels=data.labels)
        new = RESAMPLING.make(resampling, part, random_state=own)
        kept = encoded.take(new.rows)
        new_y = np.concatenate([y[new.rows], new.synthetic_y])
        synthetic_weight = weight[new.parents].mean(axis=1)
        if len(new.parents) < len(new.synthetic_y):
            counts = np.bincount(y, minlength=data.n_classes)
            synthetic_weight = (mass / np.maximum(counts, 1))[new.synthetic_y]
        new_weight = np.concatenate([weight[new.rows], synthetic_weight])
        sizes = RESAMPLING[resampling.name].sizes
        correction = self.subsample_correction(sizes, y, resampling.values.get("strength"))
        return TrainingPart(
            encoded=kept if new.synthetic is None else kept.concat(new.synthetic),
            y=new_y,
            weight=new_weight * correction[new_y],
            prior=mass / mass.sum(),
            shares=new.shares,
        )

    def _once(self, fold: int) -> Once:
        """Return what keeps an array of a fold's rows for every resampling that needs it."""

        def once(key: tuple[str | int, ...], make: Callable[[], np.ndarray]) -> np.ndarray:
            own = ("of rows", self.repeat_number, fold, *key)
            return self._store.get(own, make, size=lambda array: array.nbytes)

        return once

    def subsample_correction(self, sizes: Sizes | None, y: np.ndarray, strength: Any) -> np.ndarray:
        """Return what a row of each class must weigh more, (C,), after balanced rows were drawn.

        Where the plan kept but a share of a class, a row stands for several. Sizes are meant for
        the whole table: what was drawn by the sizes of fewer rows makes up for it by weight.
        """
        kept = self.dataset.sampled_shares
        if sizes is None or kept is None:
            return np.ones(self.dataset.n_classes)
        counts = np.bincount(y, minlength=self.dataset.n_classes)
        share = np.maximum(kept, 1e-12)
        present = counts > 0
        wanted, got = np.ones(len(counts)), np.ones(len(counts))
        wanted[present] = sizes(np.round(counts / share)[present], strength)
        got[present] = sizes(counts[present], strength)
        return np.asarray(wanted * share / got)


def _encoder_key(repeat: int, fold: int) -> tuple[str, int, int]:
    """Return the key under which a store has an encoder."""
    return ("encoder", repeat, fold)
