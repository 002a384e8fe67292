"""What breaks around a study: the PACS, the mail server, a worker, the daemon, the broker."""

import os
import signal
from collections.abc import Callable

from screener.journey import Ending
from screener.phantom import make_phantom
from screener.study import Side
from tests.peers.hospital import Hospital, wait_until
from tests.peers.pacs import Pacs

Build = Callable[..., tuple[Hospital, Pacs]]


def test_a_dead_pacs_holds_no_accelerator_and_gets_its_results_when_it_is_back(build_hospital: Build) -> None:
    hospital, pacs = build_hospital()
    pacs.stop()
    first, second = make_phantom(seed=41, mass_mm=25.0, mass_side=Side.RIGHT), make_phantom(seed=42)
    for phantom in (first, second):
        hospital.scanner.send(phantom.datasets)
    for phantom in (first, second):  # the second is screened although the first could not be sent
        report = hospital.wait_for(
            phantom.study_instance_uid,
            lambda seen: bool(seen.runs) and any(line.attempts >= 2 for line in seen.runs[0].deliveries),
        )
        assert report.ending is None
        assert "pacs" in report.runs[0].deliveries[0].last_error
    assert len(hospital.mailbox.mails) == 1  # the notice does not wait for the PACS
    pacs.start()
    for phantom in (first, second):
        assert hospital.wait_for_ending(phantom.study_instance_uid).ending is Ending.DONE
    assert len(pacs.received) == 4


def test_a_killed_worker_leaves_its_study_to_the_next(build_hospital: Build) -> None:
    hospital, _ = build_hospital(queue={"lease_seconds": 3, "retry_seconds": 1})
    phantom = make_phantom(seed=43)
    hospital.scanner.send(phantom.datasets)
    hospital.wait_for(phantom.study_instance_uid, lambda seen: any(s.stage == "selected" for s in seen.steps))
    hospital.kill_worker("ct")
    report = hospital.wait_for_ending(phantom.study_instance_uid)
    assert report.ending is Ending.DONE
    assert report.runs[0].attempts == 2
    assert any("stopped without an answer" in step.sentence for step in report.steps)


def test_a_worker_whose_idle_child_was_killed_takes_the_next_study(build_hospital: Build) -> None:
    hospital, _ = build_hospital()
    wait_until(lambda: "worker for queue ct is ready" in hospital.log_path.read_text(), 120, "no worker is ready")
    worker, *children = hospital.worker_pids("ct")
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: worker not in hospital.worker_pids("ct"), 30, "the worker has not ended with its child")
    phantom = make_phantom(seed=46)
    hospital.scanner.send(phantom.datasets)
    assert hospital.wait_for_ending(phantom.study_instance_uid).ending is Ending.DONE


def test_a_daemon_that_was_killed_goes_on_where_it_was(build_hospital: Build) -> None:
    hospital, pacs = build_hospital(queue={"lease_seconds": 3, "retry_seconds": 1})
    phantom = make_phantom(seed=44)
    answers = hospital.scanner.send(phantom.datasets)
    assert {answer.status for answer in answers} == {0x0000}
    hospital.kill()
    hospital.start()
    report = hospital.wait_for_ending(phantom.study_instance_uid)
    assert (report.ending, report.images) == (Ending.DONE, len(phantom.datasets))
    assert len(pacs.received) == 2
