"""Studies for the tests of the CT stages: phantoms on disk, changed as a test asks."""

import hashlib
from collections.abc import Callable, Iterable
from copy import deepcopy
from functools import lru_cache
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset

from screener.phantom import Phantom, make_phantom
from screener.study import Instance

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
DICOM = SHARED / "data" / "dicom"


@lru_cache(maxsize=8)
def small_phantom(**changes) -> Phantom:
    """A phantom of 4 mm pixels and 5 mm slices: quick to make, with every organ. Do not change it: copy first."""
    return make_phantom(**{"spacing_mm": (4.0, 4.0, 5.0), "rows": 64, "uid_salt": "small", **changes})


def describe(path: Path) -> Instance:
    """The instance as the archive would hand it on."""
    ds = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"])
    return Instance(
        sop_instance_uid=str(ds.SOPInstanceUID),
        sop_class_uid=str(ds.SOPClassUID),
        series_instance_uid=str(ds.SeriesInstanceUID),
        path=path,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def describe_folder(folder: Path) -> list[Instance]:
    return [describe(path) for path in sorted(folder.rglob("*")) if path.is_file()]


def write_study(
    folder: Path, datasets: Iterable[Dataset], change: Callable[[Dataset, int], object] | None = None
) -> list[Instance]:
    """Write copies of `datasets`, each passed through `change(ds, number)`, and describe them."""
    copies = []
    for number, ds in enumerate(datasets):
        copy = deepcopy(ds)
        if change is not None:
            change(copy, number)
        copy.file_meta.MediaStorageSOPInstanceUID = copy.SOPInstanceUID
        copies.append(copy)
    folder.mkdir(parents=True, exist_ok=True)
    instances = []
    for number, copy in enumerate(copies):
        path = folder / f"{len(list(folder.iterdir())):04d}_{number}.dcm"
        copy.save_as(path, enforce_file_format=True)
        instances.append(describe(path))
    return instances
