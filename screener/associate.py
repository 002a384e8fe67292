"""Asking for an association, and hearing a rejection that comes at once."""

from typing import Any

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu import A_ASSOCIATE_RJ


def associate(ae: AE, host: str, port: int, *, evt_handlers: list[Any] | None = None, **options: Any) -> Association:
    """Ask for an association as `AE.associate` does; `is_rejected` holds whenever a rejection has come.

    pynetdicom takes it for an abort where the peer has answered and hung up
    before the asking thread is awake (PS3.8 9.2.3, AE-4 closes the connection
    at once), as happens on a busy machine.
    """
    rejections: list[A_ASSOCIATE_RJ] = []

    def hear(event: evt.Event) -> None:
        if isinstance(event.pdu, A_ASSOCIATE_RJ):
            rejections.append(event.pdu)

    assoc = ae.associate(host, port, evt_handlers=[*(evt_handlers or []), (evt.EVT_PDU_RECV, hear)], **options)
    if rejections and not assoc.is_rejected:
        assoc.is_aborted, assoc.is_rejected = False, True
        assoc.acceptor.primitive = rejections[0].to_primitive()
    return assoc
