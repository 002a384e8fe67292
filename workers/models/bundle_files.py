"""What every bundle shares, a network's and the candidates': where they ship, what they are for, how JSON is read."""

import json
from pathlib import Path
from typing import Any, Final

BUNDLES_DIR: Final = Path(__file__).parent / "bundles"
"""Those that ship with the screener."""
INTENDED_USE: Final = "Research use, not validated for clinical diagnosis."


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`; raises OSError, ValueError, or TypeError where it holds something else."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        message = f"{path} is not a JSON object"
        raise TypeError(message)
    return content
