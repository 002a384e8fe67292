"""START HERE: the stages of a study's journey in order, and the module that makes each true.

The README's table, this list and the first line of each module are held
together by a test. `screener journey` prints it.
"""

from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """A state that a study has reached; the past participle of the verb that makes it true."""

    RECEIVED = "received"
    COMPLETE = "complete"
    SELECTED = "selected"
    LOADED = "loaded"
    LOCALIZED = "localized"
    SEGMENTED = "segmented"
    DECIDED = "decided"
    ENCODED = "encoded"
    SENT = "sent"
    NOTIFIED = "notified"


class Ending(StrEnum):
    """How a study's journey ends."""

    DONE = "done"
    """Screened; results and notices, where owed, are out."""
    SET_ASIDE = "set aside"
    """Sound, but not ours to read; the reason is stored."""
    FAILED = "failed"
    """A person must look; the reason is stored."""


class Queue(StrEnum):
    """A kind of work with workers of its own."""

    CT = "ct"
    US = "us"
    RESULTS = "results"


@dataclass(frozen=True, slots=True)
class Step:
    """One row of the journey."""

    stage: Stage
    module: str
    """Path of the module that makes the stage true."""
    holds: str
    """What is true once the stage is reached."""


CT_JOURNEY = (
    Step(
        Stage.RECEIVED,
        "screener/receive.py",
        "the file is whole on disk and its row committed before C-STORE answers Success",
    ),
    Step(
        Stage.COMPLETE,
        "screener/complete.py",
        "no image has come for a while, no slice is missing between others and no PACS holds more; or it waited enough",
    ),
    Step(
        Stage.SELECTED,
        "workers/ct/select_series.py",
        "one series is chosen by score; every refused series has its reason stored",
    ),
    Step(
        Stage.LOADED, "workers/ct/load_volume.py", "slices by position, Hounsfield units, one affine, the body masked"
    ),
    Step(Stage.LOCALIZED, "workers/ct/localize_parotids.py", "right and left parotid found, or the reason why not"),
    Step(Stage.SEGMENTED, "workers/ct/segment_masses.py", "candidates with voxels counted on the 1 mm grid"),
    Step(Stage.DECIDED, "screener/decide.py", "each candidate on its own against the thresholds in force"),
    Step(
        Stage.ENCODED,
        "workers/results/encode_results.py",
        "SEG and SR encoded once and kept; results and notices owed are rows",
    ),
    Step(
        Stage.SENT,
        "workers/results/send_results.py",
        "every destination holds every result, as it has confirmed where the settings ask",
    ),
    Step(Stage.NOTIFIED, "screener/notify.py", "every notice owed has been taken by the mail server"),
)

US_JOURNEY = (
    Step(Stage.RECEIVED, "screener/receive.py", "as for CT"),
    Step(Stage.COMPLETE, "screener/complete.py", "as for CT"),
    Step(
        Stage.SELECTED, "workers/us/select_frames.py", "the B-mode pictures are taken; set aside where no model is set"
    ),
    Step(
        Stage.SEGMENTED,
        "workers/us/segment_lesion.py",
        "the frame with the largest lesion, outlined, or that there is none",
    ),
    Step(Stage.DECIDED, "screener/decide_us.py", "its probability of malignancy against the threshold in force"),
    Step(Stage.ENCODED, "workers/results/encode_us_results.py", "SR, SEG and capture encoded once and kept"),
    Step(Stage.SENT, "workers/results/send_results.py", "as for CT"),
    Step(Stage.NOTIFIED, "screener/notify.py", "as for CT"),
)
