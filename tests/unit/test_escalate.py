"""A notice that cannot be passed on keeps no other from being passed on."""

from datetime import UTC, datetime

import pytest

from screener.escalate import escalate_unacknowledged
from screener.notice_settings import Notices
from screener.store.escalations import NextStep


class OneBroken:
    """Three notices are due, and the first cannot be read."""

    def __init__(self) -> None:
        self.escalated: list[int] = []

    def due_escalations(self, _now: datetime) -> list[int]:
        return [1, 2, 3]

    def escalate(self, notice_id: int, _next_step: NextStep, _now: datetime) -> bool:
        if notice_id == 1:
            raise KeyError("side")
        self.escalated.append(notice_id)
        return True


def test_one_broken_notice_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    store = OneBroken()
    assert escalate_unacknowledged(store, Notices(), datetime(2026, 1, 1, tzinfo=UTC)) == 2
    assert store.escalated == [2, 3]
    assert "notice=1 cannot be passed on: KeyError" in caplog.text
