"""Every page and the role that it takes: the site is built from this table, and nothing else is served."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from screener.store.web_accounts import Role
from screener.web.acknowledge import do_acknowledge_link, show_acknowledge
from screener.web.enter_findings import do_enter_findings
from screener.web.find_studies import do_find
from screener.web.review_case import do_acknowledge, do_review
from screener.web.show_case import show_case
from screener.web.show_images import show_gland, show_key_image, show_outline, show_plane, show_slice, show_stack
from screener.web.show_quality import show_quality
from screener.web.show_system import show_audit, show_system
from screener.web.show_thresholds import do_change_thresholds, show_thresholds
from screener.web.show_worklist import show_worklist, show_worklist_state
from screener.web.sign_in import do_sign_in, do_sign_out, show_sign_in
from screener.web.sign_in_openid import BEGIN_PATH, RETURN_PATH, begin_openid, end_openid


@dataclass(frozen=True, slots=True)
class Route:
    """One page, or one thing that can be done."""

    method: str
    """GET reads; POST changes something, and its form must carry the session's token."""
    path: str
    role: Role | None
    """The least role that it takes; None: anybody."""
    handler: Callable[..., Response]


ROUTES: Final = (
    Route("GET", "/sign-in", None, show_sign_in),
    Route("POST", "/sign-in", None, do_sign_in),
    Route("GET", BEGIN_PATH, None, begin_openid),
    Route("GET", RETURN_PATH, None, end_openid),
    Route("POST", "/sign-out", Role.READER, do_sign_out),
    Route("GET", "/acknowledge", None, show_acknowledge),
    Route("POST", "/acknowledge", None, do_acknowledge_link),
    Route("GET", "/", Role.READER, show_worklist),
    Route("GET", "/worklist.json", Role.READER, show_worklist_state),
    Route("POST", "/find", Role.READER, do_find),
    Route("GET", "/studies/{study_id}", Role.READER, show_case),
    Route("GET", "/studies/{study_id}/key-image.png", Role.READER, show_key_image),
    Route("GET", "/studies/{study_id}/stack.json", Role.READER, show_stack),
    Route("GET", "/studies/{study_id}/slices/{number}.png", Role.READER, show_slice),
    Route("GET", "/studies/{study_id}/outlines/{number}.png", Role.READER, show_outline),
    Route("GET", "/studies/{study_id}/planes/{plane}.png", Role.READER, show_plane),
    Route("GET", "/studies/{study_id}/glands/{side}.png", Role.READER, show_gland),
    Route("POST", "/studies/{study_id}/acknowledge", Role.RADIOLOGIST, do_acknowledge),
    Route("POST", "/studies/{study_id}/review", Role.RADIOLOGIST, do_review),
    Route("POST", "/studies/{study_id}/findings", Role.RADIOLOGIST, do_enter_findings),
    Route("GET", "/system", Role.READER, show_system),
    Route("GET", "/quality", Role.READER, show_quality),
    Route("GET", "/thresholds", Role.ADMINISTRATOR, show_thresholds),
    Route("POST", "/thresholds", Role.ADMINISTRATOR, do_change_thresholds),
    Route("GET", "/audit", Role.ADMINISTRATOR, show_audit),
)
