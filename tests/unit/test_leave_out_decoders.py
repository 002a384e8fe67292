"""The daemon carries no decoders, and takes and reads images without them."""

import subprocess
import sys

IMPORTS = """
import sys
import screener.__main__
screener.__main__.leave_out_decoders()
import screener.daemon
print([name for name in ("gdcm", "_gdcm") if sys.modules.get(name) is not None])
"""
LATE = """
import pydicom
import gdcm
from screener.leave_out_decoders import leave_out_decoders
leave_out_decoders()
import gdcm as again
print(again is gdcm)
"""


def printed_by(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def test_the_daemon_loads_without_gdcm() -> None:
    assert printed_by(IMPORTS) == "[]"


def test_a_process_that_has_decoders_keeps_them() -> None:
    assert printed_by(LATE) == "True"
