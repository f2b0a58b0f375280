"""Attributes say what the Gaussians are, and colourings show it."""

import numpy as np
import pytest
import torch
from view_fakes import FakeAvatar

from realhead.splatting.gaussians import Gaussians
from realhead.view.attributes import COLOURINGS, Surface, attributes, colour_by, normals, regions, scales
from realhead.view.palette import categorical, ramp
from realhead.view.splats import baked_colour, base_colour, seen_colour


@pytest.fixture(scope="module")
def avatar():
    return FakeAvatar()


@pytest.fixture(scope="module")
def surface(avatar):
    return Surface.of(avatar, avatar.neutral)


def test_scales_are_the_known_ones_in_any_turn():
    turn = torch.linalg.qr(torch.randn(20, 3, 3, generator=torch.Generator().manual_seed(1))).Q
    covars = turn @ torch.diag(torch.tensor([0.003, 0.001, 0.002]) ** 2) @ turn.transpose(1, 2)
    gaussians = Gaussians(torch.zeros(20, 3), covars, torch.ones(20), torch.zeros(20, 16, 3))
    np.testing.assert_allclose(scales(gaussians), [[0.001, 0.002, 0.003]] * 20, rtol=1e-3)


def test_offset_is_the_distance_to_the_mesh(avatar, surface):
    gaussians = avatar.gaussians(avatar.neutral)
    np.testing.assert_allclose(
        attributes(gaussians, surface)["offset"].values, 1.0, atol=1e-3
    )  # the fake lifts by 1 mm


def test_depth_is_the_distance_from_the_viewpoint(avatar):
    gaussians = avatar.gaussians(avatar.neutral)
    depth = attributes(gaussians, viewpoint=np.array([0, 0, 1.0]))["depth"].values
    np.testing.assert_allclose(depth, (gaussians.means - torch.tensor([0, 0, 1.0])).norm(dim=1), rtol=1e-5)


def test_regions_name_every_gaussian_once(avatar):
    label, names = regions(avatar)
    lips = avatar.uv_map.region("lips").numpy()
    assert names[0] == "elsewhere" and set(np.unique(label)) <= set(range(len(names)))
    assert (label[lips] == names.index("lips")).all()  # lips lie inside face and skin, and win


def test_normals_point_outwards(avatar):
    gaussians = avatar.gaussians(avatar.neutral)
    outward = (normals(gaussians) * gaussians.means.numpy()).sum(1)
    assert (outward > 0).mean() > 0.99


@pytest.mark.parametrize("name", COLOURINGS)
def test_every_colouring_colours_and_explains(avatar, surface, name):
    colouring = colour_by(name, avatar.gaussians(avatar.neutral), surface, np.array([0, 0, 1.0]))
    assert colouring.rgbs.shape == (len(avatar.head.faces), 3)
    assert colouring.rgbs.min() >= 0 and colouring.rgbs.max() <= 1 and colouring.legend
    assert (
        name in ("opacity", "largest scale", "smallest scale", "view dependence")
        or len(np.unique(colouring.rgbs.round(3), axis=0)) > 1
    )


def test_colouring_without_surface_falls_back_to_colour(avatar):
    gaussians = avatar.gaussians(avatar.neutral)
    np.testing.assert_array_equal(colour_by("region", gaussians).rgbs, baked_colour(gaussians))


def test_seen_colour_agrees_with_gsplat():
    """Oracle: gsplat's reference evaluation of spherical harmonics."""
    from gsplat.cuda._torch_impl import _spherical_harmonics

    generator = torch.Generator().manual_seed(2)
    sh = torch.randn(40, 16, 3, generator=generator) * 0.1
    means = torch.randn(40, 3, generator=generator)
    viewpoint = torch.tensor([0.3, -0.2, 2.0])
    expected = (_spherical_harmonics(3, means - viewpoint, sh) + 0.5).clamp(0, 1)
    found = seen_colour(Gaussians(means, torch.eye(3).repeat(40, 1, 1), torch.ones(40), sh), viewpoint.numpy())
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_ramp_rises_in_brightness():
    brightness = ramp(np.linspace(0, 1, 20), 0, 1) @ [0.3, 0.6, 0.1]
    assert (np.diff(brightness) > 0).all()


def test_categorical_colours_differ():
    assert len(np.unique(categorical(18).round(3), axis=0)) == 18


def test_baked_colour_is_what_the_front_sees_and_turns_along():
    """A head whose colour depends on direction: the face shows what a camera in front sees, however it is turned."""
    import roma

    avatar = FakeAvatar()
    plain = avatar.gaussians(avatar.neutral)
    sh = plain.sh.clone()
    sh[:, 1:4] = 0.3 * torch.randn(len(plain), 3, 3, generator=torch.Generator().manual_seed(0))
    gaussians = Gaussians(plain.means, plain.covars, plain.opacities, sh)
    baked = baked_colour(gaussians)
    face = gaussians.means[:, 2].numpy() > 0.05
    middle = np.median(gaussians.means.numpy(), axis=0)
    np.testing.assert_allclose(baked[face], seen_colour(gaussians, middle + [0, 0, 1])[face], atol=1e-6)
    assert np.abs(baked - base_colour(gaussians)).max() > 0.05
    turn = torch.eye(4)
    turn[:3, :3] = roma.rotvec_to_rotmat(torch.tensor([0.0, 0.5, 0.0]))
    turned = gaussians.transformed(turn)
    np.testing.assert_allclose(baked_colour(turned, turn[:3, :3].numpy()), baked, atol=0.02)
