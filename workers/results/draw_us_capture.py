"""DECIDED -> ENCODED: draw the frame with the lesion's outline and, beside it, where the classifier looked."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from screener.us_study import GLAND_NOT_CHECKED, Lesion, UltrasoundVerdict
from workers.results.draw_panels import (
    FAINT_COLOR,
    MASS_COLOR,
    MAX_PANEL_WIDTH_PIXELS,
    PANEL_HEIGHT_PIXELS,
    TEXT_COLOR,
    Rgb,
    compose_panels,
    outline_mask,
)
from workers.results.identity import RESEARCH_USE
from workers.results.us_screening import NOT_CALIBRATED

_MAP_SHARE = 0.6
"""How much of a pixel is color where the map is 1."""
_MAP_STOPS = (0.0, 0.25, 0.5, 0.75, 1.0)
_MAP_COLORS = ((0, 0, 40), (87, 16, 160), (200, 50, 90), (249, 142, 9), (252, 255, 164))  # dark to bright: no red-green
_NOTHING_SPOKE = "nothing in the picture spoke for malignancy"
_OUTLINE_COLOR = (0, 230, 255)
"""Of the lesion on the map, whose own colors hold the amber of the other panel."""


def draw_us_capture(
    lesion: Lesion, verdict: UltrasoundVerdict, cam: NDArray[np.float32] | None, learned_from: str
) -> Image.Image:
    """Draw the lesion on its frame, and `cam` over the same frame where there is one; RGB.

    `learned_from` is a sentence for the caption: what the models learned from.

    `cam` is the class activation map, 0 to 1, (rows, columns) of the frame's gray. Nothing but the frame's own
    box is drawn, and no identity of the patient is written. A map that is 0 all over is said to be empty, for it
    looks like the frame alone.
    """
    panels = [_draw_panel(lesion, _to_rgb(lesion.frame.gray), MASS_COLOR, "Lesion")]
    if cam is not None:
        title = f"Grad-CAM: {_NOTHING_SPOKE}" if _is_empty(cam) else "Grad-CAM"
        panels.append(_draw_panel(lesion, _lay_map(lesion.frame.gray, cam), _OUTLINE_COLOR, title))
    return compose_panels(panels, _caption_lines(lesion, verdict, _describe_map(cam, verdict), learned_from))


def _is_empty(cam: NDArray[np.float32]) -> bool:
    """True: no place of the frame has a color, as where everything spoke against malignancy."""
    return not bool((np.nan_to_num(cam) > 0).any())


def _describe_map(cam: NDArray[np.float32] | None, verdict: UltrasoundVerdict) -> str:
    """Say what the right panel shows, and of which model; empty without one."""
    if cam is None:
        return ""
    model = "the image model alone, not the fusion that answered" if verdict.is_by_fusion else "the classifier"
    if _is_empty(cam):
        return f"Right, outline in blue: the map of {model} (Grad-CAM) is empty: {_NOTHING_SPOKE}."
    return f"Right, outline in blue: what spoke for malignancy to {model} (Grad-CAM, dark to bright)."


def _to_rgb(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.stack([gray] * 3, axis=-1)  # (row, column, rgb)


def _lay_map(gray: NDArray[np.uint8], cam: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Mix the map's colors into the gray, the more the higher; ValueError where the shapes differ."""
    if cam.shape != gray.shape:
        raise ValueError(f"the map is {cam.shape}, the frame {gray.shape}")
    level = np.clip(np.nan_to_num(cam.astype(np.float64)), 0.0, 1.0)
    color = np.stack([np.interp(level, _MAP_STOPS, channel) for channel in np.transpose(_MAP_COLORS)], axis=-1)
    share = (_MAP_SHARE * level)[..., None]
    return (_to_rgb(gray) * (1.0 - share) + color * share).round().astype(np.uint8)


def _draw_panel(lesion: Lesion, picture: NDArray[np.uint8], color: Rgb, title: str) -> Image.Image:
    """Enlarge or reduce the picture to a panel, in true proportions where the frame is calibrated, with the outline."""
    rows, columns = lesion.frame.gray.shape
    row_mm, column_mm = lesion.frame.spacing_mm or (1.0, 1.0)
    width, height = columns * column_mm, rows * row_mm
    scale = min(PANEL_HEIGHT_PIXELS / height, MAX_PANEL_WIDTH_PIXELS / width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    panel = np.array(Image.fromarray(np.ascontiguousarray(picture)).resize(size, Image.Resampling.BICUBIC))
    panel[outline_mask(lesion.mask, size)] = color
    drawn = Image.fromarray(panel)
    frame_number = lesion.frame.frame_number
    text = f"{title}, frame {frame_number}" if frame_number else title
    font = ImageFont.load_default(size=14)
    ImageDraw.Draw(drawn).text((8, 6), text, fill=TEXT_COLOR, font=font, stroke_width=2, stroke_fill=(0, 0, 0))
    return drawn


def _caption_lines(
    lesion: Lesion, verdict: UltrasoundVerdict, map_sentence: str, learned_from: str
) -> list[tuple[str, Rgb]]:
    """Say the answer, its probability and the size in words; no identity of the patient."""
    answer = f"Answer of the models: {verdict.answer.value}"
    if verdict.deciding_probability is not None:
        answer += f", probability of malignancy {tell_percent(verdict.deciding_probability)}"
    if verdict.is_by_findings:
        answer += " with a reader's findings"
    if verdict.is_by_fusion and verdict.deciding_probability is not None:
        answer += ", by the fusion"
    diameter_mm = lesion.longest_diameter_mm
    size = NOT_CALIBRATED if diameter_mm is None else f"Longest diameter {diameter_mm:.1f} mm in this frame."
    return [
        (f"{answer}.", MASS_COLOR if verdict.is_flagged else TEXT_COLOR),
        (size, TEXT_COLOR),
        (f"Amber: outline of the lesion. {map_sentence}".strip(), FAINT_COLOR),
        (GLAND_NOT_CHECKED, TEXT_COLOR),
        *([(learned_from, TEXT_COLOR)] if learned_from else []),
        (f"{RESEARCH_USE}.", TEXT_COLOR),
    ]


def tell_percent(probability: float) -> str:
    """Say a probability in whole percent; never certainty."""
    if probability < 0.01:
        return "below 1 %"
    return "above 99 %" if probability > 0.99 else f"{probability * 100:.0f} %"
