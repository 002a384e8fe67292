"""Say where a bundle's cases come from: published data sets by name, all else by the folders that a hospital knows."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

PUBLISHED: Final = {
    "openkbp": "OpenKBP (github.com/ababier/open-kbp, MIT; images from The Cancer Imaging Archive)",
    "head_neck_labels": "CT rendered from the label maps of github.com/google-deepmind/tcia-ct-scan-dataset "
    "(Nikolov et al. 2018, CC BY 4.0)",
}
"""By how the names of its folders begin."""
NOT_RECORDED: Final = "not recorded: the bundle was completed without its training"


def describe_training_data(training: Mapping[str, Any] | None) -> str:
    """Return the sources of a training's cases and, where it started from a bundle, those of that bundle."""
    training = training or {}
    if members := training.get("members"):  # of an average
        return "; ".join(dict.fromkeys(describe_training_data(member) for member in members))
    folders: Sequence[str] = training.get("data", ())
    words = describe_folders(folders) if folders else NOT_RECORDED
    if not training.get("start"):
        return words
    before = training.get("start_data_source") or "unknown data"
    told = f"{words}, starting from the weights of {training['start']}, which were trained on: "
    return before if before.startswith(told) else told + before  # trained on again and again: told once


def describe_folders(folders: Iterable[str]) -> str:
    """Return the published data sets among the named `folders`, each once, and the other folders by name."""
    names = list(dict.fromkeys(folders))
    known = {name: _name_published(name) for name in names}
    parts = list(dict.fromkeys(words for words in known.values() if words))
    own = [name for name in names if not known[name]]
    if own:
        parts.append(f"cases in the folder{'s' if len(own) > 1 else ''} {', '.join(own)}")
    return "; ".join(parts)


def describe_cases(roots: Sequence[Path], cases: Iterable[Path]) -> str:
    """Return the folders `roots` by name, and the data sets that their `cases` were made from, as case.json says.

    A case that was made from another, with a synthetic mass say, has its origin in case.json.
    """
    words = describe_folders(root.resolve().name for root in roots)
    origins = sorted({origin for case in cases if (origin := _read_origin(case))})
    made_from = describe_folders(origins)
    return f"{words}, made from {made_from}" if made_from and made_from != words else words


def _name_published(folder: str) -> str:
    return next((words for start, words in PUBLISHED.items() if folder.startswith(start)), "")


def _read_origin(case: Path) -> str:
    """Return the data set that a case was made from by `synthesize`, empty where it was not."""
    try:
        about = json.loads((case / "case.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    if not isinstance(about, dict) or "patient" not in about:
        return ""
    return str(about.get("source") or "")
