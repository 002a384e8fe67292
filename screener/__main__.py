"""The command line: `screener --help` says what there is."""

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import sqlalchemy.exc

from screener import __version__
from screener.check_start import describe_failing_start
from screener.command_parts import (
    PROGRAM,
    UsageError,
    add_command,
    find_study,
    open_all_the_same,
    open_database,
    open_to_read,
    read_config,
)
from screener.config import Config, ConfigError, Decision, change_decision, check_bundles
from screener.describe_settings import describe_state
from screener.explain import (
    describe_backlog,
    describe_counts,
    describe_daemon,
    describe_disk,
    describe_entries,
    describe_oddities,
    describe_study,
    describe_wait,
    is_seen_away,
    tell_local,
)
from screener.finding_words import FINDING_WORDS, read_answers
from screener.journey import CT_JOURNEY, US_JOURNEY, Ending, Step
from screener.leave_out_decoders import leave_out_decoders
from screener.logs import start_logging
from screener.notices_command import add_notices_command
from screener.pull.backfill import (
    STUDY_BYTES,
    OrderError,
    describe_backfills,
    describe_limit,
    describe_report,
    describe_stop,
    make_order,
)
from screener.quality_commands import add_quality_commands
from screener.read_days import read_days
from screener.record_deed import find_user, record_deed
from screener.replay import describe_replay, replay
from screener.report_commands import add_report_commands
from screener.settings_commands import add_settings_commands
from screener.store import BackfillReport, Store
from screener.store.daemon_lock import is_taken
from screener.store.web_accounts import Role
from screener.tell_opinions import tell_opinions

NO_DAEMON = 3
"""What `screener status` ends with where all is well and no daemon runs."""
ENDINGS = (
    "A command ends with 0 where it is done, 1 where it went wrong or raises an alarm, and says why, 2 where the "
    "command line is wrong, 130 where it was stopped; "
    f"status ends with {NO_DAEMON} where all is well and no daemon runs."
)
RESEARCH = "Research use, not validated for clinical diagnosis."


REPLAYED = (
    ("min_voxels", int),
    ("gamma", int),
    ("min_score", float),
    ("min_covered_share", float),
    ("min_malignancy", float),
)
"""The options of `screener replay`, named as the keys of [decision]."""
TLS_HINT = ": if this listener takes TLS only, use DCMTK's, as /usr/bin/storescu +tla -ic -aec CALLED HOST PORT FILE"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns what ENDINGS tells."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except (ConfigError, UsageError) as error:
        print(error, file=sys.stderr)
        return 1
    except sqlalchemy.exc.OperationalError as error:
        print(f"the database does not answer: {error.orig}", file=sys.stderr)
        return 1
    except sqlalchemy.exc.ArgumentError:
        print("database.url: not a SQLAlchemy URL", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `screener status | head`: who reads has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=f"Screens head and neck CT for masses of the parotid glands. {RESEARCH}",
        epilog=ENDINGS,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = add_command(
        commands, "run", _run, "listen for studies and screen them until told to stop (SIGTERM or Ctrl-C)"
    )
    run.add_argument("--no-workers", action="store_true", help="start no workers here: they run on other machines")

    demo = add_command(commands, "demo", _demo, "show the whole journey on synthetic patients, or on a study of yours")
    demo.add_argument(
        "--study", type=_folder, metavar="FOLDER", help="a folder with one DICOM study, instead of phantoms"
    )
    demo.add_argument("--keep", type=Path, metavar="FOLDER", help="where the results stay (default: demo-results)")

    phantoms = commands.add_parser(
        "phantoms",
        help="write the demo's synthetic patients to a folder, to be sent with `send`",
        description="Write three synthetic patients as DICOM files: on CT with a mass and without, and on ultrasound.",
    )
    phantoms.add_argument("folder", type=Path, metavar="FOLDER", help="made if absent; each patient gets one below it")
    phantoms.set_defaults(command=_phantoms)

    send = add_command(
        commands, "send", _send, "send a folder of DICOM files to the running screener, as a scanner would"
    )
    send.add_argument("folder", type=Path, metavar="FOLDER", help="searched with its subfolders")
    send.add_argument("--host", help="address to send to (default: this screener's)")
    send.add_argument("--port", type=int, help="port to send to (default: this screener's)")
    send.add_argument("--called", metavar="AE", help="called AE title (default: this screener's)")
    send.add_argument(
        "--calling", metavar="AE", default="SCREENER_SEND", help="calling AE title (default: %(default)s)"
    )

    add_command(
        commands,
        "status",
        _status,
        "count studies by stage and ending, and say what waits, what is owed and how full the disk is",
    )

    explain = add_command(commands, "explain", _explain, "say what happened to a study, step by step, and why")
    explain.add_argument("study", metavar="STUDY", help="Study Instance UID, our number, or a refused SOP Instance UID")

    add_settings_commands(commands)
    add_report_commands(commands)
    add_quality_commands(commands)

    sentence = "fetch past studies from a PACS and screen them by night; without dates, list what was ordered"
    backfill = add_command(commands, "backfill", _backfill, sentence)
    backfill.add_argument("--from", dest="from_date", metavar="DATE", help="first study date, such as 2019-01-01")
    backfill.add_argument("--to", dest="to_date", metavar="DATE", help="last study date")
    backfill.add_argument("--modality", default="", metavar="LIST", help="such as CT,US (default: the source's)")
    backfill.add_argument("--body-part", default="", metavar="LIST", help="such as HEAD,NECK (default: the source's)")
    backfill.add_argument("--source", default="", metavar="NAME", help="one of pull.sources (default: all)")
    backfill.add_argument("--now", action="store_true", help="begin at once, outside the window as well")
    backfill.add_argument("--pause", type=int, metavar="N", help="hold backfill N back")
    backfill.add_argument("--resume", type=int, metavar="N", help="let backfill N go on")
    backfill.add_argument("--report", type=int, metavar="N", help="what became of the studies of backfill N")

    add_notices_command(commands)
    _add_pages(commands)
    add_command(commands, "journey", _journey, "list the stages of a study's journey and the module behind each")

    discard = add_command(
        commands, "discard", _discard, "set a failed study aside, so that its files expire like any other's"
    )
    discard.add_argument("study", metavar="STUDY", help="Study Instance UID or our number")

    reprocess = add_command(
        commands, "reprocess", _reprocess, "screen a study again as a new run; earlier results are kept"
    )
    reprocess.add_argument("study", metavar="STUDY", help="Study Instance UID or our number")

    sentence = "say what a reader finds on ultrasound; without findings, list those entered"
    findings = add_command(commands, "findings", _findings, sentence)
    findings.add_argument("study", metavar="STUDY", help="Study Instance UID or our number")
    for word, (finding, answers) in FINDING_WORDS.items():
        findings.add_argument(f"--{word}", choices=answers, help=f"{finding}; unknown takes back what was said")
    findings.add_argument("--by", metavar="NAME", help="who says so (default: the user of this machine)")

    sentence = "decide all stored runs again under other settings, without inference and without writing"
    again = add_command(commands, "replay", _replay, sentence)
    for key, kind in REPLAYED:
        again.add_argument(f"--{key.replace('_', '-')}", type=kind, help=f"in place of decision.{key}")
    again.add_argument("--days", type=read_days, help="only runs that ended within so many days")
    return parser


def _add_pages(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The commands of the pages: serving them, and who may sign in."""
    web = add_command(commands, "web", _web, "serve the pages (worklist, cases, system) until told to stop; see [web]")
    web.add_argument("--parent", type=int, default=0, help=argparse.SUPPRESS)

    users = commands.add_parser("users", help="who may sign in to the pages", description="Who may sign in.")
    deeds = users.add_subparsers(required=True, metavar="add|list|openid|disable|password")
    add = add_command(deeds, "add", _users_add, "let a person sign in; the password is asked for, or read from a file")
    add.add_argument("name", metavar="NAME")
    add.add_argument("--role", required=True, choices=[role.value for role in Role], help="what the person may do")
    add_command(deeds, "list", _users_list, "list the accounts")
    openid = add_command(deeds, "openid", _users_openid, "leave an account to whom the provider calls so")
    openid.add_argument("name", metavar="NAME")
    add_command(deeds, "disable", _users_disable, "let a person sign in no more").add_argument("name", metavar="NAME")
    sentence = "give a person a new password; it also ends the wait of that account after too many failures"
    password = add_command(deeds, "password", _users_password, sentence)
    password.add_argument("name", metavar="NAME")
    for command in (add, password):
        command.allow_abbrev = False  # or --password would be taken, and a secret stand in the shell's history
        command.add_argument("--password-file", type=Path, metavar="FILE", help="holds the password, in one line")


def _run(options: argparse.Namespace) -> int:
    leave_out_decoders()
    from screener.daemon import Daemon

    config, path = read_config(options, needs_secrets=True)
    start_logging(config.log.level)
    if not options.no_workers:
        check_bundles(config)
    Daemon(config, path, has_workers=not options.no_workers).run()
    return 0


def _folder(text: str) -> Path:
    """Read the name of a folder; an empty one is a mistake, and not the folder that one is in."""
    if not text.strip():
        raise argparse.ArgumentTypeError("name a folder")
    return Path(text)


def _demo(options: argparse.Namespace) -> int:
    from screener.demo import run_demo

    status: int = run_demo(options.study, keep=options.keep)
    return status


def _phantoms(options: argparse.Namespace) -> int:
    from screener.phantom_patients import write_patients

    try:
        for patient, folder in write_patients(options.folder):
            print(f"{folder}: {patient.title}")
    except OSError as error:
        print(f"{options.folder}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _send(options: argparse.Namespace) -> int:
    from rich.progress import Progress

    from screener.send_folder import ConnectionClosedError, SendError, send_folder

    if not options.folder.is_dir():
        raise UsageError(f"{options.folder} is no folder")
    listener = read_config(options)[0].listener
    host = options.host or ("127.0.0.1" if listener.host in {"0.0.0.0", "::"} else listener.host)  # noqa: S104
    try:
        with Progress() as progress:
            bar = progress.add_task("sending", total=None)
            report = send_folder(
                options.folder,
                host=host,
                port=options.port or listener.port,
                called_ae_title=options.called or listener.ae_title,
                calling_ae_title=options.calling,
                on_progress=lambda done, total: progress.update(bar, completed=done, total=total),
            )
    except SendError as error:
        is_tls = isinstance(error, ConnectionClosedError) and bool(listener.tls_certificate)
        raise UsageError(f"{error}{TLS_HINT if is_tls else ''}") from None
    if not (report.sent or report.refused or report.not_sent or report.not_dicom):
        raise UsageError(f"{options.folder} is empty: there is no file in it")
    print(f"{report.sent} sent, {len(report.refused)} refused, {len(report.not_dicom)} not DICOM")
    for file, reason in (*report.refused, *report.not_dicom):
        print(f"  {file}: {reason}")
    if report.not_sent:
        first, reason = report.not_sent[0]
        print(f"  {len(report.not_sent)} not sent or not answered, from {first} on: {reason}")
    return 0 if report.sent and not (report.refused or report.not_sent) else 1


def _status(options: argparse.Namespace) -> int:
    (config, _), store, problem = open_all_the_same(options)
    look = cache(lambda: is_taken(store.engine))
    print(describe_daemon(look))
    is_refused = _tell_settings(config, store, problem)
    counts = store.counts()
    print(describe_counts(counts))
    print(describe_backlog(store.backlog(), datetime.now(UTC)))
    print(describe_disk(shutil.disk_usage(config.storage_folder).free, config.storage))
    failed = store.latest_ending(Ending.FAILED)
    if failed:
        print("failed, newest first; `screener explain NUMBER` tells more:")
        for study_id, reason in failed:
            print(tell_local(f"  study {study_id}: {reason}"))
    if counts.oddities:
        print(describe_oddities(store.latest_oddities()))
    if is_refused or not counts.is_balanced:
        return 1
    return NO_DAEMON if is_seen_away(look) else 0


def _tell_settings(config: Config, store: Store, problem: str) -> bool:
    """Print what is in force and what of the file is wrong; True: something is, or would stop the next start."""
    settings = store.last_settings_line()
    print(describe_state(store, is_wrong=bool(problem)))
    if problem and (settings is None or not settings.problem):
        print("config.toml is WRONG: a daemon that runs goes on with the last good settings, none can start:", problem)
    fault = "" if problem else describe_failing_start(config)
    if fault:
        print(f"config.toml is WRONG, no daemon and no worker would start with it:\n  {fault}")
    return bool(problem or fault) or (settings is not None and bool(settings.problem))


def _explain(options: argparse.Namespace) -> int:
    config, store = open_to_read(options)
    study_id = store.find_study(options.study)
    if study_id is not None:
        report = store.study_report(study_id)
        print(describe_study(report))
        if people := tell_opinions(store.acknowledgements_of(study_id), store.reviews_of(study_id)):
            print(people)
        wait = describe_wait(report, config.completeness, datetime.now(UTC))
        if wait:
            print(describe_daemon(lambda: is_taken(store.engine)), wait, sep="\n")
        return 0
    oddities = store.oddities_of(options.study)
    if oddities:
        print(describe_oddities(oddities))
        return 0
    find_study(store, options.study)
    return 1


def _journey(_: argparse.Namespace) -> int:
    for title, journey in (("CT", CT_JOURNEY), ("Ultrasound", US_JOURNEY)):
        print(title)
        for step in journey:
            print(_describe_step(step))
    return 0


def _describe_step(step: Step) -> str:
    return f"  {step.stage:<10} {step.module:<34} {step.holds}"


def _discard(options: argparse.Namespace) -> int:
    _, store = open_database(options)
    study_id = find_study(store, options.study)
    if not store.discard(study_id, datetime.now(UTC)):
        raise UsageError(f"study {study_id} has not failed: nothing to discard")
    record_deed(store, "discard", study_id)
    print(f"study {study_id} is set aside; its files go when the others of its day do (retention.received_days)")
    return 0


def _reprocess(options: argparse.Namespace) -> int:
    _, store = open_database(options)
    study_id = find_study(store, options.study)
    if not store.has_images(study_id) and store.study_report(study_id).expired:
        raise UsageError(f"the images of study {study_id} have expired: send it again")
    store.reprocess(study_id, datetime.now(UTC))
    record_deed(store, "reprocess", study_id)
    print(f"study {study_id} will be screened again; `{PROGRAM} explain {study_id}` tells when it is done")
    return 0


def _findings(options: argparse.Namespace) -> int:
    given = {word: getattr(options, word) for word in FINDING_WORDS if getattr(options, word) is not None}
    _, store = open_database(options) if given else open_to_read(options)
    study_id = find_study(store, options.study)
    if not given:
        print(describe_entries(store.entries_of(study_id)))
        return 0
    said = read_answers(given)
    entered_by = " ".join((options.by or find_user()).split())
    if not entered_by or not entered_by.isprintable():
        raise UsageError("--by: a name in printable characters is needed")
    if not store.enter_findings(study_id, said, entered_by=entered_by, now=datetime.now(UTC)):
        raise UsageError(f"study {study_id} holds no ultrasound images, or they have expired: nothing was entered")
    record_deed(store, "findings", study_id)
    print(f"entered; study {study_id} will be decided again: `{PROGRAM} explain {study_id}` tells when it is done")
    return 0


def _web(options: argparse.Namespace) -> int:
    try:
        from screener.web.serve import serve
    except ImportError as error:
        raise UsageError(
            f"{error.name} is not installed: pip install 'parotid-screener[web]' serves the pages"
        ) from None

    config, store = open_database(options, needs_secrets=True)
    start_logging(config.log.level)
    serve(config, store, parent=options.parent)
    return 0


def _users_add(options: argparse.Namespace) -> int:
    from screener.web.manage_accounts import add_account

    return _manage(lambda store: add_account(store, options.name, options.role, options.password_file), options)


def _users_list(options: argparse.Namespace) -> int:
    from screener.web.manage_accounts import list_accounts

    print(list_accounts(open_to_read(options)[1]))
    return 0


def _users_disable(options: argparse.Namespace) -> int:
    from screener.web.manage_accounts import disable_account

    return _manage(lambda store: disable_account(store, options.name), options)


def _users_openid(options: argparse.Namespace) -> int:
    from screener.web.manage_accounts import leave_to_openid

    config, _ = read_config(options)
    if not config.web.openid.issuer:
        raise UsageError("web.openid.issuer is empty: without a provider nobody could open the account any more")
    return _manage(lambda store: leave_to_openid(store, options.name), options)


def _users_password(options: argparse.Namespace) -> int:
    from screener.web.manage_accounts import change_password

    return _manage(lambda store: change_password(store, options.name, options.password_file), options)


def _manage(deed: Callable[[Store], str], options: argparse.Namespace) -> int:
    from screener.web.manage_accounts import AccountError

    _, store = open_database(options)
    try:
        print(deed(store))
    except AccountError as error:
        raise UsageError(str(error)) from None
    return 0


def _backfill(options: argparse.Namespace) -> int:
    if options.from_date or options.to_date:
        return _order_backfill(options)
    for number, is_paused in ((options.pause, True), (options.resume, False)):
        if number is not None:
            return _pause_backfill(options, number, is_paused=is_paused)
    return _list_backfills(options)


def _order_backfill(options: argparse.Namespace) -> int:
    config, store = open_database(options)
    if not (options.from_date and options.to_date):
        raise UsageError("a backfill needs both --from and --to")
    try:
        order = make_order(
            config.pull,
            from_date=options.from_date,
            to_date=options.to_date,
            modalities=options.modality,
            body_parts=options.body_part,
            source=options.source,
            is_now=options.now,
        )
    except OrderError as error:
        raise UsageError(str(error)) from None
    number = store.add_backfill(order, datetime.now(UTC))
    record_deed(store, "backfill", detail=f"backfill {number} ordered, {order.from_date} to {order.to_date}")
    when = "now" if order.is_now else f"within pull.window, {config.pull.window}"
    print(f"backfill {number} is fetched {when}; `{PROGRAM} backfill --report {number}` tells how far it is")
    return 0


def _pause_backfill(options: argparse.Namespace, number: int, *, is_paused: bool) -> int:
    _, store = open_database(options)
    if not store.pause_backfill(number, is_paused):
        raise UsageError(f"there is no backfill {number}")
    record_deed(store, "backfill", detail=f"backfill {number} {'held back' if is_paused else 'let go on'}")
    print(f"backfill {number} {'is held back' if is_paused else 'goes on'}")
    return 0


def _list_backfills(options: argparse.Namespace) -> int:
    config, store = open_to_read(options)
    reports = store.backfill_reports(options.report)
    if options.report is not None and not reports:
        raise UsageError(f"there is no backfill {options.report}")
    print(describe_daemon(lambda: is_taken(store.engine)))
    stops = _find_stops(config, store, reports)
    if options.report is None:
        print(describe_backfills(reports, stops))
    else:
        print(describe_report(reports[0], stops[reports[0].backfill_id]))
    return 0


def _find_stops(config: Config, store: Store, reports: Sequence[BackfillReport]) -> dict[int, str]:
    """Why each backfill stands still, by its number; empty where nothing is known that holds it."""
    now = datetime.now(UTC)
    free_bytes = shutil.disk_usage(config.storage_folder).free
    has_room = free_bytes - STUDY_BYTES >= config.storage.reserve_mib << 20
    limit = describe_limit(store, config.pull, now, has_room=has_room)
    return {report.backfill_id: describe_stop(report, config.pull, now, limit) for report in reports}


def _replay(options: argparse.Namespace) -> int:
    config, store = open_to_read(options)
    given = {key: getattr(options, key) for key in Decision.model_fields if getattr(options, key, None) is not None}
    changed = change_decision(config, given)
    since = None if options.days is None else datetime.now(UTC) - timedelta(days=options.days)
    print(describe_replay(replay(store.decided_runs(since), changed.thresholds(), store.decided_lesions(since))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
