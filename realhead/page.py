"""One HTML page of a run: text, pictures, tables, clips, links. Everything on it lies beside it; no request leaves."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from realhead.report.tables import Table

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; border-top: 1px solid #ddd; padding-top: 1rem; }
.row { display: flex; flex-wrap: wrap; gap: 0 1.5rem; align-items: flex-start; }
figure { margin: 1rem 0; max-width: 100%; } img, video { max-width: 100%; height: auto; background: #fff; }
nav a { margin-right: 1rem; }
figcaption, .note { color: #555; font-size: .88rem; } .failed { color: #8a2d00; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
td { font-variant-numeric: tabular-nums; } .out { color: #8a2d00; }
"""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title: Heading.
        text: What was done, one paragraph a line.
        pictures: (path relative to the page, what it shows).
        clips: The same for videos.
        tables: Tables.
        links: (path, what is behind it).
        failed: Why it did not work, in one sentence; empty where it did.
        seconds: How long it took.
    """

    title: str
    text: str = ""
    pictures: tuple[tuple[str, str], ...] = ()
    clips: tuple[tuple[str, str], ...] = ()
    tables: tuple[Table, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    failed: str = ""
    seconds: float | None = None


def write_page(path: Path, title: str, sections: Sequence[Section]) -> Path:
    """Writes the page in one step.

    Args:
        path: The .html file.
        title: Heading and window title.
        sections: Its parts in order.
    """
    body = "\n".join(_section(section) for section in sections)
    links = " ".join(f'<a href="#{_anchor(section)}">{html.escape(section.title)}</a>' for section in sections)
    text = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{html.escape(title)}</h1>\n<nav>{links}</nav>\n{body}\n</body>\n</html>\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
    return path


def _section(section: Section) -> str:
    parts = [f'<h2 id="{_anchor(section)}">{html.escape(section.title)}</h2>']
    parts += [f"<p>{html.escape(line)}</p>" for line in section.text.splitlines() if line]
    if section.failed:
        parts.append(f'<p class="failed">This part did not work: {html.escape(section.failed)}</p>')
    figures = [_figure(f'<img src="{_path(src)}" alt="{html.escape(what)}">', what) for src, what in section.pictures]
    video = '<video src="{}" controls autoplay loop muted playsinline aria-label="{}"></video>'
    figures += [_figure(video.format(_path(src), html.escape(what)), what) for src, what in section.clips]
    parts += ['<div class="row">', *figures, "</div>"] if figures else []
    parts += [table_html(table) for table in section.tables]
    parts += [f'<p><a href="{_path(src)}">{html.escape(what)}</a></p>' for src, what in section.links]
    if section.seconds is not None:
        parts.append(f'<p class="note">{section.seconds:.0f} s</p>')
    return "\n".join(parts)


def table_html(table: Table) -> str:
    """A table with its best numbers bold, title above, notes below."""
    names = list(table.rows[0]) if table.rows else []
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    lines = []
    for i, row in enumerate(table.rows):
        cells = [html.escape(row[name]) for name in names]
        cells = [f"<b>{c}</b>" if (i, n) in table.bold else c for c, n in zip(cells, names)]
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    notes = "".join(f'<p class="note">{html.escape(note)}</p>' for note in table.notes)
    return (
        f'<h3>{html.escape(table.title)}</h3>\n<div class="scroll"><table>\n<tr>{head}</tr>\n'
        + "\n".join(lines)
        + f"\n</table></div>\n{notes}"
    )


def _anchor(section: Section) -> str:
    return "".join(c if c.isalnum() else "-" for c in section.title.lower())


def _figure(content: str, what: str) -> str:
    return f"<figure>{content}<figcaption>{html.escape(what)}</figcaption></figure>"


def _path(text: str) -> str:
    from urllib.parse import quote

    return html.escape(quote(text))
