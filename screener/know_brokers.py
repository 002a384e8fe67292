"""Make the two brokers known to Kombu: the embedded folder and Redis, each with our own transport."""

from kombu.transport import TRANSPORT_ALIASES

from screener.config import Config
from screener.folder_broker import prepare_broker_folder

REDIS_SCHEMES = ("redis", "rediss")


def know_brokers(config: Config) -> None:
    """Prepare what the settings name as the broker; may be called twice."""
    for scheme in REDIS_SCHEMES:
        TRANSPORT_ALIASES[scheme] = "screener.redis_broker:Transport"
    if not config.queue.broker:
        prepare_broker_folder(config.broker_folder)
