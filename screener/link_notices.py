"""The link in a notice by which its recipient acknowledges the finding."""

from datetime import timedelta

from screener.channels.message import Linker, no_link
from screener.sign_links import Claim, digest_address, sign_claim
from screener.store.values import OwedNotice

PATH = "/acknowledge"
PARAMETER = "token"


def make_linker(url: str, secret: bytes, days: float) -> Linker:
    """Give what makes the link of a notice; `url` is where people reach the pages, and empty makes no link.

    The same notice of the same run has the same link however often it is sent: its time counts from when it became
    owed.
    """
    if not url:
        return no_link

    def link(notice: OwedNotice, /) -> str:
        claim = Claim(
            notice_id=notice.notice_id,
            study_id=notice.study_id,
            run_id=notice.run_id,
            finding=notice.finding_key,
            recipient=digest_address(notice.channel, notice.recipient),
            owed_since=notice.owed_since,
            expires_at=notice.owed_since + timedelta(days=days),
        )
        return f"{url.rstrip('/')}{PATH}?{PARAMETER}={sign_claim(secret, claim)}"

    return link
