"""The identity of the algorithm and the derived UIDs."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from screener.study import MANUFACTURER, MODEL_NAME_CT, AlgorithmIdentity
from screener.us_study import MODEL_NAME_US
from workers.results.identity import derive_uid, family_code, is_ours, make_identity

DIGESTS = {"localizer": "aa", "segmenter": "bb"}


def identify(
    weight_digests: dict[str, str] | None = None, preprocessing_version: str = "1", version: str = "0.1.0"
) -> AlgorithmIdentity:
    return make_identity(
        weight_digests=weight_digests or DIGESTS,
        preprocessing_version=preprocessing_version,
        version=version,
        device_serial_number="7",
    )


def equipment(manufacturer: str, purpose: str) -> Dataset:
    item, code = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = purpose, "DCM", "Equipment"
    item.Manufacturer, item.PurposeOfReferenceCodeSequence = manufacturer, [code]
    return item


@pytest.mark.parametrize(
    "other",
    [
        identify({**DIGESTS, "segmenter": "bc"}),
        identify({"localizer": "bb", "segmenter": "aa"}),
        identify(preprocessing_version="2"),
    ],
)
def test_other_weights_or_preprocessing_make_another_device(other):
    assert other.device_uid != identify().device_uid


def test_the_order_in_which_weights_are_listed_changes_nothing():
    assert identify(dict(reversed(DIGESTS.items()))) == identify()


def test_a_new_version_with_the_same_weights_is_the_same_device():
    assert identify(version="0.2.0").device_uid == identify().device_uid


def test_the_family_of_the_algorithm_has_a_code_of_the_standard():
    assert family_code(identify()) == codes.DCM.ArtificialIntelligence


@given(st.text(max_size=80), st.text(max_size=40))
def test_every_derived_uid_is_valid_and_under_2_25(run_key, role):
    uid = derive_uid(run_key, role)
    assert UID(uid).is_valid
    assert uid.startswith("2.25.")


@given(st.text(max_size=9), st.text(max_size=9), st.text(max_size=9), st.text(max_size=9))
def test_different_runs_or_roles_never_share_a_uid(run_key, role, other_run_key, other_role):
    is_same = (run_key, role) == (other_run_key, other_role)
    assert (derive_uid(run_key, role) == derive_uid(other_run_key, other_role)) is is_same


def test_another_process_derives_the_same_uid():
    program = "from workers.results.identity import derive_uid; print(derive_uid('run', 'seg'))"
    elsewhere = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert elsewhere.stdout.strip() == derive_uid("run", "seg")


def test_an_object_with_our_processing_equipment_is_ours():
    ds = Dataset()
    ds.ContributingEquipmentSequence = [equipment("Scanners", "109101"), equipment(MANUFACTURER, "109102")]
    assert is_ours(ds)


@pytest.mark.parametrize("model_name", [MODEL_NAME_CT, MODEL_NAME_US])
def test_an_object_that_lost_its_contributing_equipment_is_still_ours(model_name: str):
    ds = Dataset()
    ds.Manufacturer, ds.ManufacturerModelName = MANUFACTURER, model_name
    assert is_ours(ds)


def test_what_others_made_is_not_ours():
    ds = Dataset()
    ds.Manufacturer, ds.ManufacturerModelName = "Scanners", MODEL_NAME_CT
    ds.ContributingEquipmentSequence = [equipment("Scanners", "109102"), equipment(MANUFACTURER, "109101")]
    assert not is_ours(ds)
    assert not is_ours(Dataset())
