"""Maps between mesh and texture: rasterization, round trips, frames, and the layout of the free head."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from realhead.errors import RealheadError
from realhead.head import load_head
from realhead.head.uv import PARTS, UVMap, pixels_from_uv, vertex_normals
from realhead.head.uv_layout import DEFAULT, LAYOUTS

MOUTH = ("mouth", "teeth_upper", "teeth_lower", "tongue")


@pytest.fixture(scope="module", params=["default", "fewer_mouth"])
def head(request):
    return load_head("open", uv_layout=request.param)


def square_map(resolution: int = 8) -> tuple[UVMap, torch.Tensor]:
    """A unit square in the x-y plane whose texture is the square itself."""
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    left = {"left": torch.tensor([True, False, False, True])}
    return UVMap.rasterize(corners, faces, corners[:, :2].contiguous(), faces, left, resolution), corners


def test_texel_centres_see_their_own_coordinates():
    uv_map, corners = square_map()
    seen = uv_map.scatter(uv_map.interpolate(corners[:, :2]))
    middle = (torch.arange(8) + 0.5) / 8
    torch.testing.assert_close(seen[0], middle.expand(8, 8))
    torch.testing.assert_close(seen[1], (1 - middle)[:, None].expand(8, 8))  # row 0 is v near 1


def test_pixels_put_v_one_on_top():
    torch.testing.assert_close(pixels_from_uv(torch.tensor([[0.25, 1.0]]), 64), torch.tensor([[16.0, 0.0]]))


def test_frame_and_footprint_of_a_square():
    uv_map, _ = square_map()
    torch.testing.assert_close(uv_map.frame, torch.eye(3).expand(64, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(uv_map.footprint, torch.full((64, 2), 1 / 8))


def test_regions_follow_the_nearest_corner():
    uv_map, _ = square_map()
    image = uv_map.scatter(uv_map.region("left").float()[:, None])[0]
    assert image[:, 0].all() and not image[:, -1].any()
    with pytest.raises(RealheadError, match="No region 'right'"):
        uv_map.region("right")


def test_scatter_and_gather_undo_each_other(head):
    uv_map = head.uv_map(64)
    values = torch.randn(2, len(uv_map), 3, generator=torch.Generator().manual_seed(0))
    image = uv_map.scatter(values, fill=7.0)
    assert image.shape == (2, 3, 64, 64)
    torch.testing.assert_close(uv_map.gather(image), values)
    assert (image[:, :, ~uv_map.mask] == 7.0).all()


def test_interpolation_is_linear_and_differentiable(head):
    uv_map = head.uv_map(64)
    vertices = head.v_template.clone().requires_grad_()
    points = uv_map.interpolate(vertices)
    by_hand = (head.v_template[head.faces[uv_map.face]] * uv_map.barycentric[..., None]).sum(1)
    torch.testing.assert_close(points, by_hand)
    points.sum().backward()
    assert vertices.grad.sum().item() == pytest.approx(3 * len(uv_map), rel=1e-4)


def test_maps_are_cached_and_say_what_they_cover(head):
    assert head.uv_map(64) is head.uv_map(64)
    assert f"{len(head.uv_map(64))} texels" in head.uv_map(64).summary()


def test_frames_are_rotations_along_the_normals(head):
    uv_map = head.uv_map(64)
    eye = torch.eye(3).expand(len(uv_map), 3, 3)
    torch.testing.assert_close(uv_map.frame.mT @ uv_map.frame, eye, atol=1e-4, rtol=0)
    assert torch.linalg.det(uv_map.frame).min() > 0.99
    normals = uv_map.interpolate(vertex_normals(head.v_template, head.faces))
    cosine = torch.nn.functional.cosine_similarity(normals, uv_map.frame[..., 2])
    assert cosine.min() > 0.999


def test_footprint_is_the_step_between_texels(head):
    uv_map = head.uv_map(256)
    image = uv_map.scatter(uv_map.interpolate(head.v_template))
    step = (image[:, :, 1:] - image[:, :, :-1]).norm(dim=0)
    inside = uv_map.scatter(uv_map.region("face").float()[:, None])[0] > 0
    both = inside[:, 1:] & inside[:, :-1]
    footprint = uv_map.scatter(uv_map.footprint)[0, :, :-1]
    ratio = (step / footprint)[both]
    assert ratio.median().item() == pytest.approx(1, abs=0.02)


def test_normals_agree_with_trimesh(head):
    import trimesh

    mesh = trimesh.Trimesh(head.v_template.numpy(), head.faces.numpy(), process=False)
    face_area = mesh.area_faces[:, None] * mesh.face_normals
    expected = np.zeros_like(mesh.vertices)
    for k in range(3):
        np.add.at(expected, mesh.faces[:, k], face_area)
    ours = vertex_normals(head.v_template.double(), head.faces).numpy()
    used = np.unique(mesh.faces)
    expected = expected[used] / np.linalg.norm(expected[used], axis=1, keepdims=True)
    np.testing.assert_allclose(ours[used], expected, atol=1e-4)


def test_no_two_triangles_overlap(head):
    """Counts, for every texel centre of a fine square, the triangles that hold it: never two."""
    size = 1024
    corners = (head.uv_coords * size).double().numpy()[head.uv_faces.numpy()]
    count = np.zeros((size, size), np.int32)
    for a, b, c in corners:
        low = np.maximum(np.ceil(np.minimum(np.minimum(a, b), c) - 0.5), 0).astype(int)
        high = np.floor(np.maximum(np.maximum(a, b), c) - 0.5).astype(int)
        x, y = np.meshgrid(np.arange(low[0], high[0] + 1) + 0.5, np.arange(low[1], high[1] + 1) + 0.5)
        sides = [(q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0]) for p, q in ((a, b), (b, c), (c, a))]
        inside = (np.stack(sides) > 1e-6).all(0) | (np.stack(sides) < -1e-6).all(0)
        count[low[1] : high[1] + 1, low[0] : high[0] + 1] += inside
    assert count.max() == 1
    assert (count > 0).mean() > 0.75


def test_islands_keep_their_distance(head):
    """At 128 texels a bilinear lookup inside one island never touches another."""
    uv_map = head.uv_map(128)
    piece, count = ndimage.label(uv_map.mask.numpy(), structure=np.ones((3, 3)))
    named = torch.stack([uv_map.region(name) for name in PARTS]).int()
    assert (named.sum(0) == 1).all()  # every texel belongs to exactly one part
    part = np.zeros(128 * 128, int)
    part[uv_map.index.numpy()] = named.argmax(0).numpy()
    for label in range(1, count + 1):
        assert len(np.unique(part.reshape(128, 128)[piece == label])) == 1


def test_shares_of_the_layout():
    full, fewer = (load_head("open", uv_layout=name).uv_map(256) for name in ("default", "fewer_mouth"))
    inside = [sum(int(m.region(name).sum()) for name in MOUTH) for m in (full, fewer)]
    assert inside[1] / inside[0] == pytest.approx(0.3, abs=0.01)
    for name in ("skin", "eye_left", "eye_right", "socket", "lashes"):
        assert int(full.region(name).sum()) == int(fewer.region(name).sum())
    assert 0.72 < int(full.region("skin").sum()) / 256**2 < 0.8
    assert all(int(full.region(name).sum()) > 800 for name in MOUTH)


def test_face_gets_more_texels_than_the_back_of_the_head(head):
    uv_map = head.uv_map(128)
    area = uv_map.footprint.prod(1)
    assert area[uv_map.region("face")].mean() < 0.5 * area[uv_map.region("scalp")].mean()


def test_layouts_have_their_own_hashes():
    hashes = {name: load_head("open", uv_layout=name).uv_hash for name in LAYOUTS}
    assert len(set(hashes.values())) == len(LAYOUTS)
    assert len({load_head("open", uv_layout=name).hash for name in LAYOUTS}) == 1


def test_boxes_of_the_table_are_disjoint():
    for k, one in enumerate(DEFAULT):
        assert 0 <= one.left and one.left + one.width <= 128 and 0 <= one.bottom and one.bottom + one.height <= 128
        for other in DEFAULT[k + 1 :]:
            apart_x = one.left + one.width <= other.left or other.left + other.width <= one.left
            apart_y = one.bottom + one.height <= other.bottom or other.bottom + other.height <= one.bottom
            assert apart_x or apart_y, (one.part, other.part)


def test_unknown_layout_is_refused():
    with pytest.raises(RealheadError, match="Unknown UV layout 'big'"):
        load_head("open", uv_layout="big")
