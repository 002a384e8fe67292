"""The threads of two workers on the same cores do not keep each other from computing."""

import os
import subprocess
import sys

import pytest

TELL = "import workers.app, os, sys; print(os.environ.get('OMP_WAIT_POLICY'), 'torch' in sys.modules)"


@pytest.mark.parametrize(("given", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_a_worker_lets_threads_wait_asleep_before_torch_is_loaded(given: str | None, expected: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": given} if given else {}
    said = subprocess.run([sys.executable, "-c", TELL], capture_output=True, text=True, env=environment, check=True)
    assert said.stdout.split() == [expected, "False"]
