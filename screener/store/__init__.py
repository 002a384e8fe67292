"""Tables and a few named operations: the only SQL of the product.

`tables` is the schema, `values` what goes in and comes out; the operations
stand by subject in `intake`, `runs`, `hints`, `outbox` and `questions`.
"""

from screener.store.base import LeaseLostError
from screener.store.engine import migrate, open_engine
from screener.store.hints import Hints
from screener.store.intake import Intake
from screener.store.outbox import Outbox
from screener.store.questions import Questions
from screener.store.runs import Runs
from screener.store.values import (
    Counts,
    Kind,
    OwedDelivery,
    OwedNotice,
    QuietStudy,
    Receipt,
    ReceivedInstance,
    Result,
    Run,
    Screening,
    StudyReport,
)


class Store(Intake, Runs, Hints, Outbox, Questions):
    """Everything that is known of studies; each method is one transaction."""


def open_store(url: str, *, is_migrating: bool = False) -> Store:
    """Open the database at `url`; True brings its schema up to date first (the daemon's business alone)."""
    engine = open_engine(url)
    if is_migrating:
        migrate(engine)
    return Store(engine)


__all__ = [
    "Counts",
    "Kind",
    "LeaseLostError",
    "OwedDelivery",
    "OwedNotice",
    "QuietStudy",
    "Receipt",
    "ReceivedInstance",
    "Result",
    "Run",
    "Screening",
    "Store",
    "StudyReport",
    "open_store",
]
