"""What the night list asks of a PACS over DIMSE: C-FIND for studies and series, C-GET or C-MOVE for images."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

from pydicom import Dataset, uid
from pynetdicom import build_context, build_role, evt
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from screener.associate import associate, make_ae
from screener.config import Source
from screener.outcomes import TryAgain
from screener.pull.match import Series, is_wanted_study
from screener.read_header import is_uid
from screener.sop_classes import CT, OTHER_IMAGES, SECONDARY_CAPTURE, ULTRASOUND

PENDING = frozenset({0xFF00, 0xFF01})  # PS3.4 C.4.1.1.4
SUCCESS, SOME_FAILED = 0x0000, 0xB000  # PS3.4 C.4.3.1.4: some sub-operations failed; our own counts say which
AWAY = "source_away"

SYNTAXES = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    uid.HTJ2K,
    uid.RLELossless,
)
"""One presentation context each: an image comes as the PACS holds it, and one in another syntax beside it does too."""
MOST_CONTEXTS = 128  # PS3.8 9.3.2: odd identifiers of one byte

StoreHandler = Callable[[evt.Event], Dataset]
"""Answers a C-STORE that comes on an association of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks."""

    ae_title: str
    """Ours: the calling AE title, and where C-MOVE sends to."""
    timeout_seconds: float
    store: StoreHandler
    """Keeps what C-GET brings."""


class PacsSource:
    """One PACS of `[[pull.sources]]`; each question is one association, so that nothing is held open between them.

    Raises TryAgain, with the code AWAY where the PACS cannot be spoken to at all.
    """

    def __init__(self, source: Source, caller: Caller) -> None:
        self.settings = source
        self._caller = caller
        self._assoc: Any = None
        self._lock = threading.Lock()

    def find_studies(self, study_date: date, modalities: Sequence[str]) -> list[str]:
        """Study Instance UIDs of one day that the study level cannot rule out; PS3.4 C.6.2.1."""
        found: dict[str, None] = {}
        for modality in modalities:  # a list would match as one value: only UIDs may be listed (PS3.4 C.2.2.2.2)
            query = Dataset()
            query.QueryRetrieveLevel = "STUDY"
            query.StudyDate = f"{study_date:%Y%m%d}"
            query.ModalitiesInStudy = modality
            query.StudyInstanceUID = ""
            query.StudyDescription = ""
            for answer in self._find(query):
                study_instance_uid = str(answer.get("StudyInstanceUID", ""))
                if is_uid(study_instance_uid) and is_wanted_study(answer, self.settings, modality):
                    found[study_instance_uid] = None
        return list(found)

    def find_series(self, study_instance_uid: str) -> list[Series]:
        """Every series of a study, with the PACS's count of its images."""
        query = Dataset()
        query.QueryRetrieveLevel = "SERIES"
        query.StudyInstanceUID = study_instance_uid
        query.SeriesInstanceUID = ""
        query.Modality = ""
        query.BodyPartExamined = ""
        query.StationName = ""
        query.NumberOfSeriesRelatedInstances = ""
        return [series for answer in self._find(query) if is_uid((series := Series.of(answer)).series_instance_uid)]

    def find_images(self, study_instance_uid: str, series_instance_uid: str) -> dict[str, str]:
        """SOP Instance UID to SOP Class UID of every instance of a series; an empty class where the PACS is silent."""
        query = Dataset()
        query.QueryRetrieveLevel = "IMAGE"
        query.StudyInstanceUID = study_instance_uid
        query.SeriesInstanceUID = series_instance_uid
        query.SOPInstanceUID = ""
        query.SOPClassUID = ""
        answers = self._find(query)
        return {str(answer.get("SOPInstanceUID", "")): str(answer.get("SOPClassUID", "")) for answer in answers}

    def fetch(self, study_instance_uid: str, series: Sequence[Series]) -> None:
        """Have these series sent to us, and return once the PACS says that it is over; its word is not proof."""
        for one in series:
            query = Dataset()
            query.QueryRetrieveLevel = "SERIES"
            query.StudyInstanceUID = study_instance_uid
            query.SeriesInstanceUID = one.series_instance_uid
            if self.settings.how == "get":
                self._get(query, one.modality)
            else:
                self._move(query)

    def abort(self) -> None:
        """End what is under way, from another thread: the daemon stops."""
        with self._lock:
            if self._assoc is not None:
                self._assoc.abort()

    def _find(self, query: Dataset) -> list[Dataset]:
        model = StudyRootQueryRetrieveInformationModelFind
        answers: list[Dataset] = []
        with self._associated([build_context(model)]) as assoc:
            for status, identifier in assoc.send_c_find(query, model):
                code = self._code(status, "C-FIND", AWAY)
                if code in PENDING and identifier is not None:
                    answers.append(identifier)
                elif code != SUCCESS:
                    raise self._refusal("C-FIND", code)
        return answers

    def _get(self, query: Dataset, modality: str) -> None:
        model = StudyRootQueryRetrieveInformationModelGet
        contexts = _contexts_for(modality)
        classes = {context.abstract_syntax for context in contexts}
        roles = [build_role(sop_class_uid, scp_role=True) for sop_class_uid in classes if sop_class_uid]
        handlers = [(evt.EVT_C_STORE, self._caller.store)]
        with self._associated([build_context(model), *contexts], roles, handlers) as assoc:
            for status, _ in assoc.send_c_get(query, model):
                self._judge(status, "C-GET")

    def _move(self, query: Dataset) -> None:
        model = StudyRootQueryRetrieveInformationModelMove
        with self._associated([build_context(model)]) as assoc:
            for status, _ in assoc.send_c_move(query, self._caller.ae_title, model):
                self._judge(status, "C-MOVE")

    def _judge(self, status: Dataset, request: str) -> None:
        code = self._code(status, request, "fetch_broke_off")
        if code not in PENDING | {SUCCESS, SOME_FAILED}:
            raise self._refusal(request, code)

    def _code(self, status: Dataset, request: str, away: str) -> int:
        if "Status" not in status:  # pynetdicom's answer to a timeout or a connection that was lost
            raise TryAgain(f"{self.settings.name} broke off during {request}", code=away)
        return int(status.Status)

    def _refusal(self, request: str, code: int) -> TryAgain:
        return TryAgain(f"{self.settings.name} answered {request} with status 0x{code:04X}", code="source_refused")

    @contextmanager
    def _associated(
        self, contexts: list[PresentationContext], roles: Sequence[Any] = (), handlers: Sequence[Any] = ()
    ) -> Iterator[Any]:
        source = self.settings
        ae = make_ae(self._caller.ae_title, timeout_seconds=self._caller.timeout_seconds)
        assoc = associate(
            ae,
            source.host,
            source.port,
            contexts=contexts,
            ae_title=source.ae_title,
            ext_neg=list(roles),
            evt_handlers=list(handlers),
        )
        if not assoc.is_established:
            how = "rejected the association" if assoc.is_rejected else "cannot be reached"
            raise TryAgain(f"{source.name} {how}", code=AWAY)
        with self._lock:
            self._assoc = assoc
        try:
            model = contexts[0].abstract_syntax
            if model not in {context.abstract_syntax for context in assoc.accepted_contexts}:
                raise TryAgain(f"{source.name} does not offer {model.name if model else model}", code=AWAY)
            yield assoc
        except (RuntimeError, ValueError) as error:  # the library's, where it has ended since it was accepted
            raise TryAgain(f"{source.name} ended the association before it was asked", code=AWAY) from error
        finally:
            with self._lock:
                self._assoc = None
            if assoc.is_established:
                assoc.release()


def _contexts_for(modality: str) -> list[PresentationContext]:
    """What a series of this modality may hold: its own classes in every syntax, captures in the usual ones."""
    classes = {"CT": CT, "US": ULTRASOUND}.get(modality, OTHER_IMAGES)
    contexts = [build_context(sop_class_uid, syntax) for sop_class_uid in sorted(classes) for syntax in SYNTAXES]
    contexts += [build_context(sop_class_uid, list(SYNTAXES[:2])) for sop_class_uid in sorted(SECONDARY_CAPTURE)]
    return contexts[: MOST_CONTEXTS - 1]
