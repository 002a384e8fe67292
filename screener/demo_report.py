"""What the demo prints of a study: what was decided and why, in at most 100 columns."""

import textwrap
from collections import Counter
from collections.abc import Iterable

from screener.channels.message import describe_candidate
from screener.demo_peers import Mail
from screener.journey import Ending, Queue
from screener.store.values import RunReport, StepLine, StudyReport

WIDTH = 100


def wrap(text: str, *, indent: int = 2) -> str:
    """Fold one sentence, its further lines set in by four more columns."""
    margin = " " * indent
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=margin,
        subsequent_indent=margin + "    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def describe_step(study_id: int, step: StepLine) -> str:
    """One line per step while the demo waits; what does not fit is in explain.txt."""
    seconds = f"{step.seconds:.1f} s" if step.seconds is not None else ""
    start = f"  study {study_id}  {step.stage:<10} {seconds:>7}  "
    return start + textwrap.shorten(step.sentence, WIDTH - len(start), placeholder=" ...")


def heading(text: str) -> str:
    """A title with a line below it."""
    return f"\n{text}\n{'-' * min(len(text), WIDTH)}"


def describe_decision(report: StudyReport) -> str:
    """Ending, series chosen and refused, glands, candidates and the time of each stage."""
    # the reason of a screened study is its glands' reasons, which follow
    reason = f": {report.reason}" if report.reason and report.ending is not Ending.DONE else ""
    lines = [wrap(f"ending: {report.ending or 'none yet'}{reason}")]
    for run in report.runs[-1:]:
        lines += _run_lines(run)
    timed = [f"{step.stage} {step.seconds:.1f} s" for step in report.steps if step.seconds is not None]
    if timed:
        lines.append(wrap(f"time spent: {', '.join(timed)}"))
    return "\n".join(lines)


def describe_mail(mail: Mail) -> str:
    """The mail as the mailbox took it: what a clinician reads, and the headers that matter."""
    headers = [f"{name}: {mail.message[name]}" for name in ("From", "To", "Date", "Message-ID", "Subject")]
    plain = mail.message.get_body(("plain",))
    text = "" if plain is None else str(plain.get_content())
    body = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    return "\n".join(f"  | {line}".rstrip() for line in [*headers, "", *body])


def describe_checks(checks: Iterable[tuple[str, bool]]) -> str:
    """One line per expectation: met or not."""
    return "\n".join(wrap(f"{'as expected' if is_met else 'NOT AS EXPECTED'}: {text}") for text, is_met in checks)


def _run_lines(run: RunReport) -> list[str]:
    lines = []
    for series in run.series:
        taken = "chosen" if series.is_chosen else "refused"
        lines.append(
            wrap(
                f"series {taken}: {series.modality}, {series.instance_count} images, score {series.score:g}: "
                f"{' '.join(series.reasons)}"
            )
        )
    for gland in run.glands:
        size = f"gland of {gland.volume_mm3 / 1000:.1f} ml" if gland.is_assessed else "gland not assessed"
        lines.append(wrap(f"{gland.reason} ({gland.presence}, {size})"))
    lines += _ultrasound_lines(run)
    lines += [
        wrap(
            f"candidate {candidate.number}, {candidate.side}, {'above' if is_above else 'below'} the threshold: "
            f"{describe_candidate(candidate)}, probability up to {candidate.max_probability:.2f}"
        )
        for candidate, is_above in run.candidates
    ]
    if run.is_flagged is not None:
        lines.append(wrap(f"verdict: {'FLAGGED' if run.is_flagged else 'not flagged'} (from {_describe_limit(run)})"))
    lines += [wrap(f"delivery to {row.destination}: {row.state} {row.last_error}".rstrip()) for row in run.deliveries]
    lines += [wrap(f"notice to {row.recipient}: {row.state} {row.last_error}".rstrip()) for row in run.notices]
    return lines


def _ultrasound_lines(run: RunReport) -> list[str]:
    """Pictures taken and refused, and the answer; none for CT."""
    lines = []
    for is_taken, word in ((True, "taken"), (False, "refused")):
        reasons = Counter(frame.reason for frame in run.frames if frame.is_taken is is_taken)
        lines += [wrap(f"{count} picture{'' if count == 1 else 's'} {word}: {text}") for text, count in reasons.items()]
    lesion = run.lesion
    if lesion is None:
        return lines
    lines.append(wrap(f"{lesion.answer}: {lesion.reason}"))
    if lesion.sop_instance_uid:
        size = lesion.longest_diameter_mm
        diameter = "frame not calibrated" if size is None else f"longest diameter {size:.1f} mm"
        lines.append(wrap(f"lesion of {lesion.area_px} pixels, {diameter}"))
    if lesion.probability is not None and lesion.learned_from:
        lines.append(wrap(lesion.learned_from))
    return lines


def _describe_limit(run: RunReport) -> str:
    thresholds = run.thresholds
    if run.queue == Queue.US:
        return f"a probability of malignancy of {thresholds.min_malignancy:g}"
    return f"{thresholds.min_voxels} voxels of 1 mm^3, probability {thresholds.min_probability:g}"
