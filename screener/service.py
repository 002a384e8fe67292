"""What an association is for: the values and the protocol between one association and the door behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from screener.command_set import Command
from screener.upper_layer import AssociationRequest, ContextResult


class Caller(Protocol):
    """The association, as far as the door sees it."""

    host: str
    """The address that it comes from."""
    calling_ae_title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The time that a peer has."""

    acse_seconds: float
    """From its connection to its whole association request, the TLS handshake included."""
    network_seconds: float
    """Of silence, and for one PDU."""
    dimse_seconds: float
    """For a message, beside a second for each KiB of it."""


@dataclass(frozen=True, slots=True)
class Context:
    """A presentation context that both agreed on."""

    context_id: int
    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class Admitted:
    """The caller may come in."""

    results: Sequence[ContextResult]
    roles: Mapping[str, tuple[bool, bool]]


@dataclass(frozen=True, slots=True)
class Rejected:
    """The caller may not; PS3.8 table 9-21."""

    result: int
    source: int
    reason: int


@dataclass(frozen=True, slots=True)
class EventReport:
    """An N-EVENT-REPORT that is owed to the requestor of this association."""

    context: Context
    sop_class_uid: str
    sop_instance_uid: str
    event_type: int
    data_set: bytes


class Sink(Protocol):
    """Takes the data set of a message as it comes."""

    def write(self, piece: memoryview) -> None:
        """Take the next piece, valid during the call only."""

    def finish(self) -> tuple[int, str]:
        """The data set is whole: status and comment of the answer."""

    def discard(self) -> None:
        """The association has ended in the middle."""


class Service(Protocol):
    """What an association is for."""

    def admit(self, caller: Caller, request: AssociationRequest) -> Admitted | Rejected:
        """Decide on the caller."""

    def store(self, caller: Caller, command: Command, context: Context) -> Sink:
        """Begin a C-STORE."""

    def act(self, caller: Caller, command: Command, context: Context, data_set: bytes) -> int:
        """Answer an N-ACTION with a status."""

    def take_report(self, context: Context, data_set: bytes) -> int:
        """Answer an N-EVENT-REPORT with a status."""

    def owed_report(self, caller: Caller) -> EventReport | None:
        """Give the next of what `act` has promised to send on this association, once the last has been answered."""

    def report_answered(self, caller: Caller, status: int | None) -> None:
        """A report has been answered with this status; None: the association ends without an answer."""

    def leave(self, caller: Caller) -> None:
        """Give the caller's place to others: it has no more wishes."""

    def conclude(self, caller: Caller, how: str) -> None:
        """An admitted association is over: released or aborted."""
