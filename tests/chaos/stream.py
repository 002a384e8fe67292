"""A stream of studies from several scanners into an installation, watched from outside until all has ended."""

import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack

from sqlalchemy.exc import SQLAlchemyError

from tests.chaos.installation import Installation
from tests.chaos.judge import Verdict, judge
from tests.chaos.sender import Sender
from tests.chaos.small_study import SmallStudy
from tests.peers.hospital import wait_until


class Stream:
    """`with` begins to send; `finish` waits for the end of every study, prints what happened and judges it."""

    def __init__(
        self,
        installation: Installation,
        studies: Sequence[SmallStudy],
        *,
        pause_seconds: float,
        seed: int,
        senders: int = 2,
    ) -> None:
        """`pause_seconds` lie between two studies of one sender on average."""
        self.installation = installation
        self.studies = studies
        port = installation.hospital.port
        self.senders = [
            Sender(port, studies[number::senders], pause_seconds=pause_seconds, seed=seed + number)
            for number in range(senders)
        ]
        self._watch = EquationWatch(installation)
        self._stack = ExitStack()

    def __enter__(self) -> "Stream":
        for part in (*self.senders, self._watch):
            self._stack.enter_context(part)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def sent(self) -> dict[str, str]:
        """SOP Instance UID to the digest of the data set, of all that was answered with Success."""
        return {uid: digest for sender in self.senders for uid, digest in dict(sender.sent).items()}

    @property
    def done(self) -> int:
        """Studies of which every image was answered with Success."""
        return sum(len(sender.done) for sender in self.senders)

    def finish(self, seconds: float) -> Verdict:
        """Wait until every study was sent and has ended, print the figures and judge."""
        try:
            wait_until(lambda: self.done == len(self.studies), seconds, "the senders still hold images")
            wait_until(self._is_over, seconds, "studies are stuck")
        except AssertionError as stuck:
            print(stuck)
        self.describe()
        verdict = judge(self.installation, self.studies, self.sent)
        if self._watch.unbalanced:
            verdict.add("equation", f"did not hold at {self._watch.unbalanced} of {self._watch.looks} looks")
        return verdict

    def _is_over(self) -> bool:
        """Tell whether every study has ended; while the database is down, not yet."""
        try:
            counts = self.installation.hospital.store.counts()
        except SQLAlchemyError:
            return False
        return counts.received == len(self.studies) and counts.in_flight == 0

    def describe(self) -> None:
        """Print what was sent and how it went."""
        hospital = self.installation.hospital
        answers: Counter[int | None] = Counter()
        for sender in self.senders:
            answers.update(sender.answers)
        named = {f"0x{status:04X}" if status is not None else "none": count for status, count in answers.items()}
        failed = sum(sender.failed_associations for sender in self.senders)
        print(f"{len(self.sent)} instances answered with Success; answers {named}, failed associations {failed}")
        reports = [hospital.store.study_report(number) for number in hospital.store.study_numbers()]
        attempts = Counter(run.attempts for report in reports for run in report.runs)
        sendings = Counter(line.attempts for report in reports for run in report.runs for line in run.deliveries)
        runs = Counter(len(report.runs) for report in reports)
        print(f"runs by attempts {_sorted(attempts)}, studies by runs {_sorted(runs)}")
        print(f"deliveries by sendings {_sorted(sendings)}")
        flagged = sum(study.is_flagged for study in self.studies)
        mails = len(hospital.mailbox.mails)
        print(f"{mails} mails for {flagged} flagged studies; equation looked at {self._watch.looks} times")
        starts = {unit.name: unit.starts for unit in self.installation.supervisor.units.values()}
        print(f"starts {starts}; endings {dict(Counter(str(report.ending) for report in reports))}")


def _sorted(counter: Counter[int]) -> dict[int, int]:
    return dict(sorted(counter.items()))


class EquationWatch:
    """Looks at the study-count equation the whole time; a database that is down gives no answer."""

    def __init__(self, installation: Installation) -> None:
        self._store = installation.hospital.store
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="equation", daemon=True)
        self.looks = self.unbalanced = 0

    def __enter__(self) -> "EquationWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._is_over.wait(1):
            try:
                counts = self._store.counts()
            except SQLAlchemyError:
                continue
            self.looks += 1
            self.unbalanced += not counts.is_balanced
