"""index.html: one dark page that needs nothing else, readable on a phone."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final

from workers.training.evaluation.compute_figures import WARNING

STYLE: Final = """
:root{color-scheme:dark;--ground:#0d1117;--text:#e6edf3;--soft:#9aa4af;--line:#30363d;--box:#161b22;--warn:#ffa657}
*{box-sizing:border-box}
body{margin:0 auto;max-width:70rem;padding:1rem;background:var(--ground);color:var(--text);
font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;margin:.2rem 0}h2{font-size:1.15rem;margin:2rem 0 .5rem}
p,figcaption,small{color:var(--soft)}
.warning{border:1px solid var(--warn);border-radius:.5rem;color:var(--warn);padding:.6rem .8rem}
.wide{overflow-x:auto;border:1px solid var(--line);border-radius:.5rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.35rem .6rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th{color:var(--soft);font-weight:600}th:first-child,td:first-child{text-align:left}
td:first-child{white-space:normal;min-width:7rem}
.prose th,.prose td{text-align:left;vertical-align:top}.prose td:last-child{white-space:normal;min-width:16rem}
tr:last-child td{border-bottom:0}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,21rem),1fr));gap:1rem}
figure{margin:0;background:var(--box);border:1px solid var(--line);border-radius:.5rem;overflow:hidden}
figure img{display:block;width:100%;height:auto}figcaption{padding:.5rem .7rem;font-size:.9rem}
code{font-size:.85rem;overflow-wrap:anywhere}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A PNG and what it shows."""

    path: Path
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of words."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    is_prose: bool = False
    """True: the last column is a sentence, and the table reads from the left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """Pictures of cases under a heading of their own."""

    title: str
    legend: str
    """What the colors mean."""
    pictures: Sequence[Picture]
    if_none: str
    """A sentence in their place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What the page shows, from top to bottom."""

    title: str
    data: str
    """What was judged, with counts; said at the top."""
    tables_first: Sequence[Table]
    plots: Sequence[Picture]
    tables: Sequence[Table]
    galleries: Sequence[Gallery]
    made_of: Sequence[tuple[str, str]]
    """Name and value, such as the bundles' digests."""


def write_page(page: Page, path: Path) -> None:
    """Write the page with all pictures inside it."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>{escape(page.title)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{escape(page.title)}</h1>",
        f'<p class="warning">{escape(WARNING[0].upper() + WARNING[1:])}. {escape(page.data)}</p>',
        *(_table(table) for table in page.tables_first),
        "<h2>Curves</h2>",
        _figures(page.plots),
        *(_table(table) for table in page.tables),
        *(_gallery(gallery) for gallery in page.galleries),
        "<h2>Made of</h2><div class=wide><table class=prose>",
        *(f"<tr><td>{escape(name)}</td><td><code>{escape(text)}</code></td></tr>"
          for name, text in page.made_of),
        "</table></div></body></html>",
    ]  # fmt: skip
    path.write_text("\n".join(parts) + "\n", encoding="utf-8")


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(word)}</th>" for word in table.header)
    rows = "".join("<tr>" + "".join(f"<td>{escape(word)}</td>" for word in row) + "</tr>" for row in table.rows)
    note = f"<p><small>{escape(table.note)}</small></p>" if table.note else ""
    kind = " class=prose" if table.is_prose else ""
    return f"<h2>{escape(table.title)}</h2><div class=wide><table{kind}><tr>{head}</tr>{rows}</table></div>{note}"


def _gallery(gallery: Gallery) -> str:
    shown = _figures(gallery.pictures) if gallery.pictures else f"<p>{escape(gallery.if_none)}</p>"
    return f"<h2>{escape(gallery.title)}</h2><p>{escape(gallery.legend)}</p>{shown}"


def _figures(pictures: Sequence[Picture]) -> str:
    return "<div class=figures>" + "".join(_figure(picture) for picture in pictures) + "</div>"


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.path.read_bytes()).decode("ascii")
    caption = escape(picture.caption)
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}"><figcaption>{caption}</figcaption></figure>'
    )


def percent(value: Any) -> str:
    """Return a share in percent, a dash where there is none."""
    return "–" if value is None else f"{100 * value:.1f} %"


def number(value: Any, digits: int = 3) -> str:
    """Return a number, a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def interval(ends: Any, *, in_percent: bool = False) -> str:
    """Return an interval in words, a dash where there is none."""
    if ends is None:
        return "–"
    low, high = ends
    if low is None or high is None:
        return "–"
    return f"{100 * low:.1f} to {100 * high:.1f} %" if in_percent else f"{low:.3f} to {high:.3f}"
