"""What reaches the log of an error that nothing catches."""

import logging
import threading
import time

import pytest

from screener.logs import LocalFormatter, keep_quiet_of_values


def test_an_error_that_leaves_a_thread_is_told_without_its_words(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)

    def choke() -> None:
        raise ValueError("CANARY" + "^" + "DONOTLOG")

    keep_quiet_of_values()
    with caplog.at_level(logging.ERROR):
        thread = threading.Thread(target=choke, name="choking")
        thread.start()
        thread.join()
    (told,) = caplog.messages
    assert "choking" in told
    assert "ValueError at" in told
    assert "test_logs.py" in told
    assert "CANARY" not in told


def test_a_line_of_the_log_says_its_offset_from_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Vienna")
        time.tzset()
        record = logging.LogRecord("screener", logging.INFO, "", 0, "stopped", None, None)
        record.created = 1795277595.25  # 2026-11-21 16:13:15.25 UTC
        assert LocalFormatter().format(record) == "2026-11-21 17:13:15.250+01:00 INFO screener stopped"
    time.tzset()
