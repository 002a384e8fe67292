"""Refuse two doors of this machine on one TCP port: the second could not be opened."""

from collections.abc import Iterator
from itertools import permutations
from typing import Final, NamedTuple

_EVERYWHERE: Final = {"0.0.0.0", "::", ""}  # noqa: S104 - compared, not listened on
_THIS_MACHINE: Final = "127.0.0.1"


class Door(NamedTuple):
    """Where something listens."""

    table: str
    host: str
    port: int


def list_shared_ports(doors: list[Door]) -> Iterator[str]:
    """Yield a sentence for each key whose port is another door's too."""
    for door, other in permutations(doors, 2):
        if door.port and door.port == other.port and _meet(door.host, other.host):
            yield f"{door.table}.port: {door.port} is {other.table}.port too, on the same host"


def _meet(one: str, other: str) -> bool:
    hosts = {_THIS_MACHINE if host == "localhost" else host for host in (one, other)}
    return len(hosts) == 1 or bool(hosts & _EVERYWHERE)
