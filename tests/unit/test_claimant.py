"""A worker that lives is told from one that died, so that a slow machine costs no study."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from screener.claimant import is_alive_here, name_claim
from screener.journey import Queue
from screener.recover import SLOW, recover_expired_leases
from tests.peers.stores import open_new_store
from tests.peers.values import an_instance
from tests.unit.test_store import LEASE, QUIET, START, dispatch

MAX_ATTEMPTS = 3


def name_of_another() -> tuple[str, "subprocess.Popen[str]"]:
    """The claim of a process that waits until its standard input ends."""
    program = "import sys; from screener.claimant import name_claim; print(name_claim(), flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert process.stdout is not None
    return process.stdout.readline().strip(), process


def test_a_process_is_alive_until_it_is_killed() -> None:
    claim, process = name_of_another()
    with process:
        assert is_alive_here(claim)
        process.kill()
        process.wait()
        assert not is_alive_here(claim)


def test_another_process_under_the_same_number_is_not_the_one_that_claimed() -> None:
    host, pid, start, claim = name_claim().split(":")
    assert pid == str(os.getpid())
    assert not is_alive_here(f"{host}:{pid}:{int(start) - 1}:{claim}")


def test_of_another_machine_nothing_is_known() -> None:
    assert not is_alive_here(f"elsewhere{name_claim()}")


def test_two_claims_of_one_process_differ() -> None:
    assert name_claim() != name_claim()


def test_names_of_other_shapes_are_of_nobody_alive() -> None:
    for claim in ("", "worker", f"{name_claim().split(':')[0]}:{os.getpid()}:", "a:b:c:d"):
        assert not is_alive_here(claim)


def test_a_slow_worker_keeps_its_study_and_a_hanging_one_does_not(tmp_path: Path) -> None:
    store = open_new_store(f"sqlite:///{tmp_path}/screener.sqlite")
    store.record_instance(an_instance(), START)
    dispatch(store, START + QUIET)
    claimed = store.claim_run(Queue.CT, name_claim(), START + QUIET, LEASE)
    assert claimed is not None
    late = START + QUIET + LEASE + timedelta(seconds=1)
    assert recover_expired_leases(store, MAX_ATTEMPTS, late) == 0
    assert store.renew_lease(claimed, late + LEASE)
    assert recover_expired_leases(store, MAX_ATTEMPTS, late + LEASE + SLOW) == 1
    store.engine.dispose()
