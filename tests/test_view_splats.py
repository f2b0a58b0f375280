"""Gaussians arrive in viser's node with the right place, size and colour."""

import numpy as np
import pytest
import torch
from view_fakes import FakeAvatar

from realhead.splatting.gaussians import Gaussians
from realhead.view.splats import UNITS_PER_METRE, add_splats, base_colour, splat_arrays, update_splats


@pytest.fixture(scope="module")
def server():
    from realhead.view.server import start_server, stop_server

    server = start_server()
    yield server
    stop_server(server)


def gaussians_of_sigma(sigma_metres, count=50):
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator)).Q
    sigma = torch.tensor([1.0, 0.6, 0.3]) * sigma_metres
    covars = turn @ torch.diag(sigma**2) @ turn.transpose(1, 2)
    means = torch.randn(count, 3, generator=generator) * 0.1
    return Gaussians(means, covars, torch.rand(count, generator=generator), torch.zeros(count, 16, 3))


def stored_sigmas(handle):
    """Largest sigma of each Gaussian in metres as the browser will see it: stored covariance times node scale."""
    return np.sqrt(np.linalg.eigvalsh(handle.covariances)[:, -1]) * handle.scale


@pytest.mark.parametrize("millimetres", [0.1, 0.2, 0.3, 1.0, 20.0, 500.0])
def test_float16_covariance_keeps_the_size(server, millimetres):
    handle = add_splats(server.scene, "/size", gaussians_of_sigma(millimetres / 1000))
    np.testing.assert_allclose(stored_sigmas(handle), millimetres / 1000, rtol=0.01)


def test_metres_in_float16_would_lose_small_gaussians(server):
    """The trap this module is for: the same Gaussians handed over in metres are wrong by more than 10 %."""
    small = gaussians_of_sigma(0.0002)
    arrays = splat_arrays(small)
    handle = server.scene.add_gaussian_splats(
        "/trap",
        arrays.centers / UNITS_PER_METRE,
        arrays.covariances / UNITS_PER_METRE**2,
        arrays.rgbs,
        arrays.opacities,
    )
    assert np.abs(stored_sigmas(handle) / 0.0002 - 1).max() > 0.1


def test_centres_return_to_metres(server):
    gaussians = gaussians_of_sigma(0.001)
    handle = add_splats(server.scene, "/place", gaussians)
    np.testing.assert_allclose(handle.centers * handle.scale, gaussians.means, atol=1e-6)


def test_base_colour_inverts_the_3dgs_convention():
    sh = torch.full((2, 16, 3), 5.0)
    sh[:, 0] = (torch.tensor([0.2, 0.5, 0.9]) - 0.5) / 0.28209479177387814
    gaussians = Gaussians(torch.zeros(2, 3), torch.eye(3).repeat(2, 1, 1), torch.ones(2), sh)
    np.testing.assert_allclose(base_colour(gaussians), [[0.2, 0.5, 0.9]] * 2, atol=1e-6)


def test_update_replaces_and_filters(server):
    avatar = FakeAvatar()
    gaussians = avatar.gaussians(avatar.neutral)
    handle = add_splats(server.scene, "/update", gaussians)
    keep = np.arange(len(gaussians.means)) % 3 == 0
    update_splats(handle, gaussians, rgbs=np.zeros((len(keep), 3)), keep=keep)
    assert len(handle.centers) == keep.sum()
    assert handle.rgbs.max() == 0
    np.testing.assert_allclose(handle.centers / UNITS_PER_METRE, gaussians.means[keep], atol=1e-6)


def test_indices_and_masks_choose_alike():
    gaussians = gaussians_of_sigma(0.01)
    by_index = splat_arrays(gaussians, keep=np.array([3, 7]))
    mask = np.zeros(50, bool)
    mask[[3, 7]] = True
    np.testing.assert_array_equal(by_index.centers, splat_arrays(gaussians, keep=mask).centers)


def test_not_finite_gaussians_are_left_out():
    gaussians = gaussians_of_sigma(0.01)
    gaussians.means[4, 1] = float("nan")
    arrays = splat_arrays(gaussians)
    assert len(arrays.centers) == 49 and np.isfinite(arrays.centers).all()
