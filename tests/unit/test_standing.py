"""What a later run has not looked at again stands: it is not withdrawn, owed still, and in force on the pages."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from screener.channels.message import Message, compose_digest
from screener.channels.webhook import describe_message
from screener.decide import decide
from screener.escalate import escalate_unacknowledged
from screener.journey import Ending, Queue
from screener.match_rules import find_on_ct, match_rules
from screener.notice_settings import Notices
from screener.store import OwedDigest, Run, Screening, Store
from screener.store import tables as t
from screener.store.web_worklist import Wish
from screener.study import SeriesChoice, Side
from screener.us_study import FrameChoice
from tests.peers.values import a_candidate, an_assessment, an_instance
from tests.unit import test_store_ultrasound as ultrasound
from tests.unit.test_store import LEASE, QUIET, START, THRESHOLDS, claimed, dispatch
from tests.unit.test_taken_back import ENT, LosesAnswers, Mail, tell

MASS, NOTHING, UNSEEN = "mass", "nothing", "unseen"
HOUR = timedelta(hours=1)
RESULT = {
    "role": "sr", "sop_class_uid": "1.2", "sop_instance_uid": "1.2.3.4", "path": "results/1/sr.dcm", "sha256": "0" * 64,
}  # fmt: skip


def screening(seen: Mapping[Side, str]) -> Screening:
    assessments = tuple(an_assessment(side, is_assessed=seen[side] != UNSEEN) for side in (Side.RIGHT, Side.LEFT))
    sides = [side for side in (Side.RIGHT, Side.LEFT) if seen[side] == MASS]
    candidates = tuple(a_candidate(number, 900, side) for number, side in enumerate(sides, start=1))
    verdict = decide(assessments, candidates, THRESHOLDS)
    return Screening(
        assessments=assessments, candidates=candidates, verdict=verdict, results=(), model_identity="2.25.99"
    )


def begin(store: Store, number: int, **changes: object) -> tuple[Run, datetime]:
    """Let an image come, `number` hours after the start, and claim the run that it opens."""
    now = START + number * HOUR
    store.record_instance(an_instance(number, **changes), now - QUIET)
    dispatch(store, now)
    return claimed(store, now), now


def look(store: Store, number: int, right: str, left: str = NOTHING, notices: Notices | None = None) -> datetime:
    """Let the run of hour `number` see so much on either side."""
    run, now = begin(store, number)
    seen = screening({Side.RIGHT: right, Side.LEFT: left})
    recipients = [ENT] if notices is None else match_rules(notices, find_on_ct(seen.candidates), {}, now.astimezone())
    store.finish_run(run, seen, destinations=["pacs"], recipients=recipients, seconds=1.0, now=now)
    return now


def hear(store: Store, mail: Mail, now: datetime) -> list[Message]:
    """What is told now."""
    before = len(mail.taken)
    tell(store, mail, now)
    return [message for message, _ in mail.taken[before:]]


def deliver(store: Store, now: datetime) -> None:
    while (delivery := store.claim_delivery("sender", now, LEASE)) is not None:
        store.delivery_sent(delivery, seconds=0.1, now=now)


def states(store: Store) -> list[tuple[str, list[str]]]:
    return [(run.state, [delivery.state for delivery in run.deliveries]) for run in store.study_report(1).runs]


def test_what_was_told_stands_until_a_run_has_looked_and_found_nothing(store: Store) -> None:
    mail = Mail()
    assert len(hear(store, mail, look(store, 1, MASS))) == 1
    for number in (2, 3):
        now = look(store, number, UNSEEN)
        assert hear(store, mail, now) == []
        deliver(store, now)
    assert store.study_report(1).ending is Ending.DONE
    (withdrawn,) = hear(store, mail, look(store, 4, NOTHING))
    assert withdrawn.subject.endswith("earlier notice withdrawn: no mass above the threshold")
    assert hear(store, mail, look(store, 5, UNSEEN)) == []


def test_what_nobody_has_heard_yet_is_told_although_a_later_run_could_not_look(store: Store) -> None:
    look(store, 1, MASS)
    now = look(store, 2, UNSEEN)
    (found,) = hear(store, Mail(), now)
    assert "mass in the right parotid" in found.subject
    assert states(store) == [("ended", ["owed"]), ("ended", ["owed"])]


def test_what_stands_is_in_force_on_the_pages(store: Store) -> None:
    look(store, 1, MASS)
    run_id = store.flagged_run(1)
    look(store, 2, UNSEEN)
    assert store.flagged_run(1) == run_id
    assert store.decided_number(1).number == 1
    assert store.study_report(1).run_in_force.number == 1
    (line,) = store.worklist_page(Wish(show="open")).lines
    assert (line.is_flagged, [mass.place for mass in line.found]) == (True, ["right"])
    look(store, 3, NOTHING)
    assert (store.flagged_run(1), store.decided_number(1).number) == (None, 3)
    assert store.worklist_page(Wish(show="open")).lines == ()


def test_a_side_that_was_taken_back_is_not_in_force_on_the_worklist(store: Store) -> None:
    look(store, 1, MASS, MASS)
    for number, right, left in ((2, UNSEEN, NOTHING), (3, UNSEEN, UNSEEN)):
        look(store, number, right, left)
        (line,) = store.worklist_page(Wish(show="open")).lines
        assert [mass.place for mass in line.found] == ["right"]
        sides = ("right", "left")
        assert [len(store.worklist_page(Wish(show="open", side=side)).lines) for side in sides] == [1, 0]
    store.acknowledge(store.flagged_run(1), by="dr", how="web", now=START + 4 * HOUR)
    assert store.worklist_page(Wish(side="left")).lines == ()
    look(store, 4, UNSEEN, MASS)
    (line,) = store.worklist_page(Wish(show="open", side="left")).lines
    assert [mass.place for mass in line.found] == ["left"]


def test_the_worklist_is_sorted_by_what_is_left_of_a_finding(store: Store) -> None:
    small, large = a_candidate(1, 900), replace(a_candidate(2, 900, Side.LEFT), longest_diameter_mm=40.0)
    run, now = begin(store, 1)
    both = screening({Side.RIGHT: MASS, Side.LEFT: MASS})
    store.finish_run(
        run, replace(both, candidates=(small, large)), destinations=[], recipients=[], seconds=1.0, now=now
    )
    first = run.study_id
    run, now = begin(store, 2, study_instance_uid="1.2.4", series_instance_uid="1.2.4.1")
    one = screening({Side.RIGHT: MASS, Side.LEFT: NOTHING})
    medium = replace(small, longest_diameter_mm=20.0)
    store.finish_run(run, replace(one, candidates=(medium,)), destinations=[], recipients=[], seconds=1.0, now=now)
    second, by_size = run.study_id, Wish(sort="size")
    assert [line.study_id for line in store.worklist_page(by_size).lines] == [first, second]
    look(store, 3, UNSEEN, NOTHING)
    assert [line.study_id for line in store.worklist_page(by_size).lines] == [second, first]
    end = store.worklist_page(by_size, limit=1).after
    assert end is not None
    assert [line.study_id for line in store.worklist_page(by_size, end).lines] == [first]


def test_a_notice_is_withdrawn_in_part_where_one_side_was_looked_at_again(store: Store) -> None:
    mail = Mail()
    hear(store, mail, look(store, 1, MASS, MASS))
    (part,) = hear(store, mail, look(store, 2, UNSEEN, NOTHING))
    assert part.subject.endswith("withdrawn in part: what was found in the right parotid before stands")
    assert "The earlier notice about study 1 is withdrawn in part." in part.text
    assert "What was found in the right parotid before could not be assessed again: it stands." in part.text
    assert "Left parotid: no mass above the threshold" in part.text
    assert hear(store, mail, look(store, 3, UNSEEN, NOTHING)) == []
    (withdrawn,) = hear(store, mail, look(store, 4, NOTHING, NOTHING))
    assert "is withdrawn.\n" in withdrawn.text


def test_what_is_withdrawn_in_part_is_so_in_a_webhook_and_a_digest(store: Store) -> None:
    mail = Mail()
    hear(store, mail, look(store, 1, MASS, MASS))
    (part,) = hear(store, mail, look(store, 2, UNSEEN, NOTHING))
    described = describe_message(part)
    assert (described["kind"], described["studies"][0]["standing"]) == ("correction", ["right"])
    (notice,) = part.notices
    digest = OwedDigest(digest_id=1, channel="email", recipient=ENT[1], attempts=0, owed_since=START, notices=(notice,))
    text = compose_digest(digest).text
    assert "earlier notices are withdrawn, in whole or in part" in text
    assert "What was found in the right parotid before could not be assessed again" in " ".join(text.split())


def test_what_is_withdrawn_in_part_is_no_finding_for_the_daily_limit(store: Store) -> None:
    mail = Mail()
    (both,) = hear(store, mail, look(store, 1, MASS, MASS))
    now = look(store, 2, UNSEEN, NOTHING)
    assert len(hear(store, mail, now)) == 1
    other = replace(both.notices[0], study_id=2)
    assert [store.count_told_alone([ENT], since, other) for since in (START, now)] == [1, 0]


def test_what_was_owed_of_both_sides_is_told_as_far_as_it_stands(store: Store) -> None:
    look(store, 1, MASS, MASS)
    (part,) = hear(store, Mail(), look(store, 2, UNSEEN, NOTHING))
    assert "What was found in the right parotid before could not be assessed again" in part.text
    assert "That notice may not have reached you." in part.text


def test_another_finding_says_that_the_first_stands_and_takes_nothing_back(store: Store) -> None:
    mail = Mail()
    hear(store, mail, look(store, 1, MASS, NOTHING))
    (other,) = hear(store, mail, look(store, 2, UNSEEN, MASS))
    assert "mass in the left parotid" in other.subject
    assert "What was found in the right parotid before could not be assessed again: it stands." in other.text
    (part,) = hear(store, mail, look(store, 3, UNSEEN, NOTHING))
    assert "withdrawn in part" in part.subject
    (again,) = hear(store, mail, look(store, 4, NOTHING, MASS))
    assert "mass in the left parotid" in again.subject
    (withdrawn,) = hear(store, mail, look(store, 5, NOTHING, NOTHING))
    assert "is withdrawn.\n" in withdrawn.text


def test_who_heard_of_two_sides_hears_that_one_is_gone_although_the_other_is_the_same(store: Store) -> None:
    mail = Mail()
    hear(store, mail, look(store, 1, MASS, NOTHING))
    hear(store, mail, look(store, 2, UNSEEN, MASS))
    (only_left,) = hear(store, mail, look(store, 3, NOTHING, MASS))
    assert "Right parotid: no mass above the threshold" in only_left.text


def test_a_run_that_could_not_look_corrects_nothing_while_the_mail_is_on_its_way(store: Store) -> None:
    now = look(store, 1, MASS)
    mail = Mail(lambda: look(store, 2, UNSEEN))
    assert len(hear(store, mail, now + HOUR)) == 1
    assert hear(store, mail, now + 2 * HOUR) == []


def test_a_part_that_is_taken_back_while_the_mail_is_on_its_way_is_corrected(store: Store) -> None:
    now = look(store, 1, MASS, MASS)
    mail = Mail(lambda: look(store, 2, UNSEEN, NOTHING))
    hear(store, mail, now + HOUR)
    (part,) = hear(store, mail, now + 2 * HOUR)
    assert "withdrawn in part" in part.subject
    assert hear(store, mail, now + 3 * HOUR) == []


def test_what_may_have_been_heard_stands_too(store: Store) -> None:
    mail = LosesAnswers()
    hear(store, mail, look(store, 1, MASS))
    hear(store, mail, look(store, 2, UNSEEN))
    assert mail.heard() == ["right", "right"]
    hear(store, mail, look(store, 3, NOTHING))
    assert mail.heard()[-1] == "withdrawn"


CHAIN = Notices.model_validate(
    {
        "email": {"host": "smtp.test"},
        "rules": [
            {"name": "first", "emails": ["a@x"], "escalate_after_minutes": 90, "escalate_to": "second"},
            {"name": "second", "emails": ["chief@x"], "otherwise": True},
        ],
    }
)


@pytest.mark.parametrize(("left", "told"), [(NOTHING, "mass in the right parotid"), (MASS, "withdrawn in part")])
def test_what_stands_is_passed_on_where_nobody_acknowledges(store: Store, left: str, told: str) -> None:
    mail = Mail()
    tell(store, mail, look(store, 1, MASS, left, CHAIN))
    tell(store, mail, look(store, 2, UNSEEN, NOTHING, CHAIN))
    for hours in (3, 4, 6, 9):
        escalate_unacknowledged(store, CHAIN, START + hours * HOUR)
        tell(store, mail, START + hours * HOUR)
    (passed_on,) = [message for message, to in mail.taken if to == "chief@x"]
    assert told in passed_on.subject


def pass_on(store: Store, mail: Mail) -> list[Message]:
    """What is told to the chief where nobody acknowledges."""
    for hours in (4, 6, 9):
        escalate_unacknowledged(store, CHAIN, START + hours * HOUR)
        tell(store, mail, START + hours * HOUR)
    return [message for message, to in mail.taken if to == "chief@x"]


def test_findings_of_two_runs_that_stand_are_passed_on_as_found(store: Store) -> None:
    mail = Mail()
    for number, (right, left) in enumerate([(MASS, NOTHING), (UNSEEN, MASS), (UNSEEN, UNSEEN)], start=1):
        tell(store, mail, look(store, number, right, left, CHAIN))
    (passed_on,) = pass_on(store, mail)
    assert "mass in the left parotid" in passed_on.subject
    assert "What was found in the right parotid before could not be assessed again: it stands." in passed_on.text
    assert "withdrawn" not in passed_on.text
    assert [notice.is_flagged for notice in passed_on.notices] == [True], "it can be acknowledged"


def test_what_is_passed_on_does_not_say_that_a_withdrawn_side_stands(store: Store) -> None:
    mail = Mail()
    for number, (right, left) in enumerate([(MASS, NOTHING), (UNSEEN, MASS), (NOTHING, UNSEEN)], start=1):
        tell(store, mail, look(store, number, right, left, CHAIN))
    (passed_on,) = pass_on(store, mail)
    assert "what was found in the left parotid before stands" in passed_on.subject
    assert "What was found in the right parotid" not in passed_on.text


def test_who_took_note_of_what_stands_ends_its_escalation(store: Store) -> None:
    mail = Mail()
    tell(store, mail, look(store, 1, MASS, MASS, CHAIN))
    store.acknowledge(store.flagged_run(1), by="a@x", how="mail", now=START + HOUR)
    look(store, 2, UNSEEN, NOTHING, CHAIN)
    assert escalate_unacknowledged(store, CHAIN, START + 9 * HOUR) == 0


def test_a_finding_that_comes_again_after_a_run_that_could_not_look_needs_no_second_acknowledgement(
    store: Store,
) -> None:
    look(store, 1, MASS)
    store.acknowledge(store.flagged_run(1), by="a@x", how="mail", now=START + HOUR)
    for number, right in ((2, UNSEEN), (3, MASS)):
        look(store, number, right)
    assert store.acknowledgement_of(store.flagged_run(1)) is not None


def test_results_of_what_stands_that_were_given_up_are_tried_again_with_the_study(store: Store) -> None:
    now = look(store, 1, MASS)
    delivery = store.claim_delivery("sender", now, LEASE)
    store.delivery_failed(delivery, error="away", not_before=None, now=now)
    now = look(store, 2, UNSEEN)
    assert states(store) == [("ended", ["owed"]), ("ended", ["owed"])]
    tell(store, Mail(), now)
    deliver(store, now)
    assert store.study_report(1).ending is Ending.DONE


@pytest.fixture
def both(store: Store) -> Store:
    """A study whose ultrasound was flagged and told; its results are owed still."""
    run, now = ultrasound.claimed(store, 1)
    ultrasound.finish(store, run, 0.83, now)
    assert len(ultrasound.told(store, now)) == 1
    return store


def screen_ct(store: Store, number: int, right: str) -> datetime:
    """Let a CT image come, and its run see so much on the right."""
    run, now = begin(store, number, series_instance_uid="1.2.3.2")
    seen = screening({Side.RIGHT: right, Side.LEFT: NOTHING})
    store.finish_run(run, seen, destinations=["pacs"], recipients=[ENT], seconds=1.0, now=now)
    return now


def test_a_ct_run_takes_nothing_back_of_what_ultrasound_has_found(both: Store) -> None:
    now = screen_ct(both, 3, NOTHING)
    assert hear(both, Mail(), now) == []
    assert states(both) == [("ended", ["owed"]), ("ended", ["owed"])]
    assert both.decided_number(1).number == 1
    (line,) = both.worklist_page(Wish(show="open")).lines
    assert [mass.place for mass in line.found] == ["lesion"]


def test_ct_findings_come_and_go_beside_those_of_ultrasound(both: Store) -> None:
    mail = Mail()
    now = screen_ct(both, 3, MASS)
    (found,) = hear(both, mail, now)
    assert "mass in the right parotid" in found.subject
    for wish in (Wish(), Wish(show="open"), Wish(show="flagged"), Wish(show="open", sort="size")):
        assert len(both.worklist_page(wish).lines) == 1, wish
    assert hear(both, mail, screen_ct(both, 4, MASS)) == []
    for wish in (Wish(show="open", queue="us"), Wish(show="open", queue="ct"), Wish(show="open", side="right")):
        assert len(both.worklist_page(wish).lines) == 1, wish
    both.acknowledge(both.flagged_run(1), by="dr", how="web", now=now)
    assert both.decided_number(1).number == 1, "what nobody has taken note of is asked for first"
    for wish in (Wish(), Wish(show="open"), Wish(show="flagged"), Wish(show="flagged", queue="ct")):
        assert [mass.place for line in both.worklist_page(wish).lines for mass in line.found] == ["lesion"], wish
    assert both.worklist_page(Wish(show="open", queue="ct")).lines == ()
    assert both.open_findings() == 1
    (withdrawn,) = hear(both, mail, screen_ct(both, 5, NOTHING))
    assert "no mass above the threshold" in withdrawn.subject
    assert both.decided_number(1).number == 1


def test_an_ultrasound_run_that_could_not_assess_takes_nothing_back(both: Store) -> None:
    run, now = ultrasound.claimed(both, 2)
    unseen = replace(ultrasound.a_lesion(None), answer=ultrasound.Answer.NOT_ASSESSABLE, reason="no B-mode picture")
    outcome = ultrasound.UltrasoundOutcome(lesion=unseen, is_flagged=False, results=(), model_identity="2.25.99")
    both.finish_ultrasound_run(run, outcome, destinations=[], recipients=[ENT], seconds=1.0, now=now)
    assert run.queue is Queue.US
    assert ultrasound.told(both, now) == []
    assert both.decided_number(1).number == 1
    run, now = ultrasound.claimed(both, 3)
    ultrasound.finish(both, run, 0.1, now)
    assert [notice.is_flagged for notice in ultrasound.told(both, now)] == [False]


@pytest.mark.parametrize("refused", [[], [ultrasound.a_frame(1, is_taken=False)]])
def test_an_ultrasound_run_that_has_not_searched_the_picture_of_the_lesion_takes_nothing_back(
    both: Store, refused: list[FrameChoice]
) -> None:
    run, now = ultrasound.claimed(both, 2)
    both.record_frames(run, [*refused, ultrasound.a_frame(2)])
    ultrasound.finish(both, run, 0.1, now)
    assert ultrasound.told(both, now) == []
    assert both.decided_number(1).number == 1
    run, now = ultrasound.claimed(both, 3)
    ultrasound.finish(both, run, 0.1, now)
    assert [notice.is_flagged for notice in ultrasound.told(both, now)] == [False]


def look_at_a_part(store: Store, number: int, right: str, covered_share: float) -> datetime:
    """Let the run of hour `number` see so much on the right, of which the scan covers a share, and a whole left."""
    run, now = begin(store, number)
    whole = screening({Side.RIGHT: right, Side.LEFT: NOTHING})
    assessments = (replace(whole.assessments[0], covered_share=covered_share, is_partial=True), whole.assessments[1])
    verdict = decide(assessments, whole.candidates, THRESHOLDS)
    seen = replace(whole, assessments=assessments, verdict=verdict)
    store.finish_run(run, seen, destinations=["pacs"], recipients=[ENT], seconds=1.0, now=now)
    return now


def test_a_run_that_covers_less_of_the_gland_takes_nothing_back(store: Store) -> None:
    mail = Mail()
    hear(store, mail, look(store, 1, MASS))
    assert hear(store, mail, look_at_a_part(store, 2, NOTHING, 0.8)) == []
    assert store.flagged_run(1) is not None
    (withdrawn,) = hear(store, mail, look(store, 3, NOTHING))
    assert "is withdrawn.\n" in withdrawn.text


@pytest.mark.parametrize(("share", "told"), [(0.5, []), (0.6, ["withdrawn"]), (0.7, ["withdrawn"])])
def test_a_finding_in_a_gland_covered_in_part_is_taken_back_by_who_covers_as_much(
    store: Store, share: float, told: list[str]
) -> None:
    mail = Mail()
    hear(store, mail, look_at_a_part(store, 1, MASS, 0.6))
    hear(store, mail, look_at_a_part(store, 2, NOTHING, share))
    assert mail.heard()[1:] == told


def let_come(store: Store, series: str, at: datetime, **changes: object) -> None:
    """Let the image of a series come, for the first time or again."""
    image = an_instance(int(series[-1]), series_instance_uid=series, path=f"{at:%H}", **changes)
    store.record_instance(image, at - QUIET)


def look_at_series(store: Store, number: int, series: str, right: str, chosen: str = "") -> datetime:
    """Let the image of a series come, and the run of hour `number` screen that series, or the `chosen` one."""
    now = START + number * HOUR
    let_come(store, series, now)
    dispatch(store, now)
    screen_series(store, claimed(store, now), chosen or series, right, now)
    return now


def screen_series(store: Store, run: Run, series: str, right: str, now: datetime) -> None:
    """Let a run see so much on the right of a series, and nothing on the left."""
    store.record_series(run, [a_choice(series)], None)
    store.finish_run(
        run,
        screening({Side.RIGHT: right, Side.LEFT: NOTHING}),
        destinations=["pacs"],
        recipients=[ENT],
        seconds=1.0,
        now=now,
    )


def a_choice(series: str) -> SeriesChoice:
    return SeriesChoice(
        series_instance_uid=series,
        modality="CT",
        score=1.0,
        is_chosen=True,
        reasons=("An axial CT.",),
        instance_count=1,
    )


def clean_away(store: Store, now: datetime) -> None:
    deliver(store, now)
    assert store.expire_files(1, t.instances, why="after 14 days", now=now + HOUR / 4)


def test_what_was_found_on_images_that_are_gone_stands_beside_a_later_series(store: Store) -> None:
    mail = Mail()
    now = look_at_series(store, 1, "1.2.7", MASS)
    assert len(hear(store, mail, now)) == 1
    found = store.flagged_run(1)
    clean_away(store, now)
    for number, series in ((2, "1.2.8"), (3, "1.2.9")):
        assert hear(store, mail, look_at_series(store, number, series, NOTHING)) == []
        assert store.flagged_run(1) == found
        (line,) = store.worklist_page(Wish(show="open")).lines
        assert (line.is_flagged, [mass.place for mass in line.found]) == (True, ["right"])
        assert store.study_report(1).run_in_force.number == 1
    clean_away(store, START + 3 * HOUR)
    (withdrawn,) = hear(store, mail, look_at_series(store, 4, "1.2.7", NOTHING))
    assert withdrawn.subject.endswith("earlier notice withdrawn: no mass above the threshold")
    assert store.flagged_run(1) is None


def test_what_was_found_is_taken_back_where_its_images_are_still_at_hand(store: Store) -> None:
    mail = Mail()
    hear(store, mail, look_at_series(store, 1, "1.2.7", MASS))
    (withdrawn,) = hear(store, mail, look_at_series(store, 2, "1.2.8", NOTHING))
    assert withdrawn.subject.endswith("earlier notice withdrawn: no mass above the threshold")
    clean_away(store, START + 2 * HOUR)
    assert store.flagged_run(1) is None


def test_a_later_finding_takes_the_place_of_one_whose_images_are_gone(store: Store) -> None:
    now = look_at_series(store, 1, "1.2.7", MASS)
    hear(store, Mail(), now)
    clean_away(store, now)
    look_at_series(store, 2, "1.2.8", MASS)
    later = store.flagged_run(1)
    look_at_series(store, 3, "1.2.9", NOTHING)
    assert later is not None
    assert store.flagged_run(1) is None


def test_results_that_were_given_up_and_are_gone_are_not_owed_again(store: Store) -> None:
    now = look_at_series(store, 1, "1.2.7", MASS)
    with store.engine.begin() as connection:
        connection.execute(t.results.insert().values(run_id=1, **RESULT))
    delivery = store.claim_delivery("sender", now, LEASE)
    assert delivery is not None
    store.delivery_failed(delivery, error="refused", not_before=None, now=now)
    hear(store, Mail(), now)
    assert store.discard(1, now)
    assert store.expire_files(1, t.results, why="after 365 days", now=now)
    assert store.expire_files(1, t.instances, why="after 14 days", now=now)
    now = look_at_series(store, 2, "1.2.8", NOTHING)
    assert [delivery.state for run in store.study_report(1).runs for delivery in run.deliveries] == ["given up", "owed"]


def find_gone(store: Store, mail: Mail) -> None:
    """Find a mass on the right of a series whose images are removed; the next run sees nothing on another."""
    now = look_at_series(store, 1, "1.2.7", MASS)
    assert len(hear(store, mail, now)) == 1
    clean_away(store, now)
    assert hear(store, mail, look_at_series(store, 2, "1.2.8", NOTHING)) == []


def test_images_that_come_back_take_nothing_back_before_a_run_has_looked(store: Store) -> None:
    mail = Mail()
    find_gone(store, mail)
    found = store.flagged_run(1)
    assert hear(store, mail, look_at_series(store, 3, "1.2.7", UNSEEN, chosen="1.2.8")) == []
    assert store.flagged_run(1) == found is not None
    (withdrawn,) = hear(store, mail, look_at_series(store, 4, "1.2.9", NOTHING))
    assert withdrawn.subject.endswith("earlier notice withdrawn: no mass above the threshold")


def test_images_that_come_back_while_a_run_works_are_none_that_it_has_seen(store: Store) -> None:
    mail = Mail()
    now = look_at_series(store, 1, "1.2.7", MASS)
    hear(store, mail, now)
    clean_away(store, now)
    now = START + 2 * HOUR
    let_come(store, "1.2.8", now)
    dispatch(store, now)
    run = claimed(store, now)
    let_come(store, "1.2.7", now + QUIET)
    screen_series(store, run, "1.2.8", NOTHING, now)
    assert hear(store, mail, now) == []
    assert store.flagged_run(1) is not None


def test_images_that_come_back_and_show_what_they_showed_leave_it_standing(store: Store) -> None:
    mail = Mail()
    find_gone(store, mail)
    now = START + 3 * HOUR
    let_come(store, "1.2.7", now)
    dispatch(store, now)
    store.end_run_as(claimed(store, now), 1, now)
    assert hear(store, mail, look_at_series(store, 4, "1.2.9", UNSEEN)) == []
    assert store.flagged_run(1) is not None


def test_what_was_found_on_images_that_went_to_another_study_stands_beside_a_later_series(store: Store) -> None:
    mail = Mail()
    now = look_at_series(store, 1, "1.2.7", MASS)
    hear(store, mail, now)
    clean_away(store, now)
    now = START + 2 * HOUR
    let_come(store, "1.2.7", now, study_instance_uid="1.2.99")
    dispatch(store, now)
    screen_series(store, claimed(store, now), "1.2.7", NOTHING, now)
    assert hear(store, mail, look_at_series(store, 3, "1.2.8", NOTHING)) == []
    assert store.flagged_run(1) is not None


def look_under(store: Store, number: int, settings: str, right: str, left: str) -> tuple[int | None, datetime]:
    """Let the run of hour `number` see so much under these settings; give the run that it is the same as, if any."""
    run, now = begin(store, number)
    same = store.record_series(run, [a_choice("1.2.3.1")], settings)
    if same is None:
        seen = screening({Side.RIGHT: right, Side.LEFT: left})
        store.finish_run(run, seen, destinations=["pacs"], recipients=[ENT], seconds=1.0, now=now)
    else:
        store.end_run_as(run, same, now)
    return same, now


def test_a_side_that_was_withdrawn_is_told_again_where_the_settings_that_found_it_are_back(store: Store) -> None:
    mail = Mail()
    for number, settings, right, left in ((1, "old", MASS, MASS), (2, "new", NOTHING, UNSEEN)):
        hear(store, mail, look_under(store, number, settings, right, left)[1])
    same, now = look_under(store, 3, "old", MASS, MASS)
    assert same is None
    (again,) = hear(store, mail, now)
    assert again.subject.endswith("mass in the right and the left parotid")
    (line,) = store.worklist_page(Wish(show="open")).lines
    assert [mass.place for mass in line.found] == ["right", "left"]
    assert look_under(store, 4, "old", MASS, MASS)[0] == 3


def test_a_side_that_other_settings_have_found_is_looked_at_again_where_they_are_taken_back(store: Store) -> None:
    mail = Mail()
    for number, settings, right, left in ((1, "old", MASS, NOTHING), (2, "new", UNSEEN, MASS)):
        hear(store, mail, look_under(store, number, settings, right, left)[1])
    same, now = look_under(store, 3, "old", MASS, NOTHING)
    assert same is None
    (only_right,) = hear(store, mail, now)
    assert "Left parotid: no mass above the threshold" in only_right.text


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((MASS, NOTHING), (UNSEEN, NOTHING)),
        ((MASS, NOTHING), (UNSEEN, UNSEEN)),
        ((MASS, UNSEEN), (UNSEEN, MASS)),
    ],
)
def test_what_is_in_force_as_it_was_found_is_not_screened_again(
    store: Store, first: tuple[str, str], second: tuple[str, str]
) -> None:
    mail = Mail()
    for number, settings, seen in ((1, "old", first), (2, "new", second)):
        hear(store, mail, look_under(store, number, settings, *seen)[1])
    for number, settings, screened in ((3, "old", 1), (4, "new", 2), (5, "old", 1)):
        same, now = look_under(store, number, settings, UNSEEN, UNSEEN)
        assert same == screened
        assert hear(store, mail, now) == []


def test_results_are_named_apart_from_those_of_a_run_that_stands_in_part(store: Store) -> None:
    look_under(store, 1, "old", MASS, MASS)
    look_under(store, 2, "new", NOTHING, UNSEEN)
    run, _ = begin(store, 3)
    assert store.record_series(run, [a_choice("1.2.3.1")], "old") is None
    assert store.name_results(run, "old") == "old run 3"
    assert store.name_results(run, "other") == "other"
