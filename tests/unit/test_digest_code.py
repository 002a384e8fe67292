"""What was made from files by other code is not used again."""

from pathlib import Path

import pytest

from screener import read_file
from workers.training import digest_cases
from workers.training.evaluation import run_cases


def test_the_digests_follow_what_reads_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = [lambda: digest_cases.digest_code(digest_cases.READING), run_cases.digest_code.__wrapped__]
    before = [digest() for digest in digests]
    assert [digest() for digest in digests] == before
    changed = tmp_path / "read_file.py"
    changed.write_bytes(Path(read_file.__file__).read_bytes() + b"MORE = 1\n")
    monkeypatch.setattr(read_file, "__file__", str(changed))
    assert all(digest() != old for digest, old in zip(digests, before, strict=True))
