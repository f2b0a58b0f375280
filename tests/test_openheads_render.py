"""The generator's renderer against the package's own rasterizer, and its light against what must hold."""

import numpy as np
import pytest

from realhead.capture.openheads.lighting import studio_lighting
from realhead.capture.openheads.occlusion import reach, sphere_directions
from realhead.capture.openheads.rasterize import HAIR, draw_ribbons, draw_triangles, project
from realhead.capture.openheads.render import Strands, Surface, light_scene, render, vertex_normals
from realhead.head.raster import rasterize_triangles

K = np.array([[60.0, 0, 16], [0, 60.0, 16], [0, 0, 1]])
CAMERA = np.array([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 1.0], [0, 0, 0, 1]])  # one metre in front, looking back


def ball(rows=12, columns=24, radius=0.1):
    """Vertices and outward triangles of a sphere around the origin."""
    latitude, longitude = np.meshgrid(np.linspace(0.02, np.pi - 0.02, rows), np.linspace(0, 2 * np.pi, columns))
    across = np.sin(latitude)
    points = np.stack([across * np.sin(longitude), np.cos(latitude), across * np.cos(longitude)], -1)
    index = np.arange(rows * columns).reshape(columns, rows)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    return (points.reshape(-1, 3) * radius).astype(np.float32), faces.astype(np.int32)


def strands(points=None):
    points = np.zeros((0, 3), np.float32) if points is None else np.asarray(points, np.float32)
    num = len(points)
    return Strands(points, np.full((num, 3), 0.1, np.float32), np.full(num, 0.002, np.float32),
                   np.array([0, num] if num else [0], np.int32), np.zeros(num, np.float32))  # fmt: skip


def surface(faces, color=0.4):
    texture = np.zeros((4, 4, 7), np.float32)
    texture[..., :3], texture[..., 6] = color, 1
    material = np.array([[0.3, 0.2, 0.1, 0.2, 20, 0, 1, 0, 0]], np.float32)
    return Surface(faces, np.full((len(faces), 3, 2), 2, np.float32), np.zeros(len(faces), np.int32), material, texture)


def test_draw_triangles_agrees_with_the_plain_rasterizer():
    vertices, faces = ball()
    points = np.empty_like(vertices)
    project(vertices, K.astype(np.float32), CAMERA.astype(np.float32), np.float32(1), points)
    depth, index = np.full((32, 32), np.inf, np.float32), np.full((32, 32), -1, np.int32)
    draw_triangles(points, faces, depth, index)
    plain_index, _, plain_depth = rasterize_triangles(points, faces, 32, 32, perspective=True)
    same = (index == plain_index).mean()
    assert same > 0.99  # shared edges may go either way
    seen = np.isfinite(plain_depth)
    np.testing.assert_allclose(depth[seen], plain_depth[seen], atol=1e-4)


def test_vertex_normals_of_a_ball_point_outwards():
    vertices, faces = ball()
    normals = vertex_normals(vertices, faces)
    inner = np.abs(vertices[:, 1]) < 0.09
    assert (normals * vertices / 0.1).sum(1)[inner].min() > 0.9


def test_ribbon_behind_a_surface_is_hidden_and_before_it_is_drawn():
    points = np.array([[4.0, 16, 1.0], [28.0, 16, 1.0]], np.float32)
    for wall, expected in ((0.9, False), (1.1, True)):
        depth, index = np.full((32, 32), wall, np.float32), np.zeros((32, 32), np.int32)
        image = np.zeros((32, 32, 3), np.float32)
        draw_ribbons(points, np.ones((2, 3), np.float32), np.full(2, 0.03, np.float32), np.array([0, 2], np.int32),
                     np.array([0]), np.float32(60), depth, index, image)  # fmt: skip
        assert (index == HAIR).any() == expected


def test_ribbon_covers_its_width_on_average():
    """A ribbon of 0.4 sub-pixels covers 40 % of its steps."""
    points = np.array([[2.0, 500, 1.0], [998.0, 500, 1.0]], np.float32)
    depth, index = np.full((1000, 1000), np.inf, np.float32), np.full((1000, 1000), -1, np.int32)
    image = np.zeros((1000, 1000, 3), np.float32)
    draw_ribbons(points, np.ones((2, 3), np.float32), np.full(2, 0.4, np.float32), np.array([0, 2], np.int32),
                 np.array([0]), np.float32(1), depth, index, image)  # fmt: skip
    assert (index == HAIR).sum() / 996 == pytest.approx(0.4, abs=0.05)


def test_lamp_reaches_only_the_near_side_of_a_ball():
    vertices, faces = ball()
    normals = vertex_normals(vertices, faces)
    at_vertices, _ = reach(vertices, normals, faces, np.zeros((0, 3), np.float32), np.zeros(0, np.float32),
                           np.array([0, 0, 1.0]), 64)  # fmt: skip
    assert at_vertices[normals[:, 2] > 0.5].min() > 0.9
    assert at_vertices[normals[:, 2] < -0.5].max() < 0.1


def test_hair_over_a_surface_takes_light_from_it():
    vertices, faces = ball()
    normals = vertex_normals(vertices, faces)
    rng = np.random.default_rng(0)
    hair = np.column_stack([rng.uniform(-0.1, 0.1, (4000, 2)), rng.uniform(0.11, 0.13, 4000)]).astype(np.float32)
    lamp = np.array([0, 0, 1.0])
    bare, _ = reach(vertices, normals, faces, hair[:0], np.zeros(0, np.float32), lamp, 64)
    covered, at_hair = reach(vertices, normals, faces, hair, np.full(4000, 1e-5, np.float32), lamp, 64)
    top = normals[:, 2] > 0.7
    assert covered[top].mean() < 0.6 * bare[top].mean()
    assert at_hair[hair[:, 2] > 0.128].mean() > at_hair[hair[:, 2] < 0.112].mean() + 0.2


def test_sphere_directions_are_unit_and_balanced():
    directions = sphere_directions(40)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, atol=1e-6)
    assert np.abs(directions.mean(0)).max() < 0.03


def test_picture_is_white_where_the_mask_is_empty_and_the_same_twice():
    vertices, faces = ball()
    scene = light_scene(surface(faces), vertices, strands([[0, 0.11, 0], [0, 0.14, 0]]),
                        studio_lighting(np.random.default_rng(0)), np.eye(3))  # fmt: skip
    picture, mask = render(scene, K, CAMERA, 32, 32)
    again, _ = render(scene, K, CAMERA, 32, 32)
    assert (picture == again).all()
    assert (picture[mask == 0] == 255).all()
    assert mask[16, 16] == 255 and 60 < picture[16, 16].mean() < 230
    assert 0 < (mask > 0).sum() - (mask == 255).sum() < 90  # a soft rim only, two pixels wide


def test_mask_area_matches_the_ball():
    vertices, faces = ball(40, 80)
    scene = light_scene(surface(faces), vertices, strands(), studio_lighting(np.random.default_rng(0)), np.eye(3))
    _, mask = render(scene, K, CAMERA, 32, 32)
    radius = 60 * 0.1 / np.sqrt(1 - 0.01)
    assert mask.sum() / 255 == pytest.approx(np.pi * radius**2, rel=0.02)
