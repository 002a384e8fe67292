"""The embedded broker: Kombu's folder transport, with messages that are whole or absent.

Kombu's own writes a message under its final name, so that a worker which
looks at that instant reads half of it and stops. Here the name appears after
the content. Messages carry hints only; their loss costs a minute, not a study.
"""

import json
import os
from pathlib import Path
from time import monotonic_ns
from typing import Any
from uuid import uuid4

from kombu.transport import TRANSPORT_ALIASES, filesystem

SCHEME = "screenerfolder"


class Channel(filesystem.Channel):
    """Writes a message beside its place, then renames it."""

    def _put(self, queue: Any, payload: Any, **_: Any) -> None:  # type: ignore[override]  # as kombu's folder channel has it
        path = Path(self.data_folder_out, f"{monotonic_ns() // 1_000_000}_{uuid4()}.{queue}.msg")
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(payload), encoding="utf-8")
        os.replace(unfinished, path)  # noqa: PTH105 - the atomic rename is the point


class Transport(filesystem.Transport):
    """Kombu's folder transport with the channel above."""

    Channel = Channel


def prepare_broker_folder(folder: Path) -> None:
    """Make the folders that the transport expects, and make its scheme known to Kombu; may be called twice."""
    TRANSPORT_ALIASES[SCHEME] = f"{__name__}:Transport"
    for name in ("messages", "control"):
        (folder / name).mkdir(parents=True, exist_ok=True)
