"""How many associations at once: of all, of one sender, and over several processes."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage
from pynetdicom import AE, build_context
from pynetdicom.pdu_primitives import A_ASSOCIATE

from screener.associate import associate
from screener.config import Peer
from screener.slots import Slots
from tests.peers.door import Door, open_door
from tests.peers.scanner import AssociationFailed

LOCAL_LIMIT_EXCEEDED = (2, 3, 2)  # PS3.8 9.3.4: transient, by the provider (presentation), local limit exceeded


def hold(door: Door, ae_title: str):  # type: ignore[no-untyped-def]
    return door.scanner._associate([build_context(CTImageStorage)], ae_title)


def rejection(door: Door, ae_title: str) -> tuple[int, int, int]:
    ae = AE(ae_title)
    ae.add_requested_context(CTImageStorage)
    assoc = associate(ae, "127.0.0.1", door.listener.port, ae_title="PAROTID")
    assert assoc.is_rejected
    answer = assoc.acceptor.primitive
    assert isinstance(answer, A_ASSOCIATE)
    return answer.result, answer.result_source, answer.diagnostic  # type: ignore[return-value]


def wait_until(is_so: Callable[[], bool], seconds: float = 120) -> None:
    pause, deadline = threading.Event(), time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it never came to that"
        pause.wait(0.05)


def test_a_sender_over_its_limit_is_rejected_for_the_moment_and_others_are_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    peers = [Peer(ae_title="*", hosts=["127.0.0.1"], maximum_associations=2)]
    with open_door(tmp_path, peers=peers) as door:
        held = [hold(door, "CT1") for _ in range(2)]
        assert rejection(door, "CT1") == LOCAL_LIMIT_EXCEEDED
        assert "calling_ae_title=CT1 host=127.0.0.1 limit=of this sender" in caplog.text
        other = hold(door, "CT2")
        assert door.scanner.echo("CT3") == 0
        held.pop().release()
        held.append(hold(door, "CT1"))
        for assoc in [*held, other]:
            assoc.release()


def test_the_limit_of_all_holds_for_a_sender_without_one(tmp_path: Path) -> None:
    with open_door(tmp_path, maximum_associations=2) as door:
        held = [hold(door, "CT1") for _ in range(2)]
        assert rejection(door, "CT2") == LOCAL_LIMIT_EXCEEDED
        for assoc in held:
            assoc.release()
        assert door.scanner.echo() == 0


def test_the_narrowest_entry_that_admits_a_sender_limits_it(tmp_path: Path) -> None:
    peers = [
        Peer(ae_title="*", hosts=["127.0.0.1"]),
        Peer(ae_title="CT1", hosts=["127.0.0.1"], maximum_associations=1),
    ]
    with open_door(tmp_path, peers=peers) as door:
        held = hold(door, "CT1")
        with pytest.raises(AssociationFailed, match="rejected"):
            hold(door, "CT1")
        held.release()


def test_an_aborted_association_frees_its_place_at_once(tmp_path: Path) -> None:
    with open_door(tmp_path, maximum_associations=1) as door:
        for _ in range(5):
            hold(door, "CT1").release()
        held = hold(door, "CT1")
        held.abort()
        wait_until(lambda: can_hold(door))


def can_hold(door: Door) -> bool:
    try:
        hold(door, "CT1").release()
    except AssociationFailed:
        return False
    return True


def test_a_limit_is_a_number_of_slots() -> None:
    slots = Slots()
    taken = [slots.take("all", 3) for _ in range(4)]
    assert taken[3] is None
    assert len(set(taken)) == 4
    assert slots.take("others", 3) is not None
    slots.give_back(taken[1])  # type: ignore[arg-type]
    assert slots.take("all", 3) == taken[1]
    slots.close()


def test_a_killed_process_gives_its_slots_back() -> None:
    slots = Slots()
    program = (
        "import sys; from screener.slots import Slots; slots = Slots(int(sys.argv[1]));"
        "assert slots.take('all', 2) is not None; print(slots.take('all', 2), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(slots.descriptor)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[slots.descriptor],
        cwd=Path(__file__).resolve().parents[2], text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert int(process.stdout.readline()) > 0
        assert slots.take("all", 2) is None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert slots.take("all", 2) is not None
    assert slots.take("all", 2) is not None
    slots.close()


def test_one_at_a_time_has_its_turn() -> None:
    slots, inside, most = Slots(), [], []

    def go() -> None:
        for _ in range(50):
            with slots.turn():
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(most) == 200
    slots.close()
