"""A scanner that holds what it has made until it sees it answered with Success, and remembers what it saw."""

import random
import threading
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.small_study import SmallStudy, digest
from tests.peers.scanner import AssociationFailed, Scanner

SUCCESS = 0x0000
PATIENCE_SECONDS = 0.5


class Sender:
    """Sends its studies one after the other; what was refused or not answered is sent again on the next association."""

    def __init__(self, port: int, studies: Sequence[SmallStudy], *, pause_seconds: float, seed: int) -> None:
        """`pause_seconds` lie between two studies on average."""
        self._scanner = Scanner(port)
        self._studies = studies
        self._pause_seconds = pause_seconds
        self._random = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._send_all, name="sender", daemon=True)
        self.sent: dict[str, str] = {}
        """SOP Instance UID to the digest of the data set, of all that was answered with Success."""
        self.done: list[SmallStudy] = []
        """Studies of which every image was."""
        self.answers: dict[int | None, int] = {}
        """How often each status was seen; None where no answer came."""
        self.failed_associations = 0

    def __enter__(self) -> "Sender":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    @property
    def is_done(self) -> bool:
        return len(self.done) == len(self._studies)

    def _send_all(self) -> None:
        for study in self._studies:
            self.send(study)
            if self._is_over.wait(self._random.expovariate(1 / self._pause_seconds) if self._pause_seconds else 0):
                return

    def send(self, study: SmallStudy) -> None:
        """Send until every image was answered with Success, or the sender is closed."""
        digests = {path: digest(path) for path in study.paths}
        left = list(study.paths)
        self._random.shuffle(left)
        while left and not self._is_over.is_set():
            left = self._try(left, digests)
            if left:
                self._is_over.wait(PATIENCE_SECONDS)
        if not left:
            self.done.append(study)

    def _try(self, paths: Sequence[Path], digests: dict[Path, str]) -> list[Path]:
        """Send `paths` over one association; those still to be sent."""
        try:
            answers = self._scanner.send(paths)
        except (AssociationFailed, RuntimeError):
            self.failed_associations += 1
            return list(paths)
        left = []
        for path, answer in zip(paths, answers, strict=True):
            self.answers[answer.status] = self.answers.get(answer.status, 0) + 1
            if answer.status == SUCCESS:
                self.sent[answer.sop_instance_uid] = digests[path]
            else:
                left.append(path)
        return left
