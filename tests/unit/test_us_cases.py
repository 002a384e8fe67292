"""Ultrasound cases are read or passed over with a reason, split by group alone, and changed as physics allows."""

import csv

import numpy as np
import pytest
from PIL import Image

from screener.outcomes import NeedsPerson
from screener.us_study import Box
from tests.conftest import SHARED
from tests.unit.us_cases import SHAPE, write_folder, write_index, write_row
from tests.unit.us_objects import draw_picture, make_object, write_object
from workers.models.us_image import surround_picture
from workers.training.us_augment import (
    add_speckle,
    change_gain,
    change_look,
    draw_depth_gain,
    draw_shadow,
    move_square,
    turn_view,
)
from workers.training.us_draw_samples import (
    draw_for_classifier,
    draw_for_segmenter,
    sort_for_classifier,
    sort_for_segmenter,
    view_for_classifier,
)
from workers.training.us_read_cases import MAX_SIDE_PX, digest_rows, list_rows, read_case, read_cases
from workers.training.us_split_cases import Part, count_parts, find_part, take_part

DATA = SHARED / "data" / "ultrasound"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the development data are not on this machine")


@pytest.fixture
def rng():
    return np.random.default_rng(8)


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "cases")


def change_index(folder, **values):
    """Change the first row of the index."""
    with (folder / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[0].update(values)
    write_index(folder, rows)


def test_a_case_is_read_with_its_outline_or_with_an_empty_one(folder):
    cases = list(read_cases(list_rows(folder)))
    assert len(cases) == 36
    assert {case.gray.shape for case in cases} == {SHAPE}
    assert all(case.lesion.any() == (case.row.label != "normal") for case in cases)


def test_a_lesion_that_nobody_has_outlined_is_not_taken_for_healthy_tissue(folder):
    change_index(folder, has_lesion_mask="0")
    case = next(read_cases(list_rows(folder)))
    assert case.lesion is None
    urns = sort_for_segmenter([case, *read_cases(list_rows(folder)[1:])])
    assert len(urns.healthy["ours"]["healthy"]) == 6
    with pytest.raises(NeedsPerson):
        sort_for_segmenter([case])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"label": "perhaps"}, "unknown label"),
        ({"id": "../case_000"}, "file's name"),
        ({"id": "gone"}, "no picture"),
    ],
)
def test_a_row_that_cannot_be_used_is_passed_over_with_a_reason(folder, caplog, values, said):
    change_index(folder, **values)
    assert len(list(read_cases(list_rows(folder)))) == 35
    assert said in caplog.text


def test_a_picture_or_outline_that_does_not_fit_is_passed_over_with_a_reason(folder, caplog):
    (folder / "case_000.png").write_bytes(b"no picture")
    (folder / "case_001_mask.png").unlink()
    Image.fromarray(np.ones((9, 9), np.uint8)).save(folder / "case_003_mask.png")
    Image.fromarray(np.zeros(SHAPE, np.uint8)).save(folder / "case_004_mask.png")
    assert len(list(read_cases(list_rows(folder)))) == 32
    for said in ("cannot be decoded", "no such file", "another size", "is empty"):
        assert said in caplog.text


@pytest.mark.parametrize("content", [None, "", "id,label\n1,benign\n", "\0"])
def test_a_folder_without_a_usable_index_is_said_plainly(tmp_path, content):
    if content is not None:
        (tmp_path / "index.csv").write_text(content)
    with pytest.raises(NeedsPerson) as refused:
        list_rows(tmp_path)
    assert refused.value.code == "no_cases"


def test_a_case_named_twice_is_refused(folder):
    change_index(folder, id="case_001")
    with pytest.raises(NeedsPerson, match="twice"):
        list_rows(folder)


def test_a_large_picture_is_shrunk_with_its_outline(tmp_path, rng):
    row = write_row(tmp_path, rng, "a", "benign", group="g")
    for name in ("a.png", "a_mask.png"):
        with Image.open(tmp_path / name) as image:
            image.resize((1600, 1200)).save(tmp_path / name)
    write_index(tmp_path, [row])
    [case] = read_cases(list_rows(tmp_path))
    assert case.gray.shape == case.lesion.shape == (MAX_SIDE_PX * 3 // 4, MAX_SIDE_PX)
    assert case.gray[case.lesion].mean() < case.gray[~case.lesion].mean() - 50


def test_the_digest_follows_the_files_and_the_index(folder):
    before = digest_rows(list_rows(folder))
    assert digest_rows(list_rows(folder)) == before
    (folder / "case_000.png").write_bytes(b"other")
    changed = digest_rows(list_rows(folder))
    change_index(folder, group="another")
    assert len({before, changed, digest_rows(list_rows(folder))}) == 3


def test_a_group_keeps_its_part_whatever_cases_come_or_go():
    parts = [find_part("ours", f"g{number}") for number in range(2000)]
    assert parts.count(Part.TEST) == pytest.approx(400, abs=60)
    assert parts.count(Part.VALIDATION) == pytest.approx(300, abs=60)
    assert parts[:50] == [find_part("ours", f"g{number}") for number in range(50)]
    assert any(find_part("theirs", f"g{number}") is not part for number, part in enumerate(parts[:50]))


def test_no_group_is_split_and_no_case_is_lost(folder):
    rows = list_rows(folder)
    taken = {part: take_part(rows, part) for part in Part}
    assert sorted(row.name for part in taken.values() for row in part) == [row.name for row in rows]
    groups = [{row.group for row in part} for part in taken.values()]
    assert sum(len(names) for names in groups) == len(set().union(*groups))


@needs_data
def test_the_parts_of_the_shared_data_are_near_their_shares_in_every_kind():
    for kind, counts in count_parts(list_rows(DATA)).items():
        total = sum(counts.values())
        assert 0.1 < counts["test"] / total < 0.3, kind
        assert 0.1 < counts["validation"] / total < 0.25, kind


@needs_data
def test_the_shared_cases_are_read_as_their_index_says():
    rows = list_rows(DATA)
    assert len(rows) == 1053
    chosen = rows[::60]
    cases = list(read_cases(chosen))
    assert len(cases) == len(chosen)
    assert {case.row.source for case in cases} == {"busi", "ddti", "sgus"}
    assert all(max(case.gray.shape) <= 384 for case in cases)


BOX = Box(top=60, left=100, bottom=420, right=540)


def write_dicom(folder, rng, pixels, mask=None):
    """Write a DICOM case of pixels (rows, columns, 3) or a clip, with the outline where there is one."""
    instance = write_object(folder, make_object(pixels))
    if mask is not None:
        Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{instance.path.stem}_mask.png")
    label = "normal" if mask is None else "benign"
    row = {"id": instance.path.stem, "source": "ours", "label": label, "group": "g", "has_lesion_mask": ""}
    write_index(folder, [row])


def test_a_dicom_file_is_cut_to_the_picture_that_the_product_takes_and_its_outline_with_it(tmp_path, rng):
    mask = np.zeros((480, 640), bool)
    mask[200:260, 300:400] = True
    write_dicom(tmp_path, rng, draw_picture(BOX, shape=mask.shape), mask)
    [case] = read_cases(list_rows(tmp_path))
    assert case.gray.shape == pytest.approx((360, 440), abs=6)
    assert np.argwhere(case.lesion).min(0) == pytest.approx((140, 200), abs=6)
    assert case.lesion.sum() == pytest.approx(6000, rel=0.05)


def test_a_clip_is_no_case_for_an_outline_belongs_to_one_frame(tmp_path, rng, caplog):
    write_dicom(tmp_path, rng, np.stack([draw_picture(BOX, shape=(480, 640))] * 2))
    assert list(read_cases(list_rows(tmp_path))) == []
    assert "clip" in caplog.text


def test_every_sample_keeps_the_skin_at_the_top(rng):
    """A ramp that darkens with depth still does, whatever is drawn: there is no vertical flip and no large turn."""
    ramp = np.tile(np.linspace(220, 40, 64, dtype=np.float32)[:, None], (1, 64))
    inside = np.ones((64, 64), bool)
    for _ in range(100):
        gray, seen, _ = turn_view(ramp, inside, inside, rng)
        gray = change_look(np.ascontiguousarray(gray), np.ascontiguousarray(seen), rng, with_shadow=True)
        assert gray[:24][seen[:24]].mean() > gray[40:][seen[40:]].mean() + 20


def test_what_turns_the_picture_turns_the_outline_with_it(rng):
    lesion = np.zeros((64, 64), bool)
    lesion[20:30, 8:22] = True
    gray = np.where(lesion, 30, 200).astype(np.float32)
    mirrored = 0
    for _ in range(20):
        seen, _, moved = turn_view(gray, np.ones((64, 64), bool), lesion, rng)
        assert seen[moved].mean() < 60
        mirrored += int(np.argwhere(moved)[:, 1].mean() > 32)
    assert 3 <= mirrored <= 17


def test_changes_stay_within_gray_and_leave_black_what_is_beyond_the_picture(rng):
    gray, inside = np.zeros((64, 64), np.float32), np.zeros((64, 64), bool)
    inside[10:50] = True
    gray[inside] = rng.uniform(0, 255, inside.sum())
    for _ in range(40):
        changed = change_look(gray, inside, rng, with_shadow=True)
        assert changed.min() >= 0
        assert changed.max() <= 255
        assert not changed[~inside].any()
        assert changed.dtype == np.float32


def test_each_change_is_what_its_name_says(rng):
    even = np.full((64, 64), 128, np.float32)
    assert draw_depth_gain((64, 64), rng).shape == (64, 1)
    shadow = draw_shadow((64, 64), rng)
    assert 0.1 < shadow.min() < 0.75
    assert shadow.max() <= 1
    assert shadow[-1].min() < shadow[0].min() + 1e-6
    assert add_speckle(even, rng).std() > 2
    assert not add_speckle(np.zeros((64, 64), np.float32), rng).any()
    ramp = np.tile(np.linspace(10, 240, 64, dtype=np.float32), (64, 1))
    assert (np.diff(change_gain(ramp, rng), axis=1) > 0).all()


def test_another_depth_and_place_stay_within_their_bounds(rng):
    square = surround_picture((100, 100))
    for _ in range(50):
        moved = move_square(square, rng, scales=(0.8, 1.2), shift=0.1)
        assert 80 <= moved.side <= 120
        assert abs(moved.top + moved.side / 2 - 50) <= 10


def test_sources_and_kinds_are_drawn_equally_often_however_many_cases_each_has(tmp_path, rng):
    few, many = write_folder(tmp_path / "few", 6, source="few"), write_folder(tmp_path / "many", 36, source="many")
    cases = [case for folder in (few, many) for case in read_cases(list_rows(folder))]
    urns = sort_for_classifier(cases)
    kinds = [int(draw_for_classifier(urns, rng, side_px=32, healthy_share=0.0)[1]) for _ in range(200)]
    assert sum(kinds) == pytest.approx(100, abs=30)
    assert {source: sorted(kinds) for source, kinds in urns.lesions.items()} == {
        "few": ["benign", "malignant"],
        "many": ["benign", "malignant"],
    }


def test_a_source_of_one_kind_alone_is_not_learned_from_by_the_classifier(tmp_path, rng):
    row = write_row(tmp_path, rng, "a", "malignant", group="a", source="thyroid")
    write_index(tmp_path, [row])
    with pytest.raises(NeedsPerson, match="both kinds"):
        sort_for_classifier(list(read_cases(list_rows(tmp_path))))


def test_samples_have_the_shapes_and_values_that_networks_take(folder, rng):
    cases = list(read_cases(list_rows(folder)))
    segmenter, classifier = sort_for_segmenter(cases), sort_for_classifier(cases)
    shares = []
    for _ in range(30):
        image, classes = draw_for_segmenter(segmenter, rng, side_px=64, healthy_share=0.5)
        assert image.shape == (1, 64, 64)
        assert classes.shape == (64, 64)
        assert image.min() == -1
        assert image.max() == 1
        shares.append(classes.any())
        image, kind = draw_for_classifier(classifier, rng, side_px=32, healthy_share=0.3)
        assert image.shape == (1, 32, 32)
        assert kind.shape == ()
    assert 5 <= sum(shares) <= 25


def test_the_same_draw_gives_the_same_sample_whatever_order_the_cases_come_in(folder):
    cases = list(read_cases(list_rows(folder)))

    def draw(cases):
        urns = sort_for_segmenter(cases)
        return draw_for_segmenter(urns, np.random.default_rng(4), side_px=32, healthy_share=0.2)[0]

    assert np.array_equal(draw(cases), draw(cases[::-1]))


def test_the_classifier_sees_the_largest_piece_of_an_outline_in_the_middle(folder):
    case = read_case(next(row for row in list_rows(folder) if row.label == "malignant"))
    case.lesion[0:2, 0:2] = True
    view = view_for_classifier(case, 32)[0]
    assert view[12:20, 12:20].mean() < view[:3].mean() - 0.5
