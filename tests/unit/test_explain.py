"""In which time an operator reads what happened, and what comes next."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from screener.explain import describe_backlog, describe_study
from screener.journey import Ending, Queue
from screener.store.values import Backlog, LeaseLine, StepLine, StudyReport

WINTER = datetime(2026, 11, 21, 16, 13, 15, tzinfo=UTC)
SUMMER = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def vienna(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Vienna")
        time.tzset()
        yield
    time.tzset()


def a_study(sentence: str, at: datetime = WINTER, ending: Ending | None = None, reason: str = "") -> StudyReport:
    return StudyReport(
        study_id=1,
        study_instance_uid="1.2",
        stage="stored",
        ending=ending,
        code="",
        reason=reason,
        received_at=at,
        images=1,
        documents=0,
        own=0,
        expired=0,
        steps=(StepLine(at=at, run_number=None, stage="not sent", seconds=None, sentence=sentence),),
        runs=(),
        oddities=(),
    )


def test_the_time_of_a_step_and_the_next_try_in_its_sentence_are_in_one_zone_and_say_which() -> None:
    told = describe_study(a_study("pacs, attempt 1: away; next try at 2026-11-21 16:14:15 UTC"))
    assert "2026-11-21 17:13:15+01:00" in told
    assert "next try at 2026-11-21 17:14:15+01:00" in told
    assert "UTC" not in told


def test_a_time_without_seconds_in_a_reason_is_local_too_and_summer_time_is_told_as_such() -> None:
    reason = "away; tried 90 times since 2026-07-01 12:00 UTC"
    told = describe_study(a_study("ended", at=SUMMER, ending=Ending.FAILED, reason=reason))
    assert "tried 90 times since 2026-07-01 14:00:00+02:00" in told
    assert "2026-07-01 14:00:00+02:00         not sent" in told


@pytest.mark.parametrize("sentence", ["said 2026-99-21 16:14:15 UTC", "said 9999-12-31 23:59:59 UTC"])
def test_what_a_pacs_wrote_that_is_no_time_is_told_as_it_is(sentence: str) -> None:
    assert sentence in describe_study(a_study(sentence))


def test_a_lease_says_the_zone_of_its_end() -> None:
    lease = LeaseLine(study_id=1, queue=Queue.CT, owner="worker", until=WINTER)
    told = describe_backlog(Backlog(queues={}, oldest=(), leases=(lease,)), WINTER)
    assert "until 2026-11-21 17:13:15+01:00" in told
