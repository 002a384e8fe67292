"""Redis forgets everything in the middle of the work: no study is lost, none is reported twice.

`python tests/chaos/flush.py --studies 60 --flushes 10 --seed 1`: FLUSHALL at random moments while studies stream in.
The broker carries hints only; those that are gone are sent again within a minute.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the program may be called by its path

import redis

from tests.chaos.installation import open_installation
from tests.chaos.small_study import write_studies
from tests.chaos.stream import Stream

MOST_WAIT_SECONDS = 10.0


def main() -> int:
    """Print how much was forgotten and what became of the studies; 1 on any loss, duplicate or stuck study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=60)
    parser.add_argument("--flushes", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=30, help="after which the run counts as stuck")
    options = parser.parse_args()
    chance = random.Random(options.seed)  # noqa: S311 - repeatable, not secret
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        studies = list(write_studies(folder / "scanner", options.studies, options.seed))
        settings = {"completeness": {"quiet_seconds": 3, "max_wait_seconds": 600}}
        with open_installation(folder, backend="servers", settings=settings) as installation:
            assert installation.servers is not None
            client = redis.Redis.from_url(installation.servers.broker)
            pause_seconds = options.flushes * MOST_WAIT_SECONDS / max(options.studies, 1)
            with Stream(installation, studies, pause_seconds=pause_seconds, seed=options.seed) as stream:
                keys = 0
                for _ in range(options.flushes):
                    time.sleep(chance.uniform(0, MOST_WAIT_SECONDS))
                    keys += client.dbsize()
                    client.flushall()
                print(f"{options.flushes} times FLUSHALL, {keys} keys forgotten")
                began = time.monotonic()
                verdict = stream.finish(options.minutes * 60)
            print(f"all ended {time.monotonic() - began:.0f} s after the last")
        print(verdict.describe())
        return 1 if verdict.faults else 0


if __name__ == "__main__":
    sys.exit(main())
