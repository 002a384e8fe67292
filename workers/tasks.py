"""The tasks of the three queues; the one place where outcomes become retry, set aside or failure.

A task carries nothing: it is a hint that its queue has work. Which work, the
store says. A blanket except may stand here: whatever a stage does, the run is
left in a state that `screener/recover.py` or a person will find.
"""

import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pydicom.config
from celery.signals import setup_logging, worker_process_init, worker_ready
from celery.worker import state

from screener.archive import Archive
from screener.claimant import name_claim
from screener.config import find_config, load_config
from screener.delays import next_delay
from screener.journey import Ending, Queue
from screener.logs import describe_error, start_logging
from screener.outcomes import NeedsPerson, SetAside, TryAgain
from screener.store import LeaseLostError, OwedDelivery, Run, open_store
from workers.app import app
from workers.bench import Bench
from workers.deliver import confirm, destination_of, send
from workers.faults import describe_outside, is_of_accelerator, until_answered
from workers.screen_ct import screen_ct
from workers.screen_us import screen_us
from workers.stop_in_order import put_back

logger = logging.getLogger(__name__)

MAX_RETRY_SECONDS = 3600.0
WAITED_OUT = timedelta(days=1)
"""So long after a run was first put back a fault outside its study is given to a person."""
RENEWALS_PER_LEASE = 4
RENEW_AGAIN_SECONDS = 1.0
FAMILY_SECONDS = 1.0

_bench: list[Bench] = []


def bench() -> Bench:
    """This process's bench, built at the first call."""
    if not _bench:
        config = load_config(find_config())
        archive = Archive(config.storage_folder, config.storage.reserve_mib << 20, is_begun=True)
        _bench.append(Bench(config=config, store=open_store(config.database_url), archive=archive))
    return _bench[0]


@setup_logging.connect  # type: ignore[untyped-decorator]
def _log(**_: object) -> None:
    start_logging(load_config(find_config()).log.level)


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _warm_up(**_: object) -> None:
    """Load the models before the first study comes: only in a child that works on a queue which needs them."""
    # A value that breaks a rule of its VR is a warning of pydicom's that quotes the value.
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    warnings.filterwarnings("ignore", module=r"pydicom\..*")
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    for queue, can_screen in ((Queue.CT, has_models), (Queue.US, has_ultrasound_models)):
        if queue in app.amqp.queues.consume_from and can_screen():
            logger.info("worker for queue %s is ready", queue)


def _end_with_parent(parent: int) -> None:
    """End this child when its worker has been killed: it would hold the accelerator beside the next worker's child."""
    while os.getppid() == parent:
        time.sleep(FAMILY_SECONDS)
    os._exit(1)


@worker_ready.connect  # type: ignore[untyped-decorator]
def _watch_children(sender: Any, **_: object) -> None:
    threading.Thread(target=_end_with_child, args=(sender.pool,), daemon=True).start()


def _end_with_child(pool: Any) -> None:
    """End this worker when a child of it has been killed; whoever keeps it running starts it anew.

    A child that waits for work holds the lock of the pipe that it comes
    through. Killed, it never lets go, and the child in its place waits for ever.
    Killed at work it does not, and the child in its place may have taken a study,
    which is not to blame for what happened.
    """
    children = set(pool.info["processes"])
    while set(pool.info["processes"]) == children:
        time.sleep(FAMILY_SECONDS)
        if any(flag is not None and flag is not False for flag in (state.should_stop, state.should_terminate)):
            return  # it ends in order; 0 is an exit status here
    logger.error("a child of this worker was killed: the worker ends, to be started anew")
    put_back(pool.info["processes"])
    os._exit(1)


def has_models() -> bool:
    """Tell whether this worker can screen CT; the first call loads the models, each failure is logged."""
    return _can_load("CT", lambda: bench().models())


def has_ultrasound_models() -> bool:
    """Tell whether this worker can screen ultrasound, or set it aside where the settings name no models."""
    return _can_load("ultrasound", lambda: bench().ultrasound_models())


def _can_load(kind: str, load: Callable[[], object]) -> bool:
    try:
        load()
    except NeedsPerson as outcome:
        logger.error("%s studies wait, for the models cannot be loaded: %s", kind, outcome.reason)
        return False
    return True


@app.task(name="screener.ct")  # type: ignore[untyped-decorator]
def work_on_ct() -> None:
    """Screen the oldest due CT run; without models the runs wait, for their studies are not to blame."""
    if has_models():
        _work(Queue.CT, lambda: work_on_run(bench(), Queue.CT, screen_ct))


@app.task(name="screener.us")  # type: ignore[untyped-decorator]
def work_on_us() -> None:
    """Screen the oldest due ultrasound run; where its models cannot be loaded the runs wait."""
    if has_ultrasound_models():
        _work(Queue.US, lambda: work_on_run(bench(), Queue.US, screen_us))


@app.task(name="screener.results")  # type: ignore[untyped-decorator]
def work_on_results() -> None:
    """Send the oldest due delivery."""
    _work(Queue.RESULTS, lambda: deliver(bench()))


def _work(queue: Queue, work: Callable[[], bool]) -> None:
    """Do one piece of work. A child that does not know how it ended ends itself, and is then seen to hold no claim."""
    try:
        is_some = work()
    except Exception as error:  # noqa: BLE001 - the edge: a living owner of a claim would be waited for
        logger.error("queue=%s this child ends, to be started anew: %s", queue, describe_error(error))
        os._exit(1)
    if is_some:
        hint_again(queue)


def hint_again(queue: Queue) -> None:
    """Look once more: with the daemon's first hint lost, one worker still empties its queue."""
    app.send_task(f"screener.{queue}", queue=queue.value)


def work_on_run(bench: Bench, queue: Queue, screen: Callable[[Bench, Run], None]) -> bool:
    """Claim the oldest due run of a queue and screen it; False when there was none."""
    run = bench.store.claim_run(queue, name_claim(), bench.clock(), bench.lease)
    if run is None:
        return False
    logger.info("study=%d run=%d attempt=%d claimed", run.study_id, run.number, run.attempts)
    try:
        with _kept_lease(bench, f"study={run.study_id}", lambda until: bench.store.renew_lease(run, until)):
            _screen(bench, run, screen)
    except LeaseLostError:
        logger.warning("study=%d run=%d lease lost: another run or worker goes on", run.study_id, run.number)
    return True


def _screen(bench: Bench, run: Run, screen: Callable[[Bench, Run], None]) -> None:
    try:
        screen(bench, run)
    except SetAside as outcome:
        _end(bench, run, Ending.SET_ASIDE, outcome.code, outcome.reason)
    except NeedsPerson as outcome:
        _end(bench, run, Ending.FAILED, outcome.code, outcome.reason)
    except TryAgain as outcome:
        _wait_out(bench, run, outcome)
    except LeaseLostError:
        raise
    except Exception as error:  # a bug in a stage ends one study, never the worker
        logger.error("study=%d run=%d %s", run.study_id, run.number, describe_error(error))
        outside = describe_outside(error)
        if outside is not None:
            _wait_out(bench, run, outside)
        else:
            _count_failure(bench, run, f"unexpected {type(error).__name__}; the log has the place")
        if is_of_accelerator(error):
            raise


def _wait_out(bench: Bench, run: Run, outcome: TryAgain) -> None:
    """Try again what something outside the study was in the way of; a person must look where it stays so."""
    waited = bench.clock() - (run.tried_since or bench.clock())
    if waited >= WAITED_OUT and run.attempts >= bench.config.queue.max_attempts:
        tried = f"tried {run.attempts} times since {run.tried_since:%Y-%m-%d %H:%M} UTC"
        _end(bench, run, Ending.FAILED, outcome.code, f"{outcome.reason}; {tried}")
    else:
        _try_again(bench, run, outcome.reason, is_failure=False)


def _count_failure(bench: Bench, run: Run, reason: str) -> None:
    """Try again what failed for a reason that may lie in the study; a person must look where it does so too often."""
    failures = run.failures + 1
    if failures >= bench.config.queue.max_attempts:
        _end(bench, run, Ending.FAILED, "unexpected", f"{reason}; failed {failures} times")
    else:
        _try_again(bench, run, reason, is_failure=True)


def _try_again(bench: Bench, run: Run, reason: str, *, is_failure: bool) -> None:
    now = bench.clock()
    wait = next_delay(run.attempts, bench.config.queue.retry_seconds, MAX_RETRY_SECONDS)
    sentence = f"attempt {run.attempts}: {reason}"
    put_back = bench.store.try_again
    until_answered(lambda: put_back(run, reason=sentence, not_before=now + wait, now=now, is_failure=is_failure))
    logger.warning("study=%d run=%d tried again in %.0f s: %s", run.study_id, run.number, wait.total_seconds(), reason)


def _end(bench: Bench, run: Run, ending: Ending, code: str, reason: str) -> None:
    until_answered(lambda: bench.store.end_run(run, ending, code=code, reason=reason, now=bench.clock()))
    level = logging.ERROR if ending is Ending.FAILED else logging.INFO
    logger.log(level, "study=%d run=%d ending=%r code=%s: %s", run.study_id, run.number, str(ending), code, reason)


@contextmanager
def _kept_lease(bench: Bench, what: str, renew: Callable[[datetime], bool]) -> Iterator[None]:
    """Renew a claim from a thread while the work goes on; a short lease lets a killed worker be missed soon."""
    is_over = threading.Event()

    def keep() -> None:
        every = bench.lease.total_seconds() / RENEWALS_PER_LEASE
        wait = every
        while not is_over.wait(wait):
            try:
                if not renew(bench.clock() + bench.lease):
                    return
                wait = every
            except Exception as error:  # noqa: BLE001 - the database may come back before the lease ends
                logger.warning("%s lease not renewed: %s", what, describe_error(error))
                wait = min(every, RENEW_AGAIN_SECONDS)

    thread = threading.Thread(target=keep, name=f"lease of {what}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def deliver(bench: Bench) -> bool:
    """Claim the oldest due delivery; send it, or ask whether it has arrived. False when there was none."""
    delivery = bench.store.claim_delivery(name_claim(), bench.clock(), bench.lease)
    if delivery is None:
        return False
    try:
        with _kept_lease(
            bench, f"study={delivery.study_id}", lambda until: bench.store.renew_delivery(delivery, until)
        ):
            _carry_out(bench, delivery)
    except (TryAgain, NeedsPerson) as outcome:
        _delivery_failed(bench, delivery, outcome.reason)
    except Exception as error:  # noqa: BLE001 - the edge: one delivery never blocks the next
        logger.error("study=%d %s", delivery.study_id, describe_error(error))
        _delivery_failed(bench, delivery, f"unexpected {type(error).__name__}")
    return True


def _carry_out(bench: Bench, delivery: OwedDelivery) -> None:
    destination = destination_of(bench, delivery)
    if delivery.state == "owed":
        began = time.monotonic()
        send(bench, delivery, destination)
        seconds, now = time.monotonic() - began, bench.clock()
        is_asked = destination.confirm != "none"
        ask_at = now + timedelta(seconds=bench.config.results.confirm_seconds) if is_asked else None
        bench.store.delivery_sent(delivery, seconds=seconds, now=now, ask_at=ask_at)
        logger.info(
            "study=%d stage=%s destination=%s seconds=%.1f",
            delivery.study_id, "answered" if is_asked else "sent", delivery.destination, seconds,
        )  # fmt: skip
        return
    missing = confirm(bench, delivery, destination)
    if missing:
        not_before = _next_try(bench, delivery, delivery.attempts)
        bench.store.delivery_missing(delivery, error=missing, not_before=not_before, now=bench.clock())
        logger.warning("study=%d missing destination=%s: %s", delivery.study_id, delivery.destination, missing)
    else:
        bench.store.delivery_confirmed(delivery, by=destination.confirm, now=bench.clock())
        logger.info(
            "study=%d stage=sent destination=%s confirmed_by=%s",
            delivery.study_id, delivery.destination, destination.confirm,
        )  # fmt: skip


def _delivery_failed(bench: Bench, delivery: OwedDelivery, reason: str) -> None:
    not_before = _next_try(bench, delivery, delivery.tries)
    now = bench.clock()
    until_answered(lambda: bench.store.delivery_failed(delivery, error=reason, not_before=not_before, now=now))
    what = "sent" if delivery.state == "owed" else "confirmed"
    logger.warning("study=%d not %s destination=%s: %s", delivery.study_id, what, delivery.destination, reason)


def _next_try(bench: Bench, delivery: OwedDelivery, tries: int) -> datetime | None:
    """When to go on after try number `tries`; None: it has been owed too long."""
    settings, now = bench.config.results, bench.clock()
    if now - delivery.owed_since >= timedelta(hours=settings.give_up_hours):
        return None
    return now + next_delay(tries, settings.retry_seconds, settings.max_retry_seconds)
