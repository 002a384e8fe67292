"""PACS and mail server gone for an hour, then back: every result is delivered once and every notice told once.

`python tests/chaos/away.py --studies 12 --minutes 60`. The hour is simulated: the product's stages get their time from
here, and so do leases and retries, with default settings. Studies go on coming in over the door meanwhile and are
screened; what is tried goes out over true connections, to peers that are not there.
"""

import argparse
import logging
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the program may be called by its path

from screener.archive import Archive
from screener.config import Config, make_config
from screener.daemon import make_channels
from screener.dispatch import dispatch_study
from screener.journey import Ending, Queue
from screener.notify import send_owed_notices
from screener.receive import Listener
from screener.recover import recover_expired_deliveries, recover_expired_leases
from tests.chaos.small_study import SmallStudy, write_studies
from tests.chaos.stand_in_worker import SECONDS_VARIABLE, make_models, put_stand_ins_in_place
from tests.peers.mailbox import Mailbox, open_mailbox
from tests.peers.pacs import Pacs
from tests.peers.ports import free_port
from tests.peers.scanner import Scanner
from tests.peers.stores import open_new_store
from workers.bench import Bench

START = datetime(2026, 1, 1, 8, 0, tzinfo=UTC)
STEP = timedelta(seconds=10)
MOST_HOURS_AFTER = 6


@dataclass
class Clock:
    now: datetime = START

    def __call__(self) -> datetime:
        return self.now


def main() -> int:
    """Print how often was tried and when all had arrived; 1 where anything is missing or came twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=12)
    parser.add_argument("--minutes", type=int, default=60, help="that both are away")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    put_stand_ins_in_place()
    os.environ[SECONDS_VARIABLE] = "0"
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        world = World(Path(temporary), stack)
        studies = list(write_studies(Path(temporary) / "scanner", options.studies, options.seed, flag_every=2))
        return world.run(studies, timedelta(minutes=options.minutes))


class World:
    """The stages of the daemon and its workers, called in turn with a time that is turned by hand."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.pacs = Pacs().start()
        stack.callback(self.pacs.stop)
        self.mailbox, self.mail_port = Mailbox(), free_port()
        self.clock = Clock()
        self.config = self._make_config(folder)
        self.store = open_new_store(self.config.database_url)
        stack.callback(self.store.engine.dispose)
        archive = Archive(self.config.storage_folder, 0)
        self.listener = Listener(self.config.listener, archive, self.store, self.clock)
        self.listener.start()
        stack.callback(self.listener.stop)
        self.bench = Bench(config=self.config, store=self.store, archive=archive, clock=self.clock)
        self.bench._models = make_models()
        self.channels = make_channels(self.config)
        self.stack = stack

    def _make_config(self, folder: Path) -> Config:
        place = {"name": "pacs", "ae_title": self.pacs.ae_title, "host": self.pacs.host, "port": self.pacs.port}
        email = {"host": self.mailbox.host, "port": self.mail_port, "recipients": ["ent@hospital.test"]}
        tables = {
            "listener": {"port": free_port()},
            "storage": {"folder": str(folder / "var")},
            "results": {"destinations": [place]},
            "notices": {"email": email},
        }
        (folder / "var").mkdir()
        return make_config(tables, base=folder, environment={})

    def run(self, studies: list[SmallStudy], away: timedelta) -> int:
        scanner, waiting = Scanner(self.listener.port), iter(studies)
        self.pacs.stop()
        every = away / max(len(studies) - 1, 1)
        next_at = self.clock.now
        while self.clock.now < START + away:
            if self.clock.now >= next_at:
                next_at += every
                self.send(scanner, waiting)
            self.step()
        self.send(scanner, waiting)
        tries = self.tries()
        done = self.count_done()
        print(f"{away} away: {len(studies)} studies came in, {done} done; tried {tries}")
        if self.pacs.received or self.mailbox.mails or done:
            print("NOT AWAY: something arrived")
            return 1
        self.pacs.start()
        with open_mailbox(self.mailbox, port=self.mail_port):
            back_at = self.clock.now
            while self.count_done() < len(studies) and self.clock.now < back_at + timedelta(hours=MOST_HOURS_AFTER):
                self.step()
        return self.judge(studies, self.clock.now - back_at)

    def send(self, scanner: Scanner, waiting: Iterator[SmallStudy]) -> None:
        study = next(waiting, None)
        if study is not None:
            assert {answer.status for answer in scanner.send(study.paths)} == {0}

    def step(self) -> None:
        """One round of everything that daemon and workers do, then ten seconds."""
        # Imported once the stand-ins are in place: the tasks bring the stages.
        from workers.screen_ct import screen_ct
        from workers.tasks import deliver, work_on_run

        now, config, store = self.clock.now, self.config, self.store
        quiet = timedelta(seconds=config.completeness.quiet_seconds)
        for study in store.quiet_studies(now, quiet=quiet, max_wait=timedelta(hours=1)):
            dispatch_study(store, study, config.thresholds(), now)
        recover_expired_leases(store, config.queue.max_attempts, now)
        recover_expired_deliveries(store, config.results, now)
        while work_on_run(self.bench, Queue.CT, screen_ct):
            pass
        while deliver(self.bench):
            pass
        send_owed_notices(store, self.channels, config.notices, now, storage_folder=config.storage_folder)
        self.clock.now += STEP

    def tries(self) -> dict[str, int]:
        reports = [self.store.study_report(number) for number in self.store.study_numbers()]
        runs = [run for report in reports for run in report.runs]
        return {
            "deliveries": sum(line.attempts for run in runs for line in run.deliveries),
            "notices": sum(line.attempts for run in runs for line in run.notices),
        }

    def count_done(self) -> int:
        return self.store.counts().done

    def judge(self, studies: list[SmallStudy], after: timedelta) -> int:
        times = Counter(str(ds.SOPInstanceUID) for ds in self.pacs.received)
        reports = Counter(str(ds.StudyInstanceUID) for ds in self.pacs.received if ds.Modality == "SR")
        flagged = sum(study.is_flagged for study in studies)
        told = Counter(str(mail["Subject"]) for mail in self.mailbox.mails)
        counts = self.store.counts()
        print(f"back: all done {after} later; {len(times)} objects in the PACS, {len(told)} notices of {flagged}")
        faults = []
        if any(count > 1 for count in times.values()):
            faults.append("an object came twice")
        if reports != Counter(study.study_instance_uid for study in studies):
            faults.append("not one report per study")
        if len(told) != flagged or any(count > 1 for count in told.values()):
            faults.append("not one notice per flagged study")
        endings = Counter(self.store.study_report(number).ending for number in self.store.study_numbers())
        if endings != {Ending.DONE: len(studies)} or not counts.is_balanced:
            faults.append(f"endings {dict(endings)}")
        print("; ".join(faults).upper() or "all delivered once, all told once")
        return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
