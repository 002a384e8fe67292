"""The audit trail on PostgreSQL, which refuses what is longer than its column: a link acknowledges or it does not."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from screener.config import make_config
from screener.journey import Queue
from screener.link_secret import load_link_secret
from screener.sign_links import Claim, digest_address, sign_claim
from screener.store import Store, open_store
from screener.web.site import make_site
from tests.peers.servers import open_postgresql
from tests.peers.values import an_instance
from tests.unit.test_store import LEASE, QUIET, START, a_screening, dispatch
from tests.unit.test_web_gate import NOW

ADDRESS = f"{'a' * 64}@{'b' * 63}.{'c' * 63}.{'d' * 56}.test"


@pytest.fixture
def store() -> Iterator[Store]:
    with open_postgresql() as url:
        opened = open_store(url, is_migrating=True)
        yield opened
        opened.engine.dispose()


def test_the_longest_mail_address_acknowledges_by_its_link_and_stands_in_the_trail(
    store: Store, tmp_path: Path
) -> None:
    assert len(ADDRESS) == 254
    (tmp_path / "var").mkdir()
    store.record_instance(an_instance(1), START)
    dispatch(store, START + QUIET)
    run = store.claim_run(Queue.CT, "worker", START + QUIET, LEASE)
    assert run is not None
    recipients = [("email", ADDRESS)]
    store.finish_run(run, a_screening(), destinations=[], recipients=recipients, seconds=1.0, now=START + QUIET)
    notice = store.notice_stories(study_id=run.study_id)[0]
    config = make_config({}, base=tmp_path, environment={})
    claim = Claim(
        notice_id=notice.notice_id,
        study_id=run.study_id,
        run_id=notice.run_id,
        finding=notice.finding_key,
        recipient=digest_address("email", ADDRESS),
        owed_since=notice.owed_since,
        expires_at=NOW + timedelta(days=1),
    )
    token = sign_claim(load_link_secret(config.storage_folder), claim)
    client = TestClient(
        make_site(config, store, lambda: NOW), base_url="https://screener.test", raise_server_exceptions=False
    )
    assert client.post("/acknowledge", data={"token": token}).status_code == 200
    assert store.acknowledgements_of(run.study_id)[0].by == ADDRESS
    assert store.audit_lines(study_id=run.study_id)[0].account == ADDRESS
