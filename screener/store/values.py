"""What goes into the store and comes out of it: frozen values, no SQL."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from screener.journey import Ending, Queue
from screener.study import Candidate, GlandAssessment, GlandVerdict, Presence, Side, Thresholds, Verdict
from screener.us_study import Answer, FrameChoice
from screener.weigh_reports import NO_REPORT, Weighed

UNCONFIRMED = "none"
"""How a delivery is confirmed whose destination is not asked."""


class Kind(StrEnum):
    """What a received instance is to us."""

    IMAGE = "image"
    DOCUMENT = "document"
    """A structured report or segmentation of somebody else: kept, never screened."""
    OWN = "own"
    """One of our results that a PACS forwarded back: never opens a run."""


class Hold(StrEnum):
    """Why a notice is not told at once and by itself."""

    NONE = ""
    PAST = "past study"
    """A backfill found it: told in the daily digest."""
    RULE = "rule"
    """The rule asks for the daily digest."""
    LIMIT = "limit"
    """The person has been told enough today: the rest is in the digest."""
    QUIET = "quiet"
    """The person is left in peace until the quiet hours end."""
    REPORTED = "reported"
    """The radiology report mentions it, and the settings put off what it mentions: in the digest."""

    @property
    def sentence(self) -> str:
        """Why it waits, where the word alone says it; what depends on a person is written by who decides it."""
        return _HOLDS.get(self, "")


_HOLDS = {Hold.PAST: "found in a past study: told in the daily digest", Hold.RULE: "the rule asks for the daily digest"}


class Receipt(StrEnum):
    """What recording an instance came to."""

    NEW = "new"
    RESENT = "resent"
    """Same SOP Instance UID, same bytes: stored once."""
    CONFLICT = "conflict"
    """Same SOP Instance UID, other bytes: not recorded as an instance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedInstance:
    """One instance as the listener wrote it."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    modality: str
    transfer_syntax_uid: str
    kind: Kind
    path: str
    """Relative to the storage folder."""
    sha256: str
    """Of the data set as received, in hexadecimal."""
    size_bytes: int
    calling_ae_title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietStudy:
    """A study with images that no run has seen, ready to be dispatched."""

    study_id: int
    sop_class_uids: frozenset[str]
    """Of its images; empty when it holds documents only."""
    news_at: datetime
    """When its newest image came; a later one means that it is not quiet after all."""
    signal: str
    """The sentence that says why it counts as whole."""
    study_instance_uid: str = ""
    news_since_at: datetime | None = None
    """When the first of its new images came."""
    senders: frozenset[str] = frozenset()
    """Calling AE titles of its images."""
    is_fetched: bool = False
    """True: a backfill fetched all of it, and a sender had no part in it."""
    is_being_fetched: bool = False
    """True: a backfill has begun to fetch it and has not come to an end."""
    fetch_reason: str = ""
    """Why not all of it may have been fetched; empty where it was, or where no backfill tried."""
    is_asked_for: bool = False
    """True: a person asked for another run, and no image has come since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwedHint:
    """One hint that the broker should take, and the work that it stands for."""

    queue: Queue
    row_id: int | None = None
    """Of a run, or on queue results of a delivery, that the broker was never told of."""
    told_before: datetime | None = None
    """In its place: for all due work of the queue that the broker was told of no later than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One screening of one study state, as a worker claimed it."""

    run_id: int
    study_id: int
    study_instance_uid: str
    number: int
    queue: Queue
    owner: str
    attempts: int
    """This one included."""
    thresholds: Thresholds
    reprocess_number: int
    newest_instance_id: int | None = None
    """Our number of the newest image that was judged complete with the others; the run reads none after it."""
    failures: int = 0
    """Earlier attempts that killed the worker or ended in an unexpected error."""
    tried_since: datetime | None = None
    """When it was first put back to be tried again; None on a first attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Screening:
    """Everything a finished CT run leaves, written in one transaction."""

    assessments: tuple[GlandAssessment, ...]
    candidates: tuple[Candidate, ...]
    verdict: Verdict
    results: tuple["Result", ...]
    model_identity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionLine:
    """What an ultrasound run found; also where it found nothing."""

    answer: Answer
    probability: float | None
    """Of malignancy by the pictures alone, calibrated, 0 to 1."""
    reason: str
    sop_instance_uid: str = ""
    """Of the image that stands for the study; empty without a lesion."""
    frame_number: int = 0
    area_px: int = 0
    longest_diameter_mm: float | None = None
    mean_probability: float | None = None
    """Of the segmenter within the lesion."""
    combined_probability: float | None = None
    """Of malignancy by the image and a reader's findings; None where one of them is missing."""
    is_by_findings: bool = False
    """True: the combined probability decided; False: that of the pictures alone."""
    is_by_fusion: bool = False
    """True: `probability` is the fusion's, of radiomics, deep features and image model; False: the image model's."""
    findings: Mapping[str, bool] = field(default_factory=dict)
    """What the reader says: us_study.Finding to present or absent; none that is not known."""
    findings_reason: str = ""
    """Where the findings come from, and what they come to; empty where nothing was asked of them."""
    learned_from: str = ""
    """A sentence: what the models learned from."""

    @property
    def deciding_probability(self) -> float | None:
        """The probability that was held against the threshold."""
        return self.combined_probability if self.is_by_findings else self.probability


@dataclass(frozen=True, slots=True, kw_only=True)
class UltrasoundOutcome:
    """Everything a finished ultrasound run leaves, written in one transaction."""

    lesion: LesionLine
    is_flagged: bool
    results: tuple["Result", ...]
    model_identity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One file that a run made."""

    role: str
    """seg, sr or key_image."""
    sop_class_uid: str
    sop_instance_uid: str
    path: str
    """Relative to the storage folder."""
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OwedDelivery:
    """Results owed to a destination, as a worker claimed them."""

    delivery_id: int
    study_id: int
    run_id: int
    destination: str
    state: str
    """owed: to be sent; sent: the destination is asked whether it has arrived."""
    attempts: int
    """Times it was sent or tried to, this one included."""
    confirm_attempts: int
    """Times the destination was asked since it was sent, this one included."""
    owed_since: datetime
    paths: tuple[str, ...]
    """SEG before SR, relative to the storage folder."""

    @property
    def tries(self) -> int:
        """Times that what is to be done now was tried, this one included."""
        return self.attempts if self.state == "owed" else self.confirm_attempts


@dataclass(frozen=True, slots=True, kw_only=True)
class OwedReport:
    """The answer to a sender that asked us for storage commitment."""

    transaction_uid: str
    ae_title: str
    host: str
    port: int
    instances: tuple[tuple[str, str], ...]
    """(SOP Class UID, SOP Instance UID)."""
    report_id: int = 0
    attempts: int = 0
    """Those already made."""
    owed_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseLine:
    """Work in hand."""

    study_id: int
    queue: str
    owner: str
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitLine:
    """The oldest of one kind of waiting."""

    what: str
    """Such as "delivery owed"."""
    study_id: int
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What waits, and who works on what."""

    queues: dict[str, int]
    """Runs and deliveries that wait, by queue."""
    oldest: tuple[WaitLine, ...]
    """What has waited longest of each kind, in the order of the journey."""
    leases: tuple[LeaseLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwedNotice:
    """A notice owed to a person."""

    notice_id: int
    study_id: int
    run_id: int
    channel: str
    recipient: str
    attempts: int
    """Those already made."""
    owed_since: datetime
    glands: tuple[GlandVerdict, ...]
    candidates: tuple[Candidate, ...]
    """Those above the threshold, largest first."""
    example_path: str
    """One archived image that was screened, empty where none is here; used only where notices may name the patient."""
    lesion: LesionLine | None = None
    """What an ultrasound run found; None of a CT run, which has glands."""
    finding_key: str = ""
    """What is told: the places, or that they are withdrawn."""
    rule: str = ""
    why: str = ""
    """A sentence: why it is owed to this address."""
    hold: Hold = Hold.NONE
    waits: str = ""
    """The sentence that says what it waits for; empty where it does not."""
    escalates_id: int | None = None
    """The notice that nobody acknowledged; None where it is the first."""
    study_instance_uid: str = ""
    key_image_path: str = ""
    """Relative to the storage folder; empty where the run made none or it has expired."""
    changed_settings: str = ""
    """Of a withdrawal: the settings without whose change this would still be flagged; empty where they are not why."""
    is_heard: bool = True
    """Of a withdrawal: False where what it takes back has left, and it is not known whether it was heard."""
    standing: tuple[str, ...] = ()
    """Places of what an earlier run found and this one has not looked at again: it stands."""
    begun_at: datetime | None = None
    """When it last left, and no answer came that it was not taken; None where it has never left."""
    reports: Weighed = NO_REPORT
    """How what is told stands to the radiology reports that are known now."""

    @property
    def is_flagged(self) -> bool:
        """True: it tells of a finding; False: it withdraws one."""
        if self.lesion is not None:
            return self.lesion.answer is Answer.MALIGNANT
        return any(gland.presence is Presence.PRESENT for gland in self.glands)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The equation, in studies, and what else an operator asks first."""

    received: int
    done: int
    set_aside: int
    failed: int
    in_flight: int
    stages: dict[str, int]
    """In-flight studies by the stage they have reached."""
    flagged: int
    deliveries_owed: int
    """Not yet answered with Success."""
    deliveries_unconfirmed: int
    """Answered with Success; the destination has not yet said that it holds them."""
    notices_owed: int
    oddities: int

    @property
    def is_balanced(self) -> bool:
        """True: received = done + set aside + failed + in flight."""
        return self.received == self.done + self.set_aside + self.failed + self.in_flight


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLine:
    """One line of a study's history."""

    at: datetime
    run_number: int | None
    stage: str
    seconds: float | None
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesLine:
    """One series of a run, chosen or refused."""

    series_instance_uid: str
    modality: str
    instance_count: int
    score: float
    is_chosen: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GlandLine:
    """One gland of a run."""

    side: Side
    is_assessed: bool
    volume_mm3: float
    mean_hu: float | None
    covered_share: float
    is_partial: bool
    presence: Presence
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedRun:
    """The newest finished run of a study, and all that its decision rests on."""

    study_id: int
    number: int
    thresholds: Thresholds
    presences: dict[Side, Presence]
    """The decision as it was stored."""
    assessments: tuple[GlandAssessment, ...]
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryLine:
    """One destination of a run."""

    destination: str
    state: str
    attempts: int
    confirm_attempts: int
    sent_at: datetime | None
    delivered_at: datetime | None
    confirmed_by: str
    """find, commitment or none; empty while it is not delivered."""
    not_before: datetime
    last_error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeLine:
    """One notice of a run."""

    channel: str
    recipient: str
    state: str
    attempts: int
    sent_at: datetime | None
    last_error: str
    why: str = ""
    """Why it is owed to this address."""
    waits: str = ""
    """What it waits for; empty where it does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeStory:
    """One notice as `screener notices` tells it."""

    notice_id: int
    study_id: int
    run_number: int
    channel: str
    recipient: str
    state: str
    attempts: int
    owed_since: datetime
    not_before: datetime
    sent_at: datetime | None
    last_error: str
    run_id: int
    finding_key: str
    rule: str
    why: str
    hold: str
    waits: str
    is_withdrawal: bool
    escalate_at: datetime | None
    """When the next step is told unless somebody acknowledges; None where nothing is to come."""
    escalates_id: int | None
    acknowledged_by: str
    """Who has taken note of the finding; empty where nobody has."""
    acknowledged_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """One run, whole."""

    number: int
    queue: str
    state: str
    ending: Ending | None
    reason: str
    attempts: int
    is_flagged: bool | None
    thresholds: Thresholds
    model_identity: str
    series: tuple[SeriesLine, ...]
    glands: tuple[GlandLine, ...]
    candidates: tuple[tuple[Candidate, bool], ...]
    """Each candidate and whether it is above the threshold."""
    results: tuple[Result, ...]
    deliveries: tuple[DeliveryLine, ...]
    notices: tuple[NoticeLine, ...]
    frames: tuple[FrameChoice, ...] = ()
    lesion: LesionLine | None = None
    """What an ultrasound run found; None of a CT run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyReport:
    """One study, whole: what `screener explain` prints."""

    study_id: int
    study_instance_uid: str
    stage: str
    ending: Ending | None
    code: str
    reason: str
    received_at: datetime
    images: int
    documents: int
    own: int
    expired: int
    """Of the former, those whose files have been removed."""
    steps: tuple[StepLine, ...]
    runs: tuple[RunReport, ...]
    oddities: tuple["OddityLine", ...]
    news_since_at: datetime | None = None
    """When the first image came that no run has seen; None where there is none."""
    news_at: datetime | None = None
    """When the newest of them came."""
    is_being_fetched: bool = False
    """True: a backfill has begun to fetch it and has not come to an end."""

    @property
    def run_in_force(self) -> RunReport | None:
        """The run whose decision is in force: the newest that flags anything, else the newest; None before one has."""
        decided = [run for run in self.runs if run.state == "ended" and run.is_flagged is not None]
        return max(decided, key=lambda run: (bool(run.is_flagged), run.number), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class OddityLine:
    """One instance that was refused or kept aside."""

    sop_instance_uid: str
    code: str
    reason: str
    at: datetime
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OwedDigest:
    """One message for all that a recipient must hear of past studies."""

    digest_id: int
    channel: str
    recipient: str
    attempts: int
    """Those already made."""
    owed_since: datetime
    notices: tuple[OwedNotice, ...]
    """By study number; empty where a later run took all of them back before they were told."""


Json = dict[str, Any]
