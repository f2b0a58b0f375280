"""The parametric head: one class for FLAME's files and for the free head."""

from __future__ import annotations

from functools import lru_cache
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


def shared_head(source: str | Path) -> Head:
    """`load_head`, once for all who ask, as long as the head's files stay as they are: a FLAME file takes seconds."""
    from realhead.head.flame import stamp

    return _kept_head(str(source), () if str(source) == "open" else stamp(Path(source)))


@lru_cache(maxsize=4)
def _kept_head(source: str, _stamp: tuple) -> Head:
    return load_head(source)
