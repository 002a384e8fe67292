"""Who made a result, and the unique identifiers that follow from what it was made of.

One `AlgorithmIdentity` feeds every place where a DICOM object names the
algorithm, so that they cannot disagree (IHE AIR 6.5.3.1). UIDs are derived,
never drawn, so that encoding and sending twice is harmless.
"""

import json
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from highdicom import ContributingEquipment
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID, ExplicitVRLittleEndian

from screener import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from screener.study import MANUFACTURER, MODEL_NAME_CT, AlgorithmIdentity
from screener.us_study import MODEL_NAME_US

_NAMESPACE = uuid.UUID("6f0f1d0c-3c0e-5d0b-9a53-1f5e3a9d7c42")
_PROCESSING_EQUIPMENT = codes.DCM.ProcessingEquipment  # (109102, DCM), CID 7005

RESEARCH_USE = "Research use, not validated for clinical diagnosis"
"""Stands in every document, series and image that leaves for a person to read."""


def make_identity(
    *,
    weight_digests: Mapping[str, str],
    preprocessing_version: str,
    version: str,
    device_serial_number: str,
    model_name: str = MODEL_NAME_CT,
) -> AlgorithmIdentity:
    """Describe the algorithm; a changed weight file or preprocessing gives another Device UID (IHE AIR 6.5.3.1).

    `weight_digests` maps a model's name to the digest of its weights.
    """
    made_of = json.dumps([sorted(weight_digests.items()), preprocessing_version])
    return AlgorithmIdentity(
        manufacturer=MANUFACTURER,
        model_name=model_name,
        software_versions=version,
        device_uid=_uid_of(f"device/{made_of}"),
        device_serial_number=device_serial_number,
        family="Artificial Intelligence",
    )


def derive_uid(run_key: str, role: str) -> str:
    """Give the UID of one `role` of one run, under 2.25 (PS3.5 B.2): the same inputs, the same UID, always."""
    return _uid_of(f"run/{json.dumps([run_key, role])}")


def describe_instance(identity: AlgorithmIdentity, run_key: str, role: str) -> dict[str, Any]:
    """Give the encoding library what is alike for every document: its maker, and the UIDs of its `role` in the run."""
    return {
        "series_instance_uid": derive_uid(run_key, f"{role} series"),
        "sop_instance_uid": derive_uid(run_key, role),
        "instance_number": 1,
        "manufacturer": identity.manufacturer,
        "manufacturer_model_name": identity.model_name,
        "software_versions": identity.software_versions,
        "device_serial_number": identity.device_serial_number,
        "specific_character_set": None,  # set with the identity: the library refuses some that are valid
        "transfer_syntax_uid": ExplicitVRLittleEndian,
    }


def family_code(identity: AlgorithmIdentity) -> Code:
    """Give the code of the algorithm's family (PS3.16 CID 7162); ValueError where the meaning is none of its."""
    families = codes.cid7162
    for keyword in families.dir():
        code = cast(Code, getattr(families, keyword))
        if code.meaning == identity.family:
            return code
    raise ValueError(f"{identity.family!r} is no algorithm family of CID 7162")


def is_ours(ds: Dataset) -> bool:
    """Tell whether a result of this project comes back: True for any version and any weights.

    The Contributing Equipment is what says so. A PACS may rewrite the file
    meta information (PS3.10 7.1), never the data set's equipment; where it
    dropped the sequence, manufacturer and model together still tell.
    """
    for item in ds.get("ContributingEquipmentSequence") or []:
        purposes = item.get("PurposeOfReferenceCodeSequence") or []
        is_processing = any(purpose.get("CodeValue") == _PROCESSING_EQUIPMENT.value for purpose in purposes)
        if is_processing and item.get("Manufacturer") == MANUFACTURER:
            return True
    model_name = ds.get("ManufacturerModelName")
    return bool(ds.get("Manufacturer") == MANUFACTURER and model_name in (MODEL_NAME_CT, MODEL_NAME_US))


def describe_equipment(identity: AlgorithmIdentity, *, started_at: datetime) -> ContributingEquipment:
    """Make the Contributing Equipment item of the algorithm, Device UID included (IHE AIR 6.5.3.1, PS3.3 C.12.1)."""
    item = ContributingEquipment(
        manufacturer=identity.manufacturer,
        purpose_of_reference=_PROCESSING_EQUIPMENT,
        manufacturer_model_name=identity.model_name,
        software_versions=identity.software_versions,
        device_serial_number=identity.device_serial_number,
        contribution_datetime=started_at,
        contribution_description=RESEARCH_USE,
    )
    item.DeviceUID = identity.device_uid
    return item


def stamp_identity(ds: Dataset, source: Dataset, identity: AlgorithmIdentity, *, started_at: datetime) -> None:
    """Replace in `ds` what the encoding library says of itself or of this instant by what we say of the run.

    The library appends an item of its own under the same code (109102, DCM)
    without a Device UID; it describes a library, not an algorithm, and a
    receiver who asks every such item for its Device UID would refuse the
    object. `started_at` is the creation time too: the same run then gives the
    same bytes.
    """
    equipment = [describe_equipment(identity, started_at=started_at)]
    if source.get("Manufacturer"):
        equipment.insert(0, ContributingEquipment.for_image_acquisition(source))
    ds.ContributingEquipmentSequence = equipment
    ds.InstanceCreationDate = started_at.strftime("%Y%m%d")
    ds.InstanceCreationTime = started_at.strftime("%H%M%S.%f")
    ds.SeriesDate = ds.InstanceCreationDate
    ds.SeriesTime = ds.InstanceCreationTime
    for keyword in ("SpecificCharacterSet", "TimezoneOffsetFromUTC"):
        if keyword in source:
            setattr(ds, keyword, source[keyword].value)
    file_meta = FileMetaDataset()
    file_meta.MediaStorageSOPClassUID = UID(str(ds.SOPClassUID))
    file_meta.MediaStorageSOPInstanceUID = UID(str(ds.SOPInstanceUID))
    file_meta.TransferSyntaxUID = ds.file_meta.TransferSyntaxUID
    file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    ds.file_meta = file_meta


def _uid_of(name: str) -> str:
    return f"2.25.{uuid.uuid5(_NAMESPACE, name).int}"
