"""The hospital's installation: PostgreSQL and Redis, with no other change than two URLs."""

from collections.abc import Callable
from pathlib import Path

import redis

from screener.journey import Ending
from screener.phantom import make_phantom
from tests.peers.hospital import Hospital
from tests.peers.pacs import Pacs
from tests.peers.servers import open_postgresql, open_redis

Build = Callable[..., tuple[Hospital, Pacs]]


def test_one_journey_on_postgresql_and_redis_even_with_redis_flushed(build_hospital: Build, tmp_path: Path) -> None:
    with open_postgresql() as database, open_redis(tmp_path) as broker:
        hospital, pacs = build_hospital(database={"url": database}, queue={"broker": broker, "lease_seconds": 10})
        assert not (hospital.folder / "var" / "screener.sqlite").exists()
        first, second = make_phantom(seed=51, mass_mm=25.0), make_phantom(seed=54)
        hospital.scanner.send(first.datasets)
        assert hospital.wait_for_ending(first.study_instance_uid).ending is Ending.DONE
        hospital.scanner.send(second.datasets)
        redis.Redis.from_url(broker).flushall()  # hints are lost; studies are not
        assert hospital.wait_for_ending(second.study_instance_uid).ending is Ending.DONE
        assert len(pacs.received) == 4
        assert len(hospital.mailbox.mails) == 1
        assert hospital.stop() == 0
