"""Look after a process under test: its time, its memory, its file handles."""

import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

READER = Path(__file__).with_name("fuzz_reader.py")
CPU_SECONDS = 60.0
"""That one object may take of a processor, in all stages together."""
WALL_SECONDS = 300.0
"""That one object may take on a busy machine."""
WARM_OBJECTS = 500
"""After so many a process has all that it keeps; there are no bombs among them."""
LEAST_GROWTH_KIB = 20 << 10
GROWTH_SHARE = 0.1
SPARED_HANDLES = 5


@dataclass
class Footprint:
    """Memory and handles of a process, when it had warmed up and at its end."""

    warm_kib: int = 0
    most_kib: int = 0
    last_kib: int = 0
    warm_handles: int = 0
    last_handles: int = 0
    objects: int = 0

    def look(self, pid: int) -> None:
        """Take the measures after one more object."""
        self.objects += 1
        if self.objects <= WARM_OBJECTS or self.objects % 20 == 0:
            self.measure(pid)

    def measure(self, pid: int) -> None:
        """Take the measures now."""
        self.last_kib, self.last_handles = proportional_kib(pid), count_handles(pid)
        self.most_kib = max(self.most_kib, self.last_kib)
        if self.objects <= WARM_OBJECTS:
            self.warm_kib, self.warm_handles = (
                max(self.warm_kib, self.last_kib),
                max(self.warm_handles, self.last_handles),
            )

    def complaints(self, name: str) -> list[str]:
        """What it has left behind."""
        found = []
        if self.last_handles > self.warm_handles + SPARED_HANDLES:
            found.append(f"{name}: {self.last_handles} file handles, {self.warm_handles} before")
        if self.last_kib > self.warm_kib + max(LEAST_GROWTH_KIB, GROWTH_SHARE * self.warm_kib):
            found.append(f"{name}: {self.last_kib >> 10} MiB of memory, {self.warm_kib >> 10} MiB before")
        return found

    def __str__(self) -> str:
        """One line for the report."""
        warm, last, most = (kib >> 10 for kib in (self.warm_kib, self.last_kib, self.most_kib))
        return (
            f"memory (PSS) {warm} MiB after at most {WARM_OBJECTS} objects, {last} MiB at the end, {most} MiB at most; "
            f"file handles {self.warm_handles}, then {self.last_handles}"
        )


def proportional_kib(pid: int) -> int:
    """Proportional set size of a process (proc(5))."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise AssertionError("no Pss in smaps_rollup")


def count_handles(pid: int) -> int:
    """Open file handles of a process."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def cpu_seconds(pid: int) -> float:
    """Time of a processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Reader:
    """The stages that read, begun anew after each crash and hang."""

    sound: Path
    footprint: Footprint = field(default_factory=Footprint)
    """Of the process that runs."""
    starts: int = 0
    _left: list[str] = field(default_factory=list)
    """What the processes before it had left behind."""
    _process: subprocess.Popen[bytes] | None = None

    def read(self, path: Path, sop_instance_uid: str, sop_class_uid: str) -> dict[str, str]:
        """How each stage ended."""
        process = self._process or self._start()
        assert process.stdin is not None
        request = {"path": str(path), "sop_instance_uid": sop_instance_uid, "sop_class_uid": sop_class_uid}
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        answer = self._await(process)
        if isinstance(answer, str):
            process.kill()
            process.wait()
            self._process = None
            return {"reader": answer}
        self.footprint.look(process.pid)
        return dict(answer["endings"])

    def _start(self) -> subprocess.Popen[bytes]:
        self._left += self._complaints()
        self.footprint = Footprint()
        self.starts += 1
        command = [sys.executable, str(READER), str(self.sound)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        ready = self._await(self._process, CPU_SECONDS * 6)
        assert not isinstance(ready, str), ready
        return self._process

    def _await(self, process: subprocess.Popen[bytes], seconds: float = CPU_SECONDS) -> dict[str, dict[str, str]] | str:
        """The next line, or a sentence where none comes."""
        assert process.stdout is not None
        began_at, began_cpu = time.monotonic(), cpu_seconds(process.pid)
        while not select.select([process.stdout], [], [], 0.5)[0]:
            if cpu_seconds(process.pid) - began_cpu > seconds:
                return f"HANG more than {seconds:g} s of a processor"
            if time.monotonic() - began_at > WALL_SECONDS:
                return f"HANG more than {WALL_SECONDS:g} s"
        line = process.stdout.readline()
        if not line:
            return f"CRASH the process ended with {process.wait()}"
        answer: dict[str, dict[str, str]] = json.loads(line)
        return answer

    def close(self) -> list[str]:
        """End it; what it has left behind."""
        if self._process is not None:
            self.footprint.measure(self._process.pid)
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(timeout=60)
        return self._left + self._complaints()

    def _complaints(self) -> list[str]:
        """What the present process has left behind, once it had warmed up."""
        return self.footprint.complaints(f"reader {self.starts}") if self.footprint.objects > WARM_OBJECTS else []

    @property
    def figures(self) -> str:
        """One line for the report."""
        return f"reader, started {self.starts} time(s): {self.footprint}"
