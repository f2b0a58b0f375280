"""From rows a person to means and deviations over people, and to the share of the way between the anchors."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

NUMBERS = (
    "psnr", "ssim", "lpips_alex", "lpips_vgg", "id", "tlp", "tlp_x100", "lpips_consecutive", "lpips_tdiff",
)  # fmt: skip
LOWER_IS_BETTER = frozenset(name for name in NUMBERS if name.startswith(("lpips", "tlp")))


def summarise(rows: Sequence[dict]) -> list[dict]:
    """Mean, standard deviation (n - 1; None for one person) and count over people of every number.

    Args:
        rows: One a person and method (and group and region), as `evaluate` makes them.

    Returns:
        One a method (and group and region), in the order of the rows.
    """
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        key = tuple(row.get(name) for name in ("method", "views", "region"))
        groups.setdefault(key, []).append(row)
    summary = []
    for key, members in groups.items():
        line = {k: v for k, v in zip(("method", "views", "region"), key) if v is not None}
        for name in NUMBERS:
            values = [row[name] for row in members if row.get(name) is not None and math.isfinite(row[name])]
            if values:
                spread = statistics.stdev(values) if len(values) > 1 else None
                line[name] = {"mean": statistics.fmean(values), "std": spread, "people": len(values)}
        summary.append(line)
    return summary


def closed_share(summary: Sequence[dict]) -> list[dict]:
    """How far each method goes from floor to ceiling on unseen views, per region; empty without both anchors."""
    lines = {(s["method"], s["region"]): s for s in summary if s.get("views") == "unseen"}
    shares = []
    for (method, region), line in lines.items():
        floor, ceiling = lines.get(("floor", region)), lines.get(("ceiling", region))
        if method in ("floor", "ceiling") or not floor or not ceiling:
            continue
        share = {"method": method, "region": region}
        for name in ("psnr", "ssim", "lpips_alex"):
            low, high, value = (x.get(name, {}).get("mean") for x in (floor, ceiling, line))
            if None not in (low, high, value) and high != low:
                share[name] = (value - low) / (high - low)
        shares.append(share)
    return shares


def line_of(result: dict, method: str, views: str, region: str) -> dict:
    """One line of a result's summary, joined with the method's temporal line; empty if there is none."""
    found = [
        line
        for line in result.get("summary", [])
        if (line["method"], line.get("views"), line.get("region")) == (method, views, region)
    ]
    temporal = [line for line in result.get("temporal_summary", []) if line["method"] == method]
    return {**(temporal[0] if temporal else {}), **(found[0] if found else {})}
