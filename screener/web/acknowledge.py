"""The page behind the link in a mail: one button, and nothing about the patient.

GET changes nothing, for mail scanners open every link that they see; POST
acknowledges. Whoever holds the link needs no account, as the mail needs none.
"""

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Form, Request
from starlette.responses import Response

from screener.link_secret import load_link_secret
from screener.sign_links import Claim, LinkError, digest_address, is_owed_since, verify_token
from screener.store.values import NoticeStory
from screener.web.gate import RefusedError
from screener.web.visit import Visit, visit_of

HOW: Final = "mail"
MAX_BY_CHARACTERS: Final = 255
"""As the columns are wide: a mail address has 254 at most."""
TEMPLATE: Final = "acknowledge.html"


@dataclass(frozen=True, slots=True)
class _Named:
    """A link that was believed, and the notice that it names, as it told of the run that the link names."""

    token: str
    notice: NoticeStory

    @property
    def by(self) -> str:
        """Who acknowledges by it: a mail address, or the name of another channel's destination."""
        notice = self.notice
        by = notice.recipient if notice.channel == "email" else f"{notice.channel} {notice.recipient}"
        return by[:MAX_BY_CHARACTERS]


def show_acknowledge(request: Request, token: str = "") -> Response:
    """Show the button, or that the finding was acknowledged already."""
    visit = visit_of(request)
    return _show(visit, _read(visit, token))


def do_acknowledge_link(request: Request, token: Annotated[str, Form()] = "") -> Response:
    """Acknowledge what the notice told; the first to do so counts, and again changes nothing."""
    visit = visit_of(request)
    named = _read(visit, token)
    notice = named.notice
    standing = visit.site.store.acknowledge(notice.run_id, by=named.by, how=HOW, now=visit.site.clock())
    if standing is None:
        raise RefusedError(409, "This finding no longer stands: there is nothing to acknowledge.")
    visit.audit("acknowledge", notice.study_id, f"run {notice.run_number}, by the link in a notice", account=named.by)
    return _show(visit, _read(visit, token))


def _read(visit: Visit, token: str) -> _Named:
    """Believe a link and find the notice that it names; RefusedError says why it cannot be used."""
    site = visit.site
    try:
        claim = verify_token(load_link_secret(site.config.storage_folder), token, site.clock())
    except LinkError as error:
        raise RefusedError(403, str(error)) from None
    notice = site.reader.notice_as_told(claim.notice_id, claim.run_id)
    if notice is None or not _is_named(claim, notice):
        raise RefusedError(
            404,
            "What this link is about is no longer kept here, or was taken back since and found again. "
            "Open the newest message about it, or sign in.",
        )
    return _Named(token, notice)


def _is_named(claim: Claim, notice: NoticeStory) -> bool:
    told = (notice.study_id, notice.finding_key, digest_address(notice.channel, notice.recipient))
    return told == (claim.study_id, claim.finding, claim.recipient) and is_owed_since(claim, notice.owed_since)


def _show(visit: Visit, named: _Named) -> Response:
    notice = named.notice
    page: Response = visit.page(
        TEMPLATE,
        {"token": named.token, "study_id": notice.study_id, "acknowledged_at": notice.acknowledged_at},
    )
    return page
