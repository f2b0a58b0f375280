"""Merging keeps mass, place and shape; it never bridges seams."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from realhead.splatting.gaussians import Gaussians
from realhead.view.attributes import Surface
from realhead.view.thinning import groups, merge


def sheet(side=24, spacing=0.002, sigma=0.0015):
    """Gaussians on a flat grid, one per texel; the left half is face, the right half scalp."""
    row, column = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    texel = np.stack([row, column], -1).reshape(-1, 2)
    means = torch.tensor(np.concatenate([texel * spacing, np.zeros((len(texel), 1))], 1), dtype=torch.float32)
    count = len(texel)
    gaussians = Gaussians(
        means,
        torch.diag(torch.tensor([1, 1, 0.01]) * sigma**2).repeat(count, 1, 1),
        torch.full((count,), 0.8),
        torch.zeros(count, 16, 3),
    )
    region = np.where(texel[:, 1] < side // 2, 1, 2)
    surface = Surface(
        means.numpy(), texel, np.arange(count), np.full((count, 3), 1 / 3), region, ("x", "face", "scalp")
    )
    return gaussians, surface


def test_few_enough_are_left_alone():
    gaussians, surface = sheet()
    assigned = groups(gaussians, surface, 10_000)
    np.testing.assert_array_equal(assigned, np.arange(len(assigned)))
    merged = merge(gaussians, assigned)
    torch.testing.assert_close(merged.means, gaussians.means)
    torch.testing.assert_close(merged.covars, gaussians.covars)


@pytest.mark.parametrize("maximum", [400, 300, 120])
def test_maximum_is_kept_and_the_face_stays_fine(maximum):
    gaussians, surface = sheet()
    assigned = groups(gaussians, surface, maximum)
    assert len(np.unique(assigned)) <= maximum and assigned.min() >= 0
    face = surface.region == 1
    assert len(np.unique(assigned[face])) >= len(np.unique(assigned[~face]))


def test_merged_sheet_covers_as_much_as_before():
    """The sheet's opacity along many rays through it hardly changes."""
    gaussians, surface = sheet()
    merged = merge(gaussians, groups(gaussians, surface, 300))

    def alpha(g, points):
        delta = points[:, None] - g.means[None, :, :2]
        precision = torch.linalg.inv(g.covars[:, :2, :2])
        density = torch.exp(-0.5 * torch.einsum("pni,nij,pnj->pn", delta, precision, delta))
        return 1 - (1 - g.opacities * density).prod(1)

    points = torch.rand(400, 2, generator=torch.Generator().manual_seed(0)) * 0.03 + 0.008
    before, after = alpha(gaussians, points), alpha(merged, points)
    assert len(merged) < 0.6 * len(gaussians) and before.min() > 0.85 and (after - before).abs().max() < 0.12


def test_merged_moments_are_the_mixture_s():
    """Oracle: moments of many samples drawn from the group's Gaussians, so wide that nothing has to be stretched."""
    gaussians, _ = sheet(side=2, sigma=0.0001)
    merged = merge(gaussians, np.zeros(4, dtype=int))
    generator = torch.Generator().manual_seed(0)
    draws = torch.distributions.MultivariateNormal(gaussians.means, gaussians.covars)
    torch.manual_seed(generator.initial_seed())
    samples = draws.sample((20_000,)).reshape(-1, 3)
    torch.testing.assert_close(merged.means[0], samples.mean(0), atol=2e-5, rtol=0)
    torch.testing.assert_close(merged.covars[0], samples.T.cov(), atol=5e-8, rtol=0)


def test_invisible_gaussians_go_first():
    gaussians, surface = sheet()
    opacities = gaussians.opacities.clone()
    opacities[::2] = 0.001
    assigned = groups(replace(gaussians, opacities=opacities), surface, 10_000)
    assert (assigned[::2] == -1).all() and (assigned[1::2] >= 0).all()


def test_groups_do_not_bridge_a_seam():
    gaussians, surface = sheet()
    means = gaussians.means.clone()
    means[surface.texel[:, 1] >= 13] += torch.tensor([0.0, 0.3, 0.0])  # a seam inside the cells of step 2
    torn = replace(gaussians, means=means)
    merged = merge(torn, groups(torn, surface, 500))
    assert torch.linalg.eigvalsh(merged.covars)[:, -1].sqrt().max() < 0.01


def test_without_texels_the_most_visible_stay():
    gaussians, _ = sheet()
    opacities = torch.linspace(0.1, 0.9, len(gaussians))
    assigned = groups(replace(gaussians, opacities=opacities), None, 50)
    np.testing.assert_array_equal(np.flatnonzero(assigned >= 0), np.arange(len(gaussians) - 50, len(gaussians)))
