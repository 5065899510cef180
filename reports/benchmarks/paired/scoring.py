"""Score trainings of one checkout on request: a JSON line in, a JSON line out.

Run as a file whose process finds the checkout first on its path; it reads of it what commit 40cc758
has too.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd

from reports.benchmarks import cases, project

NETWORKS = json.loads(
    Path(__file__).parents[1].joinpath("speed", "networks.json").read_text(encoding="utf-8")
)


def main() -> None:
    """Answer until there are no more lines."""
    table, planned = "", None
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["table"] != table:
            table = asked["table"]
            frame = pd.read_parquet(table)
            own = frame.drop(columns="target"), frame["target"]
            planned = project.Planned.of(own, budget=cases.MINUTE, seed=asked["seed"])
        chosen: dict[str, Any] = NETWORKS[asked["network"]]
        assert planned is not None
        begin = time.process_time()
        outcome = planned.trial(project.strategy(chosen["name"], chosen["params"]))
        seconds = time.process_time() - begin
        score = None if project.reason(outcome) else outcome.score.value
        print(json.dumps({"score": score, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
