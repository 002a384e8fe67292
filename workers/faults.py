"""To what a fault is laid, and how long the database is waited for."""

import logging
import time
from collections.abc import Callable
from typing import Final

from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from screener.logs import describe_error
from screener.outcomes import TryAgain

logger = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 300.0
ASK_AGAIN_SECONDS: Final = 2.0


def is_database_away(error: Exception) -> bool:
    """True: the database does not do its work. False: it does, and refuses a value; or this is no error of it."""
    return isinstance(error, SQLAlchemyError) and not isinstance(error, DataError | IntegrityError)


def describe_outside(error: Exception) -> TryAgain | None:
    """What stands in the way where it is the database or this machine; None where it may be the study."""
    if is_database_away(error):
        return TryAgain("the database does not answer; the log has the place", code="database")
    if isinstance(error, OSError) and error.errno is not None:  # from the system, not from a library's parser
        return TryAgain(f"the system refuses its service: {error.strerror}", code="disk")
    return None


def is_of_accelerator(error: Exception) -> bool:
    """True: the accelerator failed, after which nothing more can be computed in this process."""
    words = str(error).lower()
    return isinstance(error, RuntimeError) and any(name in words for name in ("cuda", "cudnn", "cublas", "accelerator"))


def until_answered(call: Callable[[], None]) -> None:
    """Repeat a change of the store until the database answers; raise its error after ANSWER_SECONDS.

    The change must be one that may be made twice: the answer may have been
    lost after the commit.
    """
    gives_up_at = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            return call()
        except SQLAlchemyError as error:
            if not is_database_away(error) or time.monotonic() >= gives_up_at:
                raise
            logger.warning("the database does not answer, it is asked again: %s", describe_error(error))
            time.sleep(ASK_AGAIN_SECONDS)
