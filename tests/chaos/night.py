"""The night list under power cuts: past studies from a real Orthanc, the daemon killed and started again meanwhile.

`python tests/chaos/night.py --studies 1000`: each study must be fetched whole
and screened once, and a study that a scanner sends in the middle must not
wait behind the backlog. The screening itself is a stand-in of fixed time.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pydicom import Dataset
from pydicom.uid import generate_uid

from screener.store import BackfillReport, Run
from tests.peers.hospital import Hospital, open_hospital, wait_until
from tests.peers.mailbox import open_mailbox
from tests.peers.orthanc import Orthanc
from tests.peers.ports import free_port
from tests.peers.scanner import Scanner, make_ct
from tests.peers.stand_in import StandIn

SLICES = 3
STUDIES_A_DAY = 50
FIRST_DAY = date(2019, 1, 1)
FLAG_EVERY = 25
QUIET_SECONDS = 1.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--screening-seconds", type=float, default=0.1)
    parser.add_argument("--in-flight", type=int, default=20)
    parser.add_argument("--how", choices=("get", "move"), default="get")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60, help="after which the run counts as stuck")
    parser.add_argument("--folder", type=Path, help="where everything is kept (default: a folder that is removed)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        return Night(options, folder).run()


class Night:
    """One run of the program."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.days = -(-options.studies // STUDIES_A_DAY)
        self.uids: list[str] = []
        self.flagged: set[str] = set()

    def run(self) -> int:
        port = free_port()
        orthanc = Orthanc(self.folder / "orthanc", {"screener": ("PAROTID", "127.0.0.1", port)}).start()
        try:
            began = time.monotonic()
            self.fill(orthanc)
            print(f"{len(self.uids)} studies of {SLICES} slices in Orthanc after {time.monotonic() - began:.0f} s")
            with open_mailbox() as mailbox:
                source = {"name": "orthanc", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.dicom_port}
                many = 10 * len(self.uids)
                pull = {"studies_in_flight": self.options.in_flight, "studies_per_hour": many, "digest_at": "00:00"}
                settings = {
                    "pull": pull | {"window": "00:00-24:00", "studies_per_night": many, "retry_seconds": 1},
                    "completeness": {"quiet_seconds": QUIET_SECONDS},
                }
                hospital = Hospital(
                    self.folder / "hospital",
                    mailbox,
                    [],
                    settings=settings,
                    port=port,
                    sources=[source | {"how": self.options.how}],
                )
                with open_hospital(hospital, "--no-workers"):
                    return self.screen(hospital)
        finally:
            orthanc.stop()

    def fill(self, orthanc: Orthanc) -> None:
        scanner = Scanner(orthanc.dicom_port, called_ae_title="ORTHANC")
        for first in range(0, self.options.studies, STUDIES_A_DAY):
            batch: list[Dataset] = []
            for number in range(first, min(first + STUDIES_A_DAY, self.options.studies)):
                study = a_study(FIRST_DAY + timedelta(days=number // STUDIES_A_DAY))
                self.uids.append(str(study[0].StudyInstanceUID))
                batch += study
            assert {answer.status for answer in scanner.send(batch)} == {0}
        self.flagged = set(self.uids[::FLAG_EVERY])

    def voxels(self, run: Run) -> int:
        return 900 if run.study_instance_uid in self.flagged else 0

    def screen(self, hospital: Hospital) -> int:
        began = time.monotonic()
        last = FIRST_DAY + timedelta(days=self.days - 1)
        said = hospital.command("backfill", "--from", FIRST_DAY.isoformat(), "--to", last.isoformat())
        print(said.strip())
        chance = random.Random(self.options.seed)  # noqa: S311 - repeatable, not secret
        total = self.options.studies
        kills = sorted(chance.uniform(0.1, 0.9) * total for _ in range(self.options.kills))
        daytime_at = total / 2
        down_seconds: list[float] = []
        recipients = (("email", "ent@hospital.test"),)
        with StandIn(
            hospital.store, seconds=self.options.screening_seconds, finds=self.voxels, recipients=recipients
        ) as worker:
            for at, what in sorted([*((at, "kill") for at in kills), (daytime_at, "daytime")]):
                self.wait(hospital, at)
                if what == "daytime":
                    self.send_in_the_daytime(hospital, worker)
                    continue
                states = report(hospital).states
                killed = time.monotonic()
                hospital.kill()
                hospital.start("--no-workers")
                down_seconds.append(time.monotonic() - killed)
                print(f"killed and started again at {states}, {down_seconds[-1]:.1f} s")
            wait_until(lambda: self.is_over(hospital), self.options.minutes * 60, lambda: str(report(hospital)))
            seconds = time.monotonic() - began
            wait_until(lambda: bool(hospital.mailbox.mails), 60, "no digest")
        print(f"all screened after {seconds:.0f} s, {total / seconds:.2f} studies a second")
        return self.judge(hospital, worker)

    def wait(self, hospital: Hospital, fetched: float) -> None:
        wait_until(
            lambda: report(hospital).states.get("fetched", 0) >= fetched,
            self.options.minutes * 60,
            lambda: str(report(hospital)),
        )

    def send_in_the_daytime(self, hospital: Hospital, worker: StandIn) -> None:
        """Send one study as a scanner would, and measure until it is screened."""
        study = a_study(date(2031, 1, 1))
        uid = str(study[0].StudyInstanceUID)
        ahead = hospital.store.backlog_in_flight()
        hospital.scanner.send(study)
        sent = time.monotonic()
        wait_until(lambda: any(screened == uid for screened, _ in list(worker.screened)), 600, "the daytime study")
        seconds = time.monotonic() - sent
        waited = seconds - QUIET_SECONDS - self.options.screening_seconds
        print(
            f"daytime study: {ahead} past studies in flight; screened {seconds:.1f} s after its last image, "
            f"{waited:.1f} s more than quiet period and screening take"
        )

    def is_over(self, hospital: Hospital) -> bool:
        found = report(hospital)
        return (
            found.states.keys() <= {"fetched", "skipped", "failed"}
            and all(day > FIRST_DAY + timedelta(days=self.days - 1) for day in found.next_dates.values())
            and hospital.store.backlog_in_flight() == 0
        )

    def judge(self, hospital: Hospital, worker: StandIn) -> int:
        times = Counter(uid for uid, _ in worker.screened)
        reports = [hospital.report(uid) for uid in self.uids]
        never = sum(not any(run.ending == "done" for run in found.runs) for found in reports)
        twice = sum(len(found.runs) != 1 or times[uid] != 1 for uid, found in zip(self.uids, reports, strict=True))
        partial = sum(found.images != SLICES for found in reports)
        found = report(hospital)
        alone = sum("past stud" not in str(mail["Subject"]) for mail in hospital.mailbox.mails)
        digests = len(hospital.mailbox.mails) - alone
        is_balanced = hospital.store.counts().is_balanced
        print(f"states {found.states}; flagged {len(found.flagged)} of {len(self.flagged)}")
        print(f"never screened {never}, screened more than once {twice}, not whole {partial}")
        print(f"findings told alone {alone}, digests {digests}; the equation holds: {is_balanced}")
        is_good = (
            found.states == {"fetched": len(self.uids)}
            and len(found.flagged) == len(self.flagged)
            and (never, twice, partial, alone, digests, is_balanced) == (0, 0, 0, 0, 1, True)
        )
        print("good" if is_good else "NOT GOOD")
        return 0 if is_good else 1


def a_study(day: date) -> list[Dataset]:
    """Make a CT study of a few small slices."""
    study_instance_uid, series_instance_uid = generate_uid(), generate_uid()
    return [
        make_ct(
            StudyInstanceUID=study_instance_uid,
            SeriesInstanceUID=series_instance_uid,
            StudyDate=f"{day:%Y%m%d}",
            BodyPartExamined="HEADNECK",
            ImagePositionPatient=[0, 0, 2.5 * number],
        )
        for number in range(SLICES)
    ]


def report(hospital: Hospital) -> BackfillReport:
    (found,) = hospital.store.backfill_reports(1)
    return found


if __name__ == "__main__":
    sys.exit(main())
