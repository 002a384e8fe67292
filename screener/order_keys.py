"""Keyed digests of accession number and patient ID: by them a report finds its study; they say of nobody who it is."""

import hashlib
import hmac
from pathlib import Path
from typing import Final

from screener.link_secret import load_secret

FILE_NAME: Final = "orders.key"


class OrderKeys:
    """Digests with the installation's own secret; another installation's say nothing of this one's."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def of_accession(self, accession_number: str) -> str:
        """64 hexadecimal digits; empty where there is no accession number."""
        return self._digest("accession", accession_number.strip())

    def of_patient(self, patient_id: str) -> str:
        """Likewise of a patient ID, whoever has issued it."""
        return self._digest("patient", patient_id.strip())

    def of_order(self, *parts: str) -> str:
        """Likewise of all that together names the report which a corrected one replaces."""
        return self._digest("order", "\0".join(part.strip() for part in parts))

    def _digest(self, kind: str, value: str) -> str:
        if not value:
            return ""
        return hmac.new(self._secret, f"{kind}\0{value}".encode(errors="replace"), hashlib.sha256).hexdigest()


def load_order_keys(folder: Path) -> OrderKeys:
    """Read the secret in the storage folder, made at the first use; ConfigError where it cannot be."""
    return OrderKeys(load_secret(folder / FILE_NAME, "reports that wait find their studies no more"))
