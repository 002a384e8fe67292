"""Tell from a vendor's name of a reconstruction kernel whether it is for soft tissue or for edges."""

import re
from enum import Enum


class Kernel(Enum):
    """What a kernel was made for."""

    SOFT = "soft"
    SHARP = "sharp"
    UNKNOWN = "unknown"


SHARP_WORDS = ("BONE", "LUNG", "EDGE", "SHARP", "CHST", "KNOCHEN", "POUMON", "OSSEUX", "HRCT", "INNER EAR", "IAC")
SOFT_WORDS = ("SOFT", "STANDARD", "STND", "STD", "SMOOTH", "WEICH", "MOU", "BRAIN", "DETAIL", "TISSUE")
LETTERS = {"A": Kernel.SOFT, "B": Kernel.SOFT, "C": Kernel.SOFT, "D": Kernel.SHARP, "E": Kernel.SHARP,
           "L": Kernel.SHARP}  # fmt: skip
"""One vendor's filters, smooth to sharp, with or without a leading U, Y or H (`UB`, `YC`)."""


def read_kernel(convolution_kernel: str, series_description: str = "") -> Kernel:
    """Judge by ConvolutionKernel; where that says nothing, by the words of SeriesDescription.

    Numbered names (`B30f`, `Hr40`, `Br64`, `FC08`, `FC51`) grow sharper with
    the number: a number above 50 enhances edges, and among `FC` also 30 to 39.
    """
    return _judge_name(convolution_kernel.upper()) or _judge_words(series_description.upper()) or Kernel.UNKNOWN


def _judge_name(name: str) -> Kernel | None:
    first = name.partition("\\")[0].strip()
    if toshiba := re.fullmatch(r"F[CL](\d\d).*", first):
        number = int(toshiba[1])
        return Kernel.SHARP if number >= 50 or 30 <= number < 40 else Kernel.SOFT
    if siemens := re.fullmatch(r"[A-Z]{1,2}(\d\d)[A-Z]?", first):
        return Kernel.SHARP if int(siemens[1]) > 50 else Kernel.SOFT
    if philips := re.fullmatch(r"[UYH]?([A-EL])", first):
        return LETTERS[philips[1]]
    return _judge_words(first)


def _judge_words(text: str) -> Kernel | None:
    """Sharp words win: `BONE DETAIL` is for bone."""
    if any(word in text for word in SHARP_WORDS):
        return Kernel.SHARP
    return Kernel.SOFT if any(word in text for word in SOFT_WORDS) else None
