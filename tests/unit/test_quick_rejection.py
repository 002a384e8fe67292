"""A rejection that is here before the thread that asked for the association is awake is told as a rejection."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import CTImageStorage
from pynetdicom import AE, build_context
from pynetdicom.transport import AssociationSocket

from screener.config import Destination
from screener.outcomes import TryAgain
from tests.peers.door import open_door
from tests.peers.raw_peer import RawPeer, pdu
from tests.peers.scanner import AssociationFailed, Scanner
from workers.results.reach_pacs import open_association

SECONDS_ASLEEP = 2.0
"""The answer of a listener on this machine is here, and its connection closed, long before."""


class WakesLate(threading.Event):
    def wait(self, timeout: float | None = None) -> bool:
        is_set = super().wait(timeout)
        time.sleep(SECONDS_ASLEEP)
        return is_set


@pytest.fixture(autouse=True)
def busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the thread that asks wake late, as it does where more threads want to run than there are processors."""
    make = AssociationSocket.__init__

    def make_with_late_waking(self: AssociationSocket, *args: Any, **options: Any) -> None:
        make(self, *args, **options)
        self._ready = WakesLate()

    monkeypatch.setattr(AssociationSocket, "__init__", make_with_late_waking)


def test_a_pacs_that_rejects_at_once_is_not_said_to_break_off(tmp_path: Path) -> None:
    with open_door(tmp_path) as door:
        destination = Destination(name="elsewhere", host="127.0.0.1", port=door.listener.port, ae_title="ANOTHER")
        ae = AE("PAROTID")
        ae.add_requested_context(CTImageStorage)
        with pytest.raises(TryAgain, match="refused the association: Called AE title not recognised") as caught:
            open_association(ae, destination)
    assert caught.value.code == "association_refused"


def test_a_sender_that_is_rejected_at_once_hears_that(tmp_path: Path) -> None:
    with open_door(tmp_path, maximum_associations=1) as door:
        held = door.scanner._associate([build_context(CTImageStorage)], "CT1")
        with pytest.raises(AssociationFailed, match="rejected"):
            door.scanner.echo()
        held.release()


@contextmanager
def stranger(answer: Callable[[bytes], bytes]) -> Iterator[int]:
    """Listen for one association request and answer it with what `answer` makes of it; the port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def run() -> None:
            connection, _ = listening.accept()
            with connection:
                kind, body = RawPeer(connection).read_pdu()
                connection.sendall(answer(pdu(kind, body)))
                connection.settimeout(30)
                while connection.recv(4096):
                    pass

        thread = threading.Thread(target=run)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the library's own thread
@pytest.mark.parametrize("rejection", [(1, 1, 4), (2, 1, 8), (1, 3, 0)])
def test_a_rejection_for_a_reserved_reason_is_tried_again_as_any_other(rejection: tuple[int, int, int]) -> None:
    """PS3.8 table 9-21; the library refuses to decode them, and the thread that waits for an answer gets none."""
    ae = AE("PAROTID")
    ae.acse_timeout = 2
    ae.add_requested_context(CTImageStorage)
    with stranger(lambda _: pdu(3, bytes((0, *rejection)))) as port:
        destination = Destination(name="odd", host="127.0.0.1", port=port, ae_title="ODD")
        with pytest.raises(TryAgain):
            open_association(ae, destination)


def test_what_was_accepted_first_is_not_told_as_rejected(tmp_path: Path) -> None:
    with open_door(tmp_path) as door:

        def accept_and_reject(request: bytes) -> bytes:
            with socket.create_connection(("127.0.0.1", door.listener.port)) as sock:
                sock.sendall(request)
                kind, body = RawPeer(sock).read_pdu()
            return pdu(kind, body) + pdu(3, bytes((0, 1, 1, 1)))

        with (
            stranger(accept_and_reject) as port,
            pytest.raises(AssociationFailed, match="aborted"),
        ):
            Scanner(port).echo()
