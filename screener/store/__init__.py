"""Tables and a few named operations: the only SQL of the product.

`tables` is the schema (`pull_tables` that of the night list), `values` and
`pull_values` what goes in and comes out; the operations stand by subject in
`intake`, `refusals`, `runs`, `ultrasound`, `hints`, `outbox`, `commitments`, `retention`,
`worklist`, `digests`, `escalations`, `questions` and `reviews` (its tables in `review_tables`);
what only the pages need in `web_accounts`, `web_worklist`, `web_case` (`web_tables`) and `patient_words`; what the
settings were and what reviews come to in `settings_log` and `feedback`, what radiology reports say in
`mentions` (`sent_reports`: those that wait for their study), what quality is counted from in `quality` (all of
them in `govern_tables`).
"""

from screener.store.base import LeaseLostError
from screener.store.commitments import Commitments
from screener.store.digests import Digests
from screener.store.engine import check_durability, migrate, open_engine
from screener.store.escalations import Escalations
from screener.store.feedback import Feedback
from screener.store.hints import Hints
from screener.store.intake import Intake
from screener.store.mentions import Mentions
from screener.store.migrate_apart import migrate_in_child
from screener.store.outbox import Outbox
from screener.store.patient_words import PatientWords
from screener.store.pull_values import BackfillOrder, BackfillReport, ListedStudy, Search
from screener.store.quality import Quality
from screener.store.questions import Questions
from screener.store.refusals import Refusals
from screener.store.retention import Retention
from screener.store.reviews import Reviews
from screener.store.sent_reports import SentReports
from screener.store.settings_log import SettingsLog
from screener.store.ultrasound import Ultrasound
from screener.store.values import (
    Counts,
    Kind,
    OwedDelivery,
    OwedDigest,
    OwedNotice,
    QuietStudy,
    Receipt,
    ReceivedInstance,
    Result,
    Run,
    Screening,
    StudyReport,
)
from screener.store.web_accounts import Accounts
from screener.store.web_case import WebCase
from screener.store.web_worklist import WebWorklist
from screener.store.worklist import Worklist


class Web(Reviews, Accounts, WebWorklist, WebCase, PatientWords):
    """What the pages ask and keep."""


class Notices(Digests, Escalations):
    """What is gathered, and what is passed on."""


class Govern(SettingsLog, Feedback, Mentions, SentReports, Quality):
    """What those who answer for the screener ask and keep."""


class Store(
    Intake, Refusals, Ultrasound, Hints, Outbox, Commitments, Retention, Worklist, Notices, Questions, Web, Govern
):
    """Everything that is known of studies; each method is one transaction."""


def open_store(url: str, *, is_migrating: bool = False, is_long_lived: bool = False) -> Store:
    """Open the database at `url`; `is_migrating` brings its schema up to date first (the daemon's business alone).

    It also raises ConfigError where the server need not keep what it has committed. `is_long_lived` says that this
    process stays, and had better not carry what only a migration needs.
    """
    engine = open_engine(url)
    if is_migrating:
        check_durability(engine)
        (migrate_in_child if is_long_lived else migrate)(engine)
    return Store(engine)


__all__ = [
    "BackfillOrder",
    "BackfillReport",
    "Counts",
    "Kind",
    "LeaseLostError",
    "ListedStudy",
    "OwedDelivery",
    "OwedDigest",
    "OwedNotice",
    "QuietStudy",
    "Receipt",
    "ReceivedInstance",
    "Result",
    "Run",
    "Screening",
    "Search",
    "Store",
    "StudyReport",
    "open_store",
]
