import numpy as np
import pandas as pd

from autoimb.data.profile import profile
from autoimb.data.schema import infer_schema
from autoimb.data.target import encode_target

FRAME = pd.DataFrame(
    {
        "age": [1.0, np.nan, 3.0, np.nan, 5.0],
        "city": ["a", "b", "a", None, "c"],
        "same": 1,
        "when": pd.date_range("2020-01-01", periods=5),
    }
)


def test_counts():
    schema, _ = infer_schema(FRAME)
    target = encode_target([0, 0, 0, 1, 1])
    found = profile(FRAME, schema, target)
    assert (found.n_rows, found.n_classes) == (5, 2)
    assert (found.minority_count, found.class_counts, found.positive) == (2, (3, 2), 1)
    assert found.class_names == ("0", "1")
    assert (found.n_numbers, found.n_categories) == (4, 1)  # age, days, day, weekday
    assert found.kinds == {"numeric": 1, "categorical": 1, "constant": 1, "date": 1}
    assert found.missing == {"age": 2, "city": 1}
    assert found.cardinality == {"city": 3}
