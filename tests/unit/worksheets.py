"""Ultrasound worksheets as scanners send them, made by hand item by item."""

from collections.abc import Sequence
from pathlib import Path

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import EnhancedSRStorage, ExplicitVRLittleEndian, generate_uid

from screener.study import Instance

CodeParts = tuple[str, str, str]
"""Value, scheme, meaning."""

FINDING = ("121071", "DCM", "Finding")
GROUP = ("125007", "DCM", "Measurement Group")
SITE = ("363698007", "SCT", "Finding Site")
TRACKING_ID = ("112039", "DCM", "Tracking Identifier")
SHAPE = ("107644003", "SCT", "Shape")
MARGINS = ("111037", "DCM", "Margins")
ACOUSTIC = ("111366", "DCM", "Posterior acoustic features")
MASS = ("4147007", "SCT", "Mass")
IRREGULAR, OVAL = ("49608001", "SCT", "Irregular"), ("84360004", "SCT", "Ovoid shape (Oval)")
INDISTINCT, CIRCUMSCRIBED = ("129741003", "SCT", "Indistinct lesion"), ("129738007", "SCT", "Circumscribed lesion")
ENHANCED, SHADOWED = ("111368", "DCM", "Posterior enhancement"), ("111369", "DCM", "Posterior shadowing")
LYMPHADENOPATHY = ("30746006", "SCT", "Lymphadenopathy")
YES, NO = ("373066001", "SCT", "Yes"), ("373067005", "SCT", "No")
PAROTID, THYROID = ("45289007", "SCT", "Parotid gland"), ("69748006", "SCT", "Thyroid gland")


def words(text: str) -> CodeParts:
    """A code of the scanner's own, of which only the words are known."""
    return ("X1", "99SCANNER", text)


def _coded(parts: CodeParts) -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = parts
    return [item]


def code_item(name: CodeParts, value: CodeParts, *children: Dataset) -> Dataset:
    """A content item whose value is a code."""
    ds = Dataset()
    ds.RelationshipType, ds.ValueType = "CONTAINS", "CODE"
    ds.ConceptNameCodeSequence, ds.ConceptCodeSequence = _coded(name), _coded(value)
    if children:
        ds.ContentSequence = list(children)
    return ds


def text_item(name: CodeParts, text: str) -> Dataset:
    """A content item whose value is text."""
    ds = Dataset()
    ds.RelationshipType, ds.ValueType, ds.TextValue = "CONTAINS", "TEXT", text
    ds.ConceptNameCodeSequence = _coded(name)
    return ds


def container(name: CodeParts, *children: Dataset) -> Dataset:
    """A content item that holds others."""
    ds = Dataset()
    ds.RelationshipType, ds.ValueType, ds.ContinuityOfContent = "CONTAINS", "CONTAINER", "SEPARATE"
    ds.ConceptNameCodeSequence = _coded(name)
    ds.ContentSequence = list(children)
    return ds


def make_worksheet(*children: Dataset, replaces: Sequence[str] = (), study: Dataset | None = None) -> FileDataset:
    """A worksheet with these items under its title; `replaces` names documents that it amends."""
    ds = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID = EnhancedSRStorage, generate_uid(), generate_uid()
    ds.StudyInstanceUID = study.StudyInstanceUID if study is not None else generate_uid()
    ds.PatientName, ds.PatientID, ds.Modality, ds.Manufacturer = "CANARY^DONOTLOG", "CANARY^DONOTLOG", "SR", "Scanner"
    ds.CompletionFlag, ds.VerificationFlag, ds.ValueType = "COMPLETE", "UNVERIFIED", "CONTAINER"
    ds.ConceptNameCodeSequence = _coded(("126000", "DCM", "Imaging Measurement Report"))
    ds.ContentSequence = list(children)
    if replaces:
        ds.PredecessorDocumentsSequence = [_refer(replaces)]
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    return ds


def _refer(sop_instance_uids: Sequence[str]) -> Dataset:
    study, series = Dataset(), Dataset()
    series.ReferencedSOPSequence = [Dataset() for _ in sop_instance_uids]
    for reference, uid in zip(series.ReferencedSOPSequence, sop_instance_uids, strict=True):
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = EnhancedSRStorage, uid
    study.ReferencedSeriesSequence = [series]
    return study


def write_worksheet(folder: Path, ds: FileDataset) -> Instance:
    """Write a worksheet into `folder` and describe it as the archive would hand it on."""
    path = folder / f"{ds.SOPInstanceUID}.dcm"
    ds.save_as(path, enforce_file_format=True)
    return Instance(
        sop_instance_uid=str(ds.SOPInstanceUID),
        sop_class_uid=str(ds.SOPClassUID),
        series_instance_uid=str(ds.SeriesInstanceUID),
        path=path,
        sha256="0" * 64,
    )
