"""The demo as a stranger starts it."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from screener.config import make_config
from tests.conftest import PATIENT


def test_the_demo_screens_three_phantoms_and_leaves_their_results(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "screener", "demo", "--keep", str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=tmp_path)
    assert said.returncode == 0, said.stdout[-4000:] + said.stderr[-2000:]
    assert "NOT AS EXPECTED" not in said.stdout
    assert not PATIENT.search(said.stdout)
    models = make_config({}, base=tmp_path, environment={}).models
    captures = int(bool(models.us_segmenter and models.us_classifier))  # without models ultrasound is set aside
    for name, count in (("seg.dcm", 2), ("sr.dcm", 2), ("key_image.png", 2)):
        assert len(list(tmp_path.rglob(name))) == count + captures, name
    assert len(list(tmp_path.rglob("capture.dcm"))) == captures
    assert len(list(tmp_path.rglob("mail.txt"))) >= 1
    for path in tmp_path.rglob("key_image.png"):
        assert np.asarray(Image.open(path)).std() > 0
    for path in re.findall(r"(?:SEG|SR) in the PACS: (\S+)", said.stdout):
        assert Path(path).is_file() or (tmp_path / path).is_file()
