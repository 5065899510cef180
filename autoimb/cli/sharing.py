"""What commands need around a study that several drivers search."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from autoimb.cli.terminal import counted, say, tried
from autoimb.errors import OptionError

if TYPE_CHECKING:
    from autoimb.budget import Deadline
    from autoimb.runs.folder import RunFolder
    from autoimb.runs.sharing import SharedStudy
    from autoimb.search.prepare import Prepared

__all__ = ["check_storage", "joined", "opened", "tell_studies"]

OF_STORAGE = "PGPASSFILE (or ~/.pgpass) and PGPASSWORD serve"
OF_SHARED = "the store's own environment or configuration files serve"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # what can be a folder everywhere


def check_storage(storage: str | None, shared: str | None, study: str | None) -> None:
    """Refuse what does not go together, and warn of a password."""
    if shared is not None and not (storage and shared):
        raise OptionError(
            "--shared needs a --storage that all drivers reach, and must name a folder or a URL; "
            f"got {shared!r}."
        )
    if study is not None and shared is None:
        raise OptionError("--study is the name of a shared study: give --storage and --shared.")
    if study is not None and not NAME.fullmatch(study):
        raise OptionError(
            f"--study must be up to 100 letters, digits, dots, dashes and underscores: {study!r}."
        )
    if storage is not None:
        _warn_of_password(storage, "the storage", OF_STORAGE)
    if shared is not None:
        _warn_of_password(shared, "--shared", OF_SHARED)


def _warn_of_password(url: str, what: str, instead: str) -> None:
    """Say once that others can read a password on the command line, and what serves instead."""
    from autoimb.runs.database import holds_password

    if holds_password(url):
        say(
            f"autoimb: warning: the URL of {what} holds a password, which whoever lists the "
            f"processes of this machine can read; {instead}.",
            err=True,
        )


@contextmanager
def joined(
    prepared: Prepared,
    storage: str | None,
    shared: str | None,
    fingerprint: str,
    *,
    study: str | None,
    deadline: Deadline,
) -> Iterator[SharedStudy | str | None]:
    """Be a driver of a study while inside; a storage that nobody shares is passed through."""
    if storage is None or shared is None:
        yield storage
        return
    from autoimb.runs.sharing import SharedStudy
    from autoimb.search.terms import terms_of

    if prepared.request.synchronous:
        raise OptionError(
            "--schedule synchronous promises the same answer once more, which depends on what the "
            "other drivers of a shared study do: leave out --shared or --schedule."
        )
    with SharedStudy.join(
        storage,
        shared,
        name=study or f"autoimb-{fingerprint}",
        terms=terms_of(prepared),
        workers=prepared.request.n_jobs,
        policy=prepared.policy,
        deadline=deadline,
    ) as place:
        yield place


def opened(
    path: Path, storage: SharedStudy | str | None, *, fingerprint: str, resume: bool
) -> RunFolder:
    """Open the RUN folder of a search, of a shared study as well."""
    from autoimb.runs.folder import RunFolder
    from autoimb.runs.sharing import SharedStudy

    shared = storage if isinstance(storage, SharedStudy) else None
    return RunFolder.open(
        path,
        fingerprint=fingerprint,
        resume=resume,
        study=None if shared is None else shared.name,
        place=None if shared is None else shared.place,
    )


def tell_studies(url: str, *, as_json: bool) -> None:
    """Print how far all shared studies in a database are."""
    from autoimb.runs.shared_status import studies_at

    _warn_of_password(url, "the storage", OF_STORAGE)
    found = studies_at(url)
    if as_json:
        say(json.dumps([one.to_json() for one in found], indent=2, ensure_ascii=False))
        return
    if not found:
        say("No study is shared there.")
    for one in found:
        rate = f"{one.trials_a_minute:.1f} trials a minute"
        say(f"{one.name}: {tried(one.strategies, one.apart)}")
        say(f"{counted(one.drivers, 'driver')}, {counted(one.workers, 'worker')}, {rate}")
        if one.best is not None:
            score = "{score:.4f} ± {error:.4f}".format_map(one.best)
            say(f"best: trial {one.best['trial']}, {score}: {one.best['description']}")
