"""DICOM over TLS: 1.2 and 1.3 only, with ciphers that keep past traffic secret.

What is set here fits the BCP 195 RFC 8996, 9325 TLS Secure Transport
Connection Profile (PS3.15 B.12); the older BCP 195 profile (PS3.15 B.9,
retired) asks for less.
"""

import ssl
from pathlib import Path

from screener.config import Config, ConfigError, Listener
from screener.report_settings import Reports
from screener.web_settings import Web

_CIPHERS_OF_TLS_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20"  # RFC 9325 4.2; those of TLS 1.3 are all of this kind


class FileClosedError(ConfigError):
    """The settings name a file that this caller may not read; the daemon's account may be allowed to."""


def make_listener_tls(config: Config) -> ssl.SSLContext | None:
    """Read the listener's certificate and keys; None: no TLS. ConfigError names the key whose file is wrong."""
    return _make_server(config, "listener", config.listener, client_ca=config.listener.tls_client_ca)


def make_web_tls(config: Config) -> ssl.SSLContext | None:
    """Read the certificate and the key of the pages, as those of the listener; None: no TLS."""
    return _make_server(config, "web", config.web)


def make_openid_tls(config: Config) -> ssl.SSLContext:
    """By whom the OpenID provider's certificate must be signed: whom the settings name, else whom the system trusts."""
    name = config.web.openid.tls_ca
    if not name:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_authorities(context, "web.openid.tls_ca", config.resolve(name))
    return context


def make_reports_tls(config: Config) -> ssl.SSLContext | None:
    """Read the certificate and keys of the door for reports, as those of the listener; None: no TLS."""
    if not config.reports.enabled:
        return None
    return _make_server(config, "reports", config.reports, client_ca=config.reports.tls_client_ca)


def _make_server(
    config: Config, section: str, settings: Listener | Web | Reports, *, client_ca: str = ""
) -> ssl.SSLContext | None:
    """Make what a door shows and, with `client_ca`, asks of its callers; None where it has no certificate."""
    if not settings.tls_certificate:
        return None
    context = _make_context(ssl.PROTOCOL_TLS_SERVER)
    _load_certificate(context, section, config.resolve(settings.tls_certificate), config.resolve(settings.tls_key))
    if client_ca:
        _load_authorities(context, f"{section}.tls_client_ca", config.resolve(client_ca))
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _make_context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996: 1.0 and 1.1 are over
    context.set_ciphers(_CIPHERS_OF_TLS_1_2)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context


def _load_certificate(context: ssl.SSLContext, section: str, certificate: Path, key: Path) -> None:
    for name, path in (("tls_certificate", certificate), ("tls_key", key)):
        _check_readable(f"{section}.{name}", path)

    def refuse_to_ask() -> str:
        raise ConfigError(f"{section}.tls_key: {key} is encrypted, and nobody is there to type its password")

    try:
        context.load_cert_chain(certificate, key, password=refuse_to_ask)
    except ssl.SSLError as error:
        reason = (error.reason or "not in PEM format").replace("_", " ").lower()
        raise ConfigError(
            f"{section}.tls_certificate, {section}.tls_key: {certificate} and {key} are no certificate "
            f"with its private key: {reason}"
        ) from None


def _load_authorities(context: ssl.SSLContext, name: str, path: Path) -> None:
    _check_readable(name, path)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError:
        raise ConfigError(f"{name}: {path} holds no certificate in PEM format") from None


def _check_readable(name: str, path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except PermissionError as error:
        raise FileClosedError(f"{name}: {path}: {error.strerror}") from None
    except OSError as error:
        raise ConfigError(f"{name}: {path}: {error.strerror}") from None
