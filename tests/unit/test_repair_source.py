"""Nothing that a source carries wrongly reaches a result."""

import io
import warnings
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import UID

from screener.outcomes import NeedsPerson
from tests.conformance.studies import make_slice
from workers.results.repair_source import localize_instant, repair_source

TYPE_2 = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID")


@pytest.fixture
def ds() -> Dataset:
    return make_slice(np.zeros((4, 6), dtype=np.int16), np.diag([1.5, 1.25, 3.0, 1.0]), z=0, number=1)


def set_bytes(ds: Dataset, keyword: str, vr: str, value: bytes) -> None:
    """Put a value as a file would bring it: no check, decoded when read."""
    tag = Tag(keyword)
    ds[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)


def test_a_sound_header_keeps_its_patient_study_and_geometry(ds):
    repaired = repair_source(ds)
    kept = (*TYPE_2, "AccessionNumber", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
    kept += ("FrameOfReferenceUID", "Rows", "Columns", "PixelSpacing", "ImagePositionPatient")
    assert {keyword: repaired[keyword].value for keyword in kept} == {keyword: ds[keyword].value for keyword in kept}


def test_the_source_stays_as_it_was(ds):
    set_bytes(ds, "SpacingBetweenSlices", "DS", b"-3.0")
    before = bytes(ds.PixelData), list(ds.keys())
    repaired = repair_source(ds)
    assert (bytes(ds.PixelData), list(ds.keys())) == before
    assert ds.SpacingBetweenSlices == -3
    assert "PixelData" not in repaired


def test_a_negative_slice_spacing_becomes_a_distance(ds):
    ds.SpacingBetweenSlices = "-3.0"
    assert repair_source(ds).SpacingBetweenSlices == 3


@pytest.mark.parametrize("value", [b"0", b"thick", b"nan", b"", b"1\\2"])
def test_a_slice_spacing_that_is_no_distance_is_dropped(ds, value):
    set_bytes(ds, "SpacingBetweenSlices", "DS", value)
    assert "SpacingBetweenSlices" not in repair_source(ds)


def test_a_reference_with_an_empty_class_is_dropped(ds):
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = "", "1.2.3"
    ds.ReferencedStudySequence = [reference]
    assert "ReferencedStudySequence" not in repair_source(ds)


@pytest.mark.parametrize("keyword", TYPE_2)
def test_a_missing_type_2_element_is_there_and_empty(ds, keyword):
    del ds[keyword]
    assert repair_source(ds)[keyword].is_empty


@pytest.mark.parametrize(
    ("value", "repaired"),
    [
        (b"20260304", "20260304"),
        (b"2026.03.04", "20260304"),
        (b"2026-03-04", "20260304"),
        (b"20260230", ""),
        (b"yesterday", ""),
        (b"20260304-20260305", ""),
    ],
)
def test_a_date_is_one_or_empty(ds, value, repaired):
    set_bytes(ds, "StudyDate", "DA", value)
    assert repair_source(ds).StudyDate == repaired


@pytest.mark.parametrize(
    ("value", "repaired"),
    [
        (b"040506", "040506"),
        (b"040506.123456", "040506.123456"),
        (b"040506.123456789", "040506.123456"),
        (b"04:05:06", "040506"),
        (b"0405", "0405"),
        (b"2505", ""),
        (b"noon", ""),
    ],
)
def test_a_time_is_one_or_empty(ds, value, repaired):
    set_bytes(ds, "StudyTime", "TM", value)
    assert repair_source(ds).StudyTime == repaired


def test_a_long_text_is_shortened_but_a_long_identifier_is_dropped(ds):
    set_bytes(ds, "StudyDescription", "LO", b"d" * 80)
    set_bytes(ds, "AccessionNumber", "SH", b"1" * 17)
    set_bytes(ds, "PatientID", "LO", b"1" * 65)
    repaired = repair_source(ds)
    assert repaired.StudyDescription == "d" * 64
    assert repaired.AccessionNumber == ""
    assert repaired.PatientID == ""


def test_a_sex_outside_the_standard_is_emptied(ds):
    set_bytes(ds, "PatientSex", "CS", b"male")
    assert repair_source(ds).PatientSex == ""


def test_slices_without_a_frame_of_reference_share_one(ds):
    ds.FrameOfReferenceUID = ""
    other = make_slice(np.zeros((4, 6), dtype=np.int16), np.eye(4), z=1, number=2, FrameOfReferenceUID=None)
    uid = repair_source(ds).FrameOfReferenceUID
    assert UID(uid).is_valid
    assert repair_source(other).FrameOfReferenceUID == uid


@pytest.mark.parametrize(
    ("charset", "name", "expected"),
    [
        (b"ISO_IR 100", "Müller^Zoë".encode("latin-1"), "Müller^Zoë"),
        (b"ISO_IR 192", "Müller^Zoë".encode(), "Müller^Zoë"),
        (b"", "Müller^Zoë".encode("latin-1"), "Müller^Zoë"),
        (b"ISO_IR 999", b"Muller^Zoe", "Muller^Zoe"),
        (b"\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "Yamada^Tarou=山田^太郎"),
    ],
)
def test_a_name_in_any_character_set_can_be_written_again(ds, charset, name, expected):
    set_bytes(ds, "SpecificCharacterSet", "CS", charset)
    set_bytes(ds, "PatientName", "PN", name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pydicom warns when a text cannot be written in its character set
        file = io.BytesIO()
        repair_source(ds).save_as(file, implicit_vr=False, little_endian=True)
    file.seek(0)
    assert str(dcmread(file, force=True).PatientName) == expected


def test_a_number_too_long_for_its_representation_is_shortened(ds):
    set_bytes(ds, "PixelSpacing", "DS", b"1.171875000000000001\\1.171875000000000001")
    repaired = repair_source(ds)
    assert [len(str(value)) <= 16 for value in repaired.PixelSpacing] == [True, True]
    assert list(repaired.PixelSpacing) == pytest.approx([1.171875, 1.171875])


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "ImagePositionPatient"])
def test_a_header_that_nothing_can_be_built_on_needs_a_person(ds, keyword):
    del ds[keyword]
    with pytest.raises(NeedsPerson, match=keyword) as caught:
        repair_source(ds)
    assert "CANARY" not in caught.value.reason


def test_only_a_procedure_code_of_a_public_scheme_is_kept(ds):
    local, public = Dataset(), Dataset()
    local.CodeValue, local.CodingSchemeDesignator, local.CodeMeaning = "NECK", "RIS", "Neck"
    public.CodeValue, public.CodingSchemeDesignator, public.CodeMeaning = "169068008", "SCT", "CT of neck"
    ds.ProcedureCodeSequence = [local, public]
    assert [item.CodeValue for item in repair_source(ds).ProcedureCodeSequence] == ["169068008"]


def test_a_lossy_source_keeps_ratio_and_method_only_together(ds):
    ds.LossyImageCompression, ds.LossyImageCompressionRatio = "01", "7.5"
    assert "LossyImageCompressionRatio" not in repair_source(ds)
    ds.LossyImageCompressionMethod = "ISO_15444_1"
    repaired = repair_source(ds)
    assert (repaired.LossyImageCompressionRatio, repaired.LossyImageCompressionMethod) == (7.5, "ISO_15444_1")


def test_an_instant_is_told_in_the_zone_that_the_source_states(ds):
    ds.TimezoneOffsetFromUTC = "-0330"
    at = datetime(2026, 3, 4, 1, tzinfo=UTC)
    told = localize_instant(at, repair_source(ds))
    assert told == at
    assert told.utcoffset() == -timedelta(hours=3, minutes=30)


@given(
    st.sampled_from(["PatientName", "PatientID", "StudyDate", "StudyTime", "PatientSex", "StudyID", "PatientAge"]),
    st.binary(max_size=90),
)
def test_no_bytes_in_a_header_stop_a_result_or_reach_it_invalid(keyword, value):
    ds = make_slice(np.zeros((4, 6), dtype=np.int16), np.eye(4), z=0, number=1)
    set_bytes(ds, keyword, dictionary_VR(keyword), value)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pydicom warns when an invalid value is set or written
        repair_source(ds).save_as(io.BytesIO(), implicit_vr=False, little_endian=True)


def test_an_identifier_that_cannot_be_written_as_it_stands_is_dropped(ds):
    """A backslash parts values: with a blank in its place the identifier may be somebody else's."""
    set_bytes(ds, "PatientID", "LO", b"12\\34")
    set_bytes(ds, "AccessionNumber", "SH", b"A\x07B")
    repaired = repair_source(ds)
    assert (repaired.PatientID, repaired.AccessionNumber) == ("", "")


def test_an_identifier_padded_with_a_null_byte_is_kept(ds):
    set_bytes(ds, "PatientID", "LO", b"1234\0")
    assert repair_source(ds).PatientID == "1234"


def test_a_procedure_told_in_letters_outside_ascii_is_written_as_it_was(ds):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "169068008", "SCT", "CT Schädel"
    ds.ProcedureCodeSequence = [item]
    file = io.BytesIO()
    repair_source(ds).save_as(file, implicit_vr=False, little_endian=True)
    assert "CT Schädel".encode() in file.getvalue()
    assert b"ISO_IR 192" in file.getvalue()
