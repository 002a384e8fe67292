"""What an operator reads of a study and of the whole, as plain text without any patient's identity."""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta

from screener.config import Completeness, Storage
from screener.decide import is_large, is_rejected
from screener.journey import Queue, Stage
from screener.store.ultrasound import EnteredFindings, describe_finding
from screener.store.values import (
    UNCONFIRMED,
    Backlog,
    Counts,
    DeliveryLine,
    GlandLine,
    OddityLine,
    RunReport,
    StudyReport,
)
from screener.study import Candidate, Thresholds
from screener.us_study import FrameChoice, name_judge

_TOLD_IN_UTC = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d)?) UTC")


def describe_daemon(look: Callable[[], bool]) -> str:
    """Whether a daemon works on this database, as `look` sees it; it may raise OSError."""
    try:
        return "daemon: running" if look() else "daemon: NOT RUNNING: nothing is received; start `screener run`"
    except OSError as error:
        return f"daemon: nobody can tell ({error.filename}: {error.strerror})"


def is_seen_away(look: Callable[[], bool]) -> bool:
    """True: `look` sees that no daemon works on this database. False: one does, or nobody can tell."""
    try:
        return not look()
    except OSError:
        return False


def describe_counts(counts: Counts) -> str:
    """The equation, in studies, then what is under way and owed."""
    verdict = "" if counts.is_balanced else "   DOES NOT ADD UP: please report this"
    lines = [
        f"received {counts.received} = done {counts.done} + set aside {counts.set_aside} + failed {counts.failed} "
        f"+ in flight {counts.in_flight}{verdict}",
        f"flagged: {counts.flagged}; deliveries owed: {counts.deliveries_owed}, "
        f"sent and not yet confirmed: {counts.deliveries_unconfirmed}; notices owed: {counts.notices_owed}; "
        f"instances refused or kept aside: {counts.oddities}",
    ]
    under_way = [f"  {stage:<10} {counts.stages[stage]}" for stage in Stage if stage in counts.stages]
    if under_way:
        lines += ["in flight, by stage reached:", *under_way]
    return "\n".join(lines)


def describe_backlog(backlog: Backlog, now: datetime) -> str:
    """What waits on each queue, what of each kind has waited longest, and what is in hand."""
    waiting = ", ".join(f"{queue} {backlog.queues.get(queue, 0)}" for queue in Queue)
    lines = [f"waiting, by queue: {waiting}"]
    for oldest in backlog.oldest:
        minutes = max((now - oldest.since).total_seconds(), 0) / 60
        lines.append(f"oldest {oldest.what}: study {oldest.study_id}, for {minutes:.0f} min")
    lines.append(f"leases held: {len(backlog.leases)}")
    for lease in backlog.leases:
        state = f"until {tell_moment(lease.until)}" if lease.until >= now else f"expired at {tell_moment(lease.until)}"
        lines.append(f"  study {lease.study_id} on queue {lease.queue}, {state}, by {lease.owner}")
    return "\n".join(lines)


def describe_disk(free_bytes: int, storage: Storage) -> str:
    """Free space against the reserve and the mark below which images go early."""
    free_mib = free_bytes >> 20
    if free_mib < storage.reserve_mib:
        state = "BELOW THE RESERVE: new images are refused"
    elif free_mib < storage.clean_below_mib:
        state = "images of finished studies are removed early"
    else:
        state = "enough"
    return (
        f"disk: {free_mib} MiB free, {state}; reserve {storage.reserve_mib} MiB, "
        f"cleaned below {storage.clean_below_mib} MiB"
    )


def describe_oddities(oddities: Iterable[OddityLine]) -> str:
    """Instances that were refused or kept aside, with the reason; the same thing said of one instance is said once."""
    same: dict[tuple[str, str], list[OddityLine]] = {}
    for oddity in oddities:
        same.setdefault((oddity.sop_instance_uid, oddity.reason), []).append(oddity)
    lines = ["refused or kept aside:"]
    for (sop_instance_uid, reason), group in same.items():
        times = f" ({len(group)} times)" if len(group) > 1 else ""
        name = f"{sop_instance_uid}: " if sop_instance_uid else ""
        lines.append(f"  {tell_moment(max(oddity.at for oddity in group))}  {name}{reason}{times}")
        lines += [f"    kept as {oddity.path}" for oddity in group if oddity.path]
    return "\n".join(lines)


def describe_study(report: StudyReport) -> str:
    """Every step with its time and reason, the choice of series, the decision, and what became of results."""
    ending = report.ending or f"in flight, {report.stage}"
    lines = [
        f"study {report.study_id}  {report.study_instance_uid}",
        f"  {ending}: {report.reason}" if report.reason else f"  {ending}",
        f"  {report.images} images, {report.documents} documents, {report.own} of our own results received back"
        + (f"; the files of {report.expired} of them have been removed" if report.expired else ""),
        "steps:",
    ]
    for step in report.steps:
        run = f"run {step.run_number}" if step.run_number else ""
        seconds = f"{step.seconds:.1f} s" if step.seconds is not None else ""
        lines.append(f"  {tell_moment(step.at)}  {run:<6} {step.stage:<12} {seconds:>7}  {step.sentence}")
    for run_report in report.runs:
        lines += _run_lines(run_report)
    if report.oddities:
        lines.append(describe_oddities(report.oddities))
    return tell_local("\n".join(lines))


def describe_entries(entries: Sequence[EnteredFindings]) -> str:
    """Who entered which findings on ultrasound, and when."""
    if not entries:
        return "nobody has entered findings"
    return "\n".join(
        f"{tell_moment(entry.at)}  {entry.entered_by}: {', '.join(map(describe_finding, entry.findings.items()))}"
        for entry in entries
    )


def describe_wait(report: StudyReport, settings: Completeness, now: datetime) -> str:
    """What a study with images that no run has seen waits for, and until when; empty where there are none.

    When the daemon was started is not known here, and it counts no silence from before.
    """
    if report.news_since_at is None or report.news_at is None:
        return ""
    quiet, longest = settings.quiet_seconds, settings.max_wait_seconds
    fate = "goes on" if settings.after_max_wait == "go_on" else "goes on if whole, else is set aside,"
    if report.is_being_fetched:
        what = "waits: a backfill is fetching it"
        return _until(what, report.news_at, longest, f"where no more comes, it {fate}", now)
    last = report.steps[-1] if report.steps else None
    if last is not None and last.sentence.startswith("waits:"):
        seen = f" (as seen at {tell_moment(last.at)})" if last.at < report.news_at else ""
        return _until(tell_local(f"{last.sentence}{seen}"), report.news_since_at, longest, fate, now)
    silent = f"waits: {quiet:g} s must pass without a new image"
    return _until(silent, report.news_at, quiet, "if none comes, it is judged", now)


def _until(what: str, since: datetime, seconds: float, then: str, now: datetime) -> str:
    """One line: what is waited for, and when that ends; `since` an image, or the daemon's start if later."""
    until = since + timedelta(seconds=seconds)
    if until <= now:
        return f"{what}; {then} {seconds:g} s after the daemon's last start at the latest"
    later = f"or {seconds:g} s after the daemon's last start if that is later"
    return f"{what}; {then} at {tell_moment(until)} at the latest, {later}"


def tell_local(text: str) -> str:
    """Turn the times that sentences were stored with, in UTC, into local ones; the rest stays as it is."""
    return _TOLD_IN_UTC.sub(_local, text)


def _local(match: re.Match[str]) -> str:
    try:
        return tell_moment(datetime.fromisoformat(match[1]).replace(tzinfo=UTC))
    except (ValueError, OverflowError):  # no time: a PACS's own words
        return match[0]


def tell_verdict(*, is_flagged: bool) -> str:
    """Say what a run has decided, in the words of the pages."""
    return "flagged" if is_flagged else "not flagged"


def _run_lines(run: RunReport) -> list[str]:
    thresholds = run.thresholds
    lines = [
        f"run {run.number} on queue {run.queue}: {run.ending or run.state}",
        f"  thresholds: {_describe_thresholds(run)}, config revision {thresholds.config_revision}",
    ]
    if run.is_flagged is not None:
        lines.append(f"  {tell_verdict(is_flagged=run.is_flagged)}")
    if run.state == "superseded":
        lines.append("  superseded by a later run" if run.ending else f"  {run.reason}")
    if run.model_identity:
        lines.append(f"  models: device UID {run.model_identity}")
    for series in run.series:
        taken = "chosen " if series.is_chosen else "refused"
        lines.append(
            f"  series {taken} {series.modality:<4} {series.instance_count:>4} images, score {series.score:g}: "
            f"{' '.join(series.reasons)}  [{series.series_instance_uid}]"
        )
    lines += [f"  {gland.presence}: {gland.reason}{_tell_share(gland)}" for gland in run.glands]
    for candidate, _ in run.candidates:
        lines.append(
            f"  candidate {candidate.number}, {candidate.side}: {candidate.voxels} voxels "
            f"({_judge(candidate, thresholds)}), {candidate.volume_mm3 / 1000:.2f} ml, "
            f"longest diameter {candidate.longest_diameter_mm:.1f} mm, mean {candidate.mean_hu:.0f} HU, "
            f"probability up to {candidate.max_probability:.2f}"
        )
        if candidate.features:
            described = ", ".join(f"{name} {value:g}" for name, value in candidate.features.items())
            lines.append(f"    {described}")
    lines += _ultrasound_lines(run)
    lines += [f"  result {result.role}: {result.path}" for result in run.results]
    for delivery in run.deliveries:
        error = f": {delivery.last_error}" if delivery.last_error else ""
        state = _describe_delivery(delivery)
        lines.append(f"  delivery to {delivery.destination}: {state}, {delivery.attempts} attempt(s){error}")
    for notice in run.notices:
        error = f": {notice.last_error}" if notice.last_error else ""
        lines.append(
            f"  notice by {notice.channel} to {notice.recipient}: {notice.state}, {notice.attempts} attempt(s){error}"
        )
        lines += [f"    why: {notice.why}"] if notice.why else []
        lines += [f"    waits: {notice.waits}"] if notice.waits and notice.state == "owed" else []
    return lines


def _tell_share(gland: GlandLine) -> str:
    """Say which share of a gland was searched; nothing of one that was not found."""
    return f"  [covered by the scan: {gland.covered_share * 100:.0f} %]" if gland.covered_share else ""


def _describe_thresholds(run: RunReport) -> str:
    thresholds = run.thresholds
    if run.queue == Queue.US:
        judge = name_judge(is_by_fusion=run.lesion is not None and run.lesion.is_by_fusion)
        used = f", by {judge} and a reader's findings where known" if thresholds.us_findings == "decide" else ""
        return f"probability of malignancy {thresholds.min_malignancy:g}{used}"
    return (
        f"{thresholds.min_voxels} voxels of 1 mm^3, probability {thresholds.min_probability:g}, "
        f"score {thresholds.min_score:g} at gamma {thresholds.gamma}, "
        f"{thresholds.min_covered_share * 100:.0f} % of a gland covered"
    )


def _ultrasound_lines(run: RunReport) -> list[str]:
    lines = [
        f"  {_name_frame(frame)} {'taken' if frame.is_taken else 'refused'}: {frame.reason}  [{frame.sop_instance_uid}]"
        for frame in run.frames
    ]
    lesion = run.lesion
    if lesion is None:
        return lines
    lines.append(f"  {lesion.answer}: {lesion.reason}")
    if lesion.sop_instance_uid:
        size = lesion.longest_diameter_mm
        diameter = "frame not calibrated" if size is None else f"longest diameter {size:.1f} mm"
        lines.append(f"  lesion of {lesion.area_px} pixels, {diameter}  [{lesion.sop_instance_uid}]")
    if lesion.combined_probability is not None and lesion.probability is not None:
        decided = "the former decided" if lesion.is_by_findings else "the latter alone decided"
        judge = name_judge(is_by_fusion=lesion.is_by_fusion)
        lines.append(
            f"  probability of malignancy {lesion.combined_probability:.2f} by {judge} and a reader's findings, "
            f"{lesion.probability:.2f} by {judge}: {decided}"
        )
    if lesion.findings_reason:
        lines.append(f"  findings: {lesion.findings_reason}")
    return lines


def _name_frame(frame: FrameChoice) -> str:
    return f"frame {frame.frame_number}" if frame.frame_number else "image"


def _describe_delivery(delivery: DeliveryLine) -> str:
    sent = f" at {tell_moment(delivery.sent_at)}" if delivery.sent_at else ""
    if delivery.state == "sent":
        return f"sent{sent}, not yet confirmed (asked {delivery.confirm_attempts} time(s))"
    if delivery.state != "delivered":
        return delivery.state
    if delivery.confirmed_by in {"", UNCONFIRMED}:
        return f"delivered{sent} as its Success says, not confirmed: the settings do not ask for it"
    confirmed = f" at {tell_moment(delivery.delivered_at)}" if delivery.delivered_at else ""
    return f"delivered, sent{sent}, confirmed by {delivery.confirmed_by}{confirmed}"


def _judge(candidate: Candidate, thresholds: Thresholds) -> str:
    """Say on which side of each threshold the candidate lies."""
    size = f"{'at or above' if is_large(candidate, thresholds) else 'below'} the threshold"
    score = candidate.score(thresholds.gamma)
    if score is None:
        return f"{size}, no score"
    answer = "not a mass" if is_rejected(candidate, thresholds) else "may be a mass"
    return f"{size}, score {score:.2f}: {answer}"


def tell_moment(at: datetime) -> str:
    """Local time with its offset from UTC, which changes with the season."""
    return at.astimezone().isoformat(sep=" ", timespec="seconds")
