"""Keeps a process that decodes no pixel data from carrying GDCM: 18 MiB that pydicom loads wherever it is installed."""

import sys


def leave_out_decoders() -> None:
    """Make pydicom load without GDCM in this process, as on a machine that has only the daemon; call it before pydicom.

    Without effect once pydicom is loaded.
    """
    if "pydicom" not in sys.modules:
        sys.modules["gdcm"] = None  # type: ignore[assignment]  # an import of it then raises ImportError
