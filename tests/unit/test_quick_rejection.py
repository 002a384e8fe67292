"""A rejection that is here before the thread that asked for the association is awake is told as a rejection."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import CTImageStorage
from pynetdicom import AE, build_context
from pynetdicom.transport import AssociationSocket

from screener.config import Destination
from screener.outcomes import TryAgain
from tests.peers.door import open_door
from tests.peers.scanner import AssociationFailed
from workers.results.reach_pacs import open_association

SECONDS_ASLEEP = 0.5
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
