"""Telling the broker that a queue has work."""

import logging

from celery import Celery
from kombu.exceptions import OperationalError

from screener.config import Config
from screener.journey import Queue
from screener.know_brokers import know_brokers

logger = logging.getLogger(__name__)


class Hints:
    """The daemon's side of Celery: it sends, and never waits for an answer."""

    def __init__(self, config: Config) -> None:
        know_brokers(config)
        self._is_away = False
        self._app = Celery("parotid_screener", set_as_current=False)
        self._app.conf.update(config.celery_settings())

    def send(self, queue: Queue) -> bool:
        """Tell the broker; False where it is away: the store still knows, and the hint is sent again later."""
        try:
            self._app.send_task(f"screener.{queue}", queue=queue.value, retry=False)
        except OperationalError:
            if not self._is_away:
                logger.warning("the broker is away: studies wait, none is lost")
            self._is_away = True
            return False
        if self._is_away:
            logger.info("the broker is back")
        self._is_away = False
        return True

    def close(self) -> None:
        """Let go of the broker's connections."""
        self._app.close()
