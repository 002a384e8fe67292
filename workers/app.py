"""The Celery application: queues ct and us (accelerator), results (network).

`python -m workers ct` starts a worker; so does
`celery -A workers.app worker -Q ct -c 1` on any machine that has the settings
in SCREENER_CONFIG. Settings are read when Celery first asks, not at import.
"""

from typing import Any

from celery import Celery

from screener.config import find_config, load_config
from screener.know_brokers import know_brokers


def _settings() -> dict[str, Any]:
    config = load_config(find_config())
    know_brokers(config)
    return config.celery_settings()


app = Celery("parotid_screener", include=["workers.tasks"])
app.add_defaults(_settings)
