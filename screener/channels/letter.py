"""A notice as a person reads it, in plain text and in HTML: one content, two clothes.

The HTML carries its own colors, loads nothing from anywhere and holds no
script: a mail program shows it as it is, with its pictures blocked or not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_INK, _FAINT, _LINE, _PAGE, _CARD = "#1b2733", "#5b6b7b", "#d5dde5", "#eef2f5", "#ffffff"
_ACCENT = "#0b5cad"
_FONT = "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An address that the reader may open."""

    label: str
    url: str
    is_button: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One study, or one gland of it."""

    heading: str
    lines: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """What is told, in the order in which it is read."""

    title: str
    """What was found, in one phrase; for the HTML, as mails have it in the subject."""
    opening: tuple[str, ...]
    patient: tuple[str, ...] = ()
    """Lines that name the patient; empty unless the settings ask for them."""
    parts: tuple[Part, ...] = ()
    is_list: bool = False
    """True: each part is a study of its own; False: all are of one."""
    links: tuple[Link, ...] = ()
    closing: tuple[tuple[str, ...], ...] = ()
    """Paragraphs of lines."""


def render_text(letter: Letter) -> str:
    """Give the plain text; lines are as long as they were written."""
    blocks: list[Sequence[str]] = [letter.opening]
    blocks += [letter.patient] if letter.patient else []
    parts = [
        [part.heading, *(f"  {line}" for line in part.lines), *(f"  {_tell(link)}" for link in part.links)]
        for part in letter.parts
    ]
    blocks += parts if letter.is_list else [[line for lines in parts for line in lines]] if parts else []
    blocks += [[_tell(link) for link in letter.links]] if letter.links else []
    blocks += letter.closing
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _tell(link: Link) -> str:
    return f"{link.label}: {link.url}"


def render_html(letter: Letter, *, picture: str = "") -> str:
    """Give a whole HTML document; `picture` is the address of the key image, such as "cid:key-image"."""
    body = [
        _paragraph(f"<b>{escape(letter.title)}</b>", size=20),
        *(_paragraph(escape(line)) for line in letter.opening),
    ]
    if letter.patient:
        body.append(_paragraph("<br>".join(escape(line) for line in letter.patient)))
    body += [_render_part(part) for part in letter.parts]
    if picture:
        body.append(
            f'<p style="margin:16px 0"><img src="{escape(picture)}" alt="Key image of the finding" '
            'style="max-width:100%;height:auto;border-radius:6px"></p>'
        )
    if letter.links:
        body.append(_render_links(letter.links))
    last = len(letter.closing) - 1
    body += [
        _paragraph("<br>".join(escape(line) for line in lines), size=13, color=_INK if number == last else _FAINT)
        for number, lines in enumerate(letter.closing)
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(letter.title)}</title></head>\n"
        f'<body style="margin:0;padding:24px 12px;background:{_PAGE};color:{_INK};{_FONT}">\n'
        f'<div style="max-width:600px;margin:0 auto;padding:8px 24px 16px;background:{_CARD};'
        f'border:1px solid {_LINE};border-top:4px solid {_ACCENT};border-radius:8px">\n'
        + "\n".join(body)
        + "\n</div>\n</body></html>\n"
    )


def _paragraph(inner: str, *, size: int = 15, color: str = _INK) -> str:
    return f'<p style="margin:12px 0;font-size:{size}px;line-height:1.45;color:{color}">{inner}</p>'


def _render_part(part: Part) -> str:
    lines = "".join(f'<br><span style="color:{_FAINT}">{escape(line)}</span>' for line in part.lines)
    links = _render_links(part.links) if part.links else ""
    return (
        f'<div style="margin:12px 0;padding:10px 14px;border-left:4px solid {_LINE};background:{_PAGE};'
        f'font-size:15px;line-height:1.45"><b>{escape(part.heading)}</b>{lines}{links}</div>'
    )


def _render_links(links: Sequence[Link]) -> str:
    buttons = []
    for link in links:
        colors = f"background:{_ACCENT};color:#ffffff" if link.is_button else f"background:{_CARD};color:{_ACCENT}"
        style = (
            f"display:inline-block;margin:4px 8px 4px 0;padding:9px 18px;{colors};border:1px solid {_ACCENT};"
            "border-radius:6px;font-size:15px;text-decoration:none"
        )
        buttons.append(f'<a href="{escape(link.url)}" style="{style}">{escape(link.label)}</a>')
    return f'<p style="margin:14px 0 6px">{"".join(buttons)}</p>'
