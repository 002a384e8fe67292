"""Which share of each gland was searched: told of a study without any candidate as of any other."""

from dataclasses import replace

from starlette.testclient import TestClient

from screener.decide import decide
from screener.explain import describe_study
from screener.store import Screening, Store
from screener.store.web_accounts import Role
from screener.study import GlandAssessment
from tests.peers.values import BOTH_ASSESSED, an_instance
from tests.unit import test_web_gate as gate
from tests.unit.test_store import QUIET, START, THRESHOLDS, claimed, dispatch
from tests.unit.test_web_gate import enter

clock, empty, store, client = gate.clock, gate.empty, gate.store, gate.client
GLANDS = (replace(BOTH_ASSESSED[0], covered_share=0.62, is_partial=True), BOTH_ASSESSED[1])


LOST = replace(
    BOTH_ASSESSED[1], is_assessed=False, reason="None was found.", volume_mm3=0.0, mean_hu=None, covered_share=0.0
)


def screen_without_candidate(store: Store, glands: tuple[GlandAssessment, ...] = GLANDS) -> int:
    store.record_instance(an_instance(1), START)
    dispatch(store, START + QUIET)
    run = claimed(store)
    verdict = decide(glands, (), THRESHOLDS)
    screening = Screening(assessments=glands, candidates=(), verdict=verdict, results=(), model_identity="2.25.99")
    store.finish_run(run, screening, destinations=[], recipients=[], seconds=1.0, now=START + QUIET)
    return run.study_id


def test_the_case_page_without_a_candidate_tells_the_share_of_each_gland(client: TestClient, store: Store) -> None:
    study_id = screen_without_candidate(store)
    enter(client, store, Role.READER)
    text = client.get(f"/studies/{study_id}").text
    assert "Covered by the scan" in text
    assert '<td class="figure">62 %</td>' in text
    assert '<td class="figure">100 %</td>' in text
    assert "No candidate was found" in text
    assert 'aria-label="Candidates"' not in text


def test_explain_tells_the_share_of_each_gland(store: Store) -> None:
    told = describe_study(store.study_report(screen_without_candidate(store)))
    lines = [line for line in told.splitlines() if line.startswith("  absent: ")]
    assert [line.partition("  [")[2] for line in lines] == ["covered by the scan: 62 %]", "covered by the scan: 100 %]"]


def test_of_a_gland_that_was_not_found_no_share_is_known(client: TestClient, store: Store) -> None:
    study_id = screen_without_candidate(store, (GLANDS[0], LOST))
    told = describe_study(store.study_report(study_id))
    assert "62 %" in told
    assert "[covered by the scan: 0 %]" not in told
    enter(client, store, Role.READER)
    text = client.get(f"/studies/{study_id}").text
    assert '<td class="figure">not known</td>' in text
    assert '<td class="figure">0 %</td>' not in text
