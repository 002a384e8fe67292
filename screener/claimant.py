"""Who holds a claim: machine, process and its beginning, so that one that lives is told from one that died."""

import os
import socket
import uuid
from pathlib import Path


def name_claim() -> str:
    """Give a name for one claim of this process; two claims of one process differ."""
    return f"{name_process(os.getpid())}{uuid.uuid4().hex[:8]}"


def name_process(pid: int) -> str:
    """Give what the names of all claims of a process on this machine begin with."""
    return f"{socket.gethostname()[:64]}:{pid}:{_find_start(pid)}:"


def is_alive_here(claim: str) -> bool:
    """True: the process that made the claim runs on this machine. False: it has ended, or is on another machine."""
    host, _, rest = claim.partition(":")
    pid, _, rest = rest.partition(":")
    start, _, _ = rest.partition(":")
    return host == socket.gethostname()[:64] and pid.isdecimal() and bool(start) and _find_start(int(pid)) == start


def _find_start(pid: int) -> str:
    """When the process began, in ticks since the machine did (proc(5), field 22 of stat); empty where there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
