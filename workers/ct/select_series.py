"""COMPLETE -> SELECTED: choose the one series of a study in which the parotid glands can be searched.

Headers lie, so no single element decides: a series is refused only for what
makes it unreadable or clearly another part of the body; all else moves a score.
"""

import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import CTImageStorage

from screener.outcomes import NeedsPerson, SetAside
from screener.read_file import BROKEN_FILE, read_file, read_numbers
from screener.study import Instance, SeriesChoice
from workers.compare_patients import PATIENT_KEYWORDS, Patient, read_patient, refuse_mixed_study
from workers.ct.list_frames import (
    ENHANCED_CT,
    MIN_AXIAL,
    PHASE_KEYWORDS,
    Frame,
    group_phases,
    group_stacks,
    keep_axial,
    list_frames,
)
from workers.ct.read_kernel import Kernel, read_kernel

MIN_SLICES = 12
"""Fewer images cannot cover a gland at a readable thickness."""
MIN_COVERAGE_MM = 60.0
"""Both glands, some 50 mm high, with room for a tilted head."""

HEADER_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "ImageType", "Modality", "BodyPartExamined", "SeriesDescription",
    "StudyDescription", "ProtocolName", "ConvolutionKernel", "SliceThickness", "ImagePositionPatient",
    "ImageOrientationPatient", "ContrastBolusAgent", "Rows",
    "RescaleType",
]  # fmt: skip
LOADER_TAGS = [
    *HEADER_TAGS, *PHASE_KEYWORDS, "Columns", "NumberOfFrames", "PixelSpacing", "FrameOfReferenceUID",
    *PATIENT_KEYWORDS,
]  # fmt: skip
"""What the loader reads of a single image besides; none of these breaks a choice."""

NECK_STEMS = (
    "HEAD", "NECK", "PAROTI", "SALIVA", "LARYN", "PHARYN", "FACE", "FACIAL", "SINUS", "SKULL", "BRAIN", "CEREB",
    "CERVIC", "CAROTI", "ORBIT", "MAXILL", "MANDIB", "DENTAL", "TONGUE", "NASO", "HALS", "KOPF", "SCHADEL",
    "TETE", "CUELLO", "CABEZA", "COLLO", "TESTA", "CSPINE", "SUPRAAORT", "WILLIS", "VERTEX", "WHOLEBODY",
    "GANZKORPER",
)  # fmt: skip
"""How a word begins, or what a longer code holds, that speaks of the head or neck; five languages."""
NECK_WORDS = frozenset({"ORL", "ENT", "HNO", "HN", "COU", "NPC", "JAW", "EAR", "IAC", "TSA", "COW", "WB"})
"""Whole words with the same meaning, or such as hold the head: of the whole body, up to the circle of Willis."""
OTHER_STEMS = (
    "CHEST", "THORA", "LUNG", "PULMO", "ABDOM", "PELV", "LIVER", "HEPAT", "CARDIA", "HEART", "CORONARY", "LUMB",
    "LSPINE", "TSPINE", "EXTREM", "KNEE", "SHOULDER", "WRIST", "ANKLE", "ELBOW", "COLON", "KIDNEY", "RENAL", "UROG",
    "AORT", "PROSTAT", "FEMUR", "BREAST",
)  # fmt: skip
OTHER_WORDS = frozenset({"HIP", "LEG", "ARM", "FOOT", "HAND", "CAP", "KUB"})
WIDE_WORDS = frozenset({"PET", "PETCT", "FDG", "PSMA"})
"""Of a study: its description names what the patient has; what its CT covers, it does not."""
_PARTED = (
    (re.compile(r"\b([CTL])[\s.-]+SPINE\b"), r"\1SPINE"),
    (re.compile(r"SUPRA[\s-]+AORT"), "SUPRAAORT"),
    (re.compile(r"WHOLE[\s-]+BODY"), "WHOLEBODY"),
    (re.compile(r"GANZ[\s-]+KORPER"), "GANZKORPER"),
)
"""What is one word and is often written as two."""
COMPOUNDS = ("NECK", "HEAD")
"""Short stems that may stand anywhere in a word (`NECKCHESTABDOMEN`); `FACE` may not (`SURFACE`)."""
PROJECTIONS = frozenset({"MIP", "MINIP", "VRT", "CURVED", "SAMPLED", "DISTORTED"})
"""ImageType or description words of images computed across slices."""
MAPS = frozenset({"IODINE", "EFFECTIVE", "OVERLAY", "RHO", "PERFUSION", "RCBF", "RCBV", "MTT", "SUBTRACTION"})
"""ImageType words of values that are not Hounsfield units."""
HOUNSFIELD = frozenset({"", "HU", "HU_MOD", "US"})
"""RescaleType of Hounsfield units (PS3.3 C.11.1.1.2): absent means them in CT, and old scanners write unspecified."""
REPORTS = frozenset({"DOSE_INFO", "SCREEN SAVE", "SCREENSAVE", "PATIENT_PROTOCOL", "PATIENT PROTOCOL", "DOSE REPORT"})
REFORMATTED = frozenset({"MPR", "REFORMATTED", "3D"})
KERNEL_SCORES = {
    Kernel.SOFT: (20.0, "Reconstructed for soft tissue."),
    Kernel.UNKNOWN: (5.0, "The reconstruction kernel is not known."),
    Kernel.SHARP: (-25.0, "Reconstructed sharply, for bone or lung: a lower score."),
}
LOCALIZER_TYPES = frozenset({"LOCALIZER", "SCOUT", "TOPOGRAM", "SURVIEW"})

NO_CT, LOCALIZER, REFORMAT, FEW, WRONG = (
    "no_ct_series", "only_localizer", "only_reformats", "too_few_slices", "wrong_body_part",
)  # fmt: skip
SENTENCES = {
    WRONG: "The study shows another part of the body than the head and neck.",
    FEW: "No axial CT series has enough slices to cover a parotid gland.",
    REFORMAT: "The study holds no axial CT series with Hounsfield units, only computed images.",
    LOCALIZER: "The study holds only localizers (scouts).",
    NO_CT: "The study holds no CT images.",
}
"""Code to sentence, the most telling first: a study is set aside by its best refused series."""


class _NoImageError(ValueError):
    """The header was read to its end, and no image is described."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Assessment:
    """A series' choice in the making, with what decides the study's ending."""

    choice: SeriesChoice
    refusal: str
    """A code of `SENTENCES`; empty where the series can be used."""
    unreadable: str
    """How many files' headers could not be read, and why the first could not; empty where all could."""
    stack: tuple[Frame, ...]
    """The images, or of multi-frame images the frames, that were judged: the best of the series."""
    patients: frozenset[Patient]
    """Whom the headers that were read name."""


def select_series(instances: Sequence[Instance]) -> tuple[str, tuple[SeriesChoice, ...]]:
    """Return the chosen SeriesInstanceUID and one choice per series, best first; headers only are read.

    The order of `instances` does not matter. SetAside where no series suits
    (codes: the keys of `SENTENCES`); NeedsPerson (`unreadable_file`) where the
    best series, or the only ones, hold a file that cannot be read, and
    (`mixed_patients`) where the study is of several patients. Either carries
    the choices in its attribute `choices`.
    """
    by_series: dict[str, list[Instance]] = defaultdict(list)
    for instance in instances:
        by_series[instance.series_instance_uid].append(instance)
    assessed = [
        _assess_series(uid, sorted(group, key=lambda one: one.sop_instance_uid))
        for uid, group in sorted(by_series.items())
    ]
    assessed.sort(key=lambda one: (bool(one.refusal), -one.choice.score, -one.choice.instance_count))
    best = assessed[0] if assessed and not assessed[0].refusal else None
    choices = tuple(replace(one.choice, is_chosen=one is best) for one in assessed)
    broken = best.unreadable if best else next((one.unreadable for one in assessed if one.unreadable), "")
    if broken:
        unreadable = NeedsPerson(broken, code="unreadable_file")
        unreadable.choices = choices
        raise unreadable
    if best is None:
        code = next((code for code in SENTENCES if any(one.refusal == code for one in assessed)), NO_CT)
        aside = SetAside(SENTENCES[code], code=code)
        aside.choices = choices
        raise aside
    refuse_mixed_study((patient for one in assessed for patient in one.patients), choices)
    return best.choice.series_instance_uid, choices


def is_localizer(ds: Dataset) -> bool:
    """Whether ImageType names a scout (PS3.3 C.8.2.1.1.1)."""
    return bool(LOCALIZER_TYPES.intersection(_split(ds.get("ImageType"))))


def choose_stack(instances: Iterable[Instance]) -> tuple[Frame, ...]:
    """Return the best stack of images or frames of one series; the order of `instances` does not matter.

    Scouts, and images of another kind than most, are in no stack where there are others. NeedsPerson
    (`unreadable_file`) where a file cannot be read.
    """
    ordered = sorted(instances, key=lambda one: one.sop_instance_uid)
    assessment = _assess_series(ordered[0].series_instance_uid, ordered, is_whole=True)
    if assessment.unreadable:
        raise NeedsPerson(assessment.unreadable, code="unreadable_file")
    return assessment.stack


def _assess_series(series_instance_uid: str, instances: list[Instance], *, is_whole: bool = False) -> _Assessment:
    """Judge a series; of one that is no CT the first image tells enough, unless it `is_whole`."""
    images = [one for one in instances if one.sop_class_uid in {*ENHANCED_CT, CTImageStorage}]
    is_enhanced, is_ct = any(one.sop_class_uid in ENHANCED_CT for one in images), bool(images)
    frames, unreadable = _read_headers(images or (instances if is_whole else instances[:1]))
    modality = next((str(frame.header.Modality) for frame in frames if frame.header.get("Modality")), "")
    if is_enhanced and frames:
        kept, stacks = frames, group_stacks(frames)
    else:
        slices = [frame for frame in frames if not is_localizer(frame.header)]
        kept = keep_axial(slices)
        stacks = group_phases(kept) if kept else [frames]
        kept += [frame for frame in frames if is_localizer(frame.header)]
    judged = [(*_judge([frame.header for frame in stack], modality, is_ct=is_ct), stack) for stack in stacks]
    # The first of the best: of equal phases the earliest acquisition.
    refusal, score, reasons, stack = max(judged, key=lambda one: (-_gravity(one[0]), one[1], len(one[3])))
    if not refusal:
        others = len(frames) - len(kept) + (len(instances) - len(images) if is_ct else 0)
        reasons = [*_tell_stack(len(stack), len(frames), len(stacks), is_enhanced=is_enhanced), *reasons]
        reasons += [f"{others} image{'s' if others > 1 else ''} of another kind left out."] if others else []
    return _Assessment(
        choice=SeriesChoice(
            series_instance_uid=series_instance_uid,
            modality=modality,
            score=0.0 if refusal else max(1.0, score),
            is_chosen=False,
            reasons=(*reasons, unreadable) if unreadable else tuple(reasons),
            instance_count=len(instances),
        ),
        refusal=refusal,
        unreadable=unreadable if is_ct or is_whole else "",
        stack=tuple(stack),
        patients=frozenset(read_patient(frame.header) for frame in frames if frame.number <= 1),
    )


def _tell_stack(count: int, total: int, stacks: int, *, is_enhanced: bool) -> Iterator[str]:
    """Yield what is said of a series of several stacks, or of multi-frame images."""
    which = f"{count} of {total}" if stacks > 1 else f"{total}"
    best = f", the best of {stacks} stacks" if stacks > 1 else ""
    if is_enhanced:
        yield f"Enhanced multi-frame CT: {which} frames{best}."
    elif stacks > 1:
        yield f"Several phases or reconstructions: {which} images{best}."


def _gravity(refusal: str) -> int:
    """0 for a usable stack; else the more, the less the refusal tells."""
    return 1 + list(SENTENCES).index(refusal) if refusal else 0


def _read_headers(instances: Sequence[Instance]) -> tuple[list[Frame], str]:
    """Read the elements that a choice needs; the files that cannot be read become a sentence."""
    frames: list[Frame] = []
    unreadable: list[str] = []
    for instance in instances:
        try:
            frames.extend(_read_frames(instance))
        except BROKEN_FILE as error:
            unreadable.append(f"The file of SOP Instance UID {instance.sop_instance_uid} {_tell_broken(error)}.")
    if len(unreadable) > 1:
        return frames, f"{len(unreadable)} of {len(instances)} images cannot be read, the first: {unreadable[0]}"
    return frames, "".join(unreadable)


def _tell_broken(error: Exception) -> str:
    if isinstance(error, _NoImageError):
        return "holds no image: its header ends without Rows (0028,0010)"
    if isinstance(error, InvalidDicomError):
        return "cannot be read: it is not DICOM"
    return f"cannot be read: its header is cut short or broken ({type(error).__name__})"


def _read_frames(instance: Instance) -> list[Frame]:
    is_enhanced = instance.sop_class_uid in ENHANCED_CT
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # flaws of other elements are the sender's, and many
        wanted = None if is_enhanced else LOADER_TAGS
        ds = read_file(instance.path, with_pixels=False, keywords=wanted)
        frames = list_frames(ds, instance) if is_enhanced else [Frame(instance=instance, number=0, header=ds)]
        for frame in frames:
            for keyword in HEADER_TAGS:
                frame.header.get(keyword)  # values are decoded on first use: fail here, where the file is known
            for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "SliceThickness"):
                read_numbers(frame.header, keyword)  # likewise
    if (is_enhanced or instance.sop_class_uid == CTImageStorage) and "Rows" not in ds:
        raise _NoImageError  # or cut short between two elements, where pydicom ends quietly
    return frames


def _judge(headers: list[Dataset], modality: str, *, is_ct: bool) -> tuple[str, float, list[str]]:
    """Return refusal code (empty: usable), score and reasons of one series, or of one stack of it."""
    slices = [ds for ds in headers if not is_localizer(ds)]
    kind = _words(*(ds.get("ImageType") for ds in slices[:3]))
    described = kind | _words(*(ds.get("SeriesDescription") for ds in slices[:1]))
    refusal = next(_find_refusals(headers, modality, kind, described, is_ct=is_ct), None)
    if refusal:
        return refusal[0], 0.0, [refusal[1]]
    is_elsewhere, part_score, part_reason = _judge_body_part(slices[0])
    if is_elsewhere:
        return WRONG, 0.0, [part_reason]
    code, score, reasons = _judge_geometry(slices)
    reasons.append(part_reason)
    if not code:
        score += part_score + _judge_reconstruction(slices[0], kind, described, reasons)
    return code, score, reasons


def _find_refusals(
    headers: list[Dataset], modality: str, kind: set[str], described: set[str], *, is_ct: bool
) -> Iterator[tuple[str, str]]:
    """Yield code and reason of everything that rules a series out before its slices are looked at."""
    if not is_ct or (modality and modality != "CT"):
        what = f"Modality {modality} is" if modality and modality != "CT" else "Its images are"
        yield NO_CT, f"{what} not CT with Hounsfield units."
    if not headers:
        yield NO_CT, "No image of the series can be read."
    if all(is_localizer(ds) for ds in headers):
        yield LOCALIZER, "Every image is a localizer (scout)."
    units = {unit for ds in headers if not is_localizer(ds) for unit in _split(ds.get("RescaleType"))}
    for found, reason in (
        (described & REPORTS, "The images are a report or a screen shot, not slices"),
        (kind & MAPS, "The values are a computed map, not Hounsfield units"),
        (units - HOUNSFIELD, "The values are a computed map, not Hounsfield units"),
        (described & PROJECTIONS, "The images are projections, not slices"),
    ):
        if found:
            yield REFORMAT, f"{reason} ({', '.join(sorted(found))})."


def _judge_reconstruction(ds: Dataset, kind: set[str], described: set[str], reasons: list[str]) -> float:
    """Return the score of how the images were computed, and add to `reasons`."""
    score = 0.0
    if "DERIVED" in kind:
        score -= 15.0
        reasons.append("Derived, not original: a slightly lower score.")
    else:
        reasons.append("Original images.")
    if described & REFORMATTED:
        score -= 10.0
        reasons.append("Reformatted from other slices: a slightly lower score.")
    kernel = read_kernel(_text(ds.get("ConvolutionKernel")), _text(ds.get("SeriesDescription")))
    kernel_score, kernel_reason = KERNEL_SCORES[kernel]
    score += kernel_score
    reasons.append(kernel_reason)
    if ds.get("ContrastBolusAgent"):
        score += 3.0
        reasons.append("With contrast medium.")
    return score


def _judge_geometry(slices: list[Dataset]) -> tuple[str, float, list[str]]:
    """Judge orientation, number, extent and distance of the slices; 100 is the base of the score."""
    if len(slices) < MIN_SLICES:
        return FEW, 0.0, [f"Only {len(slices)} slices; at least {MIN_SLICES} are needed."]
    told = [(read_numbers(ds, "ImageOrientationPatient"), read_numbers(ds, "ImagePositionPatient")) for ds in slices]
    placed = [
        (orientation, position)
        for orientation, position in told
        if len(orientation) == 6 and len(position) == 3 and np.isfinite([*orientation, *position]).all()
    ]
    if len(placed) < len(slices):
        missing = len(slices) - len(placed)
        return "", 50.0, [f"{missing} of {len(slices)} slices do not say where they lie: a much lower score."]
    normals = np.array([np.cross(orientation[:3], orientation[3:]) for orientation, _ in placed])
    normal = np.median(normals, axis=0)
    normal /= max(float(np.linalg.norm(normal)), 1e-9)
    if abs(normal[2]) < MIN_AXIAL:
        plane = "sagittal" if abs(normal[0]) > abs(normal[1]) else "coronal"
        return REFORMAT, 0.0, [f"The images are {plane}, not axial."]
    score, reasons = 100.0, [f"{len(slices)} axial slices."]
    if np.min(normals @ normal) < 0.99:
        score -= 50.0
        reasons.append("Images of more than one orientation: a much lower score.")
    places = np.unique(np.round([position @ normal for _, position in placed], 2))
    coverage_mm = float(places[-1] - places[0])
    if coverage_mm < MIN_COVERAGE_MM:
        return FEW, 0.0, [*reasons, f"They cover only {coverage_mm:.0f} mm; {MIN_COVERAGE_MM:.0f} mm are needed."]
    score += min(10.0, coverage_mm / 20.0)
    distance_mm = float(np.median(np.diff(places)))
    thickness_mm = max([distance_mm, *read_numbers(slices[0], "SliceThickness")])
    score += _score_thickness(thickness_mm)
    reasons.append(f"They cover {coverage_mm:.0f} mm, one every {distance_mm:.2f} mm.")
    return "", score, reasons


def _score_thickness(thickness_mm: float) -> float:
    """1 to 3 mm is best; thinner is noisy, thicker hides small masses."""
    for limit_mm, score in ((0.9, 12.0), (3.05, 20.0), (4.05, 8.0), (5.05, -5.0)):
        if thickness_mm <= limit_mm:
            return score
    return -30.0


def _judge_body_part(ds: Dataset) -> tuple[bool, float, str]:
    """Return whether the series is certainly elsewhere, its score, and the reason.

    BodyPartExamined is often missing and sometimes wrong, so a word for the
    head or neck anywhere keeps a series in; saying nothing counts neither way.
    """
    own = _words(ds.get("BodyPartExamined"), ds.get("SeriesDescription"), ds.get("ProtocolName"))
    study = _words(ds.get("StudyDescription"))
    is_neck, is_other = _speaks_of(own, NECK_STEMS, NECK_WORDS), _speaks_of(own, OTHER_STEMS, OTHER_WORDS)
    is_neck_study = _speaks_of(study, NECK_STEMS, NECK_WORDS)
    is_other_study = _speaks_of(study, OTHER_STEMS, OTHER_WORDS)
    rules = (
        (is_neck and is_other, False, 10.0, "Its header names the head or neck, and another part too."),
        (is_neck, False, 25.0, "Its header names the head or neck."),
        (is_other and is_neck_study, False, -60.0, "Its header names another part of the body: a much lower score."),
        (is_other, True, 0.0, "Its header names another part of the body and nowhere the head or neck."),
        (is_neck_study, False, 15.0, "The study's description names the head or neck."),
        (is_other_study and bool(study & WIDE_WORDS), False, 0.0, "The study is a PET/CT, which may reach the neck."),
        (is_other_study, True, 0.0, "The study's description names another part of the body, not the head or neck."),
        (True, False, 0.0, "Its header does not say which part of the body it shows."),
    )
    return next((is_elsewhere, score, reason) for holds, is_elsewhere, score, reason in rules if holds)


def _speaks_of(words: set[str], stems: tuple[str, ...], whole: frozenset[str]) -> bool:
    return bool(words & whole) or any(
        stem in word if len(stem) > 4 or stem in COMPOUNDS else word.startswith(stem)
        for word in words
        for stem in stems
    )


def _text(value: object) -> str:
    """The text of an element of one or several values, empty if absent."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return "\\".join(map(str, value)) if isinstance(value, Iterable) else str(value)


def _split(value: object) -> list[str]:
    return [part.strip().upper() for part in _text(value).split("\\")]


def _words(*values: object) -> set[str]:
    """All words, and all whole values, in upper case without accents of the commonest kind."""
    words: set[str] = set()
    for value in values:
        for part in _split(value):
            plain = part.translate(str.maketrans("ÄÀÁÂÉÈÊÍÓÖÜÚ", "AAAAEEEIOOUU"))
            for parted, whole in _PARTED:
                plain = parted.sub(whole, plain)
            words.update(re.findall(r"[A-Z0-9_]+", plain))
            words.add(plain)
    words.discard("")
    return words
