"""The embedded broker: Kombu's folder transport, with messages that are whole or absent.

Kombu's own writes a message under its final name, so that a worker which
looks at that instant reads half of it and stops. Here the name appears after
the content. Messages carry hints only; their loss costs a minute, not a study:
they are not synced, and what a power cut has left of one is passed over. Nor
is there a file by which a queue is found, which Kombu's own writes in place
and does not mend: a hint names its queue.
"""

import json
import logging
import os
from pathlib import Path
from time import monotonic_ns
from typing import Any
from uuid import uuid4

from kombu.transport import TRANSPORT_ALIASES, filesystem, virtual

logger = logging.getLogger(__name__)

SCHEME = "screenerfolder"


class Channel(filesystem.Channel):
    """Writes a message beside its place, then renames it; queues are bound in memory, and nothing goes to all."""

    supports_fanout = False
    get_table = virtual.Channel.get_table
    _delete = virtual.Channel._delete

    def _put(self, queue: Any, payload: Any, **_: Any) -> None:  # type: ignore[override]  # as kombu's folder channel has it
        path = Path(self.data_folder_out, f"{monotonic_ns() // 1_000_000}_{uuid4()}.{queue}.msg")
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(payload), encoding="utf-8")
        os.replace(unfinished, path)  # noqa: PTH105 - the atomic rename is the point

    def _get(self, queue: Any, timeout: Any = None) -> Any:  # noqa: ARG002 - Kombu's name
        while True:  # until one is whole, or none is left: then kombu raises Empty
            try:
                return super()._get(queue)  # type: ignore[no-untyped-call]
            except ValueError:  # neither JSON nor text; its file is gone by now
                logger.warning("queue=%s: a hint that was not whole is passed over; it is sent again", queue)


class Transport(filesystem.Transport):
    """Kombu's folder transport with the channel above."""

    Channel = Channel


def prepare_broker_folder(folder: Path) -> None:
    """Make the folder that the transport expects, and make its scheme known to Kombu; may be called twice."""
    TRANSPORT_ALIASES[SCHEME] = f"{__name__}:Transport"
    (folder / "messages").mkdir(parents=True, exist_ok=True)
