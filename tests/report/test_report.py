"""The report: everything is said, nothing is loaded, no name of the data does harm."""

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from autoimb.report.build import Facts, render
from autoimb.report.formats import as_text, count, decimals, duration, percent, scored, signed

EVIL = '<script>alert("x")</script>&\'"--><svg onload=alert(1)>'


class Page(HTMLParser):
    """Elements, attributes and text; checks that tags close."""

    VOID = frozenset({"meta", "br", "line", "circle", "path", "use", "rect"})

    def __init__(self, facts):
        super().__init__()
        self.elements, self.open, self.texts = [], [], []
        self.feed(render(facts))

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.texts.append(data)

    def tags(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="module")
def page(case_facts):
    return Page(case_facts)


def test_every_fact_is_on_the_page(page, case_facts):
    scores = {row["name"]: row for row in case_facts.scores[:5]}
    (_, false), (miss, hit) = case_facts.confusion["matrix"]
    gain = case_facts.methods[0]
    texts = [
        "Predicting churn in table",
        "Positive class: yes",
        *case_facts.result_lines,
        *case_facts.notices,
        *(f"{scored(scores[name]['value'], scores[name]['error'])} ± " for name in scores),
        f"finds {hit} of {miss + hit} rows",
        f"{false + hit} alarms; {percent(hit / (false + hit))} of them are right",
        "x 7 0.54 %",
        "carrier 16",
        "network: mlp, tabm",
        f"{signed(gain['gain'])} {signed(gain['low'])} to {signed(gain['high'])}",
        gain["sentence"],
        "the time ended before its turn",
        "6 strategies: 4 complete, 1 failed, 1 infeasible.",
        "Search score",
        "boom",
        case_facts.winner["rule"],
        "4 min 12 s",
        f"torch {case_facts.versions['torch']}",
    ]
    assert [text for text in texts if text not in page.text] == []


def test_nothing_is_loaded_and_nothing_runs(page, case_facts):
    names = {name for name, _ in page.elements}
    assert not names & {"script", "link", "img", "iframe", "object", "base", "form"}
    for _, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"href", "src", "xlink:href"}:
                assert value.startswith("#")
    assert "url(http" not in render(case_facts)


def test_links_and_ids_are_sound(page):
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        for name in ("href", "xlink:href", "aria-labelledby"):
            if name in attributes:
                assert attributes[name].removeprefix("#") in ids
    assert not page.open


def test_figures_and_tables_are_named(page):
    assert len(page.tags("figure")) == len(page.tags("figcaption")) == 3
    for svg in page.tags("svg"):
        assert svg.get("aria-label") or svg.get("aria-hidden") == "true"
    assert len(page.tags("table")) == len(page.tags("caption"))
    headings = [name for name, _ in page.elements if name in {"h1", "h2", "h3"}]
    assert headings[:2] == ["h1", "h2"]
    assert headings.count("h1") == 1


def poisoned(value):
    """Replace every text by a hostile one, except words that the page depends on."""
    steering = {"complete", "failed", "infeasible", "winner", "none", "prior"}
    steering |= {"logistic regression", "balanced random forest"}
    if isinstance(value, dict):
        return {key: poisoned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item) for item in value]
    return EVIL + value if isinstance(value, str) and value not in steering else value


def test_hostile_names_are_harmless(case_facts):
    data = poisoned(case_facts.to_json())
    data["profile"]["missing"] = data["profile"]["cardinality"] = {EVIL: 3}
    data["versions"], data["timing"] = {EVIL: EVIL}, {EVIL: 1.0}
    facts = Facts.from_json(data)
    page, html = Page(facts), render(facts)
    assert "<script" not in html
    assert "onload=alert(1)>" not in html
    attributes = {name for _, attributes in page.elements for name in attributes}
    assert not {name for name in attributes if name.startswith("on")}
    assert "<script>" in page.text  # escaped, as text


def test_facts_survive_json(case_facts):
    facts = replace(case_facts, timing={"search": np.float64(2.5)}, plan={"folds": np.int64(3)})
    again = Facts.from_json(json.loads(json.dumps(facts.to_json(), allow_nan=False)))
    assert again.to_json() == facts.to_json()
    assert render(again) == render(facts)


def test_undefined_numbers_become_dashes(case_facts):
    undefined = dict.fromkeys(("value", "error", "low", "high"), math.nan)
    html = render(replace(case_facts, scores=[row | undefined for row in case_facts.scores]))
    assert "nan" not in re.sub(r"<style.*?</style>", "", html, flags=re.DOTALL).lower()


@pytest.mark.parametrize(
    ("standing", "words"),
    [
        ("", set()),
        ("within error", {", but within error"}),
        ("ahead", {" by more than 2 standard"}),
    ],
)
def test_a_tile_above_the_winner_explains_it(standing, words, case_facts):
    names = {"none": standing}
    scores = [row | {"standing": names.get(row["name"], "")} for row in case_facts.scores]
    text = Page(replace(case_facts, scores=scores)).text
    pattern = "better than the winner(, but within error| by more than 2 standard)"
    assert set(re.findall(pattern, text)) == words


def test_a_bare_search_has_a_report(case_facts):
    """One trial, no reference, nothing missing, nothing failed, no alarm."""
    html = render(
        replace(
            case_facts,
            profile=case_facts.profile | {"missing": {}, "cardinality": {}},
            scores=[row for row in case_facts.scores if row["name"] == "winner"],
            confusion={"labels": ["no", "yes"], "matrix": [[1100, 0], [100, 0]]},
            leaderboard=case_facts.leaderboard[:1],
            methods=[],
            notices=[],
            reliability=[],
            request={"target": None, "metric": "average_precision"},
        )
    )
    assert "Predicting the target" in html
    assert "No values are missing" in html
    assert "0 alarms" in " ".join(html.split())
    assert "There were no paired comparisons" in html
    assert "None: no trial failed" in html
    assert html.count("<figure>") == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (decimals(None), "–"),
        (decimals(-0.12345), "−0.1235"),
        (scored(0.30561, 0.0234), "0.306"),
        (scored(0.08712, 0.0031), "0.0871"),
        (scored(1.0, 0.0), "1.000"),
        (scored(0.5, None), "0.500"),
        (signed(0.1), "+0.1000"),
        (percent(0.0245, 2), "2.45 %"),
        (percent(0.0), "0.0 %"),
        (percent(0.0001), "< 0.1 %"),
        (duration(59.94), "59.9 s"),
        (duration(252), "4 min 12 s"),
        (duration(3725), "1 h 02 min"),
        (count(1234567), "1,234,567"),
        (as_text({"a": [1, None], "b": True}), "a: 1, not set; b: yes"),
    ],
)
def test_numbers_in_words(text, expected):
    assert text == expected
