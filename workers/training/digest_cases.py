"""Digest cases and the code that reads them, so that what is cached is used for these alone."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from screener import know_segments, read_file
from workers import ct
from workers.training.read_cases import list_cases

READING: Final = ("read_cases", "read_nifti", "read_segmentation")
"""Modules of this folder that turn files into a case."""


def digest_cases(roots: Iterable[Path]) -> str:
    """Digest which cases lie in the folders `roots`: every file's place, size and time of change, in hexadecimal.

    Raises NeedsPerson (`no_cases`) where one of `roots` is no folder.
    """
    found = [(str(folder.resolve()), _list_files(folder)) for root in roots for folder in list_cases(root)]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def digest_case(folder: Path) -> str:
    """Digest one case's place and files, as `digest_cases` does."""
    found = str(folder.resolve()), _list_files(folder)
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def digest_code(training: Sequence[str], stages: Sequence[str] | None = None) -> str:
    """Digest modules by their text: those of this folder called `training` and of `workers/ct` (all where None).

    And what reads every DICOM file for them, and what says what a segment means (`digest_readers`).
    """
    digest = hashlib.sha256(digest_readers())
    for folder, names in ((Path(__file__).parent, training), (Path(ct.__path__[0]), stages)):
        for path in sorted(folder.glob("*.py")):
            if names is None or path.stem in names:
                digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def digest_readers() -> bytes:
    """Digest the modules outside of `workers` that say how a file is read and what a segment means."""
    digest = hashlib.sha256()
    for module in (read_file, know_segments):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.digest()


def _list_files(folder: Path) -> list[tuple[str, int, int]]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [(str(p.relative_to(folder)), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
