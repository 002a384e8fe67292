"""DECIDED -> ENCODED: write the glands and the masses as a DICOM Segmentation.

One BINARY segment per structure (PS3.3 C.8.20): right parotid, left parotid,
then each mass. Frames stand at the source slices' own positions, so a tilted
gantry or an odd slice order needs no special case.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.valuerep import DSfloat, PersonName

from screener.outcomes import NeedsPerson
from screener.study import AlgorithmIdentity, Mass, Parotid, Side, Volume
from workers.ct.list_frames import flatten_frame
from workers.results.identity import RESEARCH_USE, derive_uid, describe_instance, family_code, stamp_identity
from workers.results.list_images import slice_distance_mm
from workers.results.refer_to_frames import refer_to_frames, stand_in_for_frames
from workers.results.repair_source import localize_instant, repair_source

SERIES_DESCRIPTION = f"Parotids: {RESEARCH_USE}"
SERIES_NUMBER = 9701

PAROTID_GLAND = codes.SCT.ParotidGland
MASS = codes.SCT.Mass
LATERALITY = {Side.RIGHT: codes.cid244.Right, Side.LEFT: codes.cid244.Left}
# Colors that stay apart on gray and for readers who do not tell red from green.
_COLORS_RGB = {Side.RIGHT: (0, 158, 230), Side.LEFT: (0, 190, 150)}
_MASS_COLOR_RGB = (255, 176, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """What one segment shows; the report's measurement groups carry the same tracking identifiers."""

    label: str
    side: Side
    is_mass: bool
    tracking_id: str
    tracking_uid: str
    mask: NDArray[np.bool_]
    """Axes (z, y, x), on the source grid; at least one voxel is True."""


def encode_seg(
    source_paths: Sequence[Path],
    volume: Volume,
    parotids: Sequence[Parotid],
    masses: Sequence[Mass],
    *,
    identity: AlgorithmIdentity,
    run_key: str,
    started_at: datetime,
    algorithm_parameters: str,
) -> Dataset | None:
    """Encode the glands that were found and the given masses; None when there is nothing to show.

    `source_paths` are the volume's slices in its z order. A segmentation
    without frames is not valid, so a study without any structure has a report
    and no segmentation. Content Date and Time are the start of the analysis
    (IHE AIR 6.5.3). Raises NeedsPerson where the sources cannot be referred to.
    """
    structures = list_structures(parotids, masses, run_key=run_key)
    if not structures:
        return None
    sources, patient_name = read_sources(source_paths, volume)
    started_at = localize_instant(started_at, sources[0])
    distance_mm = DSfloat(slice_distance_mm(volume), auto_format=True)
    places = stand_in_for_frames(sources, volume.frame_numbers, run_key=run_key)
    for source in places:
        if "SliceThickness" not in source:  # Type 2 in CT (PS3.3 C.8.2.1), needed here: a voxel reaches to the next
            source.SliceThickness = distance_mm
    seg = hd.seg.Segmentation(
        source_images=places,
        pixel_array=np.stack([structure.mask for structure in structures], axis=-1),  # (z, y, x, segment)
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _describe_segment(number, structure, identity, algorithm_parameters)
            for number, structure in enumerate(structures, start=1)
        ],
        series_number=SERIES_NUMBER,
        content_label="PAROTIDS",
        content_description="Parotid glands and masses",
        series_description=SERIES_DESCRIPTION,
        content_date=started_at.date(),
        content_time=started_at.time(),
        **describe_instance(identity, run_key, "seg"),
        omit_empty_frames=True,
    )
    # The library leaves this out for a tilted gantry, whose slices do not lie on one normal.
    seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices = distance_mm
    refer_to_frames(seg, places, sources, volume.frame_numbers)
    derive_dimension_uid(seg, run_key)
    stamp_identity(seg, sources[0], identity, started_at=started_at)
    seg.PatientName = patient_name
    return seg


def list_structures(parotids: Sequence[Parotid], masses: Sequence[Mass], *, run_key: str) -> list[Structure]:
    """Name what there is to show, in segment order: right gland, left gland, masses by number.

    A structure without a voxel on the source grid is left out.
    """
    structures = []
    for side in Side:
        for parotid in parotids:
            if parotid.side is side and parotid.mask is not None:
                label = f"{side.value.capitalize()} parotid gland"
                structures.append(_structure(label, side, parotid.mask, run_key, is_mass=False))
    for mass in sorted(masses, key=lambda mass: mass.candidate.number):
        label = f"Mass {mass.candidate.number}, {mass.candidate.side.value} parotid gland"
        structures.append(_structure(label, mass.candidate.side, mass.mask, run_key, is_mass=True))
    return [structure for structure in structures if structure.mask.any()]


def read_sources(source_paths: Sequence[Path], volume: Volume) -> tuple[list[Dataset], PersonName | str]:
    """Read and repair the headers of the volume's slices, in its z order, and the patient's name apart from them.

    A frame of a multi-frame image has a header of its own, with the UIDs of the image that it is part of.
    The slices of one volume share its frame of reference and, to the last
    digit, its orientation, whatever each header says of them. The name is kept
    from the encoding library, which puts a name that it finds odd into a
    warning, and warnings end in logs.
    """
    sources = list(_read_headers(source_paths, volume.frame_numbers))
    found = tuple(str(source.SOPInstanceUID) for source in sources)
    if found != tuple(volume.sop_instance_uids):
        raise NeedsPerson(
            "The archived files are not the slices that were screened, or not in their order.", code="sources_differ"
        )
    patient_name = sources[0].PatientName
    for source in sources:
        source.PatientName = ""
        source.ImageOrientationPatient = sources[0].ImageOrientationPatient
        source.FrameOfReferenceUID = sources[0].FrameOfReferenceUID
    return sources, patient_name


def _read_headers(source_paths: Sequence[Path], frame_numbers: Sequence[int]) -> Iterator[Dataset]:
    path_read, ds = Path(), Dataset()
    for path, number in zip(source_paths, frame_numbers or [0] * len(source_paths), strict=True):
        if path != path_read:
            path_read, ds = path, dcmread(path, stop_before_pixels=True)
        source = repair_source(flatten_frame(ds, number) if number else ds)
        if number:
            source.NumberOfFrames = ds.NumberOfFrames
        yield source


def _structure(label: str, side: Side, mask: NDArray[np.bool_], run_key: str, *, is_mass: bool) -> Structure:
    return Structure(
        label=label,
        side=side,
        is_mass=is_mass,
        tracking_id=label,
        tracking_uid=derive_uid(run_key, f"tracking {label}"),
        mask=mask,
    )


def _describe_segment(
    number: int, structure: Structure, identity: AlgorithmIdentity, algorithm_parameters: str
) -> hd.seg.SegmentDescription:
    """Describe one segment; the laterality stands in the modifier of region and, for a gland, of the type itself."""
    algorithm = name_algorithm(identity, algorithm_parameters)
    color = _MASS_COLOR_RGB if structure.is_mass else _COLORS_RGB[structure.side]
    description = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=structure.label,
        segmented_property_category=(
            codes.SCT.MorphologicallyAbnormalStructure if structure.is_mass else codes.SCT.AnatomicalStructure
        ),
        segmented_property_type=MASS if structure.is_mass else PAROTID_GLAND,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=structure.tracking_uid,
        tracking_id=structure.tracking_id,
        anatomic_regions=[PAROTID_GLAND],
        display_color=hd.color.CIELabColor.from_rgb(*color),
    )
    side = LATERALITY[structure.side]
    description.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [_code_item(side)]
    if not structure.is_mass:
        property_type = description.SegmentedPropertyTypeCodeSequence[0]
        property_type.SegmentedPropertyTypeModifierCodeSequence = [_code_item(side)]
    return description


def name_algorithm(identity: AlgorithmIdentity, algorithm_parameters: str) -> hd.AlgorithmIdentificationSequence:
    """Name the algorithm of a segment, with the settings in force (PS3.3 10.16)."""
    algorithm = hd.AlgorithmIdentificationSequence(
        name=identity.model_name,
        family=family_code(identity),
        version=identity.software_versions,
        source=identity.manufacturer,
    )
    algorithm[0].AlgorithmParameters = algorithm_parameters
    return algorithm


def _code_item(code: Code) -> hd.sr.CodedConcept:
    return hd.sr.CodedConcept.from_code(code)


def derive_dimension_uid(seg: Dataset, run_key: str) -> None:
    """Replace the drawn Dimension Organization UID by a derived one, wherever it stands (PS3.3 C.7.6.17)."""
    dimension_organization_uid = derive_uid(run_key, "dimension organization")
    for sequence in (seg.DimensionOrganizationSequence, seg.DimensionIndexSequence):
        for item in sequence:
            item.DimensionOrganizationUID = dimension_organization_uid
