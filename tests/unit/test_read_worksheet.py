"""What ultrasound worksheets say of a lesion, in codes and in words, and when nobody can tell."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from screener.study import MANUFACTURER
from screener.us_study import MODEL_NAME_US, Finding, ReadFindings
from tests.unit.worksheets import (
    ACOUSTIC,
    CIRCUMSCRIBED,
    ENHANCED,
    FINDING,
    GROUP,
    INDISTINCT,
    IRREGULAR,
    LYMPHADENOPATHY,
    MARGINS,
    MASS,
    NO,
    OVAL,
    PAROTID,
    SHADOWED,
    SHAPE,
    SITE,
    THYROID,
    TRACKING_ID,
    YES,
    code_item,
    container,
    make_worksheet,
    text_item,
    words,
    write_worksheet,
)
from workers.us.read_worksheet import (
    NO_WORKSHEET,
    NOTHING_SAID,
    SEVERAL,
    UNREADABLE,
    read_worksheets,
)

SHAPED, MARGIN = Finding.IRREGULAR_SHAPE, Finding.POORLY_DEFINED_MARGIN
ENHANCEMENT, NODES = Finding.POSTERIOR_ENHANCEMENT, Finding.SUSPICIOUS_LYMPH_NODES
LATERALITY = ("272741003", "SCT", "Laterality")
PRESENCE, ABSENT = words("Presence"), ("2667000", "SCT", "Absent")
WHOLE = (code_item(SHAPE, IRREGULAR), code_item(MARGINS, CIRCUMSCRIBED), code_item(ACOUSTIC, ENHANCED))


def read(folder: Path, *items: Dataset) -> ReadFindings:
    return read_worksheets([write_worksheet(folder, make_worksheet(*items))])


def test_a_worksheet_in_the_codes_of_breast_ultrasound_is_understood(tmp_path: Path) -> None:
    lesion = code_item(FINDING, MASS, *WHOLE, code_item(SITE, PAROTID))
    found = read(tmp_path, container(GROUP, lesion), code_item(LYMPHADENOPATHY, NO))
    assert found.values == {SHAPED: True, MARGIN: False, ENHANCEMENT: True, NODES: False}
    assert found.reason == (
        "Worksheet: irregular shape yes, poorly defined margin no, posterior enhancement yes, "
        "suspicious lymph nodes no."
    )


def test_the_old_names_of_the_codes_mean_the_same(tmp_path: Path) -> None:
    items = [
        code_item(("M-020F9", "SRT", "Shape"), ("M-02100", "SRT", "Round shape")),
        code_item(("F-01740", "SNM3", "?"), ("F-01745", "99SDM", "?")),
        code_item(("DC-72130", "SRT", "?"), ("G-A203", "SRT", "?")),
    ]
    assert read(tmp_path, *items).values == {SHAPED: False, MARGIN: True, NODES: True}


@pytest.mark.parametrize(
    ("name", "value", "finding", "answer"),
    [
        ("Shape", "Irregular", SHAPED, True),
        ("Mass shape", "oval", SHAPED, False),
        ("Lesion shape", "not irregular", SHAPED, None),
        ("Shape", "oval, partly irregular", SHAPED, None),
        ("Shape", "lobulated", SHAPED, None),
        ("Irregular shape", "No", SHAPED, False),
        ("Margin", "Not circumscribed", MARGIN, True),
        ("Margin", "not well defined", MARGIN, True),
        ("Margins", "Circumscribed", MARGIN, False),
        ("Margins", "ill-defined", MARGIN, True),
        ("Margins", "well-defined in part, indistinct in part", MARGIN, None),
        ("Margins", "not smooth", MARGIN, None),
        ("Poorly defined margin", "present", MARGIN, True),
        ("Posterior features", "Enhancement", ENHANCEMENT, True),
        ("Posterior acoustic features", "no posterior features", ENHANCEMENT, False),
        ("Posterior acoustic features", "No enhancement", ENHANCEMENT, False),
        ("Posterior acoustic features", "Combined enhancement and shadowing", ENHANCEMENT, None),
        ("Posterior acoustic features", "no shadowing", ENHANCEMENT, None),
        ("Posterior enhancement", "absent", ENHANCEMENT, False),
        ("Cervical lymph nodes", "no suspicious nodes", NODES, False),
        ("Lymph nodes", "enlarged, suspicious", NODES, True),
        ("Lymph nodes", "reactive", NODES, False),
        ("Lymph nodes", "present", NODES, None),
        ("Suspicious lymph nodes", "Yes", NODES, True),
        ("Posterior features", "lack of enhancement", ENHANCEMENT, None),
        ("Posterior features", "absence of posterior enhancement", ENHANCEMENT, None),
        ("Posterior features", "reduced enhancement", ENHANCEMENT, None),
        ("Posterior features", "enhancement (-)", ENHANCEMENT, None),
        ("Posterior features", "unchanged", ENHANCEMENT, None),
        ("Through transmission", "increased through-transmission", ENHANCEMENT, True),
        ("Margins", "partially circumscribed", MARGIN, None),
        ("Margins", "hardly circumscribed", MARGIN, None),
        ("Margins", "less well-defined", MARGIN, None),
        ("Margins", "un-sharp", MARGIN, None),
        ("Margins", "The margins are indistinct and spiculated.", MARGIN, True),
        ("Lymph nodes", "absence of suspicious nodes", NODES, None),
        ("Lymph nodes", "free of metastases", NODES, None),
        ("Lymph nodes", "suspicious features absent", NODES, None),
        ("Lymph nodes", "metastasis unlikely", NODES, None),
        ("Lymph nodes", "cannot exclude metastasis", NODES, None),
        ("Lymph nodes", "no suspicious cervical lymph nodes seen", NODES, False),
        ("Shape", "irregular?", SHAPED, None),
        ("Shape", "margin irregular", SHAPED, None),
        ("Shape", "oval, gently lobulated", SHAPED, None),
    ],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_other_codes_are_read_by_their_words(
    tmp_path: Path, name: str, value: str, finding: Finding, answer: bool | None, as_text: bool
) -> None:
    item = text_item(words(name), value) if as_text else code_item(words(name), words(value))
    found = read(tmp_path, item)
    assert found.values.get(finding) is answer
    assert (finding.value in found.reason) is True
    assert set(found.values) <= {finding}


@pytest.mark.parametrize("name", ["Surgical margin", "Shape of the bladder", "Axillary lymph nodes", "Distance"])
def test_other_names_are_passed_over(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, text_item(words(name), "irregular, indistinct, suspicious")).reason == NOTHING_SAID


def test_a_posterior_feature_may_stand_as_a_finding_by_itself(tmp_path: Path) -> None:
    found = read(tmp_path, code_item(FINDING, SHADOWED), code_item(FINDING, LYMPHADENOPATHY))
    assert found.values == {ENHANCEMENT: False, NODES: True}


def test_of_several_lesions_nothing_is_taken_but_the_lymph_nodes(tmp_path: Path) -> None:
    shaped, other = code_item(SHAPE, IRREGULAR), code_item(SHAPE, IRREGULAR)
    several = [
        (container(GROUP, shaped), container(GROUP, other)),
        (container(GROUP, shaped), container(GROUP, code_item(MARGINS, INDISTINCT))),
        (code_item(FINDING, MASS), code_item(FINDING, MASS), shaped),
        (container(GROUP, shaped, text_item(TRACKING_ID, "1")), container(GROUP, text_item(TRACKING_ID, "2"))),
    ]
    for items in several:
        found = read(tmp_path, *items, code_item(LYMPHADENOPATHY, YES))
        assert found.values == {NODES: True}, items
        assert SEVERAL in found.reason


def test_what_contradicts_itself_is_not_known(tmp_path: Path) -> None:
    found = read(tmp_path, code_item(SHAPE, IRREGULAR), code_item(SHAPE, OVAL), code_item(MARGINS, INDISTINCT))
    assert found.values == {MARGIN: True}
    assert "irregular shape contradicts itself" in found.reason


def test_what_is_said_of_another_organ_is_not_of_our_lesion(tmp_path: Path) -> None:
    thyroid = container(GROUP, code_item(SITE, THYROID), text_item(TRACKING_ID, "T"), *WHOLE)
    node = container(words("Lymph node"), *WHOLE)
    assert read(tmp_path, thyroid, node).reason == NOTHING_SAID
    parotid = container(GROUP, code_item(SITE, PAROTID), text_item(TRACKING_ID, "P"), code_item(SHAPE, OVAL))
    assert read(tmp_path, thyroid, node, parotid).values == {SHAPED: False}


def read_each(folder: Path, *sheets: Sequence[Dataset]) -> ReadFindings:
    """Read worksheets of which each holds one group of these items."""
    return read_worksheets([write_worksheet(folder, make_worksheet(container(GROUP, *items))) for items in sheets])


def test_worksheets_of_lesions_that_may_differ_are_not_put_together(tmp_path: Path) -> None:
    shaped, margin = code_item(SHAPE, IRREGULAR), code_item(MARGINS, INDISTINCT)
    one, two = text_item(TRACKING_ID, "1"), text_item(TRACKING_ID, "2")
    left, right = (code_item(LATERALITY, words(side)) for side in ("Left", "Right"))
    here, there = (code_item(SITE, words(f"{side} parotid gland")) for side in ("Left", "Right"))
    for sheets in (
        [(shaped,), (margin,)],
        [(shaped, one), (margin,)],
        [(shaped, one), (margin, two)],
        [(shaped, one, left), (margin, one, right)],
        [(shaped, one, here), (margin, one, there)],
        [(shaped,), (code_item(FINDING, MASS),)],
    ):
        found = read_each(tmp_path, *sheets)
        assert (found.values, found.reason) == ({}, SEVERAL), sheets


def test_worksheets_that_track_the_same_lesion_are_put_together(tmp_path: Path) -> None:
    one, nodes = text_item(TRACKING_ID, "1"), code_item(LYMPHADENOPATHY, NO)
    first, second = (code_item(SHAPE, IRREGULAR), one), (code_item(MARGINS, INDISTINCT), one)
    assert read_each(tmp_path, first, second, (nodes,)).values == {SHAPED: True, MARGIN: True, NODES: False}
    assert read_each(tmp_path, first, (code_item(SHAPE, OVAL), one)).values == {}


def test_a_worksheet_that_replaces_another_stands_alone(tmp_path: Path) -> None:
    first = make_worksheet(code_item(SHAPE, IRREGULAR), code_item(MARGINS, INDISTINCT))
    both = [write_worksheet(tmp_path, first)]
    amended = make_worksheet(code_item(SHAPE, OVAL), replaces=[first.SOPInstanceUID])
    assert read_worksheets([both[0], write_worksheet(tmp_path, amended)]).values == {SHAPED: False}


@pytest.mark.parametrize(
    "heading",
    [
        ("121068", "DCM", "Previous Findings"),
        ("121060", "DCM", "History"),
        *(words(text) for text in ("Submandibular gland", "Liver", "Carotid artery plaque", "Neck mass", "Baseline")),
    ],
)
def test_what_stands_under_a_heading_that_is_not_of_our_lesion_is_passed_over(
    tmp_path: Path, heading: tuple[str, str, str]
) -> None:
    assert read(tmp_path, container(heading, *WHOLE)).reason == NOTHING_SAID
    ours = container(heading, container(GROUP, *WHOLE, code_item(SITE, PAROTID)))
    assert bool(read(tmp_path, ours).values) is (heading[2] == "Neck mass")
    titled = make_worksheet(*WHOLE)
    titled.ConceptNameCodeSequence[0].CodeMeaning = f"{heading[2]} Ultrasound Report"
    assert read_worksheets([write_worksheet(tmp_path, titled)]).reason == NOTHING_SAID


@pytest.mark.parametrize(
    "site",
    [
        "Lymph node of neck",
        "Thyroid gland, neck",
        "Submandibular salivary gland",
        "Neck",
        "Lymph node of parotid gland",
    ],
)
def test_a_site_must_be_the_parotid_gland(tmp_path: Path, site: str) -> None:
    named = code_item(SITE, words(site))
    for items in (
        [container(GROUP, *WHOLE, named)],
        [code_item(SHAPE, IRREGULAR, named)],
        [code_item(FINDING, ENHANCED, named)],
        [*WHOLE, named],
    ):
        assert read(tmp_path, *items).reason == NOTHING_SAID
    assert read(tmp_path, code_item(SHAPE, IRREGULAR, code_item(SITE, PAROTID))).values == {SHAPED: True}


def test_a_group_whose_finding_is_no_lesion_is_passed_over(tmp_path: Path) -> None:
    node = container(GROUP, code_item(FINDING, words("Lymph node")), code_item(SHAPE, OVAL))
    assert read(tmp_path, node).reason == NOTHING_SAID


def test_lymph_nodes_of_elsewhere_or_earlier_are_passed_over(tmp_path: Path) -> None:
    nodes = code_item(LYMPHADENOPATHY, YES)
    for heading in ("Previous findings", "Axilla", "Thyroid", "Liver"):
        assert read(tmp_path, container(words(heading), nodes)).reason == NOTHING_SAID
    assert read(tmp_path, code_item(LYMPHADENOPATHY, YES, code_item(SITE, words("Groin")))).reason == NOTHING_SAID
    assert read(tmp_path, container(words("Cervical lymph nodes"), nodes)).values == {NODES: True}


@pytest.mark.parametrize(
    ("value", "children", "values"),
    [
        (ENHANCED, [code_item(PRESENCE, ABSENT)], {ENHANCEMENT: False}),
        (LYMPHADENOPATHY, [text_item(PRESENCE, "absent")], {NODES: False}),
        (ENHANCED, [code_item(PRESENCE, YES), code_item(SITE, PAROTID)], {ENHANCEMENT: True}),
        (ENHANCED, [code_item(words("Certainty"), words("Possible"))], {}),
        (ENHANCED, [text_item(words("Comment"), "none")], {}),
        (ENHANCED, [code_item(words("Biopsied"), NO)], {}),
        (ENHANCED, [code_item(PRESENCE, YES), code_item(PRESENCE, ABSENT)], {}),
        (SHADOWED, [code_item(PRESENCE, ABSENT)], {}),
        (INDISTINCT, [code_item(PRESENCE, ABSENT)], {}),
    ],
)
def test_what_qualifies_a_finding_counts(
    tmp_path: Path, value: tuple[str, str, str], children: list[Dataset], values: dict[Finding, bool]
) -> None:
    assert read(tmp_path, code_item(FINDING, value, *children)).values == values


def test_a_feature_of_what_is_absent_is_not_known(tmp_path: Path) -> None:
    absent = code_item(PRESENCE, ABSENT)
    for items in (
        [code_item(SHAPE, IRREGULAR, absent)],
        [container(GROUP, code_item(FINDING, ENHANCED), absent)],
        [code_item(FINDING, MASS, absent, *WHOLE)],
    ):
        found = read(tmp_path, *items)
        assert found.values == {}
        assert "not understood" in found.reason


def test_our_own_reports_and_other_documents_are_no_worksheets(tmp_path: Path) -> None:
    ours = make_worksheet(*WHOLE)
    ours.Manufacturer, ours.ManufacturerModelName = MANUFACTURER, MODEL_NAME_US
    dose = make_worksheet(*WHOLE)
    dose.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.67"
    for ds in (ours, dose):
        assert read_worksheets([write_worksheet(tmp_path, ds)]).values == {}
    assert read_worksheets([]).reason == NO_WORKSHEET


def test_a_worksheet_that_cannot_be_read_is_said_to_be_so(tmp_path: Path) -> None:
    good, broken = (write_worksheet(tmp_path, make_worksheet(*WHOLE)) for _ in range(2))
    broken.path.write_bytes(b"no DICOM")
    found = read_worksheets([good, broken])
    assert len(found.values) == 3
    assert UNREADABLE in found.reason
    assert read_worksheets([broken]).reason == UNREADABLE
    deep = code_item(SHAPE, IRREGULAR)
    for _ in range(70):
        deep = container(GROUP, deep)
    assert read(tmp_path, deep).reason == UNREADABLE


def test_no_word_of_a_worksheet_is_quoted(tmp_path: Path) -> None:
    found = read(tmp_path, text_item(SHAPE, "CANARY^DONOTLOG"), text_item(words("CANARY"), "CANARY"))
    assert "not understood" in found.reason
    assert "CANARY" not in found.reason
