"""Storage commitment at the door: what is durable here is promised, everything else refused with the reason."""

import gc
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dsutils import decode, encode

from screener.archive import Archive
from screener.command_set import decode_command, encode_answer
from screener.commit import report_commitments
from screener.config import Listener as ListenerSettings
from screener.config import Peer, Results
from screener.receive import Listener
from screener.storage_commitment import (
    ALL_COMMITTED,
    CLASS_INSTANCE_CONFLICT,
    NO_SUCH_OBJECT,
    SOME_FAILED,
    STORAGE_COMMITMENT,
    WELL_KNOWN_INSTANCE,
    make_report,
    make_request,
    read_report,
)
from screener.store import Store
from screener.store.values import OwedReport
from tests.peers.hospital import wait_until
from tests.peers.ports import free_port
from tests.peers.raw_peer import ACCEPT, RawPeer, action_request, associate_request, call, data_pdu
from tests.peers.scanner import Scanner, make_ct
from tests.peers.stores import open_new_store
from tests.unit.test_receive import broken

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
DEADLINE_SECONDS = 60.0

# pynetdicom 3.0.4 drops the socket of a refused connection without closing it (AssociationSocket.connect).
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def dropped_sockets_are_noticed_here() -> Iterator[None]:
    """Not in whatever test comes later."""
    yield
    gc.collect()


@dataclass
class Door:
    listener: Listener
    store: Store
    archive: Archive

    def report(self, now: datetime = NOW) -> int:
        return report_commitments(self.store, self.archive, "PAROTID", Results(give_up_hours=1), now)


@pytest.fixture
def open_door(tmp_path: Path) -> Iterator[Callable[[int], Door]]:
    doors: list[Door] = []

    def open_one(report_port: int = 0) -> Door:
        store = open_new_store(f"sqlite:///{tmp_path}/screener.sqlite")
        archive = Archive(tmp_path / "var", 0)
        peer = Peer(ae_title="*", hosts=["127.0.0.1"], port=report_port)
        listener = Listener(ListenerSettings(port=0, peers=[peer]), archive, store, lambda: NOW)
        listener.start()
        doors.append(Door(listener, store, archive))
        return doors[-1]

    yield open_one
    for door in doors:
        door.listener.stop()
        door.store.engine.dispose()


@dataclass
class Requester:
    """A modality that asks for commitment and keeps the reports that it gets."""

    reports: list[tuple[int, Dataset]] = field(default_factory=list)
    has_come: threading.Event = field(default_factory=threading.Event)

    def take(self, event: evt.Event) -> tuple[int, None]:
        self.reports.append((event.event_type, event.event_information))
        return 0x0000, None

    def go_on(self, _: evt.Event) -> None:
        """The answer to the report is out: the association may be released."""
        if self.reports:
            self.has_come.set()

    @contextmanager
    def calling(self, door: Door) -> Iterator[Association]:
        ae = AE("MODALITY")
        ae.add_requested_context(STORAGE_COMMITMENT)
        handlers = [(evt.EVT_N_EVENT_REPORT, self.take), (evt.EVT_PDU_SENT, self.go_on)]
        assoc = ae.associate("127.0.0.1", door.listener.port, ae_title="PAROTID", evt_handlers=handlers)
        assert assoc.is_established
        yield assoc
        if assoc.is_established:
            assoc.release()

    def ask(self, door: Door, ds: Dataset, *, stays: bool = True, action_type: int = 1) -> int:
        with self.calling(door) as assoc:
            answer, _ = assoc.send_n_action(ds, action_type, STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE)
            if stays:
                assert self.has_come.wait(DEADLINE_SECONDS), "no report on the association of the request"
        status: int = answer.Status
        return status


def stored(door: Door) -> tuple[str, str]:
    ds = make_ct()
    Scanner(door.listener.port).send([ds])
    return ds.SOPClassUID, ds.SOPInstanceUID


def test_what_is_durable_is_committed_to_on_the_same_association(open_door: Callable[..., Door]) -> None:
    door, requester = open_door(), Requester()
    pair = stored(door)
    transaction_uid = generate_uid()
    assert requester.ask(door, make_request(transaction_uid, [pair])) == 0x0000
    ((event_type, ds),) = requester.reports
    assert event_type == ALL_COMMITTED
    assert read_report(ds)[0] == transaction_uid
    assert read_report(ds)[1].committed == {pair[1]}


def test_what_is_not_here_is_refused_with_no_such_object(open_door: Callable[..., Door]) -> None:
    door, requester = open_door(), Requester()
    pair, stranger = stored(door), (CTImageStorage, generate_uid())
    requester.ask(door, make_request(generate_uid(), [pair, stranger]))
    ((event_type, ds),) = requester.reports
    answer = read_report(ds)[1]
    assert (event_type, answer.committed, answer.failed) == (SOME_FAILED, {pair[1]}, {stranger[1]: NO_SUCH_OBJECT})


def test_a_row_whose_file_is_gone_is_not_committed_to(open_door: Callable[..., Door]) -> None:
    door, requester = open_door(), Requester()
    pair = stored(door)
    for path in (door.archive.folder / "received").rglob("*.dcm"):
        path.unlink()
    requester.ask(door, make_request(generate_uid(), [pair]))
    assert read_report(requester.reports[0][1])[1].failed == {pair[1]: NO_SUCH_OBJECT}


def test_an_instance_under_another_class_is_a_conflict(open_door: Callable[..., Door]) -> None:
    door, requester = open_door(), Requester()
    _, sop_instance_uid = stored(door)
    requester.ask(door, make_request(generate_uid(), [(MRImageStorage, sop_instance_uid)]))
    assert read_report(requester.reports[0][1])[1].failed == {sop_instance_uid: CLASS_INSTANCE_CONFLICT}


def ask_at_once(peer: RawPeer, requests: list[Dataset]) -> list[int | None]:
    """Associate and send all requests before any answer is read; their statuses."""
    peer.send(associate_request(abstract_syntax=STORAGE_COMMITMENT))
    assert peer.read_pdu()[0] == ACCEPT
    return ask_again(peer, requests)


def ask_again(peer: RawPeer, requests: list[Dataset]) -> list[int | None]:
    for number, ds in enumerate(requests, start=1):
        data_set = encode(ds, False, True) or b""
        peer.send(data_pdu(action_request(number), is_command=True, is_last=True) + data_pdu(data_set, is_last=True))
    return [decode_command(peer.read_pdu()[1][6:]).status for _ in requests]


def next_report(peer: RawPeer) -> str:
    """Read a report, answer it with Success and give its transaction."""
    command = decode_command(peer.read_pdu()[1][6:])
    ds = decode(BytesIO(peer.read_pdu()[1][6:]), False, True)
    peer.send(data_pdu(encode_answer(command, 0x0000), is_command=True, is_last=True))
    return str(ds.TransactionUID)


def test_each_of_several_requests_gets_its_report(
    open_door: Callable[..., Door], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("screener.association.AFTER_THE_ANSWER_SECONDS", 2.0)  # all are asked before
    door = open_door()
    pair = stored(door)
    uids = [generate_uid() for _ in range(3)]
    with call(door.listener.port) as peer:
        assert ask_at_once(peer, [make_request(uid, [pair]) for uid in uids]) == [0, 0, 0]
        assert [next_report(peer) for _ in uids] == uids


def test_requests_whose_reports_would_fill_the_memory_are_refused(
    open_door: Callable[..., Door], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("screener.association.AFTER_THE_ANSWER_SECONDS", 2.0)  # all are asked before
    monkeypatch.setattr("screener.receive.MOST_OWED_INSTANCES", 3)
    requests = [make_request(generate_uid(), [(CTImageStorage, generate_uid())] * 2) for _ in range(3)]
    with call(open_door().listener.port) as peer:
        assert ask_at_once(peer, requests) == [0, 0x0213, 0x0213]
        assert next_report(peer) == requests[0].TransactionUID


def test_reports_that_are_owed_when_the_requester_leaves_are_told_of(
    open_door: Callable[..., Door], caplog: pytest.LogCaptureFixture
) -> None:
    door = open_door()
    with call(door.listener.port) as peer:
        ask_at_once(peer, [make_request(generate_uid(), [(CTImageStorage, generate_uid())]) for _ in range(2)])
    door.listener.stop()
    assert len([line for line in caplog.messages if "commitment not reported" in line]) == 2


def test_nothing_is_committed_to_while_the_disk_does_not_take_it(
    open_door: Callable[..., Door], caplog: pytest.LogCaptureFixture
) -> None:
    door = open_door()
    pair = stored(door)
    first, second = (make_request(generate_uid(), [pair]) for _ in range(2))
    with call(door.listener.port) as peer:
        with broken(os, "fdatasync", OSError(5, "Input/output error")):
            assert ask_at_once(peer, [first]) == [0]
            wait_until(lambda: any("commitment not reported" in line for line in caplog.messages), 30, "it is told of")
        assert ask_again(peer, [second]) == [0]
        assert next_report(peer) == second.TransactionUID


@contextmanager
def taking_reports(requester: Requester, port: int) -> Iterator[None]:
    ae = AE("MODALITY")
    ae.add_supported_context(STORAGE_COMMITMENT, scu_role=True, scp_role=True)
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, requester.take)])
    try:
        yield
    finally:
        server.shutdown()


def test_a_sender_with_a_port_gets_its_report_there_when_it_is_back(open_door: Callable[..., Door]) -> None:
    port = free_port()
    door, requester = open_door(port), Requester()
    pair = stored(door)
    assert requester.ask(door, make_request(generate_uid(), [pair]), stays=False) == 0x0000
    assert door.report() == 0  # it is away
    assert door.report(NOW + timedelta(seconds=1)) == 0  # and not asked at once again
    with taking_reports(requester, port):
        assert door.report(NOW + timedelta(minutes=5)) == 1
        assert door.report(NOW + timedelta(minutes=50)) == 0  # once
    assert read_report(requester.reports[0][1])[1].committed == {pair[1]}


def test_a_requester_that_never_answers_is_given_up(open_door: Callable[..., Door]) -> None:
    door, requester = open_door(free_port()), Requester()
    requester.ask(door, make_request(generate_uid(), [stored(door)]), stays=False)
    door.report(NOW + timedelta(hours=2))
    assert door.store.owed_commitment_reports(NOW + timedelta(days=1)) == []


def owe(door: Door, ae_title: str, port: int, host: str = "127.0.0.1") -> str:
    """Let a report be owed to a requester; its transaction."""
    instances = ((CTImageStorage, generate_uid()),)
    uid = generate_uid()
    report = OwedReport(transaction_uid=uid, ae_title=ae_title, host=host, port=port, instances=instances)
    door.store.owe_commitment_report(report, NOW)
    return uid


def due(door: Door, now: datetime = NOW) -> set[str]:
    return {report.transaction_uid for report in door.store.owed_commitment_reports(now)}


@pytest.mark.parametrize("ae_title", ["", "A\\B"])
def test_a_requester_that_cannot_be_called_holds_nobody_up(open_door: Callable[..., Door], ae_title: str) -> None:
    port = free_port()
    door, requester = open_door(port), Requester()
    owe(door, ae_title, port)
    owe(door, "MODALITY", port)
    with taking_reports(requester, port):
        assert door.report() == 1
    assert due(door) == set()
    assert len(due(door, NOW + timedelta(minutes=5))) == 1


@contextmanager
def hanging_up() -> Iterator[tuple[int, list[None]]]:
    """A port at which every connection is closed at once; and one None for each."""
    calls: list[None] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang_up() -> None:
            while True:
                connection, _ = listening.accept()
                connection.close()
                calls.append(None)

        def run() -> None:
            with suppress(OSError):  # the end of the test
                hang_up()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield listening.getsockname()[1], calls
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_requester_that_is_away_is_called_once_for_all_its_reports(open_door: Callable[..., Door]) -> None:
    door, requester, port = open_door(), Requester(), free_port()
    with hanging_up() as (away, calls), taking_reports(requester, port):
        uids = {owe(door, "AWAY", away) for _ in range(5)}
        owe(door, "MODALITY", port)
        assert door.report() == 1
        assert len(calls) == 1
    assert due(door) == set()
    assert due(door, NOW + timedelta(minutes=5)) == uids


def test_who_was_away_before_comes_last(open_door: Callable[..., Door]) -> None:
    door, port = open_door(), free_port()
    away, here = owe(door, "AWAY", free_port()), owe(door, "MODALITY", port)
    door.report()
    again = NOW + timedelta(minutes=5)
    first = owe(door, "MODALITY", port)
    reports = [report.transaction_uid for report in door.store.owed_commitment_reports(again)]
    assert reports[0] == first
    assert set(reports) == {first, away, here}


def test_a_round_of_reports_ends_where_the_daemon_stops(open_door: Callable[..., Door]) -> None:
    door, requester, port = open_door(), Requester(), free_port()
    uids = {owe(door, "MODALITY", port) for _ in range(2)}
    with taking_reports(requester, port):
        taken = report_commitments(
            door.store, door.archive, "PAROTID", Results(), NOW, is_stopping=lambda: bool(requester.reports)
        )
    assert (taken, len(due(door))) == (1, 1)
    assert due(door) < uids


@pytest.mark.parametrize("broken", ["TransactionUID", "ReferencedSOPSequence"])
def test_a_request_that_names_nothing_is_refused(open_door: Callable[..., Door], broken: str) -> None:
    door = open_door()
    ds = make_request(generate_uid(), [(CTImageStorage, generate_uid())])
    delattr(ds, broken)
    assert Requester().ask(door, ds, stays=False) == 0x0115


def explicit(door: Door) -> Association:
    """An association on which a data set says its own VRs."""
    ae = AE("MODALITY")
    ae.add_requested_context(STORAGE_COMMITMENT, ExplicitVRLittleEndian)
    role = build_role(STORAGE_COMMITMENT, scu_role=True, scp_role=True)
    return ae.associate("127.0.0.1", door.listener.port, ae_title="PAROTID", ext_neg=[role])


@pytest.mark.parametrize("tag", [0x00081199, 0x00081198], ids=["referenced", "failed"])
def test_text_where_a_sequence_belongs_is_refused(open_door: Callable[..., Door], tag: int) -> None:
    ds = Dataset()
    ds.TransactionUID = generate_uid()
    ds.add_new(tag, "LO", "CANARY^DONOTLOG")
    assoc = explicit(open_door())
    request, _ = assoc.send_n_action(ds, 1, STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE)
    report, _ = assoc.send_n_event_report(ds, SOME_FAILED, STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE)
    assoc.release()
    assert (request.Status, report.Status) == (0x0115, 0x0115)


def test_another_action_is_refused(open_door: Callable[..., Door]) -> None:
    ds = make_request(generate_uid(), [(CTImageStorage, generate_uid())])
    assert Requester().ask(open_door(), ds, stays=False, action_type=7) == 0x0123


def test_a_pacs_may_call_as_provider(open_door: Callable[..., Door]) -> None:
    """PS3.7 D.3.3.4: the role selection that a PACS proposes for its report is granted."""
    ae = AE("PACS")
    ae.add_requested_context(STORAGE_COMMITMENT)
    role = build_role(STORAGE_COMMITMENT, scp_role=True)
    assoc = ae.associate("127.0.0.1", open_door().listener.port, ae_title="PAROTID", ext_neg=[role])
    (context,) = assoc.accepted_contexts
    report = make_report(generate_uid(), [(CTImageStorage, generate_uid())], {})
    answer, _ = assoc.send_n_event_report(report, ALL_COMMITTED, STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE)
    assoc.release()
    assert (context.as_scp, context.as_scu) == (True, False)
    assert answer.Status == 0x0115  # nobody asked for this transaction
