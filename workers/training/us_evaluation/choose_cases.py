"""Which cases of a folder are judged: of sources that the networks learned from the test part, of others all."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from workers.models.bundle_files import read_json
from workers.training.us_describe_bundle import PUBLISHED, UNPUBLISHED
from workers.training.us_read_cases import CaseRow
from workers.training.us_split_cases import Part, find_part

ALL: Final = "all"
_TOO_GOOD: Final = {
    Part.TRAIN.value: "the networks learned from these very cases, so that the figures are too good",
    Part.VALIDATION.value: "what ships was chosen by these cases, so that the figures are too good",
    ALL: "the networks learned from most of these cases, so that the figures are too good",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The cases to be judged."""

    rows: list[CaseRow]
    parts: dict[str, str]
    """By source, the part that is judged."""
    sentence: str
    """What was chosen and what that means, for the report."""


def read_trained_sources(folder: Path) -> set[str] | None:
    """Return the sources that the bundle in `folder` learned from, those of its start among them; None if untold."""
    try:
        metadata = read_json(folder / "configs" / "metadata.json")
    except (OSError, ValueError, TypeError):
        return None
    training = metadata.get("training")
    if isinstance(metadata.get("lesions"), Mapping):  # a fusion counts them by source
        training = {"sources": list(metadata["lesions"])}
    if not isinstance(training, Mapping) or not isinstance(training.get("sources"), list):
        return None
    told = f"{training.get('start_data_source') or ''} {metadata.get('data_source') or ''}"
    return {str(source) for source in training["sources"]} | _name_sources(told)


def _name_sources(told: str) -> set[str]:
    """Return the sources that `describe_us_data` has put into words."""
    others = re.findall(rf"{UNPUBLISHED}(.+?)(?=[;.] | - |[;.]?$)", told)
    return {source for source, words in PUBLISHED.items() if words in told} | set(others)


def choose_cases(rows: Sequence[CaseRow], trained: set[str] | None, part: str | None) -> Choice:
    """Return the rows of `part`; where it is None, by each source's own rule.

    `trained` are the sources that the networks learned from; None where a bundle does not say.
    """
    sources = sorted({row.source for row in rows})
    parts = {source: part or (Part.TEST.value if source in (trained or ()) else ALL) for source in sources}
    chosen = [row for row in rows if parts[row.source] in (ALL, find_part(row.source, row.group).value)]
    sentences = [_tell_source(source, parts[source], trained) for source in sources]
    return Choice(rows=chosen, parts=parts, sentence=" ".join(sentences))


def _tell_source(source: str, part: str, trained: set[str] | None) -> str:
    cases = "all cases" if part == ALL else f"the {part} part"
    if trained is None:
        return f"Of {source} {cases}; a bundle does not say what it learned from."
    if source not in trained:
        return f"Of {source} {cases}; the networks did not learn from this source."
    meaning = _TOO_GOOD.get(part, "never trained on, and nothing is chosen by it")
    return f"Of {source} {cases}: {meaning}."


def describe_parts(parts: Mapping[str, str]) -> Any:
    """Return the one part that was judged, or the part of each source where they differ."""
    return next(iter(parts.values())) if len(set(parts.values())) == 1 else dict(parts)
