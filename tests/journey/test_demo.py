"""The demo as a stranger starts it."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from tests.conftest import PATIENT


def test_the_demo_screens_two_phantoms_and_leaves_their_results(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "screener", "demo", "--keep", str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=tmp_path)
    assert said.returncode == 0, said.stdout[-4000:] + said.stderr[-2000:]
    assert "NOT AS EXPECTED" not in said.stdout
    assert not PATIENT.search(said.stdout)
    for name, count in (("seg.dcm", 2), ("sr.dcm", 2), ("key_image.png", 2), ("mail.txt", 1)):
        assert len(list(tmp_path.rglob(name))) == count, name
    for path in tmp_path.rglob("key_image.png"):
        assert np.asarray(Image.open(path)).std() > 0
    for path in re.findall(r"(?:SEG|SR) in the PACS: (\S+)", said.stdout):
        assert Path(path).is_file() or (tmp_path / path).is_file()
