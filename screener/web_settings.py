"""[web] of config.toml: where the pages are served, to whom, and for how long a sign-in holds."""

import ipaddress
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PrivateAttr, SecretStr, model_validator

from screener.notice_settings import is_web_address
from screener.section import Port, Positive, Section


def _is_network(value: str) -> str:
    ipaddress.ip_network(value, strict=False)
    return value


def _is_viewer(value: str) -> str:
    if value and not value.startswith(("https://", "http://")):
        raise ValueError('this address begins with "https://" or "http://"')
    return value


def _is_issuer(value: str) -> str:
    return is_web_address(value) if value else value


class OpenId(Section):
    """Sign-in through the hospital's OpenID Connect provider."""

    issuer: Annotated[str, AfterValidator(_is_issuer)] = ""
    """Issuer of the hospital's OpenID provider, exactly as the provider writes it; empty: local accounts only."""
    client_id: str = ""
    """Client as which the provider knows the screener; its secret is in SCREENER_OPENID_SECRET or ..._FILE."""
    scopes: list[Annotated[str, Field(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]+$")]] = Field(
        default_factory=lambda: ["openid", "profile"]
    )
    """What the provider is asked for; "openid" must be among it."""
    name_claim: Annotated[str, Field(min_length=1)] = "preferred_username"
    """Claim of the ID token that gives a new account its name."""
    role_claim: Annotated[str, Field(min_length=1)] = "roles"
    """Claim that tells what a person may do: a text or a list of texts; dots lead into it, as realm_access.roles."""
    readers: list[str] = Field(default_factory=list)
    """Values of that claim that make a reader."""
    radiologists: list[str] = Field(default_factory=list)
    """Values of that claim that make a radiologist."""
    administrators: list[str] = Field(default_factory=list)
    """Values of that claim that make an administrator; of several roles the highest counts."""
    prompt: Literal["", "login", "select_account"] = ""
    """What the provider asks for each time: "login" the password, "select_account" whose account; empty: nothing."""
    timeout_seconds: Positive = 5
    """Seconds of silence after which the provider counts as away."""
    tls_ca: str = ""
    """File (PEM) with the authorities behind the provider's certificate, relative to this file; empty: the system's."""
    proxy: str = ""
    """Address of a proxy through which the provider is reached, as "http://proxy:3128"; empty: directly."""
    _secret: SecretStr | None = PrivateAttr(default=None)

    @property
    def secret(self) -> SecretStr | None:
        """The secret that belongs to `client_id`; None where no provider is named."""
        return self._secret

    @model_validator(mode="after")
    def _is_whole(self) -> "OpenId":
        if not self.issuer:
            return self
        if not self.client_id:
            raise ValueError("issuer needs client_id")
        if "openid" not in self.scopes:
            raise ValueError('scopes must hold "openid"')
        if not (self.readers or self.radiologists or self.administrators):
            raise ValueError("nobody could sign in: readers, radiologists and administrators are all empty")
        return self


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
    """Failures after which a local account waits; an address after five times as many, counted apart for OpenID."""
    failure_minutes: Positive = 15
    """Minutes after which a failed sign-in counts no more."""
    viewer: Annotated[str, AfterValidator(_is_viewer)] = ""
    """Address of a study in the hospital's viewer, "{study_instance_uid}" standing for its UID; empty means no link."""
    local_accounts: bool = True
    """Whether people may sign in with the accounts of `screener users`; false leaves web.openid alone."""
    openid: OpenId = Field(default_factory=OpenId)
    """Sign-in through the hospital's OpenID Connect provider."""

    @model_validator(mode="after")
    def _passwords_are_covered(self) -> "Web":
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("tls_certificate and tls_key belong together: one of them is empty")
        if not (self.tls_certificate or self.proxies or self.host in {"127.0.0.1", "::1", "localhost"}):
            raise ValueError("without tls_certificate, or a proxy that speaks TLS, only 127.0.0.1 may be served")
        return self

    @model_validator(mode="after")
    def _somebody_can_sign_in(self) -> "Web":
        if not (self.local_accounts or self.openid.issuer):
            raise ValueError("nobody could sign in: local_accounts is false, and openid.issuer is empty")
        if self.openid.issuer:
            if not self.url:
                raise ValueError("openid.issuer needs url: the provider sends people back there")
            is_web_address(self.url)
        return self
