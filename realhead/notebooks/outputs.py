"""What of a notebook's outputs is kept: pictures, tables and text that are the same in every run.

Removed: execution counts, cell timings, progress bars and everything else on stderr, widget state, scripts and iframes
(hosts do not show them), outputs of cells tagged `interactive`. Replaced: memory addresses, pandas' random table ids,
folders of this machine. Large PNG pictures become JPEG.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbformat import NotebookNode

MAX_BYTES = 600_000
"""One stored notebook."""
MAX_PNG_BYTES = 100_000
"""A larger PNG picture becomes a JPEG of quality 85."""
KEPT_KINDS = (
    "text/plain",
    "text/markdown",
    "text/html",
    "text/latex",
    "image/png",
    "image/jpeg",
    "image/svg+xml",
    "image/gif",
)
ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+|\b0x[0-9a-f]{8,16}\b")
TABLE_ID = re.compile(r"\bT_[0-9a-f]{5,}")
ABSOLUTE_PATH = re.compile(r"(?<![\w./:<>~-])/(?:home|root|Users|tmp|var|private|work|opt|usr|mnt)/[^\s'\"<>)\]]*")
STYLE_HTML = re.compile(r"<style\b.*?</style>\s*", re.IGNORECASE | re.DOTALL)
ACTIVE_HTML = re.compile(r"<(script|iframe)\b", re.IGNORECASE)
KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def normalise(notebook: NotebookNode) -> NotebookNode:
    """Removes from a notebook what differs between two runs or two machines; changes it in place and returns it."""
    from nbformat import from_dict

    notebook.metadata = from_dict(dict(KERNEL))
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    counts: Counter[str] = Counter()
    for cell in notebook.cells:
        cell.source = cell.source.rstrip("\n")
        cell.id = _cell_id(cell, counts)
        tags = cell.metadata.get("tags", [])
        cell.metadata = from_dict({"tags": list(tags)} if tags else {})
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = [] if "interactive" in tags else [o for o in map(_output, cell.outputs) if o is not None]
    return notebook


def faults(notebook: NotebookNode, text: str) -> list[str]:
    """What must not be committed: errors, addresses, folders of one machine, counts, missing outputs, too many bytes.

    Args:
        notebook: A stored notebook.
        text: The file's content.
    """
    found = []
    if len(text.encode()) > MAX_BYTES:
        size = f"takes {len(text.encode()) / 1e3:.0f} kB, more than {MAX_BYTES / 1e3:.0f} kB"
        found.append(f"{size}: show fewer or smaller pictures")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in code for output in cell.outputs]
    if code and not outputs:
        found.append("has no outputs: run realhead notebooks --execute")
    if any(output.output_type == "error" for output in outputs):
        found.append("a cell ended in an error")
    shown = "\n".join(_texts(output) for output in outputs)
    for what, pattern in (("the memory address", ADDRESS), ("the absolute path", ABSOLUTE_PATH)):
        hit = pattern.search(shown)
        if hit:
            found.append(f"an output holds {what} {hit.group()!r}: do not print it")
    import nbformat

    again = normalise(nbformat.reads(text, 4))
    if nbformat.writes(again, indent=1, sort_keys=True) + "\n" != text:
        found.append("is not normalised: run realhead notebooks")
    return found


def _cell_id(cell: NotebookNode, counts: Counter[str]) -> str:
    """Eight digits from the cell's content, so that ids stay where the cells stay."""
    digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:8]
    counts[digest] += 1
    return digest if counts[digest] == 1 else f"{digest}-{counts[digest]}"


def _output(output: NotebookNode) -> NotebookNode | None:
    if output.output_type == "stream":
        if output.name != "stdout" or not output.text.strip():
            return None
        output.text = _clean(output.text)
        return output
    if output.output_type == "error":
        return output
    if any("widget" in kind for kind in output.data) and "image/png" not in output.data:
        return None  # a live control without a still picture: nothing to see without a kernel
    data = {kind: value for kind, value in output.data.items() if kind in KEPT_KINDS}
    if "text/html" in data:
        data["text/html"] = STYLE_HTML.sub("", _joined(data["text/html"]))
        if ACTIVE_HTML.search(data["text/html"]):
            del data["text/html"]
    data = {kind: _clean(_joined(value)) if kind.startswith("text/") else value for kind, value in data.items()}
    if "image/png" in data:
        data = {**{kind: value for kind, value in data.items() if kind != "image/png"}, **_picture(data["image/png"])}
    if not data:
        return None
    from nbformat import from_dict

    output.data, output.metadata = from_dict(data), from_dict({})
    if output.output_type == "execute_result":
        output.execution_count = None
    return output


def _picture(encoded: str) -> dict[str, str]:
    """A PNG as it is, or as JPEG where it is large and opaque."""
    raw = base64.b64decode(_joined(encoded))
    if len(raw) <= MAX_PNG_BYTES:
        return {"image/png": base64.b64encode(raw).decode()}
    from PIL import Image

    picture = Image.open(io.BytesIO(raw)).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    packed = io.BytesIO()
    Image.alpha_composite(white, picture).convert("RGB").save(packed, "JPEG", quality=85, optimize=True)
    return {"image/jpeg": base64.b64encode(packed.getvalue()).decode()}


def _clean(text: str) -> str:
    text = ADDRESS.sub("at 0x…", TABLE_ID.sub("T_0", text))
    for folder, name in _folders():
        text = text.replace(folder, name)
    return ABSOLUTE_PATH.sub(lambda hit: f"…/{Path(hit.group()).name}", text)


def _folders() -> list[tuple[str, str]]:
    """Folders of this machine and how they are shown, longest first."""
    from realhead.assets import cache_dir

    named = {
        str(Path(__file__).resolve().parents[2]): "realhead",
        str(cache_dir()): "$REALHEAD_CACHE",
        sys.prefix: "$VENV",
        tempfile.gettempdir(): "$TMP",
        os.path.expanduser("~"): "~",
    }
    return sorted(((folder, name) for folder, name in named.items() if len(folder) > 1), key=lambda pair: -len(pair[0]))


def _texts(output: NotebookNode) -> str:
    if output.output_type == "stream":
        return output.text
    return "\n".join(_joined(value) for kind, value in output.get("data", {}).items() if kind.startswith("text/"))


def _joined(value: str | list[str]) -> str:
    return value if isinstance(value, str) else "".join(value)
