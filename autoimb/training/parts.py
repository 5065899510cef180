"""Encoded folds and resampled training parts, computed once and shared by all trials."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
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
    """Training rows of a fold after resampling. Sees: the fold's training rows only.

    Attributes
    ----------
    encoded : Encoded
        The n encoded rows, real rows first.
    y : int64 array of shape (n,)
    weight : float64 array of shape (n,)
        The user's row weights; a synthetic row has the mean weight of its parents or, if these are
        unknown, of the rows of its class.
    prior : float64 array of shape (C,)
        Weighted class shares of the fold's real training rows; probabilities are corrected to them.
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
        """Size in bytes."""
        return self.encoded.size + self.y.nbytes + self.weight.nbytes


class Parts:
    """The folds of a study as arrays, each computed once.

    Parameters
    ----------
    dataset : Dataset
    folds : FoldPlan
    seed : int
        Seed of the study; resampling draws the same rows for every trial.
    folder : Path, optional
        Folder through which the processes of a study share the arrays.
    """

    def __init__(
        self, dataset: Dataset, folds: FoldPlan, *, seed: int, folder: Path | None = None
    ) -> None:
        self.dataset, self.folds, self.seed = dataset, folds, seed
        self._store = Store(folder)
        self._given: dict[int, Encoder] = {}

    def encoder(self, fold: int) -> Encoder:
        """Return the fold's encoder, fitted on its training rows."""
        if fold in self._given:
            return self._given[fold]
        rows, data = self.folds.folds[fold].train, self.dataset
        return self._store.get(
            ("encoder", fold),
            lambda: Encoder.fit(
                data.columns, rows, layout=data.layout, y=data.y, weight=data.weight
            ),
            size=lambda encoder: encoder.edges.nbytes,
        )

    @property
    def encoders(self) -> tuple[Encoder, ...]:
        """The encoders of all folds."""
        return tuple(self.encoder(fold) for fold in range(len(self.folds.folds)))

    def keep_encoders(self) -> None:
        """Keep the encoders fitted so far in the memory of this process, and nothing else."""
        self.add_encoders(self.fitted_encoders())
        self._store = Store()

    def fitted_encoders(self, *, exclude: Container[int] = ()) -> dict[int, Encoder]:
        """Return the encoders that are already fitted, by fold."""
        encoders = dict(self._given)
        for fold in range(len(self.folds.folds)):
            # An encoder that cannot be read is fitted again later.
            with suppress(Exception):
                encoder = self._store.find(("encoder", fold))
                if isinstance(encoder, Encoder):
                    encoders[fold] = encoder
        return {fold: encoder for fold, encoder in encoders.items() if fold not in exclude}

    def add_encoders(self, encoders: Mapping[int, Encoder]) -> None:
        """Add encoders that were fitted by other processes, by fold."""
        self._given.update(encoders)

    def free_first(self) -> Iterator[int]:
        """Yield all folds, first those whose encoder no other process is fitting.

        Processes that start at the same time thus share the work.
        """
        remaining = list(range(len(self.folds.folds)))
        while remaining:
            free = (
                fold
                for fold in remaining
                if not self._store.computed_by_other_process(("encoder", fold))
            )
            fold = next(free, remaining[0])
            remaining.remove(fold)
            yield fold

    def evaluation(self, fold: int) -> Encoded:
        """Return the encoded evaluation rows: first the choosing rows, then the scored rows."""
        encoder, rows = self.encoder(fold), self.evaluated_rows(fold)
        return self._store.get(
            ("evaluation", fold),
            lambda: encoder.transform(self.dataset.columns, rows),
            size=lambda encoded: encoded.size,
        )

    def _training_rows(self, fold: int) -> Encoded:
        """Return the fold's training rows, encoded for training."""
        encoder, rows, data = self.encoder(fold), self.folds.folds[fold].train, self.dataset
        return self._store.get(
            ("rows", fold),
            lambda: encoder.transform_training(
                data.columns, rows, data.y, data.weight, data.cluster, data.time
            ),
            size=lambda encoded: encoded.size,
        )

    def evaluated_rows(self, fold: int) -> np.ndarray:
        """Return the numbers of the choosing rows, followed by those of the scored rows."""
        split = self.folds.folds[fold]
        return np.concatenate([split.choose, split.score])

    def training(self, fold: int, resampling: Choice) -> TrainingPart:
        """Return the fold's training part after resampling.

        Raises
        ------
        InfeasibleError
            If the method cannot be applied to these rows.
        """
        return self._store.get(
            ("training", fold, resampling),
            lambda: self._resampled(fold, resampling),
            size=lambda part: part.size,
        )

    def _resampled(self, fold: int, resampling: Choice) -> TrainingPart:
        data, rows = self.dataset, self.folds.folds[fold].train
        encoded = self._training_rows(fold)
        y, weight = data.y[rows], data.training_weight[rows]
        mass = np.bincount(y, weights=weight, minlength=data.n_classes)
        fold_seed = seed_for(Purpose.RESAMPLING, self.seed, fold=fold)
        part = Rows(encoded, y, once=self._once(fold), labels=data.labels)
        resampled = RESAMPLING.make(resampling, part, random_state=fold_seed)
        real_rows = encoded.take(resampled.rows)
        new_y = np.concatenate([y[resampled.rows], resampled.synthetic_y])
        # Without known parents a synthetic row has the mean weight of its class.
        synthetic_weight = weight[resampled.parents].mean(axis=1)
        if len(resampled.parents) < len(resampled.synthetic_y):
            counts = np.bincount(y, minlength=data.n_classes)
            synthetic_weight = (mass / np.maximum(counts, 1))[resampled.synthetic_y]
        new_weight = np.concatenate([weight[resampled.rows], synthetic_weight])
        sizes = RESAMPLING[resampling.name].sizes
        correction = self.subsample_correction(sizes, y, resampling.values.get("strength"))
        return TrainingPart(
            encoded=real_rows
            if resampled.synthetic is None
            else real_rows.concat(resampled.synthetic),
            y=new_y,
            weight=new_weight * correction[new_y],
            prior=mass / mass.sum(),
            shares=resampled.shares,
        )

    def _once(self, fold: int) -> Once:
        """Return a cache for arrays that are derived from the fold's rows alone."""

        def once(key: tuple[str | int, ...], make: Callable[[], np.ndarray]) -> np.ndarray:
            store_key = ("of rows", fold, *key)
            return self._store.get(store_key, make, size=lambda array: array.nbytes)

        return once

    def subsample_correction(self, sizes: Sizes | None, y: np.ndarray, strength: Any) -> np.ndarray:
        """Return the factor (C,) of the row weights of each class after balanced rows were drawn.

        If only a share of a class was kept, a row represents several. Sizes refer to the whole
        table, so rows that were drawn by the sizes of fewer rows are reweighted accordingly.
        """
        kept_shares = self.dataset.sampled_shares
        if sizes is None or kept_shares is None:
            return np.ones(self.dataset.n_classes)
        counts = np.bincount(y, minlength=self.dataset.n_classes)
        share = np.maximum(kept_shares, 1e-12)
        present = counts > 0
        # The correction compares the sizes for the whole table with those for the rows that remain.
        table_sizes, sampled_sizes = np.ones(len(counts)), np.ones(len(counts))
        table_sizes[present] = sizes(np.round(counts / share)[present], strength)
        sampled_sizes[present] = sizes(counts[present], strength)
        return np.asarray(table_sizes * share / sampled_sizes)
