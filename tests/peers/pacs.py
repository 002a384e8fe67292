"""A PACS that keeps what it is sent, and refuses, hangs up or is away when a test wants it."""

import threading
import time
from collections.abc import Callable

from pydicom import Dataset
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700


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

    def start(self) -> "Pacs":
        """Begin or come back."""
        handlers = [(evt.EVT_C_STORE, self._store)]
        self._server = self._ae.start_server((self.host, self.port), block=False, evt_handlers=handlers)
        self.port = self._server.server_address[1]
        return self

    def stop(self) -> None:
        """Go away: whoever calls from now on is refused a connection."""
        if self._server is not None:
            self._ae.shutdown()
            self._server = None

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
        return status
