"""What the journeys of both kinds share: a stage that is timed and told, the run's key, and results that are kept."""

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, TypedDict

from screener.journey import Stage
from screener.match_rules import Found, Recipient, match_rules
from screener.outcomes import TryAgain
from screener.read_origin import read_origin
from screener.store import Result, Run
from screener.study import Instance
from workers.bench import Bench

if TYPE_CHECKING:
    from workers.results.encode_results import ResultFile

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Note:
    """The sentence that a stage leaves in the study's history."""

    sentence: str = ""


@contextmanager
def stage(bench: Bench, run: Run, reached: Stage) -> Iterator[Note]:
    """Time a stage and, when it was reached, write its step and one log line."""
    note = Note()
    began = time.monotonic()
    yield note
    seconds = time.monotonic() - began
    bench.store.reached(run, reached, sentence=note.sentence, seconds=seconds, now=bench.clock())
    logger.info("study=%d run=%d stage=%s seconds=%.1f", run.study_id, run.number, reached, seconds)


def make_run_key(
    run: Run, images: Sequence[Instance], models_identity: str, more: Mapping[str, object] | None = None
) -> str:
    """Digest of what is screened and how: the same key runs again only where its answer is not in force any more.

    Of the selected images (sorted SOP Instance UIDs and content digests), the
    models' identity, the decision settings, the reprocess number and, in `more`, what else a journey goes by.
    """
    parts: Mapping[str, object] = {
        "images": sorted((image.sop_instance_uid, image.sha256) for image in images),
        "models": models_identity,
        "decision": {key: value for key, value in asdict(run.thresholds).items() if key != "config_revision"},
        "reprocess": run.reprocess_number,
        **(more or {}),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class OwedTo(TypedDict):
    """Who must hear of a finished run, as the store takes it."""

    destinations: list[str]
    recipients: list[Recipient]


def name_owed(bench: Bench, found: Found, images: Sequence[Instance]) -> OwedTo:
    """Name who must hear of what was found now, as the settings say; an image tells where the study was made.

    TryAgain where a rule may ask for that and the disk does not give it: who is not named is never told.
    """
    notices = bench.config.notices
    try:
        origin = read_origin(images[0].path) if found.masses and notices.rules and images else {}
    except OSError as error:
        raise TryAgain(f"The images cannot be read now: {error.strerror}.", code="disk") from error
    return {
        "destinations": [destination.name for destination in bench.config.results.destinations],
        "recipients": match_rules(notices, found, origin, bench.clock().astimezone()),
    }


def keep_results(bench: Bench, run: Run, files: Sequence["ResultFile"]) -> tuple[Result, ...]:
    """Make the results durable; what is sent later are these bytes."""
    return tuple(
        Result(
            role=file.role,
            sop_class_uid=file.sop_class_uid,
            sop_instance_uid=file.sop_instance_uid,
            path=bench.archive.write_result(
                run.study_id, run.number, file.role, file.content, attempt=run.attempts, suffix=file.suffix
            ),
            sha256=hashlib.sha256(file.content).hexdigest(),
        )
        for file in files
    )
