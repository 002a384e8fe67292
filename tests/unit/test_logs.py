"""What reaches the log of an error that nothing catches."""

import logging
import threading

import pytest

from screener.logs import keep_quiet_of_values


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
