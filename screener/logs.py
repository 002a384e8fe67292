"""What the log may hold: our study number and stage, never a value of a data set.

The text of a foreign exception may quote what it choked on, a patient's name
included; so an error is told by its type and the places it passed through.
"""

import logging
import sys
import threading
import traceback
from datetime import UTC, datetime

logger = logging.getLogger(__name__)

QUIET = ("pynetdicom", "pydicom", "apscheduler", "celery", "kombu", "highdicom", "matplotlib", "PIL", "alembic", "mail")


class LocalFormatter(logging.Formatter):
    """Each line begins with local time, to the millisecond, and its offset from UTC."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002
        """Give the time of a record, in place of the base class's, which leaves out the offset."""
        return datetime.fromtimestamp(record.created, UTC).astimezone().isoformat(sep=" ", timespec="milliseconds")


def start_logging(level: str) -> None:
    """Log to standard error, one line per event; libraries are heard from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LocalFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    for name in ("pydicom", "pynetdicom"):  # the one's warnings quote values, the other's say what we say better
        logging.getLogger(name).setLevel(logging.CRITICAL)
    keep_quiet_of_values()


def keep_quiet_of_values() -> None:
    """Tell an error that leaves a thread as any other: without its words."""

    def tell(arguments: threading.ExceptHookArgs) -> None:
        name = arguments.thread.name if arguments.thread is not None else "of no name"
        error = arguments.exc_value or arguments.exc_type()
        logger.error("the thread %s has ended: %s", name, describe_error(error))

    threading.excepthook = tell


def describe_error(error: BaseException) -> str:
    """Type and places of an error, innermost last; none of its words."""
    places = [
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    return f"{type(error).__name__} at {' > '.join(places) or 'an unknown place'}"
