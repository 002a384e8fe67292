"""No C-STORE is answered with Success before its instance would survive a power cut, as strace sees it.

`python tests/chaos/durable.py [--backend servers]` runs the listener under strace and sends it studies. Before each
response with status 0x0000 leaves, the instance's file must have been synced (fsync or fdatasync), given its name, its
folder synced, and its row: with SQLite the write-ahead log synced after the row was written into it, with PostgreSQL
the commit answered by a server that syncs. `--without-fsync [file|folder|database]` takes one out:
then it must fail.
"""

import argparse
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the program may be called by its path

import psycopg

from screener.config import load_config
from tests.chaos.installation import ROOT
from tests.chaos.read_trace import Call, find_answers, read_calls
from tests.chaos.small_study import write_studies
from tests.chaos.supervisor import Supervisor, Unit
from tests.chaos.without_fsync import PARTS
from tests.peers.hospital import Hospital
from tests.peers.mailbox import Mailbox
from tests.peers.ports import is_open
from tests.peers.require import require
from tests.peers.servers import open_postgresql

TRACED = (
    "open,openat,creat,fsync,fdatasync,rename,renameat,renameat2,link,linkat,"
    "write,writev,pwrite64,pwritev,sendto,sendmsg,recvfrom,recvmsg"
)
MOST_BYTES = 8192
"""Of what is written, as strace records it: a page of SQLite and its header, or an answer, are shorter."""
SYNCS = {"fsync", "fdatasync"}
RENAMES = {"rename", "renameat", "renameat2", "link", "linkat"}
WRITES = {"write", "writev", "pwrite64", "pwritev"}
SENDS, RECEIVES = {"sendto", "sendmsg"}, {"recvfrom", "recvmsg"}
COMMITTED = b"COMMIT\0"
HASTE = b"synchronous_commit"
QUESTION = b"SHOW " + HASTE
SUCCESS = 0x0000


@dataclass
class Tally:
    """What was looked at, and every answer that left too early."""

    answers: int = 0
    early: Counter[str] = field(default_factory=Counter)
    """How often what was not durable."""
    examples: list[str] = field(default_factory=list)


def main() -> int:
    """Print what was seen; 1 where an answer left too early, or none was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=4)
    parser.add_argument("--senders", type=int, default=4, help="associations that send one study at the same time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--backend", choices=("embedded", "servers"), default="embedded")
    parser.add_argument("--without-fsync", nargs="?", const="all", choices=PARTS, help="take a sync out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, open_database(options.backend) as database:
        folder = Path(temporary)
        hospital = Hospital(folder / "hospital", Mailbox(), [], settings={"database": {"url": database}})
        sent = listen_and_send(hospital, options, folder)
        tally = judge(hospital, read_calls(folder / "trace" / "call"))
        is_durable = describe_server(database)
    print(f"{sent} instances sent, {tally.answers} answers with Success seen by strace; {is_durable or 'SQLite'}")
    for what, count in tally.early.items():
        print(f"NOT DURABLE: {count} answers left before {what}")
    print(*tally.examples[:5], sep="\n", end="\n" if tally.examples else "")
    if tally.answers != sent:
        print("NOT SEEN: some answers are not in the trace")
    is_good = not tally.early and tally.answers == sent and not is_durable.startswith("NOT")
    print("every answer left after its instance was durable" if is_good else "not durable")
    return 0 if is_good else 1


@contextmanager
def open_database(backend: str) -> Iterator[str]:
    if backend == "embedded":
        yield ""
        return
    with open_postgresql() as url:
        yield url


def listen_and_send(hospital: Hospital, options: argparse.Namespace, folder: Path) -> int:
    """Run the daemon under strace, send the studies, stop it; how many answers were Success."""
    hospital.folder.mkdir(parents=True)
    hospital.write_config()
    (folder / "trace").mkdir()
    program = (
        ["-m", "tests.chaos.without_fsync", options.without_fsync] if options.without_fsync else ["-m", "screener"]
    )
    strace = [require("strace"), "-ff", "-ttt", "-T", "-y", "-xx", "-s", str(MOST_BYTES), "-e", f"trace={TRACED}"]
    daemon = [sys.executable, *program, "run", "--no-workers", "--config", str(hospital.config_path)]
    supervisor = Supervisor()
    supervisor.start(
        Unit(
            name="daemon",
            command=[*strace, "-o", str(folder / "trace" / "call"), "--", *daemon],
            log=hospital.log_path,
            restart_seconds=3600,
            is_up=lambda: is_open(hospital.port),
            environment={"PYTHONPATH": str(ROOT)},
        ),
        seconds=300,
    )
    try:
        answers = [
            answer.status
            for study in write_studies(folder / "scanner", options.studies, options.seed)
            for answer in hospital.scanner.send(study.paths, associations=options.senders)
        ]
    finally:
        supervisor.stop()
    assert set(answers) == {SUCCESS}, Counter(answers)
    return len(answers)


def judge(hospital: Hospital, calls: list[Call]) -> Tally:
    """Compare each answer with what had been made durable when it left."""
    config = load_config(hospital.config_path)
    held = hospital.store.held_instances(hospital_uids(hospital))
    hospital.store.engine.dispose()
    syncs: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        if call.name in SYNCS:
            syncs[call.descriptor].append(call)
    names = {
        call.texts[-1].decode(): (call.texts[0].decode(), call) for call in calls if call.name in RENAMES and call.texts
    }
    # A session may ask the server not to wait for the disk; its COMMIT is then answered all the same.
    is_hasty = any(HASTE in text.replace(QUESTION, b"") for call in calls if call.name in SENDS for text in call.texts)
    tally = Tally()
    for answer in find_answers(calls):
        if answer.status != SUCCESS:
            continue
        tally.answers += 1
        path = config.storage_folder / held[answer.sop_instance_uid][1]
        unfinished, named = names.get(str(path), ("", None))
        synced = [call for name in (unfinished, str(path)) for call in syncs.get(name, [])]
        missing = []
        if not any(call.ended_at <= answer.left_at for call in synced):
            missing.append("its file was synced")
        if named is None or named.ended_at > answer.left_at:
            missing.append("its file had its name")
        elif not any(
            named.ended_at <= call.began_at and call.ended_at <= answer.left_at
            for call in syncs.get(str(path.parent), [])
        ):
            missing.append("its folder was synced")
        is_row_durable = is_committed(calls, answer.sop_instance_uid, answer.left_at, is_sqlite=not config.database.url)
        if is_hasty or not is_row_durable:
            missing.append("its row was durable")
        tally.early.update(missing)
        tally.examples += [f"  {answer.sop_instance_uid}: before {', '.join(missing)}"] if missing else []
    return tally


def hospital_uids(hospital: Hospital) -> list[str]:
    """The SOP Instance UIDs that the store knows."""
    with hospital.store.engine.connect() as connection:
        return list(connection.exec_driver_sql("SELECT sop_instance_uid FROM instances").scalars())


def is_committed(calls: list[Call], sop_instance_uid: str, left_at: float, *, is_sqlite: bool) -> bool:
    """Tell whether the row with this UID was durable before `left_at`.

    SQLite: the write-ahead log was synced after a page with the UID was written to it. PostgreSQL: the server has
    answered a COMMIT on the connection over which the UID went to it; that the server syncs, its settings say. No UID
    of these studies begins another; what follows one in a page is no part of it, but may look like a digit.
    """
    written_at: dict[str, float] = {}
    uid = sop_instance_uid.encode()
    for call in calls:
        if call.began_at > left_at:
            return False
        name = call.descriptor
        if is_sqlite:
            if call.name in WRITES and name.endswith("-wal") and any(uid in text for text in call.texts):
                written_at.setdefault(name, call.ended_at)
            elif call.name in SYNCS and written_at.get(name, left_at) <= call.began_at and call.ended_at <= left_at:
                return True  # of several that overlap, the one that ended in time
        elif call.name in SENDS and any(uid in text for text in call.texts):
            written_at.setdefault(name, call.ended_at)
        elif call.name in RECEIVES and name in written_at and any(COMMITTED in text for text in call.texts):
            return written_at[name] <= call.ended_at <= left_at
    return False


def describe_server(database: str) -> str:
    """Whether PostgreSQL itself waits for the disk; nothing for SQLite."""
    if not database:
        return ""
    with psycopg.connect(database.replace("+psycopg", "")) as connection:
        values = {}
        for name in ("fsync", "synchronous_commit"):
            row = connection.execute(f"SHOW {name}").fetchone()
            values[name] = row[0] if row else "?"
    said = ", ".join(f"{name}={value}" for name, value in values.items())
    return f"PostgreSQL with {said}" if set(values.values()) == {"on"} else f"NOT DURABLE: PostgreSQL with {said}"


if __name__ == "__main__":
    sys.exit(main())
