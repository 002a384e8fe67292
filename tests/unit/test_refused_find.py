"""A destination that breaks off a C-FIND: what is said names what to look for there."""

from pathlib import Path

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from screener.config import Destination
from screener.outcomes import TryAgain
from tests.peers.scanner import make_ct
from workers.results.confirm_results import find_results

pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")


def test_a_pacs_that_breaks_off_a_find_is_asked_whether_it_knows_us(tmp_path: Path) -> None:
    ds = make_ct()
    ds.save_as(tmp_path / "result.dcm", enforce_file_format=True)
    ae = AE("PACS")
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, lambda event: event.assoc.abort() or iter(()))]
    )
    destination = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=server.server_address[1])
    with pytest.raises(TryAgain, match=r"refused C-FIND: does it know PAROTID \(results.ae_title\)"):
        find_results([tmp_path / "result.dcm"], destination, calling_ae_title="PAROTID", timeout_seconds=10)
    server.shutdown()
