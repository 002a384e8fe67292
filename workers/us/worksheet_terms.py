"""The terms by which ultrasound worksheets tell shape, margin, posterior features and lymph nodes.

Codes are those of breast ultrasound in DICOM (PS3.16 TID 4206; CID 6004 to 6007, 6155), after BI-RADS; older objects
code the same in SRT, which the library knows to be equal. RadLex and whatever else a scanner writes is read by the
words of its code meanings, in English, and only where every word is known: one that is not may turn the meaning round.
BI-RADS knows two margins, circumscribed and not circumscribed: the latter (indistinct, angular, microlobulated,
spiculated) is taken for the published study's poorly defined margin. What is neither, as a lobulated shape or an
obscured margin, is not known.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pydicom.sr.coding import Code

from screener.us_study import Finding

MODIFIED = r"(?:(?:lesion|mass|nodule|tumou?r)(?:'s)? )?"
_LESION = r"lesion|mass|nodule|tumou?r"
_FILLERS: Final = r"the|an?|is|are|and|or|seen|present|found|noted"
_BETWEEN: Final = re.compile(r"[\s,.;]+")


def _sct(*values: str) -> tuple[Code, ...]:
    return tuple(Code(value, "SCT", "") for value in values)


def _dcm(*values: str) -> tuple[Code, ...]:
    return tuple(Code(value, "DCM", "") for value in values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """How one finding is named, and what its values say."""

    finding: Finding
    names: tuple[Code, ...]
    name_words: re.Pattern[str]
    """The whole name of a feature that has values of its own, in lower case."""
    questions: tuple[Code, ...] = ()
    question_words: re.Pattern[str]
    """The whole name of what is answered by yes or no, present or absent."""
    present: tuple[Code, ...] = ()
    absent: tuple[Code, ...] = ()
    unclear: tuple[Code, ...] = ()
    """Known values that say neither."""
    fillers: str
    """Pattern of words of this feature that change nothing of what is said; any other word makes it not understood."""
    words: Mapping[str, bool] = field(default_factory=dict)
    """Pattern to what it says, tried in this order, each on what the ones before have left of the text."""
    told_alone: tuple[Code, ...] = ()
    """Values that are of this feature also where the name is "finding" only."""


FEATURES: Final = (
    Feature(
        finding=Finding.IRREGULAR_SHAPE,
        names=_sct("107644003", "300842002"),
        name_words=re.compile(rf"{MODIFIED}shape(?: finding)?"),
        question_words=re.compile(rf"irregular {MODIFIED}shape|shape (?:is )?irregular"),
        present=_sct("49608001"),
        absent=_sct("84360004", "42700002", "129734009"),
        fillers=rf"{_LESION}|shaped?",
        words={r"\birregular\b": True, r"\b(?:regular|oval|ovoid|round|elliptical|spherical)\b": False},
    ),
    Feature(
        finding=Finding.POORLY_DEFINED_MARGIN,
        names=(*_dcm("111037", "Margin"), *_sct("129737002")),
        name_words=re.compile(rf"{MODIFIED}(?:margins?|borders?)(?: definition| characteristics?)?"),
        question_words=re.compile(rf"(?:poorly|ill)[ -]defined {MODIFIED}(?:margins?|borders?)"),
        present=(
            *_dcm("111343"),
            *_sct("129741003", "129739004", "129742005", "300841009"),
            Code("RID34355", "RADLEX", ""),
        ),
        absent=(*_dcm("112142"), *_sct("129738007", "263706005", "260409000")),
        unclear=_sct("129740002"),
        fillers=rf"{_LESION}|margins?|borders?",
        words={
            r"\b(?:not|non)[ -]?circumscribed\b": True,
            r"\b(?:poorly|ill|not well)[ -]?(?:defined|circumscribed|demarcated)\b": True,
            r"\bindistinct\b|\bspiculated\b|\bmicrolobulated\b|\bangular\b|\bblurred\b": True,
            r"\b(?:well|sharply)[ -]?(?:defined|circumscribed|demarcated)\b": False,
            r"\bcircumscribed\b|\bsmooth\b|\bsharp\b": False,
        },
        told_alone=(*_dcm("111343"), *_sct("129738007", "129741003", "129739004", "129742005", "129740002")),
    ),
    Feature(
        finding=Finding.POSTERIOR_ENHANCEMENT,
        names=_dcm("111366"),
        name_words=re.compile(
            r"posterior (?:acoustic |echo )?(?:features?|phenomen(?:on|a)|pattern|echoes)"
            r"|acoustic (?:features?|transmission)|through[ -]transmission"
        ),
        questions=_dcm("111368"),
        question_words=re.compile(r"posterior (?:acoustic |echo )?enhancement|acoustic enhancement"),
        present=_dcm("111368"),
        absent=_dcm("111367", "111369"),
        unclear=_dcm("111370"),
        fillers=r"posterior|acoustic|echo(?:es)?|features?",
        words={
            r"\bno (?:posterior )?(?:acoustic )?(?:features?|enhancement)\b": False,
            r"\bnone\b|\babsent\b|\bshadow(?:ing)?\b": False,
            r"\benhance(?:d|ment)\b|\baccentuat(?:ed|ion)\b|\bincreased(?: through[ -]transmission)?\b": True,
        },
        told_alone=_dcm("111367", "111368", "111369", "111370"),
    ),
    Feature(
        finding=Finding.SUSPICIOUS_LYMPH_NODES,
        names=_sct("274303007", "59441001", "81105003", "312501005", "10209003"),
        name_words=re.compile(
            r"(?:(?:regional|cervical|neck|parotid|intraparotid) )?lymph ?nodes?(?: status| assessment)?"
        ),
        questions=_sct("30746006"),
        question_words=re.compile(
            r"(?:cervical )?lymphadenopathy"
            r"|(?:suspicious|abnormal|pathologic(?:al)?|metastatic) (?:cervical )?lymph ?nodes?"
        ),
        present=_sct("30746006", "263654008"),
        absent=_sct("17621005"),
        fillers=r"(?:(?:cervical|regional|neck|parotid|intraparotid) )?(?:lymph ?)?nodes?",
        words={
            r"\b(?:no|not) (?:suspicious|abnormal|patholog\w+|metasta\w+|enlarged)\b": False,
            r"\bnone\b|\bnormal\b|\bunremarkable\b|\bbenign\b|\breactive\b|\bnegative\b": False,
            r"\b(?:enlarged,? )?suspicious\b|\babnormal\b|\bpathologic(?:al)?\b": True,
            r"\bmetasta\w+|\blymphadenopathy\b|\bpositive\b": True,
        },
        told_alone=_sct("30746006"),
    ),
)
FINDING_NAMES: Final = _dcm("121071")
YES: Final = _sct("373066001", "52101004")
NO: Final = _sct("373067005", "2667000", "272519000")
_ANSWERS: Final = {r"^(?:yes|present|true)$": True, r"^(?:no|absent|none|false)$": False}

LESIONS: Final = _sct("4147007", "52988006", "108369006", "27925004")
"""Mass, lesion, neoplasm, nodule: each such finding is a lesion of its own."""
TRACKING: Final = _dcm("112039", "112040")
SITES: Final = _sct("363698007", "363704007", "123037004")
SITE_WORDS: Final = re.compile(r"(?:finding|anatomic(?:al)?) (?:site|region|location|structure)|organ")
SIDES: Final = _sct("272741003")
SIDE_WORDS: Final = re.compile(r"laterality|side")
PRESENCE_WORDS: Final = re.compile(r"(?:finding )?(?:presence|present|existence)(?: state)?")
"""The whole name of an item that says whether the finding above it is there."""

HERE: Final = re.compile(r"\bparotid")
"""What a site must name for a lesion to be one of ours."""
WIDER: Final = re.compile(r"\bhead\b|\bneck\b|\bsalivary\b")
"""Regions that hold more than the parotid glands: it must be named beside them."""
ELSEWHERE: Final = re.compile(
    r"\bthyroid|\bbreast|\bmammary|\baxilla|\binguinal|\blymph|\bsubmandibular|\bsublingual|\bskin\b"
    r"|\bprevious|\bprior\b|\bhistory\b|\boutside\b"
)
"""Sites and headings under which another thing than a parotid lesion, or an earlier one, is described."""
_PLAIN_WORDS: Final = (
    "imaging measurement measurements report procedure document ultrasound sonography ultrasonography us worksheet "
    "general diagnostic small part parts section summary group container finding findings observation observations "
    "qualitative evaluation evaluations assessment description characteristic characteristics feature features "
    "lesion lesions mass nodule tumor tumour neoplasm site location parotid gland glands salivary head neck "
    "left right superficial deep lobe organ region structure anatomic anatomical current of the in and a"
)
_NODE_WORDS: Final = "lymph node nodes cervical regional intraparotid submandibular submental jugular level status"
HEADING_WORDS: Final = frozenset(_PLAIN_WORDS.split())
"""All words that a heading may have for what stands under it to be of our lesion."""
NODE_HEADING_WORDS: Final = HEADING_WORDS | frozenset(_NODE_WORDS.split())
"""The same of a heading and a site under which lymph nodes are described."""
OTHER_NODES: Final = re.compile(r"\bbreast|\bmammary|\baxilla|\binguinal|\babdom|\bmesent|\bthyroid|\bmediast|\bpelvi")


def is_plain(words: str, known: frozenset[str]) -> bool:
    """Tell whether every word is a known one or a short number."""
    found = re.findall(r"[^\s,.;:()/-]+", words.lower())
    return all(word in known or re.fullmatch(r"\d{1,2}", word) for word in found)


def judge_presence(value: Code | None, text: str) -> bool | None:
    """Return whether a finding is there, as an item named by `PRESENCE_WORDS` says; None where it says neither."""
    if value is not None and value in (*YES, *NO):
        return value in YES
    words = text.lower().strip()
    return next((answer for pattern, answer in _ANSWERS.items() if re.search(pattern, words)), None)


def find_feature(name: Code, value: Code | None) -> Feature | None:
    """Return the feature that a content item tells, by the code of its name, else by the words of it."""
    words = name.meaning.lower().strip()
    for feature in FEATURES:
        if name in (*feature.names, *feature.questions):
            return feature
        if value is not None and name in FINDING_NAMES and value in feature.told_alone:
            return feature
    for feature in FEATURES:
        if feature.name_words.fullmatch(words) or feature.question_words.fullmatch(words):
            return feature
    return None


def judge_value(feature: Feature, name: Code, value: Code | None, text: str) -> bool | None:
    """Return what a value, coded or in words, says of the finding; None where it says neither, or both."""
    is_question = name in feature.questions or bool(feature.question_words.fullmatch(name.meaning.lower().strip()))
    if value is not None:
        if value in feature.unclear:
            return None
        for codes, answer in ((feature.present, True), (feature.absent, False)):
            if value in codes:
                return answer
        if is_question and value in (*YES, *NO):
            return value in YES
    is_there = judge_presence(None, text) if is_question else None
    return _judge_words(" ".join(text.lower().split()), feature) if is_there is None else is_there


def _judge_words(words: str, feature: Feature) -> bool | None:
    """Return what the words say; None where they say both, nothing, or hold a word or a sign that is not known."""
    said = set()
    for pattern, answer in feature.words.items():
        words, count = re.subn(pattern, " , ", words)
        if count:
            said.add(answer)
    left = re.sub(rf"(?<!\S)(?:{feature.fillers}|{_FILLERS})(?![^\s,.;])", " ", words)
    if len(said) != 1 or _BETWEEN.sub("", left):
        return None
    return said.pop()
