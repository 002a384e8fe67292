"""What the pages are made from, and what every handler knows of a request."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from fastapi import Request
from jinja2 import Environment
from starlette.responses import HTMLResponse

from screener.config import Config
from screener.store import Store
from screener.store.web_accounts import Role, Session
from screener.web.ask_provider import Provider
from screener.web.csrf import csrf_token
from screener.web.read_patient import PatientReader
from screener.web.read_stack import StackReader
from screener.web.refusals import Refusals


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What all requests share."""

    config: Config
    store: Store
    """For what is written."""
    reader: Store
    """The same database for what is only read: nobody waits for it."""
    clock: Callable[[], datetime]
    pages: Environment
    patients: PatientReader
    stacks: StackReader
    provider: Provider | None = None
    """Of OpenID; None: people sign in with local accounts alone."""
    refusals: Refusals = field(default_factory=Refusals)
    returned: Refusals = field(default_factory=Refusals)
    """Sign-ins that have come back from the provider: none does so twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request that was let in."""

    site: Site
    address: str
    """Where it comes from."""
    session: Session | None
    """None on the pages that need no sign-in."""
    token: str
    """Of the session's cookie; empty without one."""
    path: str

    @property
    def account_name(self) -> str:
        """Who signed in; empty where nobody has."""
        return self.session.account.name if self.session is not None else ""

    def may(self, role: Role) -> bool:
        """True: the account may do what `role` may."""
        return self.session is not None and self.session.account.role.includes(role)

    def audit(self, action: str, study_id: int | None = None, detail: str = "", *, account: str = "") -> None:
        """Add to the audit trail; `detail` never names a patient."""
        self.site.store.add_audit(
            at=self.site.clock(),
            account=account or self.account_name,
            address=self.address,
            action=action,
            study_id=study_id,
            detail=detail,
        )

    def page(self, template: str, values: Mapping[str, object] | None = None, *, status: int = 200) -> HTMLResponse:
        """Fill a template with `values` and what every page shows."""
        shared: dict[str, object] = {
            "account": self.session.account if self.session is not None else None,
            "csrf_token": csrf_token(self.token) if self.token else "",
            "path": self.path,
            "is_radiologist": self.may(Role.RADIOLOGIST),
            "is_administrator": self.may(Role.ADMINISTRATOR),
            "now": self.site.clock(),
        }
        text = self.site.pages.get_template(template).render(shared | dict(values or {}))
        return HTMLResponse(text, status_code=status)


def visit_of(request: Request) -> Visit:
    """What the gate has found out about a request."""
    visit: Visit = request.state.visit
    return visit


def site_of(request: Request) -> Site:
    """What all requests share."""
    site: Site = request.app.state.site
    return site
