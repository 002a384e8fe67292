"""A PACS that is asked how many images it holds: whatever goes wrong is a remark and an end, never a standstill."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom import AE, build_context
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind  # type: ignore[attr-defined]
from sqlalchemy.exc import OperationalError

from screener.complete import Count
from screener.config import AskedPacs, Source
from screener.count_at_pacs import PacsCounts
from screener.outcomes import TryAgain
from screener.pull.ask_pacs import AWAY, Caller, PacsSource
from screener.store import QuietStudy, Store
from tests.peers.hospital import wait_until
from tests.peers.ports import free_port

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
FIND = StudyRootQueryRetrieveInformationModelFind
STUDY = QuietStudy(
    study_id=1,
    sop_class_uids=frozenset(),
    news_at=NOW,
    signal="",
    study_instance_uid="1.2.3",
    senders=frozenset({"CT1"}),
)


def answer_of(counts: PacsCounts, study: QuietStudy = STUDY, now: datetime = NOW) -> Count:
    found: list[Count] = []

    def has_answered() -> bool:
        answer = counts.ask(study, now)
        found.extend([answer] if answer is not None else [])
        return answer is not None

    wait_until(has_answered, 60, "an answer of the PACS")
    return found[0]


def test_a_database_that_is_away_while_a_pacs_is_asked_is_a_remark(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: int) -> None:
        raise OperationalError("SELECT", {}, ConnectionError("CANARY^DONOTLOG"))

    monkeypatch.setattr(store, "instances_by_series", fail)
    pacs = AskedPacs(name="pacs", ae_title="PACS", host="127.0.0.1", port=free_port())
    counts = PacsCounts([pacs], store, ae_title="PAROTID", timeout_seconds=5)
    try:
        for second in range(3):
            answer = answer_of(counts, now=NOW + timedelta(seconds=second))
            assert answer.missing == ()
            assert answer.remarks == ("pacs was not asked how many images it holds: OperationalError",)
        assert "CANARY" not in caplog.text
    finally:
        counts.close()


def test_a_pacs_that_aborts_right_after_accepting_is_away() -> None:
    ae = AE("PACS")
    ae.add_supported_context(FIND)
    server = ae.start_server(("127.0.0.1", 0), block=False)
    source = Source(name="pacs", ae_title="PACS", host="127.0.0.1", port=server.server_address[1])
    asked = PacsSource(source, Caller(ae_title="PAROTID", timeout_seconds=5, store=lambda _: Dataset()))
    try:
        with pytest.raises(TryAgain) as raised:
            ask_once_it_has_gone(asked, server)
        assert raised.value.code == AWAY
    finally:
        ae.shutdown()


def ask_once_it_has_gone(asked: PacsSource, server: Any) -> None:
    with asked._associated([build_context(FIND)]) as assoc:
        wait_until(lambda: bool(server.active_associations), 60, "the PACS has accepted")
        server.active_associations[0].abort()
        wait_until(lambda: not assoc.is_established, 60, "the end of the association")
        list(assoc.send_c_find(Dataset(), FIND))
