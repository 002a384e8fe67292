"""Opening an association with a destination, or saying what stood in the way."""

from collections.abc import Sequence
from typing import Any

from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.association import Association

from screener.associate import associate
from screener.config import Destination
from screener.outcomes import TryAgain


def open_association(ae: AE, destination: Destination, *, handlers: Sequence[tuple[Any, Any]] = ()) -> Association:
    """Open the association, or raise TryAgain with what stood in the way."""
    has_connected: list[bool] = []
    has_answered: list[bool] = []
    assoc = associate(
        ae,
        destination.host,
        destination.port,
        ae_title=destination.ae_title,
        evt_handlers=[
            (evt.EVT_CONN_OPEN, lambda _: has_connected.append(True)),
            (evt.EVT_ACCEPTED, lambda _: has_answered.append(True)),
            *handlers,
        ],
    )
    if assoc.is_established:
        return assoc
    where = describe_destination(destination)
    if assoc.is_rejected:
        rejection = assoc.acceptor.primitive
        said = rejection.reason_str if rejection is not None else "no reason given"
        raise TryAgain(f"{where} refused the association: {said}", code="association_refused")
    if has_answered:
        names = ", ".join(sorted({UID(context.abstract_syntax or "").name for context in ae.requested_contexts}))
        raise TryAgain(f"{where} accepts none of the SOP classes that are needed: {names}", code="no_context_accepted")
    if not has_connected:
        raise TryAgain(f"{where} cannot be reached: no connection", code="no_connection")
    raise TryAgain(f"{where} answered no association request, or broke it off", code="no_association")


def describe_destination(destination: Destination) -> str:
    """Name a PACS for the operator."""
    return f"the PACS {destination.name} ({destination.ae_title} at {destination.host}:{destination.port})"
