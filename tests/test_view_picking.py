"""A click finds the Gaussian that is seen there."""

import numpy as np
import torch
from view_fakes import FakeAvatar

from realhead.splatting.gaussians import Gaussians
from realhead.view.attributes import Surface
from realhead.view.picking import describe, ellipsoid, pick


def line_of(depths, opacities, sigma=0.01):
    """Gaussians behind one another on the z axis, which a ray from z = 1 looks down."""
    means = torch.tensor([[0.0, 0.0, -d] for d in depths])
    covars = torch.eye(3).repeat(len(depths), 1, 1) * sigma**2
    return Gaussians(means, covars, torch.tensor(opacities), torch.zeros(len(depths), 16, 3))


DOWN = (np.array([0, 0, 1.0]), np.array([0, 0, -2.0]))


def test_front_opaque_gaussian_hides_the_rest():
    assert pick(line_of([0.3, 0.0, 0.1], [0.9, 0.9, 0.9]), *DOWN) == 1


def test_faint_gaussian_in_front_is_looked_through():
    assert pick(line_of([0.0, 0.2], [0.05, 0.9]), *DOWN) == 1


def test_hidden_gaussians_are_not_found():
    assert pick(line_of([0.0, 0.2], [0.9, 0.9]), *DOWN, keep=np.array([False, True])) == 1


def test_behind_the_eye_is_not_found():
    assert pick(line_of([-1.5], [0.9]), *DOWN) is None


def test_near_miss_takes_the_nearest_and_far_miss_none():
    small = line_of([0.0, 0.1], [0.9, 0.9], sigma=0.0005)
    assert pick(small, np.array([0.008, 0, 1.0]), DOWN[1]) == 0
    assert pick(small, np.array([0.05, 0, 1.0]), DOWN[1]) is None


def test_response_is_the_largest_along_the_ray():
    """Oracle: sample the ray finely and take the largest density."""
    generator = torch.Generator().manual_seed(3)
    basis = torch.randn(30, 3, 3, generator=generator) * 0.02
    gaussians = Gaussians(
        torch.randn(30, 3, generator=generator) * 0.03,
        basis @ basis.transpose(1, 2) + 1e-6 * torch.eye(3),
        torch.ones(30),
        torch.zeros(30, 16, 3),
    )
    from realhead.view.picking import _response

    direction = np.array([0.0, 0.0, -1.0])
    found, depth = _response(gaussians.covars.numpy(), gaussians.means.numpy() - DOWN[0], direction)
    t = np.linspace(0.7, 1.3, 6001)
    delta = DOWN[0] + t[:, None, None] * direction - gaussians.means.numpy()
    density = np.exp(-0.5 * np.einsum("tni,nij,tnj->tn", delta, np.linalg.inv(gaussians.covars.double()), delta))
    np.testing.assert_allclose(found, density.max(0), atol=1e-3)
    np.testing.assert_allclose(depth, t[density.argmax(0)], atol=1e-3)


def test_description_names_texel_triangle_and_region():
    avatar = FakeAvatar()
    gaussians, surface = avatar.gaussians(avatar.neutral), Surface.of(avatar, avatar.neutral)
    index = pick(gaussians, np.array([0, -0.04, 1.0]), np.array([0, 0, -1.0]))
    text = describe(gaussians, index, surface)
    row, column = index // avatar.uv_map.resolution, index % avatar.uv_map.resolution
    assert f"| {row}, {column} |" in text and f"| {index} at (" in text and "| Region | lips |" in text
    assert "1.00 mm" in text and "0.900" in text


def test_ellipsoid_has_the_gaussian_size():
    gaussians = FakeAvatar().gaussians(FakeAvatar().neutral)
    vertices, faces = ellipsoid(gaussians, 7, sigmas=1.0)
    centred = vertices - gaussians.means[7].numpy()
    longest = np.sqrt(np.linalg.eigvalsh(gaussians.covars[7].double())[-1])
    assert abs(np.linalg.norm(centred, axis=1).max() / longest - 1) < 0.06 and faces.max() < len(vertices)
