"""[reports] of config.toml: where radiology reports come in by HL7, and from whom."""

import ipaddress
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from screener.section import Port, Positive, Section


def _is_network(value: str) -> str:
    ipaddress.ip_network(value, strict=False)
    return value


class Reports(Section):
    """Radiology reports by HL7: whether they mention what is found."""

    enabled: bool = False
    """Whether the daemon takes radiology reports (HL7 v2 ORU^R01) by MLLP."""
    host: str = "127.0.0.1"
    """Address to listen on; "127.0.0.1" is this machine only, "0.0.0.0" every network card."""
    port: Port = 2575
    """TCP port to listen on."""
    senders: list[Annotated[str, AfterValidator(_is_network)]] = Field(default_factory=lambda: ["127.0.0.0/8", "::1"])
    """Addresses or networks (CIDR) that may send reports; all others are refused."""
    accession_field: Literal["OBR-2", "OBR-3", "OBR-18", "OBR-19", "OBR-20"] = "OBR-18"
    """Field that holds the accession number, by which a report finds its study: "OBR-18" as IHE has it, or another."""
    wait_days: Annotated[float, Field(ge=0)] = 30
    """Days that a report is kept for a study that has not come yet; 0 keeps it for ever."""
    idle_seconds: Positive = 3600
    """Seconds without a message after which a connection is closed; one that has begun must be whole within 60."""
    tls_certificate: str = ""
    """File (PEM) with the certificate for MLLP over TLS 1.2 or 1.3, and what leads to its root; empty means no TLS."""
    tls_key: str = ""
    """File (PEM, not encrypted) with the private key of that certificate; both relative to this file."""
    tls_client_ca: str = ""
    """File (PEM) with the authorities whose certificates senders must show; empty means that none is asked for."""

    @model_validator(mode="after")
    def _tls_is_whole(self) -> "Reports":
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("tls_certificate and tls_key belong together: one of them is empty")
        if self.tls_client_ca and not self.tls_certificate:
            raise ValueError("tls_client_ca needs tls_certificate and tls_key")
        return self

    def admits(self, host: str) -> bool:
        """True: a caller at this address may send reports."""
        address = ipaddress.ip_address(host.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in ipaddress.ip_network(network, strict=False) for network in self.senders)
