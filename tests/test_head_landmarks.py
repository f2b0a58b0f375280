"""Geometry under the landmarks: nearest spot of a mesh, polygons, and iBUG's order."""

import numpy as np
import pytest
from matplotlib.path import Path as Polygon

from realhead.head import flame_landmarks, landmarks, open_landmarks

TRIANGLES = np.array([[0, 1, 2], [1, 3, 2]])
VERTICES = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0.2], [1, 1, 0]])


@pytest.mark.parametrize("seed", range(20))
def test_nearest_spot_is_no_farther_than_any_sample(seed):
    rng = np.random.default_rng(seed)
    point = rng.normal(size=3) * 2
    face, weights = landmarks.closest_on_mesh(VERTICES, TRIANGLES, point)
    spot = weights @ VERTICES[TRIANGLES[face]]
    samples = rng.dirichlet(np.full(3, 0.5), 4000) @ VERTICES[TRIANGLES[rng.integers(0, 2, 1)[0]]]
    assert weights.min() >= -1e-9 and weights.sum() == pytest.approx(1)
    assert np.linalg.norm(spot - point) <= np.linalg.norm(samples - point, axis=1).min() + 1e-9


def test_spots_on_the_mesh_find_themselves():
    for weights in ([0.2, 0.3, 0.5], [1.0, 0, 0], [0.5, 0.5, 0]):
        point = np.array(weights) @ VERTICES[TRIANGLES[1]]
        face, found = landmarks.closest_on_mesh(VERTICES, TRIANGLES, point)
        np.testing.assert_allclose(found @ VERTICES[TRIANGLES[face]], point, atol=1e-12)


def test_polygon_agrees_with_matplotlib():
    ring = np.array([[0, 0], [2, 0.3], [1.2, 1], [2, 2], [0.1, 1.5]])
    points = np.random.default_rng(0).random((500, 2)) * 2.4 - 0.2
    expected = Polygon(ring).contains_points(points)
    np.testing.assert_array_equal(landmarks.in_polygon(points, ring, 0.0), expected)
    grown = landmarks.in_polygon(points, ring, 0.1)
    assert (grown | ~expected).all() and grown.sum() > expected.sum()


def test_both_heads_have_the_same_points_in_the_same_order():
    assert list(open_landmarks.MEDIAPIPE) == list(flame_landmarks.MEDIAPIPE)
    assert len(open_landmarks.MEDIAPIPE) == 105
    assert len(open_landmarks.JAW_LINE) == len(flame_landmarks.JAW_LINE) == 17


def test_ibug_order_follows_the_table():
    numbers = list(open_landmarks.MEDIAPIPE)
    rows = landmarks.ibug_from_mediapipe(numbers)
    assert len(rows) == 68 == len(set(rows.tolist()))
    assert rows[:17].tolist() == list(range(105, 122))
    assert [numbers[r] for r in rows[[30, 36, 45, 48, 54, 62, 66]]] == [4, 33, 263, 61, 291, 13, 14]


def test_measured_places_are_symmetric():
    """Every landmark has its mirror image in the table, to a tenth of a millimetre."""
    places = np.array([*open_landmarks.MEDIAPIPE.values()]) * open_landmarks.UNIT
    gap = np.linalg.norm(places[:, None] * [-1, 1, 1] - places, axis=2).min(1)
    assert np.percentile(gap, 90) < 1e-4 and gap.max() < 3e-3
