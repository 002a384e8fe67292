"""A PACS that keeps what it is sent, and refuses, forgets, hangs up or is away when a test wants it."""

import threading
import time
from collections.abc import Callable, Iterator

from pydicom import Dataset
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, build_role, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind, Verification

from screener.storage_commitment import STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE, make_report, read_request

SUCCESS = 0x0000
PENDING = 0xFF00
NO_SUCH_OBJECT = 0x0112
OUT_OF_RESOURCES = 0xA700
AWAITING_CLOSE = "Sta13"
"""The state of an association that is over, while the peer has not closed its connection (PS3.8 Table 9-4)."""


class Pacs:
    """`start` and `stop` may alternate: the port, once known, stays the same."""

    def __init__(self, port: int = 0, ae_title: str = "PACS", host: str = "127.0.0.1") -> None:
        self.host = host
        self.port = port
        self.ae_title = ae_title
        self.received: list[Dataset] = []
        """What was answered with Success, file meta information included, in order of arrival."""
        self.encoded: list[bytes] = []
        """The same data sets as they came."""
        self.answer: Callable[[Dataset], int] = lambda _: SUCCESS
        """Gives the status for a data set; replace it to refuse."""
        self.loses: Callable[[Dataset], bool] = lambda _: False
        """Says of a data set whether it is answered with Success and then forgotten."""
        self.held: dict[str, Dataset] = {}
        """What it really keeps, by SOP Instance UID; C-FIND and storage commitment speak of this."""
        self.finds = True
        """Whether it accepts C-FIND, from the next `start` on."""
        self.reports_to: tuple[str, str, int] | None = None
        """(AE title, host, port) that reports on storage commitment go to; None: where they were asked for."""
        self.is_reporting = True
        self.commitments: list[str] = []
        """Transaction UIDs that were asked for."""
        self.hangs_up_after: int | None = None
        """Abort the association instead of answering, once so many instances were taken."""
        self.on_hang_up: Callable[[], None] = lambda: None
        self._server = None
        self._arrival = threading.Condition()
        self._ae = AE(ae_title)
        self._ae.maximum_associations = 50
        for context in AllStoragePresentationContexts:
            self._ae.add_supported_context(context.abstract_syntax, ALL_TRANSFER_SYNTAXES)
        self._ae.add_supported_context(Verification)
        self._ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        self._ae.add_supported_context(STORAGE_COMMITMENT)

    def start(self) -> "Pacs":
        """Begin or come back."""
        if not self.finds:
            self._ae.remove_supported_context(StudyRootQueryRetrieveInformationModelFind)
        handlers = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_N_ACTION, self._commit),
        ]
        self._server = self._ae.start_server((self.host, self.port), block=False, evt_handlers=handlers)
        self.port = self._server.server_address[1]
        return self

    def stop(self) -> None:
        """Go away: whoever calls from now on is refused a connection."""
        if self._server is not None:
            self._let_refused_go()
            self._ae.shutdown()
            self._server = None

    def _let_refused_go(self, timeout_seconds: float = 5) -> None:
        """Wait for those that were refused: pynetdicom knows no abort there, and `shutdown` would abort them."""
        deadline = time.monotonic() + timeout_seconds
        for assoc in self._ae.active_associations:
            if assoc.is_rejected or assoc.dul.state_machine.current_state == AWAITING_CLOSE:
                assoc.join(max(0.0, deadline - time.monotonic()))

    def __enter__(self) -> "Pacs":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_for(self, count: int, timeout_seconds: float = 30) -> list[Dataset]:
        """Wait until `count` instances are here; AssertionError says how many were."""
        deadline = time.monotonic() + timeout_seconds
        with self._arrival:
            while len(self.received) < count:
                if not self._arrival.wait(max(0.0, deadline - time.monotonic())) and time.monotonic() >= deadline:
                    raise AssertionError(f"{len(self.received)} of {count} instances after {timeout_seconds:g} s")
            return list(self.received)

    def _store(self, event: evt.Event) -> int:
        if self.hangs_up_after is not None and len(self.received) >= self.hangs_up_after:
            self.on_hang_up()
            event.assoc.abort()
            return OUT_OF_RESOURCES
        ds = event.dataset
        ds.file_meta = event.file_meta
        status = self.answer(ds)
        if status == SUCCESS:
            with self._arrival:
                self.received.append(ds)
                self.encoded.append(event.request.DataSet.getvalue())
                self._arrival.notify_all()
            if not self.loses(ds):
                self.held[ds.SOPInstanceUID] = ds
        return status

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        """Match the three unique keys of the image level (PS3.4 C.6.2.1.5)."""
        query = event.identifier
        keys = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        for ds in list(self.held.values()):
            if query.QueryRetrieveLevel == "IMAGE" and all(ds.get(key) == query.get(key) for key in keys):
                answer = Dataset()
                answer.QueryRetrieveLevel = "IMAGE"
                for key in keys:
                    setattr(answer, key, ds.get(key))
                yield PENDING, answer

    def _commit(self, event: evt.Event) -> tuple[int, None]:
        transaction_uid, instances = read_request(event.action_information)
        self.commitments.append(transaction_uid)
        if self.is_reporting:
            threading.Timer(0.2, self.report, (transaction_uid, instances, event.assoc)).start()
        return SUCCESS, None

    def report(self, transaction_uid: str, instances: tuple[tuple[str, str], ...], assoc: Association) -> None:
        """Send N-EVENT-REPORT over `assoc`, or, where `reports_to` says so, over an association of its own."""
        failed = {uid: NO_SUCH_OBJECT for _, uid in instances if uid not in self.held}
        report = make_report(transaction_uid, instances, failed)
        if self.reports_to is not None:
            ae_title, host, port = self.reports_to
            ae = AE(self.ae_title)
            ae.add_requested_context(STORAGE_COMMITMENT)
            assoc = ae.associate(host, port, ae_title=ae_title, ext_neg=[build_role(STORAGE_COMMITMENT, scp_role=True)])
        assoc.send_n_event_report(report, 2 if failed else 1, STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE)
        if self.reports_to is not None:
            assoc.release()
