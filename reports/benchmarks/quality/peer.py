"""autoimb as a peer of the bench, with the first networks that stand beside this file.

It is copied into the bench's place for it (``bench.py``), and started as the bench starts a peer.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["main"]


def main(io: Any) -> None:
    """Search on the training part, and save what the result predicts of the test part.

    Parameters
    ----------
    io : callable
        The bench's: it reads the command line and the tables, and gives what saves predictions.
    """
    options, columns, labels, others, save = io()
    from reports.benchmarks import project  # its time is in `inner_seconds`, as for other peers

    networks = json.loads(Path(__file__).with_name("first_networks.json").read_text("utf-8"))
    result = project.search(
        (columns, labels),
        seconds=options.time,
        seed=options.seed,
        networks=networks,
        metric=options.metric,
    )
    complete = [record for record in result.records if record.status == "complete"]
    pipeline, best = result.pipeline, result.selection.reported
    save(
        pipeline.predict_proba(others),
        pipeline.predict(others),
        pipeline.classes,
        trials=len(result.records),
        complete=len(complete),
        methods=sum(not record.strategy.is_control for record in complete),
        reported=best.utility,
        reported_error=best.error,
        reported_low=best.interval[0],
        reported_high=best.interval[1],
        best=str(result.best_strategy)[:200],
    )


if __name__ == "__main__":
    from common import io  # of the bench: it stands beside the copy

    main(io)
