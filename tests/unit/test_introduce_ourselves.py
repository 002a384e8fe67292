"""Whatever asks for an association says who asks, as the conformance statement does (PS3.7 D.3.3.2)."""

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StudyRootQueryRetrieveInformationModelFind, Verification

from screener import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from screener.config import Destination, Source
from screener.pull.ask_pacs import Caller, PacsSource
from screener.send_folder import send_folder
from tests.peers.scanner import make_ct
from workers.results.confirm_results import ask_commitment, find_results
from workers.results.send_results import send_results

OURS = (IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME)


class Peer:
    """A PACS that writes down who asked, and does as it is asked."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str | None]] = []
        self.ae = AE("PACS")
        for context in AllStoragePresentationContexts:
            self.ae.add_supported_context(context.abstract_syntax)
        for model in (Verification, StudyRootQueryRetrieveInformationModelFind, StorageCommitmentPushModel):
            self.ae.add_supported_context(model)
        handlers = [
            (evt.EVT_REQUESTED, self.note),
            (evt.EVT_C_FIND, lambda _: iter(())),
            (evt.EVT_C_STORE, lambda _: 0x0000),
            (evt.EVT_N_ACTION, lambda _: (0x0000, None)),
        ]
        self.server = self.ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.port: int = self.server.server_address[1]

    def note(self, event: evt.Event) -> None:
        who = event.assoc.requestor
        self.told.append((str(who.implementation_class_uid), who.implementation_version_name))


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.server.shutdown()


def search(peer: Peer, file: Path) -> None:
    caller = Caller(ae_title="PAROTID", timeout_seconds=10, store=lambda _: 0x0000)
    source = Source(name="pacs", ae_title="PACS", host="127.0.0.1", port=peer.port)
    PacsSource(source, caller).find_studies(date(2031, 3, 4), ["CT"])


def send(peer: Peer, file: Path) -> None:
    send_results([file], destination_at(peer), calling_ae_title="PAROTID", timeout_seconds=10)


def confirm_by_find(peer: Peer, file: Path) -> None:
    find_results([file], destination_at(peer), calling_ae_title="PAROTID", timeout_seconds=10)


def confirm_by_commitment(peer: Peer, file: Path) -> None:
    ask_commitment([file], destination_at(peer), calling_ae_title="PAROTID", transaction_uid="2.25.7", wait_seconds=0)


def send_images(peer: Peer, file: Path) -> None:
    send_folder(file.parent, host="127.0.0.1", port=peer.port, called_ae_title="PACS")


def destination_at(peer: Peer) -> Destination:
    return Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=peer.port)


@pytest.mark.parametrize("ask", [search, send, confirm_by_find, confirm_by_commitment, send_images])
def test_every_association_of_ours_says_whose_it_is(
    ask: Callable[[Peer, Path], None], peer: Peer, tmp_path: Path
) -> None:
    make_ct().save_as(tmp_path / "result.dcm", enforce_file_format=True)
    ask(peer, tmp_path / "result.dcm")
    assert peer.told == [OURS]
