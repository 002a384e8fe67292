"""A worker as `python -m workers` is one, whose every screening takes longer than anybody waits.

`FAMILY_SECONDS` in the environment is how often it looks whether its child was killed.
"""

import os
import sys
import time
from typing import Any

from workers import __main__ as program
from workers import bench, tasks

MODULE = "tests.unit.slow_worker"
SECONDS = 600.0


def main(words: list[str]) -> None:
    """Be a worker of the queue that `words` name."""
    models: Any = object()
    bench.load_models = lambda _: models
    tasks.screen_ct = lambda *_: time.sleep(SECONDS)
    tasks.FAMILY_SECONDS = float(os.environ.get("FAMILY_SECONDS", tasks.FAMILY_SECONDS))
    program.main(words)


if __name__ == "__main__":
    main(sys.argv[1:])
