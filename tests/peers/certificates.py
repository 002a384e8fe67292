"""Certificates for an hour, made by OpenSSL: an authority, what it has signed, and strangers."""

import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.peers.require import require


class Certificate(NamedTuple):
    """A certificate and its private key as PEM files."""

    certificate: Path
    key: Path


def make_certificate(folder: Path, name: str, *, signed_by: Certificate | None = None) -> Certificate:
    """Make a certificate for localhost; without `signed_by` it signs itself and may sign others."""
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    command = [require("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-nodes", "-days", "1", "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command += ["-out", str(made.certificate), "-keyout", str(made.key)]
    if signed_by is not None:
        command += ["-CA", str(signed_by.certificate), "-CAkey", str(signed_by.key)]
        command += ["-addext", "basicConstraints=critical,CA:FALSE"]
    subprocess.run(command, check=True, capture_output=True)
    return made
