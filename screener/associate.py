"""Asking for an association, and hearing a rejection that comes at once."""

from typing import Any

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu import A_ASSOCIATE_RJ
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.transport import AssociationSocket


def associate(ae: AE, host: str, port: int, *, evt_handlers: list[Any] | None = None, **options: Any) -> Association:
    """Ask for an association as `AE.associate` does; `is_rejected` holds whenever a rejection has come.

    pynetdicom takes it for an abort where the peer has answered and hung up
    before the asking thread is awake (PS3.8 9.2.3, AE-4 closes the connection
    at once), as happens on a busy machine.
    """
    answers: list[A_ASSOCIATE | None] = []

    def hear(event: evt.Event) -> None:
        if not answers:  # a reserved reason is an error here, which the library logs, and no rejection that can be told
            answers.append(event.pdu.to_primitive() if isinstance(event.pdu, A_ASSOCIATE_RJ) else None)

    assoc = ae.associate(host, port, evt_handlers=[*(evt_handlers or []), (evt.EVT_PDU_RECV, hear)], **options)
    rejection = answers[0] if answers else None
    if rejection is not None and not assoc.is_rejected:
        assoc.is_aborted, assoc.is_rejected = False, True
        assoc.acceptor.primitive = rejection
    if not (assoc.is_established or assoc.dul.is_alive()):
        _close(assoc.dul.socket)
    return assoc


def _close(connection: AssociationSocket | None) -> None:
    """Close what the library's thread has left open, as it does when it ends over an answer that it cannot decode."""
    if connection is not None and connection.socket is not None:
        connection.socket.close()
