"""Read ultrasound cases: a folder with `index.csv`, one picture for each of its rows, and the outlines of lesions.

`index.csv` has the columns `id`, `label`, `group` and, where there are any,
`source`, `organ`, `has_lesion_mask`, `machine`. A row's picture is `<id>.jpg`,
`<id>.png` or a DICOM file, `<id>.dcm` or `<id>`; its outline `<id>_mask.png`, on
the picture's grid, not 0 where the lesion is. Cases of one patient, or that
look nearly the same, share a group.
"""

import csv
import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from screener.outcomes import NeedsPerson, Outcome
from screener.study import Instance
from screener.us_study import Box

logger = logging.getLogger(__name__)

INDEX: Final = "index.csv"
MAX_SIDE_PX: Final = 512
"""Larger pictures are shrunk when they are read: no network sees more."""
NEEDED_COLUMNS: Final = ("id", "label", "group")

BENIGN, MALIGNANT, UNLABELED = "benign", "malignant", "unlabeled"
NORMAL, NO_TUMOR = "normal", "no_tumor"
_SPELLINGS: Final = {"unlabelled": UNLABELED, "no_tumour": NO_TUMOR}
_WITH_LESION: Final = frozenset({BENIGN, MALIGNANT, UNLABELED})
_WITHOUT_LESION: Final = frozenset({NORMAL, NO_TUMOR})
_PICTURE_ENDINGS: Final = (".jpg", ".jpeg", ".png", ".dcm", "")

Gray = NDArray[np.uint8]
Bools = NDArray[np.bool_]
_Pixel = TypeVar("_Pixel", bound=np.generic)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRow:
    """One row of `index.csv`; nothing is decoded yet."""

    folder: Path
    name: str
    """The row's `id`."""
    source: str
    """The data set or scanner that it came from; the folder's name where the row says nothing."""
    organ: str
    label: str
    """BENIGN, MALIGNANT, UNLABELED (a lesion of unknown kind), NORMAL or NO_TUMOR."""
    group: str
    """Shared by cases that may not be split; the row's own `id` where it says nothing."""
    machine: str
    has_outline: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UsCase:
    """One picture to train on or to judge by; arrays (rows, columns), the longer side at most MAX_SIDE_PX."""

    row: CaseRow
    gray: Gray
    lesion: Bools | None
    """Empty where there is no lesion; None where there is one and nobody has outlined it."""


def list_rows(root: Path) -> list[CaseRow]:
    """Return the rows of `root/index.csv` by name.

    A row of an unknown label is logged and passed over. Raises NeedsPerson
    (`no_cases`) where there is no such file or it lacks a column, or names a case twice.
    """
    path = root / INDEX
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in NEEDED_COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise NeedsPerson(f"{path} lacks the columns {', '.join(missing)}.", code="no_cases")
            rows = [row for values in reader if (row := _read_row(root, reader.line_num, values)) is not None]
    except (OSError, ValueError, csv.Error) as problem:
        reason = f"{root} is no folder of ultrasound cases: its {INDEX} cannot be read."
        raise NeedsPerson(reason, code="no_cases") from problem
    if len({row.name for row in rows}) < len(rows):
        raise NeedsPerson(f"{path} names a case twice.", code="no_cases")
    return sorted(rows, key=lambda row: row.name)


def read_cases(rows: Iterable[CaseRow]) -> Iterator[UsCase]:
    """Yield the cases of `rows`; one that cannot be read is logged with its reason and passed over."""
    for row in rows:
        try:
            case = read_case(row)
        except Outcome as outcome:
            logger.warning("case=%s passed over: %s", row.name, outcome.reason)
        else:
            yield case


def read_case(row: CaseRow) -> UsCase:
    """Read one case; raises NeedsPerson or SetAside with a sentence where it cannot be used."""
    path = find_picture(row)
    lesion = read_outline(row)
    if path.suffix in (".dcm", ""):
        gray, lesion = _read_dicom(path, lesion)
    else:
        gray = read_image(path)
    if lesion is not None and lesion.shape != gray.shape:
        raise refuse("its outline has another size than its picture")
    if row.has_outline and lesion is not None and not lesion.any():
        raise refuse("its outline is empty")
    if lesion is None and row.label in _WITHOUT_LESION:
        lesion = np.zeros(gray.shape, bool)
    return UsCase(row=row, gray=_shrink(gray), lesion=None if lesion is None else _shrink(lesion))


def digest_rows(rows: Sequence[CaseRow]) -> str:
    """Digest which cases these are: every file's place, size and time of change, in hexadecimal."""
    found = []
    for row in rows:
        names = sorted({*(f"{row.name}{ending}" for ending in _PICTURE_ENDINGS), f"{row.name}_mask.png"})
        stats = [(name, (row.folder / name).stat()) for name in names if (row.folder / name).is_file()]
        files = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
        found.append((str(row.folder.resolve()), row.source, row.label, row.group, row.has_outline, files))
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def _read_row(root: Path, number: int, values: dict[str, str]) -> CaseRow | None:
    """Return the row; None, with a line in the log, where it names no file of the folder or an unknown label."""
    given = {name: (text or "").strip() for name, text in values.items() if isinstance(name, str)}
    name, label = given["id"], given["label"].lower()
    label = _SPELLINGS.get(label, label)
    if not name or Path(name).name != name or label not in _WITH_LESION | _WITHOUT_LESION:
        logger.warning("line %d of %s passed over: no id that is a file's name, or an unknown label", number, INDEX)
        return None
    return CaseRow(
        folder=root,
        name=name,
        source=given.get("source") or root.resolve().name,
        organ=given.get("organ", ""),
        label=label,
        group=given["group"] or name,
        machine=given.get("machine", ""),
        has_outline=_says_outline(root, name, label, given.get("has_lesion_mask", "")),
    )


def _says_outline(root: Path, name: str, label: str, said: str) -> bool:
    """Return whether a lesion's outline is to be there: as the row says or, where it does not, as the file is."""
    if label in _WITHOUT_LESION:
        return False
    return said == "1" if said else (root / f"{name}_mask.png").is_file()


def find_picture(row: CaseRow) -> Path:
    """Return the row's picture; raises NeedsPerson where there is none."""
    for ending in _PICTURE_ENDINGS:
        path = row.folder / f"{row.name}{ending}"
        if path.is_file():
            return path
    raise refuse("there is no picture of its name")


def read_outline(row: CaseRow) -> Bools | None:
    """Return the outline (rows, columns), None where the row has none; raises NeedsPerson where it cannot be read."""
    if not row.has_outline:
        return None
    path = row.folder / f"{row.name}_mask.png"
    if not path.is_file():
        raise refuse("the index says that its lesion is outlined, and there is no such file")
    return np.asarray(read_image(path) != 0)


def read_image(path: Path) -> Gray:
    """Return a JPEG or PNG file in gray."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as problem:
        raise refuse(f"its {path.suffix.removeprefix('.')} file cannot be decoded") from problem


def _read_dicom(path: Path, lesion: Bools | None) -> tuple[Gray, Bools | None]:
    """Return the B-mode picture that the product's own stage takes, and its part of the outline.

    Of several pictures in one object, that with most of the lesion, then the largest. Clips are refused: an outline
    belongs to one frame.
    """
    from workers.us.read_frames import count_frames, read_header
    from workers.us.select_frames import select_frames

    instance = as_instance(path)
    if count_frames(read_header(instance)) > 1:
        raise refuse("it is a clip; give its frame as a file of its own")
    frames = select_frames([instance]).frames

    def cut(values: Bools, box: Box) -> Bools:
        return values[box.top : box.bottom, box.left : box.right]

    if lesion is None:
        return max(frames, key=lambda frame: frame.gray.size).gray, None
    if lesion.shape != frames[0].picture_shape:
        raise refuse("its outline has another size than its picture")
    chosen = max(frames, key=lambda frame: (int(cut(lesion, frame.box).sum()), frame.gray.size))
    return chosen.gray, cut(lesion, chosen.box)


def as_instance(path: Path) -> Instance:
    """Return the file as the archive would hold it."""
    from screener.read_file import BROKEN_FILE, read_file

    try:
        ds = read_file(path, with_pixels=False)
        uids = (str(ds.SOPInstanceUID), str(ds.SOPClassUID), str(ds.SeriesInstanceUID))
    except BROKEN_FILE as problem:
        raise refuse("its DICOM file cannot be read") from problem
    return Instance(sop_instance_uid=uids[0], sop_class_uid=uids[1], series_instance_uid=uids[2], path=path, sha256="")


def _shrink(values: NDArray[_Pixel]) -> NDArray[_Pixel]:
    """Return `values` with the longer side at most MAX_SIDE_PX; marks stay marks."""
    longest = max(values.shape)
    if longest <= MAX_SIDE_PX:
        return values
    columns, rows = (max(1, round(length * MAX_SIDE_PX / longest)) for length in values.shape[::-1])
    image = Image.fromarray(values.astype(np.float32))
    small = np.asarray(image.resize((columns, rows), Image.Resampling.BILINEAR))
    return (small > 0.5 if values.dtype == bool else np.rint(small)).astype(values.dtype)


def refuse(why: str) -> NeedsPerson:
    """Return the outcome of a case that cannot be used."""
    return NeedsPerson(f"The case cannot be used: {why}.", code="bad_case")
