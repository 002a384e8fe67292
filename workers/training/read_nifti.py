"""Read NIfTI files as volumes and masks in our axes, whatever their own."""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray
from pydicom.uid import generate_uid

from screener.outcomes import NeedsPerson
from screener.study import Volume
from workers.ct.check_values import AIR_HU, has_air, has_tissue
from workers.ct.mask_body import mask_body

TO_RAS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])
"""NIfTI's world runs to the right, front and head; ours to the left, back and head. It leads back as well."""
_SAME_GRID = 0.25
"""Grids agree where no corner is further apart than this share of a voxel: headers round."""
_MAX_LABEL = 255
_BROKEN = (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error)
"""What nibabel and gzip raise over a file that is cut short or no NIfTI."""


@dataclass(frozen=True, slots=True)
class _Grid:
    """An array (z, y, x), feet to head, and its 4 x 4 from voxel (x, y, z, 1) to LPS millimeters."""

    values: NDArray[Any]
    affine: NDArray[np.float64]


def find_nifti(folder: Path, stem: str) -> Path | None:
    """Return `stem`.nii.gz or `stem`.nii of `folder`; None where there is neither."""
    for path in (folder / f"{stem}.nii.gz", folder / f"{stem}.nii"):
        if path.is_file():
            return path
    return None


def read_volume(folder: Path, stem: str) -> Volume:
    """Read Hounsfield units of any type, scaling, axis order and direction; oblique axes stay in the affine.

    Raises NeedsPerson (`bad_case`) with the file's name where it cannot be read, does not say how it lies, or holds
    other than Hounsfield units. Slices may differ as they like: where the air around was cut off, they do.
    """
    path = find_nifti(folder, stem)
    if path is None:
        raise _refuse(folder / f"{stem}.nii.gz", "is missing")
    grid = _read_grid(path)
    hu = np.where(np.isfinite(grid.values), grid.values, AIR_HU)
    limits = (AIR_HU, np.iinfo(np.int16).max)
    rounded = np.asarray(np.clip(np.rint(hu), *limits), np.int16)
    told = rounded[rounded > rounded.min()]  # the lowest value may be padding, whatever it is
    if not has_air(told) or not has_tissue(told):
        raise _refuse(path, "lacks the values of air or of soft tissue: are they Hounsfield units?")
    x, y, z = np.linalg.norm(grid.affine[:3, :3], axis=0)
    series_instance_uid = generate_uid(prefix=None, entropy_srcs=[str(path)])
    return Volume(
        hu=rounded,
        affine=grid.affine,
        body=mask_body(rounded, (float(x), float(y), float(z))),
        series_instance_uid=series_instance_uid,
        frame_of_reference_uid=f"{series_instance_uid}.0",
        sop_instance_uids=tuple(f"{series_instance_uid}.{number}" for number in range(1, len(rounded) + 1)),
    )


def read_labels(folder: Path, stem: str, volume: Volume) -> NDArray[np.uint8] | None:
    """Read a label map (z, y, x) on the grid of `volume`; None where there is no such file.

    Raises NeedsPerson (`bad_case`) where it lies on another grid, or holds other than whole numbers of 0 to 255.
    """
    path = find_nifti(folder, stem)
    if path is None:
        return None
    values = _read_on_grid(path, volume)
    whole = np.rint(values)
    if not np.isfinite(values).all() or np.abs(values - whole).max() > 0.01 or whole.min() < 0:
        raise _refuse(path, "does not hold whole numbers from 0 up")
    if whole.max() > _MAX_LABEL:
        raise _refuse(path, f"holds labels above {_MAX_LABEL}")
    return np.ascontiguousarray(whole, np.uint8)


def read_mass(folder: Path, stem: str, volume: Volume) -> NDArray[np.bool_] | None:
    """Read a mask (z, y, x) on the grid of `volume`, more than a half being inside; None where there is no such file.

    Raises NeedsPerson (`bad_case`) where it lies on another grid or is not finite.
    """
    path = find_nifti(folder, stem)
    if path is None:
        return None
    values = _read_on_grid(path, volume)
    if not np.isfinite(values).all():
        raise _refuse(path, "holds values that are no numbers")
    return np.ascontiguousarray(values > 0.5)


def holds_mass(folder: Path, stem: str) -> bool:
    """Return whether a mask has a voxel inside, on whatever grid; one that cannot be read is taken to have."""
    path = find_nifti(folder, stem)
    if path is None:
        return False
    try:
        return not (_read_grid(path).values <= 0.5).all()  # what is no number is not read as empty
    except NeedsPerson:
        return True


def _read_on_grid(path: Path, volume: Volume) -> NDArray[Any]:
    grid = _read_grid(path)
    if grid.values.shape != volume.hu.shape:
        shapes = [" x ".join(map(str, shape[::-1])) for shape in (grid.values.shape, volume.hu.shape)]
        raise _refuse(path, f"has {shapes[0]} voxels, its image {shapes[1]}")
    ends = np.array(grid.values.shape[::-1]) - 1.0
    corners = np.array([[x, y, z, 1.0] for x in (0, ends[0]) for y in (0, ends[1]) for z in (0, ends[2])])
    apart_mm = np.linalg.norm((corners @ (grid.affine - volume.affine).T)[:, :3], axis=1).max()
    if apart_mm > _SAME_GRID * min(volume.spacing_mm):
        raise _refuse(path, f"lies up to {apart_mm:.1f} mm beside its image: their affines differ")
    return grid.values


def _read_grid(path: Path) -> _Grid:
    """Read `path`, turned to the axes nearest to ours."""
    try:
        image = nibabel.nifti1.load(path)
        values = np.asanyarray(image.dataobj)  # with slope and intercept applied
        is_placed = bool(image.header["sform_code"] > 0 or image.header["qform_code"] > 0)
        affine = np.asarray(image.affine, np.float64)
    except _BROKEN as error:
        raise _refuse(path, f"cannot be read ({type(error).__name__})") from error
    if not is_placed:
        raise _refuse(path, "does not say how it lies: neither sform nor qform is set")
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        raise _refuse(path, "has no usable affine")
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != 3 or values.dtype.kind not in "buif" or min(values.shape) < 2:
        raise _refuse(path, f"is no volume of numbers: its shape is {values.shape}")
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(affine), nibabel.orientations.axcodes2ornt(("L", "P", "S"))
    )
    turned = nibabel.orientations.apply_orientation(values, turn).transpose(2, 1, 0)  # (z, y, x)
    placed = TO_RAS @ affine @ nibabel.orientations.inv_ornt_aff(turn, values.shape)
    return _Grid(turned, np.asarray(placed, np.float64))


def _refuse(path: Path, why: str) -> NeedsPerson:
    return NeedsPerson(f"{path} {why}.", code="bad_case")
