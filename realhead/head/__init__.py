"""The parametric head: one class for FLAME's files and for the free head."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from realhead.head.model import Head


def load_head(head: str | Path = "open", uv_layout: str = "default") -> Head:
    """Loads a head.

    Args:
        head: "open" for the free head, or the path of a FLAME file (.pkl or .npz).
        uv_layout: "default", or "fewer_mouth" (the paper's Table IV; free head only).

    Raises:
        RealheadError: The file is missing or is no FLAME file, or the layout is unknown.
    """
    from realhead.errors import RealheadError
    from realhead.head.model import Head
    from realhead.head.uv_layout import LAYOUTS

    if uv_layout not in LAYOUTS:
        raise RealheadError(f"Unknown UV layout '{uv_layout}': use one of {', '.join(LAYOUTS)}.")
    if str(head) == "open":
        from realhead.head.open_head import load_open_head

        return Head(load_open_head(uv_layout))
    from realhead.head.flame import read_flame

    return Head(read_flame(Path(head)))
