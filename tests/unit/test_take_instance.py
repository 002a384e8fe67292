"""When an instance counts as come: once it is kept, however long it took to arrive."""

from datetime import datetime, timedelta
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from screener.archive import Archive
from screener.commit_rows import RowWriter
from screener.store import Store
from screener.take_instance import SUCCESS, IncomingInstance, Intake, StoreRequest, Tally
from tests.peers.door import NOW
from tests.peers.scanner import make_ct, read_data_set_bytes

NEVER = timedelta(days=1)
SECOND = timedelta(seconds=1)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def begin(intake: Intake, ds: Dataset) -> IncomingInstance:
    request = StoreRequest(
        sop_class_uid=CTImageStorage,
        sop_instance_uid=str(ds.SOPInstanceUID),
        agreed_sop_class_uid=CTImageStorage,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    return IncomingInstance(intake, Tally("CT1", "127.0.0.1"), request)


def encode(ds: Dataset, folder: Path) -> memoryview:
    ds.save_as(folder / "encoded.dcm", enforce_file_format=True)
    return memoryview(read_data_set_bytes(folder / "encoded.dcm"))


def test_an_instance_that_takes_long_to_arrive_is_news_when_it_is_kept(store: Store, tmp_path: Path) -> None:
    clock = Clock()
    intake = Intake(Archive(tmp_path / "var", 0), store, RowWriter(store), clock)
    slow, fast = make_ct(), make_ct()
    first = begin(intake, slow)
    data_set = encode(slow, tmp_path)
    first.write(data_set[:100])
    clock.now += SECOND * 40
    second = begin(intake, fast)
    second.write(encode(fast, tmp_path))
    assert second.finish()[0] == SUCCESS
    clock.now += SECOND * 40
    first.write(data_set[100:])
    assert first.finish()[0] == SUCCESS
    (study,) = store.quiet_studies(clock.now, quiet=timedelta(0), max_wait=NEVER)
    assert (study.news_since_at, study.news_at) == (NOW + SECOND * 40, NOW + SECOND * 80)
