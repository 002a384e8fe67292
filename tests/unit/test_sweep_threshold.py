"""ROC and PPV from reviewed studies: each figure is counted by hand, and too few reviews draw nothing."""

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest
from markupsafe import Markup
from starlette.testclient import TestClient

from screener.performance import Share
from screener.replay import replay
from screener.store import Store
from screener.store.feedback import Judgment
from screener.store.reviews import Opinion
from screener.sweep_threshold import CT, FEWEST_OF_EACH, ULTRASOUND, VALUES, Point, Sweep, sweep_reviewed
from screener.web.draw_charts import Axis, Chart, Dot, share_axis
from screener.web.draw_sweep import draw_sweep, say_share
from tests.unit import test_web_thresholds as pages
from tests.unit.test_replay_all import OLD, START, STUDIES, Measured, mass, measure, open_fast, review, screen_all

path, client = pages.path, pages.client
SINCE = START - timedelta(days=1)
FOUND = (900, 700, 600, 350, 2500)
"""Voxels of the masses that people agree with."""
FALSE = (550, 520, 320, 250, 60)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_fast(tmp_path)
    yield opened
    opened.engine.dispose()


def review_all(store: Store, has_finding: dict[int, bool]) -> None:
    """Say of each study whether there is a finding."""
    for study_id, is_there in has_finding.items():
        decided = store.decided_number(study_id)
        assert decided is not None
        review(store, study_id, Opinion.AGREE if decided.is_flagged is is_there else Opinion.DISAGREE)


def screen_and_review(store: Store) -> None:
    studies = screen_all(store, [mass(voxels) for voxels in (*FOUND, *FALSE, 900)])
    review_all(store, {study: number < len(FOUND) for number, study in enumerate(studies[:-1])})


def point_at(swept: Sweep, value: float) -> Point:
    (point,) = [point for point in swept.points if point.value == value]
    return point


def test_each_value_is_counted_as_one_would_by_hand(store: Store) -> None:
    screen_and_review(store)
    swept, ultrasound = sweep_reviewed(store, OLD, replace(OLD, min_voxels=340), SINCE)
    assert (swept.findings, swept.clean, swept.in_force) == (5, 5, point_at(swept, 500))
    assert point_at(swept, 500).found == Share(hits=4, count=5)
    assert point_at(swept, 500).false_alarms == Share(hits=2, count=5)
    assert point_at(swept, 500).ppv == Share(hits=4, count=6)
    assert point_at(swept, 30).found == point_at(swept, 30).false_alarms == Share(hits=5, count=5)
    assert point_at(swept, 4000).ppv == Share(hits=0, count=0)
    assert swept.tried is not None
    assert (swept.tried.value, swept.tried.found.hits, swept.tried.false_alarms.hits) == (340, 5, 2)
    assert [point.value for point in swept.points] == sorted(VALUES[CT])
    assert (ultrasound.points, ultrasound.findings) == ((), 0)


def test_a_higher_threshold_never_flags_more(store: Store) -> None:
    draw = random.Random(7)  # noqa: S311 - an example, no secret
    studies = screen_all(store, [measure(draw) for _ in range(STUDIES // 5)])
    review_all(store, {study: draw.random() < 0.5 for study in studies})
    for swept in sweep_reviewed(store, OLD, OLD, SINCE):
        assert len(swept.points) > 8
        assert swept.tried is None
        for share in ("found", "false_alarms"):
            hits = [getattr(point, share).hits for point in swept.points]
            assert hits == sorted(hits, reverse=True)
            assert hits[0] > hits[-1]
        assert swept.in_force is not None
        everything = replay(store.decided_runs(), OLD, store.decided_lesions()).flagged
        judgments = store.judgments()
        mine = {each.study_id for each in (store.decided_runs() if swept.key == CT else store.decided_lesions())}
        assert swept.in_force.found.hits == sum(judgments[study] is Judgment.FINDING for study in everything & mine)


def test_disputed_unreviewed_and_old_studies_do_not_count(store: Store) -> None:
    screen_and_review(store)
    review(store, 1, Opinion.DISAGREE, by="white")
    swept, _ = sweep_reviewed(store, OLD, OLD, SINCE)
    assert (swept.findings, swept.clean, swept.points) == (len(FOUND) - 1, len(FALSE), ())
    later, _ = sweep_reviewed(store, OLD, OLD, START + timedelta(days=1))
    assert (later.findings, later.clean) == (0, 0)


def test_too_few_reviews_are_said_and_not_drawn() -> None:
    curves = draw_sweep(Sweep(key=ULTRASOUND, findings=1, clean=3), 90)
    assert curves.sentence == (
        "Reviewed of the last 90 days: 1 study with a finding and 3 without: "
        f"too few for curves, which take {FEWEST_OF_EACH} of each."
    )
    assert (curves.roc, curves.ppv, curves.rows) == ("", "", ())


def test_the_page_draws_both_curves_without_script_or_style(client: TestClient, store: Store) -> None:
    screen_and_review(store)
    pages.enter(client, store)
    page = client.get("/thresholds?min_voxels=300").text
    charts = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(charts) == 2
    for chart in charts:
        svg = ElementTree.fromstring(chart)  # noqa: S314 - ours
        assert not {"style", "script"} & {element.tag for element in svg.iter()}
        assert not any(key == "style" or key.startswith("on") for element in svg.iter() for key in element.attrib)
        title, sentence = svg.attrib["aria-labelledby"].split()
        named = {element.attrib.get("id"): element.text for element in svg}
        assert "reviewed studies" in named[title]
        assert "In force: 500, found 0.80 (0.38 to 0.96), 4 of 5" in named[sentence]
        assert "Tried: 300" in named[sentence]
        assert len(svg.findall(".//circle[@class='dot now']")) == len(svg.findall(".//circle[@class='dot tried']")) == 1
    assert "Reviewed of the last 90 days: 0 studies with a finding and 0 without: too few" in page
    assert "<small>in force</small>" in page
    assert "0.67 (0.30 to 0.90), 4 of 6" in page


def test_the_page_without_reviews_says_that_there_are_too_few(client: TestClient, store: Store) -> None:
    pages.enter(client, store)
    page = client.get("/thresholds").text
    assert page.count("too few for curves") == 2
    assert "<svg" not in page


def test_a_chart_places_values_and_escapes_words() -> None:
    axis = Axis(name="a <b>", low=10, high=1000, ticks=[(100, "<i>")], is_log=True)
    assert [axis.place(value) for value in (1, 10, 100, 1000, 5000)] == [0.0, 0.0, pytest.approx(0.5), 1.0, 1.0]
    chart = Chart("c", "title & more", 'sentence "x"', axis, share_axis("share"))
    chart.draw_dot(Dot(kind="now", at=(1000, 1.0), along=(0.5, 1.0)))
    written = chart.write()
    assert isinstance(written, Markup)
    svg = ElementTree.fromstring(written)  # noqa: S314 - ours
    assert [element.text for element in svg][:2] == ["title & more", 'sentence "x"']
    (dot,) = svg.findall("circle")
    assert (dot.attrib["cx"], dot.attrib["cy"]) == ("340.0", "10.0")
    (whisker,) = [line for line in svg.findall("polyline") if line.attrib["class"] == "whisker now"]
    assert whisker.attrib["points"] == "340.0,115.0 340.0,10.0"


def test_a_share_of_nothing_is_said_to_be_none() -> None:
    assert say_share(Share(hits=0, count=0)) == "none flagged"
    assert say_share(Share(hits=12, count=15)) == "0.80 (0.55 to 0.93), 12 of 15"


def test_an_ultrasound_threshold_is_swept_too(store: Store) -> None:
    shares = (0.95, 0.85, 0.75, 0.65, 0.45, 0.55, 0.35, 0.25, 0.15, 0.05)
    studies = screen_all(store, [Measured(is_ultrasound=True, malignancy=share) for share in shares])
    review_all(store, {study: number < 5 for number, study in enumerate(studies)})
    _, swept = sweep_reviewed(store, OLD, OLD, SINCE)
    assert swept.in_force == point_at(swept, 0.5)
    assert (swept.in_force.found.hits, swept.in_force.false_alarms.hits) == (4, 1)
    curves = draw_sweep(swept, 30)
    assert curves.kind == "Ultrasound"
    assert "min_malignancy" in curves.ppv
