"""The report: everything is said, nothing is loaded, no name of the data does harm."""

import dataclasses
import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from autoimb.report.build import Facts, render
from autoimb.report.formats import (
    allowed,
    as_text,
    count,
    decimals,
    duration,
    percent,
    scored,
    signed,
)
from tests.support.programs import python

EVIL = '<script>alert("x")</script>&\'"--><svg onload=alert(1)>'
COMPONENTS = ("resampling", "class_weight", "loss", "ensemble", "network")
CONTROL = {
    "resampling": "none",
    "class_weight": "none",
    "loss": "cross_entropy",
    "ensemble": "single",
    "network": "tabm",
}


METHODS = [
    "none; cross entropy; one tabm 128x2, k = 8",
    "class weights power(tau=0.5); cross entropy; one tabm 128x2, k = 8",
    "random_over(strength=0.5); cross entropy; one tabm 128x3, k = 8",
    "none; focal(gamma=1); one tabm 96x2, k = 4",
]
CHOICES = [{}, {"class_weight": "power"}, {"resampling": "random_over"}, {"loss": "focal"}]
SCORES = {
    "average_precision": (0.2864, 0.2791, 0.1217),
    "roc_auc": (0.8862, 0.8840, 0.7713),
    "f1": (0.3684, 0.3601, 0.1892),
    "log_loss": (0.0871, 0.0879, 0.1062),
}
ENDED = {
    "infeasible": (3, "Cleaning 16,000 rows would take about 70 s of the 54 s that are left."),
    "failed": (1, "the loss was not finite in epoch 2"),
}


def _curve(rng, shift, n=20_000, positives=490):
    y = np.arange(n) < positives
    hits = np.cumsum(y[np.argsort(-(rng.normal(size=n) + shift * y))])
    at = np.unique(np.geomspace(20, n, 200).astype(int)) - 1
    return {"precision": (hits[at] / (at + 1)).tolist(), "recall": (hits[at] / positives).tolist()}


def _trial(number, score, place=0, *, status="complete", reason=""):
    return {
        "trial": number,
        "status": status,
        "score": score,
        "error": None if score is None else 0.0118 + 0.0004 * (number % 5),
        "seconds": 3.1 + 1.7 * (number % 7),
        "stage": "search",
        "strategy": METHODS[place],
        "reason": reason,
        **CONTROL,
        **CHOICES[place],
    }


def _leaderboard(rng):
    scores = np.sort(0.2823 - np.abs(rng.normal(0, 0.02, 31)))[::-1]
    board = [
        _trial(int(number), float(score), place % 4)
        for place, (number, score) in enumerate(zip(rng.permutation(31), scores))
    ]
    for status, (count_of, reason) in ENDED.items():
        board += [
            _trial(len(board) + i, None, status=status, reason=reason) for i in range(count_of)
        ]
    return board


def _method(component, option, method, word, gain=None):
    names = ("gain", "low", "high", "log_loss_gain", "log_loss_low", "log_loss_high", "p_value")
    gains = 7 * [None]
    if gain is not None:
        gains = [gain, gain - 0.0082, gain + 0.0082, gain / 10, gain / 10 - 0.001]
        gains += [gain / 10 + 0.001, 0.2]
    return {
        "component": component,
        "option": option,
        "method": method,
        "word": word,
        "sentence": f"{method}: {word}, said in a sentence.",
    } | dict(zip(names, gains))


def _winner(board):
    def choice(name):
        return {"name": name, "params": {"tau": 0.5} if name == "power" else {}}

    return {
        "description": "A blend of 3 strategies, led by no imbalance method on tabm",
        "strategies": [
            {
                "trial": row["trial"],
                "weight": weight,
                "description": row["strategy"],
                "strategy": {component: choice(row[component]) for component in COMPONENTS},
                "summaries": dict.fromkeys(COMPONENTS, "What the option does, in one sentence."),
            }
            for row, weight in zip(board, (0.5, 0.3, 0.2))
        ],
        "blend": True,
        "rule": "The label is yes where its probability is at least 0.214, otherwise no.",
    }


def flights_facts(**changes):
    """Facts of a search on cancelled flights, as a real one would give them."""
    rng = np.random.default_rng(0)
    board = _leaderboard(rng)
    names = ("winner", "none", "logistic regression")
    facts = {
        "request": {
            "data": "flights.csv.gz",
            "target": "cancelled",
            "metric": "average_precision",
            "time_budget": 300.0,
            "components": [["network", ["mlp", "tabm", "realmlp"]]],
            "costs": None,
        },
        "profile": {
            "rows": 20_000,
            "positive": "yes",
            "columns": {"numeric": 12, "categorical": 3, "date": 1, "constant": 0},
            "classes": [
                {"label": "no", "count": 19_510, "share": 0.9755},
                {"label": "yes", "count": 490, "share": 0.0245},
            ],
            "missing": {"wind_gust": 15_278, "pressure": 2_276} | dict.fromkeys("abcdefg", 106),
            "cardinality": {"carrier": 16, "origin": 3, "dest": 103},
        },
        "plan": {"folds": 3, "scored_rows": 20_000, "epochs": 16, "batch": 512, "seed": 0},
        "winner": _winner(board),
        "scores": [
            {
                "name": name,
                "metric": metric,
                "value": value,
                "error": round(0.04 * value + 0.0004, 4),
                "low": value - 1.96 * round(0.04 * value + 0.0004, 4),
                "high": value + 1.96 * round(0.04 * value + 0.0004, 4),
                "standing": "",
                "greater_is_better": metric != "log_loss",
            }
            for metric, values in SCORES.items()
            for name, value in zip(names, values)
        ],
        "curves": {name: _curve(rng, shift) for name, shift in zip(names, (2.0, 1.9, 1.1))},
        "confusion": {"labels": ["no", "yes"], "matrix": [[19_247, 263], [338, 152]]},
        "leaderboard": board,
        "verdict": "No method against imbalance was better than none by more than its error.",
        "failures": [row for row in board if row["status"] in {"failed", "infeasible"}],
        "timing": {"reading": 0.6, "search": 246.2, "total": 281.4},
        "versions": {"autoimb": "0.1.0", "torch": "2.13.0"},
        "notices": ["date was read as a date and expanded to month, day, weekday and days."],
        "reliability": [
            {"predicted": predicted, "observed": observed, "count": rows}
            for predicted, observed, rows in (
                (0.01, 0.02, 9000),
                (0.08, 0.085, 1500),
                (0.7, 0.7, 9),
            )
        ],
        "created": "2026-03-01 14:05",
        "methods": [
            _method("resampling", "random_over", "random_over(strength=0.5)", "hurts", -0.0152),
            _method("resampling", "smote", "smote(strength=0.5)", "not tested enough", -0.0125),
            _method("resampling", "smote_enn", "smote_enn", "infeasible"),
            _method("class_weight", "power", "power(tau=0.5)", "makes no difference", -0.0006),
            _method("loss", "logit_adjusted", "logit_adjusted(tau=0.5)", "helps", 0.0167),
            _method("ensemble", "balanced_bagging", "balanced_bagging", "not tested"),
        ],
        "references": [],
        "checks": [],
        "test": None,
        "reported": {
            "value": 0.2811,
            "error": 0.0121,
            "low": 0.2574,
            "high": 0.3048,
            "raw": 0.2864,
            "optimism": 0.0053,
            "replays": 200,
            "estimate": "new data",
            "greater_is_better": True,
            "gain_of_mean": None,
            "averaging": "Out of fold it is of one network a row.",
        },
        "deployed": {
            "rows": 1000,
            "seconds": 0.021,
            "bytes": 1_250_000,
            "counted_seconds": None,
            "counted_bytes": None,
            "max_seconds": None,
            "max_bytes": None,
        },
        "time": None,
    }
    return Facts(**(facts | changes))


class _Page(HTMLParser):
    """Elements, attributes and text; checks that tags close."""

    VOID = frozenset({"meta", "br", "line", "circle", "path", "use", "rect"})

    def __init__(self, html):
        super().__init__()
        self.elements, self.open, self.text, self.skip = [], [], [], 0
        self.feed(html)

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
            self.text.append(data)

    def tags(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="module")
def page():
    return _Page(render(flights_facts()))


@pytest.fixture(scope="module")
def text(page):
    return " ".join(" ".join(page.text).split())


def test_everything_is_said(text):
    for said in (
        "Predicting cancelled in flights.csv.gz",
        "Positive class: yes",
        "No method against imbalance was better than none",
        "Expected average precision on new data: 0.281 (95 % interval 0.257 to 0.305).",
        "0.286 ± 0.012",  # the winner, none and the linear model
        "0.279 ± 0.012",
        "0.1217 ± 0.0053",
        "Search score",
        "at least 0.214",
        "finds 152 of 490 rows",
        "415 alarms; 36.6 % of them are right",
        "wind_gust 15,278 76.39 %",
        "logit adjusted",
        "+0.0167 +0.0085 to +0.0249",
        "logit_adjusted(tau=0.5): helps, said in a sentence.",
        "infeasible",
        "35 strategies: 31 complete, 3 infeasible, 1 failed",
        "the loss was not finite in epoch 2",
        "4 min 06 s",
        "torch 2.13.0",
        "network: mlp, tabm, realmlp",
    ):
        assert said in text


def test_nothing_is_loaded_and_nothing_runs(page):
    names = {name for name, _ in page.elements}
    assert not names & {"script", "link", "img", "iframe", "object", "base", "form"}
    for _, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"href", "src", "xlink:href"}:
                assert value.startswith("#")
    assert "url(http" not in render(flights_facts())


def test_links_and_ids_are_sound(page):
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        for name in ("href", "xlink:href"):
            if name in attributes:
                assert attributes[name].removeprefix("#") in ids
        if "aria-labelledby" in attributes:
            assert attributes["aria-labelledby"] in ids
    assert not page.open


def test_figures_and_tables_are_named(page):
    assert len(page.tags("figure")) == len(page.tags("figcaption")) == 3
    for svg in page.tags("svg"):
        assert svg.get("aria-label") or svg.get("aria-hidden") == "true"
    assert len(page.tags("table")) == len(page.tags("caption"))
    headings = [name for name, _ in page.elements if name in {"h1", "h2", "h3"}]
    assert headings[:2] == ["h1", "h2"]
    assert headings.count("h1") == 1


def _poisoned(value):
    """Replace every text by a hostile one, but keep the words that steer the page."""
    steering = {"complete", "failed", "infeasible", "winner", "none"}
    if isinstance(value, dict):
        return {key: _poisoned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_poisoned(item) for item in value]
    return EVIL + value if isinstance(value, str) and value not in steering else value


def test_hostile_names_are_harmless():
    facts = flights_facts()
    data = _poisoned(facts.to_json())
    data["profile"]["missing"] = {EVIL: 3}
    data["profile"]["cardinality"] = {EVIL: 3}
    data["versions"] = {EVIL: EVIL}
    data["timing"] = {EVIL: 1.0}
    html = render(Facts.from_json(data))
    assert "<script" not in html
    assert "onload=alert(1)>" not in html
    page = _Page(html)
    assert not page.tags("script")
    assert {
        name for _, attributes in page.elements for name in attributes if name[:2] == "on"
    } == set()
    assert "<script>" in " ".join(page.text)  # said as it is, as text


def test_facts_survive_json():
    facts = flights_facts(timing={"search": np.float64(2.5)}, plan={"folds": np.int64(3)})
    again = Facts.from_json(json.loads(json.dumps(facts.to_json(), allow_nan=False)))
    assert again.to_json() == facts.to_json()
    assert render(again) == render(facts)


def test_a_search_without_duels_says_so():
    assert "There were no matched duels" in render(flights_facts(methods=[]))


def test_undefined_numbers_become_dashes():
    facts = flights_facts()
    undefined = dict.fromkeys(("value", "error", "low", "high"), math.nan)
    scores = [row | undefined for row in facts.scores]
    html = render(dataclasses.replace(facts, scores=scores))
    assert "nan" not in re.sub(r"<style.*?</style>", "", html, flags=re.DOTALL).lower()


@pytest.mark.parametrize(
    ("standing", "said"),
    [
        ("", None),
        ("within error", "better than the winner, but within error"),
        ("ahead", "better than the winner by more than 2 standard errors"),
    ],
)
def test_a_tile_that_stands_above_the_winner_says_how(standing, said):
    facts = flights_facts()
    scores = [row | {"standing": standing if row["name"] == "none" else ""} for row in facts.scores]
    text = " ".join(_Page(render(dataclasses.replace(facts, scores=scores))).text)
    found = [words for words in ("within error", "by more than 2") if words in text]
    assert len(found) == (said is not None)
    assert said is None or said in text


def test_a_bare_search_has_a_report():
    """One trial, no reference, no curve, nothing missing, nothing failed."""
    facts = flights_facts()
    winner = facts.winner | {"strategies": facts.winner["strategies"][:1], "blend": False}
    profile = facts.profile | {"missing": {}, "cardinality": {}}
    html = render(
        dataclasses.replace(
            facts,
            winner=winner,
            profile=profile,
            scores=[row for row in facts.scores if row["name"] == "winner"],
            curves={},
            leaderboard=facts.leaderboard[:1],
            methods=[],
            failures=[],
            notices=[],
            reliability=[],
            request={"target": None, "metric": "average_precision"},
        )
    )
    assert "Predicting the target" in html
    assert "No values are missing" in html
    assert "None: no trial failed" in html
    assert "<figure>" not in html


def test_a_class_that_is_never_alarmed():
    facts = flights_facts(confusion={"labels": ["no", "yes"], "matrix": [[19_510, 0], [490, 0]]})
    assert "0 alarms" in " ".join(_Page(render(facts)).text)


def test_rendering_is_fast_and_touches_no_global_state():
    code = (
        "import sys, time, json; from autoimb.report.build import Facts, render\n"
        "assert 'matplotlib' not in sys.modules and 'jinja2' not in sys.modules\n"
        "facts = Facts.from_json(json.load(sys.stdin))\n"
        "started = time.process_time(); html = render(facts)\n"
        "assert 'matplotlib.pyplot' not in sys.modules and 'torch' not in sys.modules\n"
        "import matplotlib; assert matplotlib.rcParams['svg.fonttype'] == 'path'\n"
        "assert render(facts) == html\n"
        "print(time.process_time() - started)"
    )
    run = python("-c", code, input=json.dumps(flights_facts().to_json()), check=True)
    assert float(run.stdout) < 4.0  # measured 0.8; the rest is for a busy machine


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
        (allowed([["loss", ["focal", "cross_entropy"]]]), "loss: focal, cross_entropy"),
    ],
)
def test_numbers_in_words(text, expected):
    assert text == expected
