"""Figures hold what they were given, and overlays land where the camera says."""

import io

import numpy as np
import pytest
import torch
from view_fakes import FakeAvatar, fake_camera

from realhead.errors import RealheadError
from realhead.view.attributes import Surface
from realhead.view.overlays import draw_mesh, draw_points, picture, residual_map
from realhead.view.plots import curves, grid, histogram_picture, histograms, uv_maps


def png(figure):
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


@pytest.mark.parametrize(
    "image",
    [
        np.full((4, 6, 3), 128, np.uint8),
        torch.full((4, 6, 3), 128 / 255),
        torch.full((3, 4, 6), 128 / 255, requires_grad=True),
        torch.full((1, 3, 4, 6), 128 / 255),
        np.full((4, 6), 128 / 255),
        np.full((1, 4, 6), 128 / 255),
    ],
)
def test_every_usual_picture_is_understood(image):
    found = picture(image)
    assert found.shape == (4, 6, 3)
    np.testing.assert_allclose(found, 128 / 255, atol=1e-6)


def test_what_is_no_picture_is_one_sentence():
    with pytest.raises(RealheadError, match="shape"):
        picture(np.zeros((4, 6, 7)))


def test_grid_shows_each_picture_under_its_label():
    figure = grid({"red": np.ones((20, 30, 3)) * [1, 0, 0], "blue": np.ones((20, 30, 3)) * [0, 0, 1]})
    assert [axis.get_title() for axis in figure.axes] == ["red", "blue"]
    np.testing.assert_allclose(figure.axes[1].images[0].get_array()[5, 5], [0, 0, 1])
    assert len(png(figure)) < 100_000


def test_grid_breaks_rows_and_hides_empty_cells():
    figure = grid([np.zeros((8, 8))] * 5, columns=3, row_labels=["a", "b"])
    assert len(figure.axes) == 6 and sum(axis.get_visible() for axis in figure.axes) == 5
    assert figure.axes[3].get_ylabel() == "b"
    with pytest.raises(RealheadError):
        grid([])


def test_figures_are_closed_for_pyplot():
    import matplotlib.pyplot as plt

    grid([np.zeros((8, 8))])
    curves({"loss": [1, 2]})
    assert not plt.get_fignums()


def test_signed_uv_map_has_zero_at_mid_grey_and_white_outside():
    values = torch.zeros(3, 16, 16)
    values[0, 0, 0], values[1, 0, 0] = -0.02, 0.01
    mask = torch.ones(16, 16, dtype=torch.bool)
    mask[8:] = False
    figure = uv_maps({"offset": values}, mask)
    shown = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(shown[4, 4], 0.5, atol=1e-6)
    np.testing.assert_allclose(shown[0, 0], [0.0, 0.75, 0.5], atol=1e-6)
    np.testing.assert_allclose(shown[9, 3], 1.0)
    assert "0.02" in figure.axes[0].get_title()


def test_histograms_count_every_gaussian_within_limits():
    avatar = FakeAvatar()
    gaussians, surface = avatar.gaussians(avatar.neutral), Surface.of(avatar, avatar.neutral)
    figure = histograms(gaussians, surface)
    by_name = {trace.name: trace for trace in figure.data}
    assert {"opacity", "offset", "largest scale"} <= set(by_name)
    assert np.sum(by_name["largest scale"].y) >= 0.97 * len(gaussians)
    assert len(png(histogram_picture(gaussians, surface))) < 100_000


def test_point_lands_on_its_pixel():
    image = draw_points(np.ones((40, 60, 3)), [[20.5, 10.5], [np.nan, 3.0], [-100.0, 5.0]], radius=1.0)
    changed = np.argwhere((image < 0.99).any(-1))
    assert (np.abs(changed - [10, 20]) <= 2).all() and len(changed) >= 5
    np.testing.assert_allclose(image[10, 20], np.array([0xD5, 0x5E, 0x00]) / 255, atol=0.01)


@pytest.mark.parametrize("style", ["shaded", "wireframe"])
def test_mesh_covers_what_the_camera_sees(style):
    avatar, camera = FakeAvatar(), fake_camera(azimuth=0.5)
    vertices = avatar.head.v_template
    drawn = draw_mesh(torch.ones(camera.height, camera.width, 3), vertices, avatar.head.faces, camera, style)
    changed = (drawn < 0.999).any(-1)
    xy, _ = camera.project(vertices)
    rows, columns = np.nonzero(changed)
    assert abs(columns.min() - xy[:, 0].min()) < 3 and abs(rows.max() - xy[:, 1].max()) < 3
    assert changed.mean() > (0.2 if style == "shaded" else 0.05)


def test_mesh_of_another_size_is_one_sentence():
    avatar = FakeAvatar()
    with pytest.raises(RealheadError, match="128x128"):
        draw_mesh(np.ones((10, 10, 3)), avatar.head.v_template, avatar.head.faces, fake_camera())


def test_residual_is_dark_where_equal_and_bright_where_not():
    a = torch.rand(8, 8, 3, generator=torch.Generator().manual_seed(0))
    b = a.clone()
    b[3, 4] = 1 - b[3, 4].round()
    heat = residual_map(a, b).sum(-1)
    assert np.unravel_index(heat.argmax(), heat.shape) == (3, 4) and heat[0, 0] < 0.05
    with pytest.raises(RealheadError, match="size"):
        residual_map(a, b[:4])
