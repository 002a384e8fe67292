"""Which addresses are told of which finding, as the rules in the settings say."""

import re
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from screener.list_notices import list_notice_warnings
from screener.match_rules import Found, FoundMass, Recipient, find_on_ct, find_on_ultrasound, judge_rules, match_rules
from screener.notice_settings import SIMPLE_RULE, Address, Notices
from screener.read_origin import read_origin
from screener.study import Side
from tests.peers.values import a_candidate

TUESDAY = datetime(2031, 5, 6, 12, 0)  # noqa: DTZ001 - a local time is meant
HOOK = {"name": "hook", "url": "http://127.0.0.1:1/"}
LEFT_MASS = find_on_ct([a_candidate(1, 900, Side.LEFT)])
NOTHING = Found(kind="ct", masses=())


def rule(name: str = "r", **keys: Any) -> dict[str, Any]:
    return {"name": name, "emails": [f"{name}@x.test"]} | keys


def notices(*rules: dict[str, Any], **more: Any) -> Notices:
    email = {"host": "smtp.test", "recipients": more.pop("recipients", [])}
    return Notices.model_validate({"email": email, "webhooks": [HOOK], "rules": list(rules)} | more)


def takers(settings: Notices, found: Found = LEFT_MASS, local: datetime = TUESDAY, **origin: str) -> list[str]:
    said = {name: (text,) for name, text in origin.items()}
    return [told.recipient for told in match_rules(settings, found, said, local) if told.takes]


def test_the_plain_list_of_addresses_is_a_rule_that_takes_everything_at_once() -> None:
    (told,) = match_rules(notices(recipients=["ent@x.test"]), LEFT_MASS, {}, TUESDAY)
    assert told[:3] == ("email", "ent@x.test", SIMPLE_RULE)
    assert told.takes
    assert not told.is_in_digest


def test_where_nothing_is_flagged_no_rule_takes_it_and_every_address_is_there_to_be_corrected() -> None:
    told = match_rules(notices(rule("a"), recipients=["ent@x.test"]), NOTHING, {}, TUESDAY)
    assert [(one.recipient, one.takes) for one in told] == [("ent@x.test", False), ("a@x.test", False)]


@pytest.mark.parametrize(
    ("keys", "is_taken"),
    [
        ({}, True),
        ({"kinds": ["us"]}, False),
        ({"sides": ["left"]}, True),
        ({"sides": ["right"]}, False),
        ({"min_voxels": 900}, True),
        ({"min_voxels": 901}, False),
        ({"min_diameter_mm": 12}, True),
        ({"min_diameter_mm": 12.1}, False),
        ({"min_probability": 0.9}, True),
        ({"min_probability": 0.91}, False),
        ({"hours": "08:00-17:00"}, True),
        ({"hours": "17:00-08:00"}, False),
        ({"days": ["tue"]}, True),
        ({"days": ["wed"]}, False),
    ],
)
def test_a_rule_takes_what_meets_its_conditions(keys: dict[str, Any], *, is_taken: bool) -> None:
    assert bool(takers(notices(rule(**keys)))) is is_taken


def test_one_mass_must_meet_all_conditions_of_a_rule() -> None:
    small_left, large_right = a_candidate(1, 600, Side.LEFT), a_candidate(2, 5000, Side.RIGHT)
    settings = notices(rule(sides=["left"], min_voxels=1000))
    assert takers(settings, find_on_ct([small_left, large_right])) == []
    assert takers(settings, find_on_ct([large_right, a_candidate(3, 1000, Side.LEFT)])) == ["r@x.test"]


def test_an_ultrasound_lesion_has_no_side_and_perhaps_no_size_and_is_taken_all_the_same() -> None:
    lesion = find_on_ultrasound(is_flagged=True, probability=0.8, diameter_mm=None)
    assert takers(notices(rule(sides=["left"], min_voxels=900, min_diameter_mm=50)), lesion) == ["r@x.test"]
    assert takers(notices(rule(min_probability=0.81)), lesion) == []
    benign = find_on_ultrasound(is_flagged=False, probability=0.2, diameter_mm=9)
    assert takers(notices(rule()), benign) == []


def test_hours_that_pass_midnight_belong_to_the_day_on_which_they_begin() -> None:
    settings = notices(rule(hours="22:00-06:00", days=["mon"]))
    assert takers(settings, local=TUESDAY.replace(hour=3)) == ["r@x.test"]
    assert takers(settings, local=TUESDAY.replace(hour=23)) == []


@pytest.mark.parametrize(
    ("origin", "is_taken"),
    [({"departments": "ENT ward 3"}, True), ({"departments": "Cardiology"}, False), ({}, True)],
)
def test_a_pattern_is_held_against_what_the_images_say(origin: dict[str, str], *, is_taken: bool) -> None:
    assert bool(takers(notices(rule(departments=["*ent*"])), **origin)) is is_taken


def test_a_study_that_names_no_place_can_be_left_to_others() -> None:
    settings = notices(rule("ent", departments=["*ENT*"], takes_unnamed_places=False), rule("rest", otherwise=True))
    assert takers(settings, departments="ENT") == ["ent@x.test"]
    assert takers(settings) == ["rest@x.test"]


def test_what_no_rule_takes_goes_to_the_rule_for_the_rest_and_only_then() -> None:
    settings = notices(rule("rest", otherwise=True), rule("right", sides=["right"]))
    assert takers(settings) == ["rest@x.test"]
    assert takers(settings, find_on_ct([a_candidate(1, 900, Side.RIGHT)])) == ["right@x.test"]


def test_an_address_of_two_rules_is_told_once_and_at_once_where_one_of_them_says_so() -> None:
    slow, fast = rule("slow", emails=["a@x.test"], urgency="digest"), rule("fast", emails=["a@x.test"])
    (told,) = [one for one in match_rules(notices(slow, fast), LEFT_MASS, {}, TUESDAY) if one.takes]
    assert (told.rule, told.is_in_digest) == ("fast", False)


def test_a_rule_says_why_it_takes_and_why_not() -> None:
    settings = notices(rule("a"), rule("b", min_voxels=2000))
    taken, refused = judge_rules(settings, LEFT_MASS, {}, TUESDAY)
    assert (taken.takes, taken.reason) == (True, "left parotid, 900 voxels, probability 0.90")
    assert (refused.takes, refused.reason) == (False, "900 of at least 2000 voxels")


def test_a_reason_never_quotes_the_images() -> None:
    settings = notices(rule(wards=["x"]))
    (judged,) = judge_rules(settings, LEFT_MASS, {"wards": ("CANARY^DONOTLOG",)}, TUESDAY)
    assert not judged.takes
    assert "CANARY" not in judged.reason


def test_a_bare_pair_is_told_at_once_of_everything() -> None:
    assert Recipient(*("email", "a")).takes
    assert Recipient("email", "a").escalate_seconds is None


@pytest.mark.parametrize(
    ("tables", "sentence"),
    [
        ({"rules": [{"name": "a"}]}, "names nobody"),
        ({"rules": [{"name": "a", "webhooks": ["other"]}]}, "names other"),
        ({"rules": [rule("a", escalate_after_minutes=5)]}, "belong together"),
        ({"rules": [rule("a", escalate_after_minutes=5, escalate_to="b")]}, "which is no rule"),
        ({"rules": [rule("a", escalate_after_minutes=5, escalate_to="a")]}, "in a circle"),
        ({"rules": [rule("a"), rule("A")]}, "same name"),
        ({"rules": [rule("a")], "email": {"host": ""}}, "notices.email.host is empty"),
        ({"hl7": [{"name": "ehr", "host": "h", "port": 1}], "rules": [{"name": "a", "hl7": ["ehr"]}]}, "ehr needs"),
        ({"people": [rule("p", emails=["a@x"]), rule("q", emails=["a@x"])]}, "share an address"),
        ({"webhooks": [{"name": "w", "url": "http://ris.test/"}]}, "may do without https"),
        ({"webhooks": [{"name": "w", "url": "https://u:p@ris.test/"}]}, "without a user name"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_a_sentence(tables: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        notices(**tables) if "rules" not in tables else Notices.model_validate(
            {"email": {"host": "smtp.test"}, "webhooks": [HOOK]} | tables
        )


def test_a_long_chain_of_steps_is_no_circle() -> None:
    chain = [rule(f"r{n}", escalate_after_minutes=5, escalate_to=f"r{n + 1}") for n in range(5)]
    assert len(notices(*chain, rule("r5")).rules) == 6


def write_image(path: Path, **elements: str) -> Path:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID, ds.PatientName = CTImageStorage, generate_uid(), "CANARY^DONOTLOG"
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    ds.save_as(path, enforce_file_format=True)
    return path


def test_what_the_images_say_of_their_origin_is_read_and_the_patient_is_not(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.dcm", RequestingService="ENT", StationName="CT1", CurrentPatientLocation="W3")
    origin = read_origin(path)
    assert origin == {"institutions": (), "departments": ("ENT",), "wards": ("W3",), "stations": ("CT1",)}


def test_a_file_that_cannot_be_read_names_no_place(tmp_path: Path) -> None:
    (tmp_path / "b.dcm").write_bytes(b"\0" * 200)
    for name in ("absent.dcm", "b.dcm"):
        assert set(read_origin(tmp_path / name).values()) == {()}


def test_a_disk_that_is_away_is_no_file_that_names_no_place(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_origin(tmp_path / "unmounted" / "a.dcm")


def test_a_mass_without_numbers_of_its_kind_misses_none_of_them() -> None:
    bare = FoundMass(side=None, voxels=None, diameter_mm=None, probability=None)
    assert takers(notices(rule(min_probability=0.9)), Found(kind="us", masses=(bare,))) == ["r@x.test"]


@pytest.mark.parametrize(
    ("rules", "recipients", "is_warned"),
    [
        ([rule("a")], [], False),
        ([rule("a", sides=["left"])], [], True),
        ([rule("a", sides=["left"])], ["ent@x.test"], False),
        ([rule("a", sides=["left"]), rule("b", otherwise=True)], [], False),
        ([rule("a", sides=["left"]), rule("b", otherwise=True, hours="08:00-17:00")], [], True),
    ],
)
def test_settings_that_may_leave_a_finding_untold_are_warned_of(
    rules: list[dict[str, Any]], recipients: list[str], *, is_warned: bool
) -> None:
    assert bool(list_notice_warnings(notices(*rules, recipients=recipients))) is is_warned


def test_the_rules_in_the_readme_work_as_they_stand() -> None:
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    mail, rules = (
        next(block for block in re.findall(r"```toml\n(.+?)```", readme, re.S) if block.startswith(begin))
        for begin in ("[notices.email]", "[[notices.rules]]")
    )
    settings = Notices.model_validate(tomllib.loads(mail + rules)["notices"])
    told = match_rules(settings, find_on_ct([a_candidate(1, 5000, Side.LEFT)]), {"departments": ("ENT",)}, TUESDAY)
    assert [one.recipient for one in told if one.takes] == ["ent-oncall@hospital.example"]
    assert settings.find_person(Address("email", "dr.a@hospital.example")) is not None
