"""The benchmark of a study's cost stands in for the store: it must know all that the journey asks of one."""

import inspect
import re

from tests.benchmarks.screening_cost import _Meter
from workers import run_stages, screen_ct

OF_REFUSALS = {"end_run_as"}
"""Asked only where a study ends without a screening, which none of the benchmark's does."""


def test_the_stand_in_knows_what_the_journey_asks_of_its_store() -> None:
    journey = inspect.getsource(screen_ct) + inspect.getsource(run_stages)
    asked = set(re.findall(r"\bstore\.(\w+)\(", journey))
    assert "finish_run" in asked
    assert asked - OF_REFUSALS <= set(dir(_Meter))
