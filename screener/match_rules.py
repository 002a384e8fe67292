"""Which addresses the settings tell of a finding, and why: pure, so that a test or a person can ask at any time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple

from screener.clock import is_open, night_began, parse_window
from screener.notice_settings import SIMPLE_RULE, Address, Notices, Rule
from screener.read_origin import ELEMENTS, Origin
from screener.study import Candidate, Side

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMass:
    """One mass or lesion that was flagged, in the numbers that rules ask for."""

    side: Side | None
    """None: ultrasound, which does not say."""
    voxels: int | None
    """Of 1 mm^3; None on ultrasound."""
    diameter_mm: float | None
    """None where the picture is not calibrated."""
    probability: float | None
    """Of malignancy on ultrasound, the highest mass probability on CT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a run has flagged."""

    kind: Literal["ct", "us"]
    masses: tuple[FoundMass, ...]
    """Empty: nothing is flagged."""


class Recipient(NamedTuple):
    """Whom a finished run tells; the first two alone mean: at once, and of everything."""

    channel: str
    recipient: str
    rule: str = ""
    """The name of the rule that tells it."""
    why: str = ""
    """A sentence: why this finding goes to this address."""
    is_in_digest: bool = False
    """True: told in the daily digest; False: by itself, at once."""
    escalate_seconds: int | None = None
    """After so many seconds without acknowledgment the rule's next step is taken; None: never."""
    takes: bool = True
    """False: no rule takes the finding; told only what changes something that the address has heard before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgment:
    """What one rule says of a finding."""

    rule: Rule
    takes: bool
    reason: str
    """What the rule took, or the condition that was not met."""


def find_on_ct(candidates: Sequence[Candidate]) -> Found:
    """Give what rules ask of the candidates above the threshold."""
    masses = tuple(
        FoundMass(
            side=candidate.side,
            voxels=candidate.voxels,
            diameter_mm=candidate.longest_diameter_mm,
            probability=candidate.max_probability,
        )
        for candidate in candidates
    )
    return Found(kind="ct", masses=masses)


def find_on_ultrasound(*, is_flagged: bool, probability: float | None, diameter_mm: float | None) -> Found:
    """Give what rules ask of the lesion that stands for an ultrasound study."""
    lesion = FoundMass(side=None, voxels=None, diameter_mm=diameter_mm, probability=probability)
    return Found(kind="us", masses=(lesion,) if is_flagged else ())


def match_rules(notices: Notices, found: Found, origin: Origin, local: datetime) -> list[Recipient]:
    """Name every address of the settings, each once, with the rule that tells it of this finding.

    `local` is the local time of the decision. An address that several rules
    tell is told at once where one says so, and of those by the one that passes
    it on soonest, else by the first. One that no rule tells is there with `takes` false, for it may have heard of the
    study before.
    """
    told: dict[Address, Recipient] = {}
    if found.masses:
        for recipient in _tell(notices, found, origin, local):
            address = Address(recipient.channel, recipient.recipient)
            earlier = told.get(address)
            if earlier is None or _haste(recipient) < _haste(earlier):
                told[address] = recipient
    return [
        told.get(address, Recipient(*address, why="an earlier notice of this study went here", takes=False))
        for address in notices.all_addresses
    ]


def _haste(recipient: Recipient) -> tuple[bool, float]:
    """Sort those at once first, and of those the one that escalates soonest."""
    seconds = recipient.escalate_seconds
    return recipient.is_in_digest, float("inf") if seconds is None else seconds


def judge_rules(notices: Notices, found: Found, origin: Origin, local: datetime) -> list[Judgment]:
    """Ask every rule, in the order of the settings; those that take what the others leave are asked last."""
    plain = [_judge(rule, found, origin, local) for rule in notices.rules if not rule.otherwise]
    is_taken = bool(notices.simple_addresses) or any(judgment.takes for judgment in plain)
    rest = [_judge(rule, found, origin, local) for rule in notices.rules if rule.otherwise]
    if is_taken:
        rest = [Judgment(rule=judgment.rule, takes=False, reason="another rule takes it") for judgment in rest]
    return plain + rest


def _tell(notices: Notices, found: Found, origin: Origin, local: datetime) -> Iterator[Recipient]:
    for address in notices.simple_addresses:
        yield Recipient(*address, rule=SIMPLE_RULE, why=f"{SIMPLE_RULE} are told of every finding")
    for judgment in judge_rules(notices, found, origin, local):
        rule = judgment.rule
        if judgment.takes:
            for address in rule.addresses:
                yield Recipient(
                    *address,
                    rule=rule.name,
                    why=f"rule {rule.name}: {judgment.reason}",
                    is_in_digest=rule.urgency == "digest",
                    escalate_seconds=rule.escalate_seconds,
                )


def _judge(rule: Rule, found: Found, origin: Origin, local: datetime) -> Judgment:
    obstacle = next(_obstacles(rule, found, origin, local), "")
    if obstacle:
        return Judgment(rule=rule, takes=False, reason=obstacle)
    fitting = [mass for mass in found.masses if not _misses(rule, mass)]
    if not fitting:
        reasons = dict.fromkeys(_misses(rule, mass) for mass in found.masses)
        return Judgment(rule=rule, takes=False, reason="; ".join(reasons))
    return Judgment(rule=rule, takes=True, reason="; ".join(_describe(mass) for mass in fitting))


def _obstacles(rule: Rule, found: Found, origin: Origin, local: datetime) -> Iterator[str]:
    """Yield the conditions on the study as a whole that are not met; the header's own words are never quoted."""
    if found.kind not in rule.kinds:
        yield f"it takes {' and '.join(rule.kinds)} only"
    window = parse_window(rule.hours)
    if not is_open(window, local):
        yield f"outside its hours, {rule.hours}"
    elif rule.days and DAYS[night_began(window, local).weekday()] not in rule.days:
        yield f"not on its days, {', '.join(rule.days)}"
    for name in ELEMENTS:
        if not _fits(getattr(rule, name), origin.get(name, ()), takes_unnamed=rule.takes_unnamed_places):
            yield f"the images fit none of its {name}" if origin.get(name) else f"the images name none of {name}"


def _fits(patterns: Sequence[str], texts: Sequence[str], *, takes_unnamed: bool) -> bool:
    if not patterns:
        return True
    if not texts:
        return takes_unnamed
    return any(fnmatchcase(text.upper(), pattern.upper()) for text in texts for pattern in patterns)


def _misses(rule: Rule, mass: FoundMass) -> str:
    """Say which condition of the rule this mass does not meet; empty where it meets all."""
    if mass.side is not None and mass.side not in rule.sides:
        return f"it takes the {' and '.join(rule.sides)} side only"
    if mass.voxels is not None and mass.voxels < rule.min_voxels:
        return f"{mass.voxels} of at least {rule.min_voxels} voxels"
    if mass.diameter_mm is not None and mass.diameter_mm < rule.min_diameter_mm:
        return f"{mass.diameter_mm:.1f} of at least {rule.min_diameter_mm:g} mm"
    if mass.probability is not None and mass.probability < rule.min_probability:
        return f"probability {mass.probability:.2f} of at least {rule.min_probability:g}"
    return ""


def _describe(mass: FoundMass) -> str:
    if mass.side is None:
        return f"ultrasound lesion, probability {mass.probability or 0:.2f}"
    return f"{mass.side} parotid, {mass.voxels} voxels, probability {mass.probability or 0:.2f}"
