"""Ends connections that bring no request: whoever says nothing takes no place of somebody who does."""

from asyncio import BaseTransport, TimerHandle
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

LOOK_SECONDS: Final = 30.0
"""A connection on which nobody has brought a whole request from one look to the next is ended."""


class HurriedConnection(H11Protocol):
    """uvicorn's, which itself waits for ever for a first request and for the rest of a form."""

    _look: TimerHandle | None = None
    _seen: tuple[Any] | None = None
    """The request that was under way at the last look, if it waited for its sender."""

    def connection_made(self, transport: BaseTransport) -> None:
        """Begin to look."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._look = self.loop.call_later(LOOK_SECONDS, self._hurry)

    def connection_lost(self, exc: Exception | None) -> None:
        """Look no more."""
        if self._look is not None:
            self._look.cancel()
        super().connection_lost(exc)

    def _hurry(self) -> None:
        is_waiting = self.cycle is None or self.cycle.response_complete or self.cycle.more_body
        if is_waiting and self._seen == (self.cycle,):
            self.transport.abort()
            return
        self._seen = (self.cycle,) if is_waiting else None
        self._look = self.loop.call_later(LOOK_SECONDS, self._hurry)
