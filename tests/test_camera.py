"""Conventions of cameras, pinned."""

import math

import numpy as np
import pytest
import torch

from realhead.capture import Camera


def test_convention_camera_axes_are_opencv():
    camera = Camera.look_at([0, 0, 1], [0, 0, 0], focal=100, width=40, height=20)
    right_up_near = torch.tensor([[0.1, 0, 0], [0, 0.1, 0], [0, 0, 0.1]])
    xy, depth = camera.project(right_up_near)
    assert xy[0, 0] > 20 and xy[1, 1] < 10  # world x is right in the picture, world y is up
    torch.testing.assert_close(depth, torch.tensor([1.0, 1.0, 0.9]))


def test_convention_middle_of_the_picture_is_half_the_size():
    camera = Camera.look_at([0.3, 0.2, 1], [0.1, 0, 0], focal=100, width=40, height=20)
    xy, _ = camera.project(torch.tensor([[0.1, 0.0, 0.0]]))
    torch.testing.assert_close(xy, torch.tensor([[20.0, 10.0]]), atol=1e-4, rtol=0)


def test_project_agrees_with_homogeneous_numpy():
    rng = np.random.default_rng(0)
    camera = Camera.look_at([0.3, 0.2, 1], [0, 0, 0], focal=123, width=40, height=20, principal=(17, 9))
    points = rng.normal(size=(10, 3)).astype(np.float32) * 0.2
    rows = np.c_[points, np.ones(10)] @ camera.cam_from_world.numpy().T[:, :3] @ camera.K.numpy().T
    xy, _ = camera.project(torch.from_numpy(points))
    np.testing.assert_allclose(xy.numpy(), rows[:, :2] / rows[:, 2:], rtol=1e-4)


def test_scaled_camera_sees_the_same_at_twice_the_pixels():
    camera = Camera.orbit(0.3, 0.1)
    points = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)) * 0.1
    torch.testing.assert_close(camera.scaled(512, 512).project(points)[0], camera.project(points)[0] * 2)


@pytest.mark.parametrize("azimuth", [0.0, 0.7, -1.2])
def test_orbit_looks_at_the_target_from_the_persons_left_for_positive_azimuth(azimuth):
    camera = Camera.orbit(azimuth, distance=2.0)
    torch.testing.assert_close(camera.centre, 2 * torch.tensor([math.sin(azimuth), 0, math.cos(azimuth)]))
    torch.testing.assert_close(camera.forward, -camera.centre / 2, atol=1e-6, rtol=0)
