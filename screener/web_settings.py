"""[web] of config.toml: where the pages are served, to whom, and for how long a sign-in holds."""

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from screener.section import Port, Positive, Section


def _is_network(value: str) -> str:
    ipaddress.ip_network(value, strict=False)
    return value


def _is_viewer(value: str) -> str:
    if value and not value.startswith(("https://", "http://")):
        raise ValueError('this address begins with "https://" or "http://"')
    return value


class Web(Section):
    """The pages: worklist, cases and the state of the system."""

    enabled: bool = False
    """Whether `screener run` serves the pages, in a process of its own; `screener web` serves them by itself."""
    host: str = "127.0.0.1"
    """Address to serve on; any other than this machine's own needs TLS, here or at a proxy."""
    port: Port = 8443
    """TCP port to serve on."""
    url: Annotated[str, AfterValidator(_is_viewer)] = ""
    """Address at which people reach the pages, such as "https://screener.hospital.example"; notices link there."""
    tls_certificate: str = ""
    """File (PEM) with the certificate for HTTPS, and what leads to its root; empty means no TLS."""
    tls_key: str = ""
    """File (PEM, not encrypted) with the private key of that certificate; both relative to this file."""
    proxies: list[Annotated[str, AfterValidator(_is_network)]] = Field(default_factory=list)
    """Addresses of proxies in front that speak TLS to browsers and name the caller in X-Forwarded-For."""
    session_hours: Positive = 10
    """Hours after which a person must sign in again."""
    idle_minutes: Positive = 30
    """Minutes without a page after which a person must sign in again."""
    max_failures: Annotated[int, Field(ge=1)] = 5
    """Failed sign-ins to one account after which it must wait; from one address, five times as many."""
    failure_minutes: Positive = 15
    """Minutes after which a failed sign-in counts no more."""
    viewer: Annotated[str, AfterValidator(_is_viewer)] = ""
    """Address of a study in the hospital's viewer, "{study_instance_uid}" standing for its UID; empty means no link."""

    @model_validator(mode="after")
    def _passwords_are_covered(self) -> "Web":
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("tls_certificate and tls_key belong together: one of them is empty")
        if not (self.tls_certificate or self.proxies or self.host in {"127.0.0.1", "::1", "localhost"}):
            raise ValueError("without tls_certificate, or a proxy that speaks TLS, only 127.0.0.1 may be served")
        return self
