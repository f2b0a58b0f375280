"""OpenHeads people: seeds, skin colours, strands on the skin, teeth behind lips."""

import numpy as np
import pytest
import torch

from realhead.capture.openheads import skin, teeth
from realhead.capture.openheads.hair import from_grid
from realhead.capture.openheads.hair_growth import radius_map
from realhead.capture.openheads.noise import noise
from realhead.capture.openheads.people import atlas_of, build_person, sample_traits
from realhead.head import load_head


@pytest.fixture(scope="module")
def head():
    return load_head("open")


@pytest.fixture(scope="module")
def person(head):
    return build_person(head, sample_traits(head, 3), strands=0.05)


def test_noise_is_continuous_and_of_unit_size():
    points = np.random.default_rng(0).uniform(-0.1, 0.1, (4000, 3)).astype(np.float32)
    values = noise(points, 0.02, 5, 3)
    assert 0.3 < values.std() < 0.8 and abs(values.mean()) < 0.1
    assert np.abs(noise(points + np.float32(1e-6), 0.02, 5, 3) - values).max() < 0.01
    assert not np.allclose(noise(points, 0.02, 6, 3), values)


def test_skin_colour_darkens_with_melanin_and_reddens_with_blood():
    melanin = np.linspace(0.05, 1.7, 12)
    colour = skin.albedo(melanin, np.full(12, 0.3))
    assert (np.diff(colour, axis=0) < 0).all()
    ratio = skin.albedo(np.full(5, 0.3), np.linspace(0.1, 0.6, 5))
    assert (np.diff(ratio[:, 0] / ratio[:, 1]) > 0).all()
    assert (colour[:, 0] > colour[:, 1]).all() and (colour[:, 1] > colour[:, 2]).all()


def test_seeds_give_different_people_and_the_same_seed_the_same(head):
    shapes = np.stack([sample_traits(head, s).shape for s in range(12)])
    np.testing.assert_array_equal(shapes[4], sample_traits(head, 4).shape)
    distance = np.linalg.norm(shapes[:, None] - shapes[None], axis=-1) + 1e9 * np.eye(12)
    assert distance.min() > 5  # of about 16 for independent people with 128 coefficients of unit variance


def test_lips_at_rest_are_not_fuller_than_peoples(head):
    shapes = torch.stack([torch.from_numpy(sample_traits(head, s).shape).float() for s in range(60)])
    points = head.landmark_positions(head.canonical(shapes, torch.zeros(60, head.num_expression)))
    fullness = (points[:, 51, 1] - points[:, 57, 1]) / (points[:, 54, 0] - points[:, 48, 0])
    assert 0.3 < fullness.mean() < 0.42 and fullness.max() < 0.451


def test_identity_coefficients_have_about_unit_spread(head):
    shapes = np.stack([sample_traits(head, s).shape for s in range(150)])
    assert 0.8 < shapes.std(0).mean() < 1.2
    assert np.abs(shapes).max() <= 3.6


def test_texture_is_finite_and_in_range(person):
    texture = person.surface.texture
    assert np.isfinite(texture).all()
    assert texture[..., :3].min() >= 0 and texture[..., :3].max() < 1


def test_scalp_strands_are_rooted_on_the_head_and_do_not_enter_it(person, head):
    hair, atlas = person.hair, atlas_of(head)
    neutral = person.neutral[: head.num_vertices]
    from scipy.spatial import cKDTree

    roots = hair.points[hair.starts[:-1]]
    skin_points = neutral[atlas.faces].mean(1)
    assert np.quantile(cKDTree(skin_points).query(roots)[0], 0.99) < 0.012
    centre = np.array([0, 0.02, -0.045])
    grid = radius_map(skin_points[atlas.regions["skin"][atlas.faces].all(1)], centre)
    offset = hair.points[hair.points[:, 1] > 0.06] - centre
    assert np.quantile(np.linalg.norm(offset, axis=1), 0.01) > grid[:12].min() - 0.01


def test_hair_follows_a_rigid_motion_exactly(person, head):
    """Skull and skin moved alike: every strand, rooted in either, moves alike too."""
    angle = 0.4
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn, [0.1, -0.2, 0.05]
    neutral = person.neutral[: head.num_vertices]
    moved = person.hair.posed(neutral, neutral @ turn.T + matrix[:3, 3], atlas_of(head).faces, matrix)
    expected = person.hair.points @ turn.T + matrix[:3, 3]
    np.testing.assert_allclose(moved, expected, atol=2e-5)


def test_from_grid_lays_strands_one_after_the_other():
    hair = from_grid(np.zeros((3, 4, 3)), np.zeros((3, 4, 3)), np.ones((3, 4)), np.zeros(3))
    np.testing.assert_array_equal(hair.starts, [0, 4, 8, 12])


def test_teeth_stand_behind_the_lips_and_in_a_row(head, person):
    """In the neutral face no tooth comes out in front of the lips, and neighbours do not sit inside each other."""
    atlas = atlas_of(head)
    neutral = person.neutral[: head.num_vertices]
    parts = teeth.build_teeth(person.traits.teeth, neutral[atlas.regions["teeth_upper"]],
                              neutral[atlas.regions["teeth_lower"]])  # fmt: skip
    crowns = [p for p in parts if p.material == "tooth"]
    assert len(crowns) == 28
    lips = neutral[atlas.regions["lips"]]
    assert max(p.vertices[:, 2].max() for p in crowns) < lips[:, 2].max()
    middles = np.array([p.vertices.mean(0) for p in crowns[:14]])
    gaps = np.linalg.norm(middles[:, None] - middles[None], axis=-1) + np.eye(14)
    assert 0.004 < gaps.min(1).min() and gaps.min(1).max() < 0.014


def test_teeth_differ_between_people(head):
    shades = {sample_traits(head, s).teeth.shade for s in range(5)}
    assert len(shades) == 5
