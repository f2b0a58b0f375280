"""Colours that colour-blind readers can tell apart, for figures and for the viewer alike."""

from __future__ import annotations

import numpy as np

# Okabe and Ito's palette, darkest and strongest first; black and grey close it.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000", "#999999")
SEQUENTIAL = "viridis"
DIVERGING = "PuOr"


def hex_to_rgb(colour: str) -> np.ndarray:
    """'#RRGGBB' as three numbers in [0, 1]."""
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], dtype=np.float32) / 255


def categorical(count: int) -> np.ndarray:
    """`count` colours [count, 3] in [0, 1]; past the palette's end it is repeated paler, then darker."""
    base = np.stack([hex_to_rgb(colour) for colour in PALETTE])
    rounds = [base, 0.5 * base + 0.5, 0.55 * base]
    return np.stack([rounds[(i // len(base)) % 3][i % len(base)] for i in range(count)])


def ramp(values: np.ndarray, low: float, high: float, name: str = SEQUENTIAL) -> np.ndarray:
    """Values [N] between `low` and `high` as colours [N, 3] of a matplotlib map; values outside are clamped."""
    from matplotlib import colormaps

    scaled = (np.asarray(values, dtype=np.float64) - low) / max(high - low, 1e-12)
    return colormaps[name](np.clip(np.nan_to_num(scaled), 0.0, 1.0))[..., :3].astype(np.float32)
