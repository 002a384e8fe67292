"""Control charts: what lies outside is red, and the axis holds all of it."""

from xml.etree import ElementTree

import pytest

from screener.performance import Chart, Share, Trend, WeekShare
from screener.web.draw_control import _round_up, _weeks_axis, draw_share, draw_trend


def classes(picture: str, tag: str) -> list[str]:
    return [element.attrib["class"] for element in ElementTree.fromstring(picture).iter(tag)]  # noqa: S314 - ours


def week(ago: int, hits: int, limits: tuple[float, float] | None) -> WeekShare:
    return WeekShare(weeks_ago=ago, share=Share(hits=hits, count=10), limits=limits)


def test_a_week_outside_its_limits_is_red() -> None:
    weeks = (week(2, 1, None), week(1, 1, (0.0, 0.3)), week(0, 9, (0.0, 0.3)))
    before = Share(hits=2, count=20)
    chart = Chart(rate="flagged", before=before, latest=weeks[-1].share, low=0.0, high=0.3, weeks=weeks)
    picture = draw_share("c", "CT1", chart)
    assert classes(picture, "circle") == ["dot usual", "dot usual", "dot out"]
    assert classes(picture, "polyline").count("limit") == 4
    assert "CT1: flagged, by week" in picture
    assert "OUTSIDE 0 to 30 %" in picture
    assert draw_share("c", "CT1", Chart(rate="x", before=before, latest=before, low=None, high=None)) == ""


def test_a_trend_shows_its_whole_weeks_and_limits() -> None:
    trend = Trend(name="studies", unit="studies", weeks=((2, 10.0), (1, 12.0), (0, 40.0)), limits=(4.0, 18.0))
    picture = draw_trend("t", "CT1", trend)
    assert classes(picture, "circle") == ["dot usual", "dot usual", "dot out"]
    assert classes(picture, "polyline").count("limit") == 2
    assert draw_trend("t", "CT1", Trend(name="studies", unit="studies", weeks=(), limits=None)) == ""


@pytest.mark.parametrize(
    ("value", "top"),
    [
        (0.004, 0.01),
        (0.04, 0.05),
        (0.11, 0.2),
        (0.5, 0.5),
        (0.7, 1.0),
        (1, 1),
        (7, 10),
        (12, 20),
        (51, 100),
        (600, 1000),
    ],
)
def test_an_axis_ends_at_a_round_number(value: float, top: float) -> None:
    assert _round_up(value) == pytest.approx(top)


@pytest.mark.parametrize("oldest", [0, 3, 11, 25])
def test_the_axis_of_weeks_begins_before_the_oldest(oldest: int) -> None:
    axis = _weeks_axis(oldest)
    assert axis.low <= -oldest - 1
    assert (axis.high, axis.ticks[0]) == (0.0, (0.0, "now"))
    assert all(axis.low <= value for value, _ in axis.ticks)
