"""What the pictures for a person share: panels side by side, and the caption below them."""

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from screener.outline_mask import outline_mask as outline_mask  # noqa: PLC0414 - offered with the rest

PANEL_HEIGHT_PIXELS = 560
MAX_PANEL_WIDTH_PIXELS = 760
MASS_COLOR = (255, 176, 0)
TEXT_COLOR = (235, 235, 235)
FAINT_COLOR = (160, 160, 160)
_MIN_WIDTH_PIXELS = 480
"""So that the caption below a narrow panel keeps lines that can be read."""

Rgb = tuple[int, int, int]


def compose_panels(panels: Sequence[Image.Image], lines: Sequence[tuple[str, Rgb]]) -> Image.Image:
    """Set the panels side by side on black, the caption below."""
    gap = 10
    width = max(_MIN_WIDTH_PIXELS, sum(panel.width for panel in panels) + gap * (len(panels) + 1))
    height = max(panel.height for panel in panels) + 2 * gap
    font = ImageFont.load_default(size=17)
    wrapped = [(part, color) for text, color in lines for part in wrap_text(text, font, width - 2 * gap)]
    canvas = Image.new("RGB", (width, height + 24 * len(wrapped) + gap))
    x = gap
    for panel in panels:
        canvas.paste(panel, (x, gap + (height - 2 * gap - panel.height) // 2))
        x += panel.width + gap
    draw = ImageDraw.Draw(canvas)
    for number, (text, color) in enumerate(wrapped):
        draw.text((gap, height + 24 * number), text, fill=color, font=font)
    return canvas


def write_png(picture: Image.Image) -> bytes:
    """Give the picture as PNG, at the library's usual effort: the best takes four times as long for a tenth less."""
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()


def wrap_text(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> list[str]:
    """Break `text` at blanks so that each line is at most `width` pixels long."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
