"""COMPLETE -> SELECTED: choose the frames of an ultrasound study; until a model is installed, set it aside."""

from collections.abc import Sequence

from screener.outcomes import SetAside
from screener.study import Instance


def select_frames(images: Sequence[Instance]) -> None:
    """Raise SetAside: no ultrasound model is installed."""
    raise SetAside(f"no ultrasound model installed ({len(images)} images kept)", code="no_ultrasound_model")
