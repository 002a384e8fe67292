"""Asking for an association as who we are, and hearing a rejection that comes at once."""

from typing import Any

from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu import A_ASSOCIATE_RJ
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.transport import AssociationSocket

from screener import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME


def make_ae(ae_title: str, *, timeout_seconds: float, connect_seconds: float | None = None) -> AE:
    """Return an application entity that names this program (PS3.7 D.3.3.2) and waits `timeout_seconds` for answers.

    It waits `connect_seconds` for a connection, as long where None.
    """
    ae = AE(ae_title)
    ae.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = timeout_seconds
    ae.connection_timeout = timeout_seconds if connect_seconds is None else connect_seconds
    return ae


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
