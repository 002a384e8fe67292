"""The Celery application: queues ct and us (accelerator), results (network).

`python -m workers ct` starts a worker; so does
`celery -A workers.app worker -Q ct -c 1` on any machine that has the settings
in SCREENER_CONFIG. Settings are read when Celery first asks, not at import.
"""

import os
from typing import Any

from celery import Celery

from screener.config import find_config, load_config
from screener.know_brokers import know_brokers

# Threads of a network wait for each other asleep. Awake, as is their habit, two workers on two cores keep each other
# from computing: a study takes ten times as long. The library reads this when torch loads it, after the fork.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _settings() -> dict[str, Any]:
    config = load_config(find_config())
    know_brokers(config)
    return config.celery_settings()


app = Celery("parotid_screener", include=["workers.tasks"])
app.add_defaults(_settings)
