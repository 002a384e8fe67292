"""Tell the audit trail what somebody did by a command, as it tells what was done on the pages."""

import getpass
import os
from datetime import UTC, datetime
from typing import Final

from screener.store import Store

LONGEST_ACCOUNT: Final = 64


def record_deed(store: Store, action: str, study_id: int | None = None, detail: str = "") -> None:
    """Add a line under the name of this machine's user; `detail` never names a patient."""
    account = f"{find_user()} (command line)"[:LONGEST_ACCOUNT]
    store.add_audit(at=datetime.now(UTC), account=account, address="", action=action, study_id=study_id, detail=detail)


def find_user() -> str:
    """Give the name of the user who runs this, else the number: in a container nobody may have that number."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return f"user {os.getuid()}"
