"""Smooths the mean person's map of a prior over neighbouring texels, as a fresh start for `realhead train --init`.

    python tools/smooth_prior.py PRIOR OUT [--texels 2]

Where Gaussians have drifted apart (most shrunk to specks, few carrying the picture), training alone hardly brings them
back. Every texel gets the average of its neighbours on the same island of the UV layout, weighted by the area that they
cover, and the template's own scale.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from realhead.model.checkpoint import load_prior, save_prior
from realhead.model.primitives import MAX_LOG_SCALE, SCALE_CHANNELS
from realhead.model.prior import Prior

START_LOG_SCALE = 0.5
"""Wider than the template by two thirds: hair stands off the scalp and has more area to cover."""


def smoothed_mean(prior: Prior, texels: float) -> torch.Tensor:
    """The mean person's map, averaged over neighbours and with one scale everywhere."""
    mean, uv_map = prior.mean.detach(), prior.uv_map
    weight = torch.exp(2 * mean[:, SCALE_CHANNELS].mean(1, keepdim=True).clamp(-MAX_LOG_SCALE, MAX_LOG_SCALE))
    layers = uv_map.scatter(torch.cat([mean * weight, weight], 1)).numpy()
    islands, count = ndimage.label(uv_map.mask.numpy(), np.ones((3, 3)))
    result = np.zeros_like(layers)
    for island in range(1, count + 1):
        inside = islands == island
        result += inside * np.stack([ndimage.gaussian_filter(layer * inside, texels) for layer in layers])
    smooth = uv_map.gather(torch.from_numpy(result))
    smooth = smooth[:, :-1] / smooth[:, -1:]
    smooth[:, SCALE_CHANNELS] = START_LOG_SCALE
    return smooth


def main() -> None:
    """Reads, smooths, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prior")
    parser.add_argument("out", type=Path)
    parser.add_argument("--texels", type=float, default=2.0, help="standard deviation of the average")
    options = parser.parse_args()
    prior = load_prior(options.prior)
    with torch.no_grad():
        prior.mean.copy_(smoothed_mean(prior, options.texels))
    done = f"mean person averaged over {options.texels} texels, scales reset (tools/smooth_prior.py)"
    save_prior(prior, options.out, {**prior.card, "afterwards": done})


if __name__ == "__main__":
    main()
