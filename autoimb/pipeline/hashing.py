"""A pipeline whose levels of categories are digests, so that its file names nobody."""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from autoimb.data.schema import Column
from autoimb.data.values import TEXT, digest_of, text_of
from autoimb.pipeline.fitted import FittedPipeline, FittedStrategy

__all__ = ["text_columns", "with_hashed_levels"]

_SALT_BYTES = 16  # no two exports have the same

Levels = tuple[tuple[str, ...], ...]


def with_hashed_levels(pipeline: FittedPipeline) -> FittedPipeline:
    """Return the same pipeline, which knows levels of categories by their SHA-256 alone.

    A salt is drawn for each call and is part of the pipeline, which must hash the rows that it
    predicts. So who reads the file sees no level, and nobody can prepare digests for all files at
    once or find the same level in two files. A level that can be guessed is not kept secret:
    whoever has the file and a list of candidates, such as all postcodes or first names, can hash
    each and look for it. Digests stand in the order of their texts. Class labels, names of columns
    and values of numbers stay as they are.

    Parameters
    ----------
    pipeline : FittedPipeline
        Its levels are texts, or digests already.

    Returns
    -------
    FittedPipeline
        Predicts the same, to the bit; one whose levels are digests is returned as it is.
    """
    if pipeline.schema.salt:
        return pipeline
    salt, texts = secrets.token_hex(_SALT_BYTES), set(text_columns(pipeline))
    names = _category_names(pipeline)

    def hashed(levels: Levels, columns: Sequence[str]) -> Levels:
        return tuple(
            tuple(digest_of(level, column=column, salt=salt) for level in own)
            for own, column in zip(levels, columns)
        )

    def with_digests(strategy: FittedStrategy) -> FittedStrategy:
        trees = tuple(
            replace(fold, reader=replace(fold.reader, levels=hashed(fold.reader.levels, names)))
            for fold in strategy.trees
        )
        return replace(strategy, trees=trees)

    def with_form(column: Column) -> Column:
        return replace(column, form=TEXT) if column.name in texts else column

    return replace(
        pipeline,
        schema=replace(
            pipeline.schema, columns=tuple(map(with_form, pipeline.schema.columns)), salt=salt
        ),
        encoders=tuple(
            replace(own, levels=hashed(own.levels, [names[j] for j in own.screen.categories]))
            for own in pipeline.encoders
        ),
        strategies=tuple(map(with_digests, pipeline.strategies)),
    )


def text_columns(pipeline: FittedPipeline) -> list[str]:
    """Name the category columns with a level that pandas would not have read as number or bool."""
    if pipeline.schema.salt:
        return [column.name for column in pipeline.schema.kept if column.form == TEXT]
    names = _category_names(pipeline)
    levels: dict[str, set[str]] = {name: set() for name in names}
    for encoder in pipeline.encoders:
        for j, known in zip(encoder.screen.categories, encoder.levels):
            levels[names[j]].update(known)
    for trees in (fold for strategy in pipeline.strategies for fold in strategy.trees):
        for name, known in zip(names, trees.reader.levels):
            levels[name].update(known)
    return [name for name in names if not all(map(_is_guessed, levels[name]))]


def _category_names(pipeline: FittedPipeline) -> list[str]:
    return [column.name for column in pipeline.schema.kept if column.kind == "categorical"]


def _is_guessed(level: str) -> bool:
    """Whether pandas reads the level as a bool or a number, and that has the same text."""
    if level in ("True", "False"):
        return True
    try:
        number = float(level)
    except ValueError:
        return False
    if not math.isfinite(number):
        return False
    # whole numbers beyond the floats are read as they are
    return text_of(number) == level or str(int(Decimal(level))) == level
