"""A delivery is delivered once the PACS has said that it holds the results, and never before."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from screener.archive import Archive
from screener.config import Listener as ListenerSettings
from screener.explain import describe_counts, describe_study
from screener.journey import Ending
from screener.receive import Listener
from screener.store import OwedDelivery
from tests.peers.orthanc import Orthanc
from tests.peers.pacs import Pacs
from tests.peers.ports import free_port
from tests.unit.delivered import GIVE_UP_HOURS, RETRY_SECONDS, World, open_world, with_confirm

Build = Callable[..., tuple[World, Pacs]]


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    with ExitStack() as stack:

        def one(confirm: str = "find") -> tuple[World, Pacs]:
            pacs = stack.enter_context(Pacs())
            place = {"name": "pacs", "ae_title": pacs.ae_title, "host": pacs.host, "port": pacs.port}
            world = open_world(tmp_path, {**place, "confirm": confirm})
            stack.callback(world.store.engine.dispose)
            return world, pacs

        yield one


def told(world: World) -> str:
    return describe_study(world.store.study_report(1))


def test_success_alone_is_sent_and_not_yet_confirmed(build: Build) -> None:
    world, _ = build()
    assert world.deliver()
    assert world.delivery.state == "sent"
    assert world.store.study_report(1).ending is None
    assert "not yet confirmed" in told(world)
    counts = world.store.counts()
    assert (counts.deliveries_owed, counts.deliveries_unconfirmed) == (0, 1)
    assert "sent and not yet confirmed: 1" in describe_counts(counts)


def test_the_claim_of_a_slow_delivery_is_renewed_while_the_pacs_takes_its_time(build: Build) -> None:
    world, pacs = build()
    config = world.bench.config
    world.bench.config = config.model_copy(update={"queue": config.queue.model_copy(update={"lease_seconds": 0.2})})
    is_renewed = threading.Event()
    renew = world.store.renew_delivery

    def seen(delivery: OwedDelivery, until: datetime) -> bool:
        is_held = renew(delivery, until)
        is_renewed.set()
        return is_held

    world.store.renew_delivery = seen  # type: ignore[method-assign]
    pacs.answer = lambda _: 0x0000 if is_renewed.wait(20) else 0xA700
    assert world.deliver()
    assert world.delivery.state == "sent"


def test_what_the_pacs_finds_is_delivered_and_the_study_done(build: Build) -> None:
    world, _ = build()
    world.deliver()
    assert not world.deliver()  # the PACS has a moment to file what it took
    assert world.deliver(minutes=1)
    assert (world.delivery.state, world.delivery.confirmed_by) == ("delivered", "find")
    assert world.store.study_report(1).ending is Ending.DONE
    assert "confirmed by find" in told(world)


def test_what_the_pacs_answers_and_forgets_is_sent_again_and_never_called_delivered(build: Build) -> None:
    world, pacs = build()
    pacs.loses = lambda _: True
    for sendings in (1, 2, 3):
        assert world.deliver(minutes=10)
        assert (world.delivery.state, len(pacs.received)) == ("sent", 2 * sendings)
        assert world.deliver(minutes=1)
        assert world.delivery.state == "owed"
    assert "sent" not in world.steps()
    assert world.store.study_report(1).ending is None
    pacs.loses = lambda _: False
    world.deliver(minutes=10)
    world.deliver(minutes=1)
    assert world.delivery.state == "delivered"


def test_one_of_two_forgotten_is_enough_to_send_again(build: Build) -> None:
    world, pacs = build()
    pacs.loses = lambda ds: ds.SOPClassUID.name == "Segmentation Storage"
    world.deliver()
    world.deliver(minutes=1)
    assert world.delivery.state == "owed"
    assert "does not find 1 of 2" in world.delivery.last_error


def test_each_new_sending_waits_longer(build: Build) -> None:
    world, pacs = build()
    pacs.loses = lambda _: True
    waits = []
    for _ in range(3):
        world.deliver(minutes=10)
        world.deliver(minutes=1)
        waits.append((world.delivery.not_before - world.now).total_seconds())
    assert waits == [RETRY_SECONDS, 2 * RETRY_SECONDS, 4 * RETRY_SECONDS]


def test_a_pacs_that_forgets_for_ever_is_given_up_with_the_reason(build: Build) -> None:
    world, pacs = build()
    pacs.loses = lambda _: True
    world.deliver()
    world.deliver(minutes=60 * GIVE_UP_HOURS)
    report = world.store.study_report(1)
    assert (report.ending, report.code) == (Ending.FAILED, "delivery_given_up")
    assert "C-FIND does not find" in world.delivery.last_error


# pynetdicom 3.0.4 drops the socket of a refused connection without closing it (AssociationSocket.connect).
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
def test_a_pacs_that_cannot_be_asked_is_asked_again_and_the_results_are_not_sent_twice(build: Build) -> None:
    world, pacs = build()
    world.deliver()
    pacs.stop()
    assert world.deliver(minutes=1)
    assert (world.delivery.state, world.delivery.confirm_attempts) == ("sent", 1)
    assert "cannot be reached" in world.delivery.last_error
    pacs.start()
    assert world.deliver(minutes=10)
    assert world.delivery.state == "delivered"
    assert len(pacs.received) == 2


def test_where_the_settings_ask_for_nothing_the_explanation_says_so(build: Build) -> None:
    world, _ = build("none")
    world.deliver()
    assert (world.delivery.state, world.delivery.confirmed_by) == ("delivered", "none")
    assert "not confirmed: the settings do not ask for it" in told(world)


def test_a_pacs_that_has_no_find_is_let_off_by_the_settings(build: Build) -> None:
    world, pacs = build()
    pacs.stop()
    pacs.finds = False
    pacs.start()
    world.deliver()
    world.deliver(minutes=1)
    assert "accepts none of the SOP classes" in world.delivery.last_error
    with_confirm(world, "none")
    world.deliver(minutes=60)
    assert world.delivery.confirmed_by == "none"


def test_commitment_reported_on_the_same_association_delivers(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.results.confirm_results.COMMITMENT_WAIT_SECONDS", 60)
    world, _ = build("commitment")
    world.deliver()
    world.deliver(minutes=1)
    assert (world.delivery.state, world.delivery.confirmed_by) == ("delivered", "commitment")


def test_a_refused_commitment_sends_again(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.results.confirm_results.COMMITMENT_WAIT_SECONDS", 60)
    world, pacs = build("commitment")
    pacs.loses = lambda ds: ds.SOPClassUID.name == "Segmentation Storage"
    world.deliver()
    world.deliver(minutes=1)
    assert world.delivery.state == "owed"
    assert "0x0112" in world.delivery.last_error
    pacs.loses = lambda _: False
    world.deliver(minutes=10)
    world.deliver(minutes=1)
    assert world.delivery.state == "delivered"


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Callable[[World, int], Listener]]:
    listeners = []

    def open_one(world: World, port: int = 0) -> Listener:
        settings = ListenerSettings(port=port)
        listeners.append(Listener(settings, Archive(tmp_path / "var", 0), world.store, lambda: world.now))
        listeners[-1].start()
        return listeners[-1]

    yield open_one
    for listener in listeners:
        listener.stop()


def test_commitment_reported_later_to_our_door_delivers(
    build: Build, door: Callable[..., Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.results.confirm_results.COMMITMENT_WAIT_SECONDS", 0.1)
    world, pacs = build("commitment")
    pacs.is_reporting = False
    world.deliver()
    world.deliver(minutes=1)
    assert (world.delivery.state, world.delivery.confirm_attempts) == ("sent", 1)
    assert "has not come yet" in world.delivery.last_error
    pacs.reports_to = ("PAROTID", "127.0.0.1", door(world).port)
    instances = tuple((ds.SOPClassUID, uid) for uid, ds in pacs.held.items())
    pacs.report(pacs.commitments[-1], instances, None)  # type: ignore[arg-type]
    assert world.deliver()  # at once, not after the delay
    assert (world.delivery.state, world.delivery.confirmed_by) == ("delivered", "commitment")
    assert len(pacs.commitments) == 1


def test_a_report_that_nobody_asked_for_is_refused(build: Build, door: Callable[..., Listener]) -> None:
    world, _ = build("commitment")
    world.deliver()
    stranger = Pacs(ae_title="STRANGER")
    stranger.reports_to = ("PAROTID", "127.0.0.1", door(world).port)
    stranger.report("1.2.3.4", (("1.2.3", "1.2.3.5"),), None)  # type: ignore[arg-type]
    assert world.delivery.state == "sent"


@pytest.mark.parametrize("confirm", ["find", "commitment"])
def test_orthanc_confirms(tmp_path: Path, confirm: str, door: Callable[..., Listener]) -> None:
    port = free_port()
    orthanc = Orthanc(tmp_path / "orthanc", {"screener": ("PAROTID", "127.0.0.1", port)}).start()
    try:
        place = {"name": "orthanc", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.dicom_port}
        world = open_world(tmp_path, {**place, "confirm": confirm})
        door(world, port)
        world.deliver()
        assert world.delivery.state == "sent"
        deadline = world.now + timedelta(hours=GIVE_UP_HOURS)
        while world.delivery.state == "sent" and world.now < deadline:
            world.deliver(minutes=2)
        assert (world.delivery.state, world.delivery.confirmed_by) == ("delivered", confirm)
        assert world.delivery.attempts == 1
    finally:
        orthanc.stop()
        world.store.engine.dispose()


def test_orthanc_that_has_lost_an_object_gets_it_again(tmp_path: Path) -> None:
    orthanc = Orthanc(tmp_path / "orthanc", {"screener": ("PAROTID", "127.0.0.1", free_port())}).start()
    try:
        place = {"name": "orthanc", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.dicom_port}
        world = open_world(tmp_path, place)
        world.deliver()
        orthanc.delete(f"/instances/{orthanc.ask('/instances')[0]}")
        world.deliver(minutes=1)
        assert world.delivery.state == "owed"
        world.deliver(minutes=10)
        world.deliver(minutes=1)
        assert world.delivery.state == "delivered"
        assert len(orthanc.ask("/instances")) == 2
    finally:
        orthanc.stop()
        world.store.engine.dispose()
