"""A screened study whose results are owed to a PACS, for the tests of deliveries."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pynetdicom.sop_class import Comprehensive3DSRStorage, SegmentationStorage

from screener.archive import Archive
from screener.config import make_config
from screener.decide import decide
from screener.dispatch import dispatch_study
from screener.journey import Queue
from screener.store import Result, Screening, Store
from screener.store.values import DeliveryLine
from tests.peers.stores import open_new_store
from tests.peers.values import BOTH_ASSESSED, an_instance
from tests.unit.test_send_results import write_result
from workers.bench import Bench
from workers.tasks import deliver

START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
RETRY_SECONDS = 10
GIVE_UP_HOURS = 2


@dataclass
class World:
    """One study, screened; `now` is turned by hand."""

    store: Store
    bench: Bench
    now: datetime = START

    def deliver(self, *, minutes: float = 0) -> bool:
        """Let a worker look at what is due, `minutes` later."""
        self.now += timedelta(minutes=minutes)
        return deliver(self.bench)

    @property
    def delivery(self) -> DeliveryLine:
        (delivery,) = self.store.study_report(1).runs[-1].deliveries
        return delivery

    def steps(self) -> list[str]:
        return [step.stage for step in self.store.study_report(1).steps]


def open_world(folder: Path, destination: dict[str, Any]) -> World:
    """A run whose SEG and SR are files, owed to `destination`."""
    results = {"destinations": [destination], "retry_seconds": RETRY_SECONDS, "give_up_hours": GIVE_UP_HOURS}
    config = make_config({"results": results}, base=folder, environment={})
    store = open_new_store(f"sqlite:///{folder}/screener.sqlite")
    archive = Archive(config.storage_folder, 0)
    world = World(store, Bench(config=config, store=store, archive=archive))
    world.bench.clock = lambda: world.now
    store.record_instance(an_instance(), START - timedelta(hours=1))
    (study,) = store.quiet_studies(START, quiet=timedelta(0), max_wait=timedelta(days=1))
    dispatch_study(store, study, config.thresholds(), START)
    run = store.claim_run(Queue.CT, "worker", START, timedelta(minutes=1))
    assert run is not None
    screening = Screening(
        assessments=BOTH_ASSESSED,
        candidates=(),
        verdict=decide(BOTH_ASSESSED, (), config.thresholds()),
        results=tuple(
            _result(archive, role, sop_class_uid)
            for role, sop_class_uid in (("seg", SegmentationStorage), ("sr", Comprehensive3DSRStorage))
        ),
        model_identity="2.25.99",
    )
    store.finish_run(run, screening, destinations=[destination["name"]], recipients=[], seconds=1.0, now=START)
    return world


def _result(archive: Archive, role: str, sop_class_uid: str) -> Result:
    folder = archive.folder / "results" / "study-1" / "run-1"
    folder.mkdir(parents=True, exist_ok=True)
    path = write_result(folder / f"{role}.dcm", sop_class_uid)
    uid = str(dcmread(path).SOPInstanceUID)
    relative = str(path.relative_to(archive.folder))
    return Result(role=role, sop_class_uid=sop_class_uid, sop_instance_uid=uid, path=relative, sha256="0")


def with_confirm(world: World, confirm: str) -> None:
    """Change how the settings ask the one destination, as an operator would between two starts."""
    settings = world.bench.config.results
    (destination,) = settings.destinations
    changed = destination.model_copy(update={"confirm": confirm})
    results = settings.model_copy(update={"destinations": [changed]})
    world.bench.config = world.bench.config.model_copy(update={"results": results})
