"""What has been kept long enough goes; what is unfinished, owed or failed never does."""

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from pydicom.uid import generate_uid

from screener import archive as archive_module
from screener.archive import Archive
from screener.config import Listener as ListenerSettings
from screener.config import Retention, Storage
from screener.dispatch import dispatch_study
from screener.expire import clean_disk, expire, sweep_orphans
from screener.explain import describe_disk, describe_study
from screener.journey import Ending, Queue
from screener.match_rules import Recipient
from screener.read_reports import add_report
from screener.receive import Listener
from screener.store import Run, Store
from screener.store import tables as t
from screener.store.values import Kind
from screener.study import Thresholds
from tests.peers.scanner import Raw, Scanner, make_ct
from tests.peers.stores import open_new_store
from tests.peers.values import an_instance
from tests.unit.query_plans import plan_lines, watch_statements
from tests.unit.test_store import a_screening

START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
LONG_AFTER = START + timedelta(days=1000)
SETTINGS = Retention(received_days=30, results_days=60, history_days=90)
THRESHOLDS = Thresholds(min_voxels=500, min_probability=0.5, config_revision="abc")
MIB = 1 << 20


class World:
    """A listener, its store and its disk."""

    def __init__(self, folder: Path) -> None:
        self.archive = Archive(folder / "var", 0)
        self.store: Store = open_new_store(f"sqlite:///{folder}/screener.sqlite")
        self.now = START
        self.listener = Listener(ListenerSettings(port=0), self.archive, self.store, lambda: self.now)
        self.listener.start()

    def receive(self, *datasets: object) -> None:
        assert {answer.status for answer in Scanner(self.listener.port).send(list(datasets))} == {0}

    def run(self) -> Run:
        """Dispatch what has come and claim it."""
        for study in self.store.quiet_studies(self.now, quiet=timedelta(0), max_wait=timedelta(0)):
            dispatch_study(self.store, study, THRESHOLDS, self.now)
        run = self.store.claim_run(Queue.CT, "worker", self.now, timedelta(minutes=5))
        assert run is not None
        return run

    def set_aside(self, *datasets: object) -> int:
        self.receive(*datasets)
        run = self.run()
        self.store.end_run(run, Ending.SET_ASIDE, code="x", reason="too few slices", now=self.now)
        return run.study_id

    def screen(self, *datasets: object, destinations: tuple[str, ...] = (), recipients: tuple[str, ...] = ()) -> int:
        """Screen what has come; its two results are files."""
        self.receive(*datasets)
        run = self.run()
        screening = a_screening()
        written = [
            replace(found, path=self.archive.write_result(run.study_id, run.number, found.role, b"x", attempt=1))
            for found in screening.results
        ]
        self.store.finish_run(
            run,
            replace(screening, results=tuple(written)),
            destinations=destinations,
            recipients=[("email", recipient) for recipient in recipients],
            seconds=1.0,
            now=self.now,
        )
        return run.study_id

    def files(self, part: str) -> int:
        return sum(path.is_file() for path in (self.archive.folder / part).rglob("*"))

    def expire(self, days: float, settings: Retention = SETTINGS) -> int:
        return expire(self.store, self.archive, settings, START + timedelta(days=days))

    def ending(self, study_id: int) -> Ending | None:
        return self.store.study_report(study_id).ending


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    opened = World(tmp_path)
    yield opened
    opened.listener.stop()
    opened.store.engine.dispose()


def test_received_files_results_and_history_go_each_in_its_time(world: World) -> None:
    study_id = world.screen(make_ct(), make_ct())
    assert world.ending(study_id) is Ending.DONE
    world.expire(29)
    assert (world.files("received"), world.files("results")) == (2, 2)
    world.expire(31)
    assert (world.files("received"), world.files("results")) == (0, 2)
    world.expire(61)
    assert world.files("results") == 0
    assert "the files of 2 of them have been removed" in describe_study(world.store.study_report(study_id))
    world.expire(91)
    assert world.store.study_numbers() == []
    assert world.store.counts().is_balanced


def test_no_days_keep_for_ever(world: World) -> None:
    world.screen(make_ct())
    world.expire(10_000, Retention(received_days=0, results_days=0, history_days=0))
    world.expire(10_000, Retention(received_days=0, results_days=0, history_days=1))
    assert (world.files("received"), world.files("results"), world.store.study_numbers()) == (1, 2, [1])


def test_a_study_set_aside_goes_as_one_that_is_done(world: World) -> None:
    world.set_aside(make_ct())
    world.expire(31)
    assert world.files("received") == 0


def test_unfinished_work_is_never_removed(world: World) -> None:
    world.receive(make_ct())
    assert expire(world.store, world.archive, SETTINGS, LONG_AFTER) == 0  # still arriving
    run = world.run()
    assert expire(world.store, world.archive, SETTINGS, LONG_AFTER) == 0  # in hand
    world.store.try_again(run, reason="busy", not_before=LONG_AFTER, now=START)
    assert expire(world.store, world.archive, SETTINGS, LONG_AFTER) == 0  # waits
    assert world.files("received") == 1


@pytest.mark.parametrize("is_sent", [False, True])
def test_a_study_that_owes_a_delivery_keeps_everything(world: World, is_sent: bool) -> None:
    world.screen(make_ct(), destinations=("pacs",))
    if is_sent:
        delivery = world.store.claim_delivery("worker", START, timedelta(minutes=1))
        assert delivery is not None
        world.store.delivery_sent(delivery, seconds=1, now=START, ask_at=LONG_AFTER)
    assert expire(world.store, world.archive, SETTINGS, LONG_AFTER) == 0
    assert (world.files("received"), world.files("results")) == (1, 2)


def test_a_study_that_owes_a_notice_keeps_everything(world: World) -> None:
    world.screen(make_ct(), recipients=("ent@hospital.test",))
    assert expire(world.store, world.archive, SETTINGS, LONG_AFTER) == 0
    assert world.files("received") == 1


def test_a_told_finding_that_may_still_be_passed_on_keeps_everything(world: World) -> None:
    """Whoever is told next may need the images to name the patient."""
    world.receive(make_ct())
    run = world.run()
    first = Recipient("email", "ent@hospital.test", rule="first", escalate_seconds=3600)
    world.store.finish_run(run, a_screening(), destinations=[], recipients=[first], seconds=1.0, now=START)
    (notice,) = world.store.owed_notices(START)
    world.store.notice_sent(notice, START)
    assert world.ending(run.study_id) is Ending.DONE
    is_low = Storage(clean_below_mib=1 << 40, reserve_mib=0)
    assert clean_disk(world.store, world.archive, is_low, SETTINGS, START) == 0
    assert expire(world.store, world.archive, SETTINGS, LONG_AFTER) == 0
    assert world.files("received") == 1
    world.store.escalate(notice.notice_id, lambda _: ([], "nobody else is to be told"), START + timedelta(hours=1))
    assert clean_disk(world.store, world.archive, is_low, SETTINGS, START + timedelta(hours=1)) == 1


def test_an_older_run_that_still_owes_keeps_a_study_that_was_set_aside_since(world: World) -> None:
    world.screen(make_ct(), destinations=("pacs",))
    assert world.set_aside(make_ct()) == 1  # a late image of the same study
    assert world.ending(1) is Ending.SET_ASIDE
    assert expire(world.store, world.archive, SETTINGS, LONG_AFTER) == 0


def test_a_failed_study_is_kept_until_a_person_discards_it(world: World) -> None:
    world.receive(make_ct())
    run = world.run()
    world.store.end_run(run, Ending.FAILED, code="x", reason="two slices at one position", now=START)
    assert expire(world.store, world.archive, SETTINGS, LONG_AFTER) == 0
    assert world.store.discard(run.study_id, START)
    assert world.ending(run.study_id) is Ending.SET_ASIDE
    assert "two slices at one position" in world.store.study_report(run.study_id).reason
    assert not world.store.discard(run.study_id, START)
    assert world.expire(31) == 1
    assert world.files("received") == 0


def test_a_study_that_comes_again_after_its_expiry_is_received_like_a_new_one(world: World) -> None:
    ds = make_ct()
    study_id = world.set_aside(ds)
    world.expire(31)
    assert world.store.images_of(study_id, world.archive.folder) == []
    world.now = START + timedelta(days=40)
    world.receive(ds)
    assert world.ending(study_id) is None
    (image,) = world.store.images_of(study_id, world.archive.folder)
    assert image.path.is_file()
    run = world.run()
    assert (run.study_id, run.number) == (study_id, 2)
    story = describe_study(world.store.study_report(study_id))
    assert "1 received file(s) are removed" in story
    assert "run 1" in story


def test_a_study_that_is_sent_again_in_time_is_kept_as_if_it_had_ended_then(world: World) -> None:
    slices = [make_ct() for _ in range(4)]
    study_id = world.set_aside(*slices)
    world.now = START + timedelta(days=31)
    world.receive(*slices[:2])
    assert world.expire(31) == 0
    world.receive(*slices[2:])
    assert len(world.store.images_of(study_id, world.archive.folder)) == world.files("received") == 4
    assert world.ending(study_id) is Ending.SET_ASIDE
    assert world.expire(60) == 0
    assert world.expire(62) == 1


def test_other_content_that_comes_under_known_uids_keeps_a_study_like_the_same(world: World) -> None:
    """A PACS may have mended a name: the rest of its study is on its way."""
    first = make_ct()
    study_id = world.set_aside(first)
    world.now = START + timedelta(days=31)
    world.receive(make_ct(Rows=8, SOPInstanceUID=first.SOPInstanceUID))
    assert world.expire(31) == 0
    assert world.store.has_images(study_id)


def test_a_document_that_comes_late_is_kept_with_its_study(world: World) -> None:
    study_id = world.set_aside(make_ct())
    world.now = START + timedelta(days=31)
    world.store.record_instance(
        an_instance(2, study_instance_uid=make_ct().StudyInstanceUID, kind=Kind.DOCUMENT), world.now
    )
    assert world.ending(study_id) is Ending.SET_ASIDE
    assert world.expire(31) == 0


def test_an_image_that_comes_again_between_the_question_and_the_expiry_is_there_in_the_end(world: World) -> None:
    ds = make_ct()
    study_id = world.set_aside(ds)
    world.now = START + timedelta(days=31)
    assert world.store.expirable_studies(t.instances, START) == [study_id]
    world.receive(ds)
    assert world.store.expire_files(study_id, t.instances, why="a test", now=world.now) == []


def test_a_study_that_comes_again_image_by_image_is_written_once_a_minute(world: World) -> None:
    """A whole archive may be sent again."""
    ds = make_ct()
    world.set_aside(ds)
    last_came = []
    for seconds in (0, 59, 60):
        world.now = START + timedelta(days=1, seconds=seconds)
        world.receive(ds)
        with world.store.engine.connect() as connection:
            last_came.append(connection.execute(sa.select(t.studies.c.last_came_at)).scalar_one())
    assert last_came == [START + timedelta(days=1)] * 2 + [world.now]


def test_what_has_expired_is_not_counted_with_what_is_here(world: World) -> None:
    """What a PACS holds beside the half of a study that came again is missing here."""
    first, second = make_ct(), make_ct()
    study_id = world.set_aside(first, second)
    world.expire(31)
    world.receive(second)
    assert world.store.instances_by_series(study_id) == {second.SeriesInstanceUID: frozenset({second.SOPInstanceUID})}


def test_a_crash_between_the_row_and_the_file_leaves_an_orphan_that_the_sweep_removes(world: World) -> None:
    study_id = world.set_aside(make_ct())
    paths = world.store.expire_files(study_id, t.instances, why="a test", now=START)  # and then the power goes
    assert len(paths) == world.files("received") == 1
    assert world.expire(31) == 0  # the row says that it is gone
    assert sweep_orphans(world.store, world.archive, datetime.now(UTC)) == 0  # too young
    assert sweep_orphans(world.store, world.archive, datetime.now(UTC) + timedelta(days=2)) == 1
    assert world.files("received") == 0


def test_what_a_killed_listener_left_half_written_goes_while_the_daemon_runs(world: World) -> None:
    folder = world.archive.folder / "received" / "00"
    folder.mkdir(parents=True)
    old, young = folder / ".old.part", folder / ".young.part"
    for path in (old, young):
        path.write_bytes(b"half")
    two_hours_ago = datetime.now(UTC).timestamp() - 7200
    os.utime(old, (two_hours_ago, two_hours_ago))
    world.expire(0)
    assert (old.exists(), young.exists()) == (False, True)


def test_the_sweep_leaves_what_a_row_names(world: World) -> None:
    world.screen(make_ct(), destinations=("pacs",))
    stray = world.archive.folder / "received" / "00" / "stray.dcm"
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"x")
    later = datetime.now(UTC) + timedelta(days=2)
    assert sweep_orphans(world.store, world.archive, later) == 1
    assert (world.files("received"), world.files("results"), stray.exists()) == (1, 2, False)


def test_a_sweep_that_finds_nothing_keeps_nobody_from_committing(world: World) -> None:
    world.screen(make_ct(), make_ct())
    with watch_statements(world.store) as asked:
        assert sweep_orphans(world.store, world.archive, datetime.now(UTC) + timedelta(days=2)) == 0
    assert "BEGIN IMMEDIATE" not in {statement for statement, _ in asked}  # SQLite's one write lock


def test_the_files_of_a_study_expire_without_a_look_at_those_of_all_others(world: World) -> None:
    world.screen(make_ct(), make_ct())
    with watch_statements(world.store) as asked:
        world.expire(61)
    assert (world.files("received"), world.files("results")) == (0, 0)
    assert not {"SCAN instances", "SCAN results"} & plan_lines(world.store, asked)


def test_an_image_that_comes_while_its_old_file_is_removed_is_there_in_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file is written, the expiry takes it for the old one, and only then is its row committed."""
    ds = make_ct()
    study_id = world.set_aside(ds)
    paths = world.store.expire_files(study_id, t.instances, why="a test", now=START)
    record = Store.record_instance

    def late(*arguments: object) -> object:
        assert world.store.remove_expired(t.instances, study_id, paths, world.archive.remove) == 1
        return record(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "record_instance", late)
    world.receive(ds)
    (image,) = world.store.images_of(study_id, world.archive.folder)
    assert image.path.is_file()


def test_an_old_file_whose_row_is_live_again_is_not_removed(world: World) -> None:
    ds = make_ct()
    study_id = world.set_aside(ds)
    paths = world.store.expire_files(study_id, t.instances, why="a test", now=START)
    world.receive(ds)
    assert world.store.remove_expired(t.instances, study_id, paths, world.archive.remove) == 0
    assert world.files("received") == 1


def expire_in(world: World, days: float, settings: Retention = SETTINGS) -> None:
    """Files have the time of the machine's clock, whatever the world's is."""
    expire(world.store, world.archive, settings, datetime.now(UTC) + timedelta(days=days))


def send_garbage(world: World) -> str:
    uid = "2.25.77"
    Scanner(world.listener.port).send([Raw(b"no DICOM at all " * 64, sop_instance_uid=uid)])
    return uid


def test_a_refused_file_that_was_kept_aside_goes_as_received_ones_do(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    uid = send_garbage(world)
    expire_in(world, 1000, Retention(received_days=0))
    expire_in(world, 29)
    assert world.files("aside") == 1
    with caplog.at_level("INFO"):
        expire_in(world, 31)
    assert world.files("aside") == 0
    assert "files kept aside, removed: 1: retention.received_days = 30" in caplog.text
    (gone,) = world.store.oddities_of(uid)
    assert (gone.path, gone.reason.endswith("The file has been removed since.")) == ("", True)
    send_garbage(world)
    assert [bool(line.path) for line in world.store.oddities_of(uid)] == [False, True]


def test_other_content_that_was_taken_stays_as_long_as_the_images_of_its_study(world: World) -> None:
    world.now = datetime.now(UTC)
    first, second = make_ct(), make_ct(Rows=8)
    second.SOPInstanceUID = first.SOPInstanceUID
    world.receive(first, second)
    run = world.run()
    world.store.end_run(run, Ending.FAILED, code="x", reason="a person must look", now=world.now)
    expire_in(world, 1000)
    assert (world.files("received"), world.files("aside")) == (1, 1)
    world.store.discard(run.study_id, world.now)
    expire_in(world, 1000)
    assert (world.files("received"), world.files("aside")) == (0, 0)


def test_forgetting_a_study_leaves_no_row_of_it(world: World) -> None:
    forgotten = world.screen(make_ct())
    world.store.record_order(forgotten, "accession", "patient")
    add_report(world.store, forgotten, b"The parotid glands are normal.", START)
    kept = world.screen(make_ct(StudyInstanceUID=generate_uid()), destinations=("pacs",))
    world.expire(31)
    world.expire(91)
    assert world.store.study_numbers() == [kept]
    with world.store.engine.connect() as connection:
        for table in t.metadata.sorted_tables:
            for column in table.foreign_keys:
                if column.column.table is t.studies:
                    owners = connection.execute(sa.select(column.parent).distinct()).scalars()
                    assert set(owners) <= {kept, None}, table.name


def test_the_number_of_a_forgotten_study_is_never_anothers(world: World) -> None:
    """A mail that names it, its link and the audit trail outlive it."""
    forgotten = [world.screen(make_ct(StudyInstanceUID=generate_uid())) for _ in range(2)]
    world.expire(31)
    world.expire(91)
    assert world.store.study_numbers() == []
    assert world.screen(make_ct(StudyInstanceUID=generate_uid())) > max(forgotten)


Free = Callable[[int], None]


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch, world: World) -> Free:
    """Pretend that the disk has so many MiB free, and one more for each file that came and is gone."""

    def came() -> int:
        return world.files("received") + world.files("aside")

    def pretend(mib: int) -> None:
        held = came()

        def usage(_: object) -> SimpleNamespace:
            return SimpleNamespace(free=(mib + held - came()) * MIB)

        monkeypatch.setattr(archive_module.shutil, "disk_usage", usage)

    return pretend


STORAGE = Storage(reserve_mib=100, clean_below_mib=200)


def test_what_is_still_arriving_costs_no_finished_study_its_images(world: World, free: Free) -> None:
    world.set_aside(make_ct())
    arriving = world.archive.begin_received(
        sop_class_uid="1.2", sop_instance_uid="1.2.3", transfer_syntax_uid="1.2.4", calling_ae_title="ENDLESS"
    )
    arriving.write(bytes(3 * MIB))
    free(198)
    assert clean_disk(world.store, world.archive, STORAGE, SETTINGS, world.now) == 0
    arriving.discard()
    assert clean_disk(world.store, world.archive, STORAGE, SETTINGS, world.now) == 1


def test_a_filling_disk_is_cleaned_oldest_first_and_no_further_than_needed(world: World, free: Free) -> None:
    ids = []
    for day in range(3):
        world.now = START + timedelta(days=day)
        ids.append(world.set_aside(make_ct(StudyInstanceUID=generate_uid())))
    free(198)
    assert clean_disk(world.store, world.archive, STORAGE, SETTINGS, world.now) == 2
    assert [world.store.study_report(study_id).expired for study_id in ids] == [1, 1, 0]


def set_aside_two_and_send_one_again(world: World) -> list[int]:
    """Two studies that have ended; the images of the first come again a day later."""
    slices = [make_ct(StudyInstanceUID=generate_uid()) for _ in range(2)]
    ended = [world.set_aside(ds) for ds in slices]
    world.now = START + timedelta(days=1)
    world.receive(slices[0])
    return ended


def test_a_filling_disk_costs_no_images_that_come_again_at_the_time(world: World, free: Free) -> None:
    again, other = set_aside_two_and_send_one_again(world)
    free(1)
    assert clean_disk(world.store, world.archive, STORAGE, SETTINGS, world.now) == 1
    assert [world.store.study_report(study_id).expired for study_id in (again, other)] == [0, 1]
    assert clean_disk(world.store, world.archive, STORAGE, SETTINGS, world.now + timedelta(hours=1)) == 1


def test_a_filling_disk_costs_a_study_that_came_again_after_those_that_ended_before(world: World, free: Free) -> None:
    again, other = set_aside_two_and_send_one_again(world)
    free(199)
    assert clean_disk(world.store, world.archive, STORAGE, SETTINGS, START + timedelta(days=9)) == 1
    assert [world.store.study_report(study_id).expired for study_id in (again, other)] == [0, 1]


def test_a_filling_disk_costs_refused_files_before_any_study(world: World, free: Free) -> None:
    world.now = datetime.now(UTC)
    study_id = world.set_aside(make_ct())
    send_garbage(world)
    free(199)
    later = world.now + timedelta(days=2)
    assert clean_disk(world.store, world.archive, STORAGE, SETTINGS, later) == 0
    assert (world.files("aside"), world.store.study_report(study_id).expired) == (0, 0)


def test_a_filling_disk_costs_no_file_early_that_was_taken_and_kept_aside(world: World, free: Free) -> None:
    world.now = datetime.now(UTC)
    first, second = make_ct(), make_ct(Rows=8, StudyInstanceUID=generate_uid())
    second.SOPInstanceUID = first.SOPInstanceUID
    world.set_aside(first)
    world.receive(second)
    free(1)
    later = world.now + timedelta(days=2)
    assert clean_disk(world.store, world.archive, STORAGE, SETTINGS, later) == 1
    assert world.files("aside") == 1


def test_enough_room_is_left_alone(world: World, free: Free) -> None:
    world.set_aside(make_ct())
    free(200)
    assert clean_disk(world.store, world.archive, STORAGE, SETTINGS, world.now) == 0


def test_a_full_disk_never_costs_unfinished_work(world: World, free: Free) -> None:
    world.screen(make_ct(), destinations=("pacs",))
    free(1)
    assert clean_disk(world.store, world.archive, STORAGE, SETTINGS, LONG_AFTER) == 0
    assert world.files("received") == 1


@pytest.mark.parametrize(
    ("storage", "retention"), [(STORAGE, Retention(received_days=0)), (Storage(clean_below_mib=0), SETTINGS)]
)
def test_nothing_is_cleaned_early_where_the_settings_forbid_it(
    world: World, free: Free, storage: Storage, retention: Retention
) -> None:
    world.set_aside(make_ct())
    free(1)
    assert clean_disk(world.store, world.archive, storage, retention, world.now) == 0


def test_the_status_shows_the_room_against_the_reserve() -> None:
    assert "enough" in describe_disk(300 * MIB, STORAGE)
    assert "removed early" in describe_disk(150 * MIB, STORAGE)
    assert "BELOW THE RESERVE" in describe_disk(99 * MIB, STORAGE)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_disk_that_runs_full_refuses_cleans_and_takes_again(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(small)], check=False)
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        world = World(tmp_path)
        world.listener.stop()
        world.archive = Archive(small, 8 * MIB)
        world.listener = Listener(ListenerSettings(port=0), world.archive, world.store, lambda: world.now)
        world.listener.start()
        storage = Storage(reserve_mib=8, clean_below_mib=12)
        scanner = Scanner(world.listener.port)
        statuses = []
        for _ in range(40):  # each of half a MiB: 16 MiB, then the reserve
            (answer,) = scanner.send([make_ct(Rows=512, Columns=512, PixelData=bytes(MIB // 2))])
            statuses.append(answer.status)
            if answer.status:
                break
        assert statuses[0] == 0
        assert statuses[-1] == 0xA700
        assert world.archive.free_bytes() >= 8 * MIB - MIB
        assert clean_disk(world.store, world.archive, storage, SETTINGS, world.now) == 0  # nothing has ended yet
        for study in world.store.quiet_studies(START, quiet=timedelta(0), max_wait=timedelta(0)):
            world.store.set_aside_study(study, code="x", reason="a test", now=START)
        assert clean_disk(world.store, world.archive, storage, SETTINGS, world.now) > 0
        assert world.archive.free_bytes() >= 12 * MIB
        assert scanner.send([make_ct(Rows=512, Columns=512, PixelData=bytes(MIB // 2))])[0].status == 0
        world.listener.stop()
        world.store.engine.dispose()
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)
