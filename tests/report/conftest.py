"""A binary search by average precision, and its facts."""

import pytest

from autoimb.report.build import Facts
from autoimb.report.facts import build_facts
from autoimb.search.search import SearchResult
from tests.report.cases import result_of, study_of


@pytest.fixture(scope="session")
def case_result() -> SearchResult:
    return result_of(*study_of())


@pytest.fixture(scope="session")
def case_facts(case_result: SearchResult) -> Facts:
    return build_facts(case_result)
