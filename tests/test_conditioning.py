"""Conditioning maps: against oracles, and against what the paper says they may and may not contain."""

import math
import os
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from realhead.capture import Camera, Capture, CaptureWriter, Frame
from realhead.condition.expression import expression_map, frame_expression_map
from realhead.condition.mouth import MOUTH_REGIONS, image_gradients, mouth_map, mouth_texels, sample_image
from realhead.condition.offsets import expression_maps
from realhead.condition.store import conditioning
from realhead.condition.texture import SEAM, face_normals, fill_seams, identity_texture, texel_visibility
from realhead.errors import CaptureError
from realhead.head import load_head
from realhead.head.raster import rasterize_triangles

RESOLUTION = 64
SIZE = 128


@pytest.fixture(scope="module")
def head():
    return load_head("open")


@pytest.fixture(scope="module")
def uv_map(head):
    return head.uv_map(RESOLUTION)


@pytest.fixture(scope="module")
def frame(head):
    return Frame(0, torch.zeros(head.num_shape), torch.zeros(head.num_expression), torch.zeros(5, 3), torch.zeros(3))


def paint(head, frame, camera, vertex_colours):
    """A picture of the mesh with a colour a vertex, and its mask."""
    vertices = head(**frame.parameters())[0]
    xy, depth = camera.project(vertices)
    points = torch.cat([xy, depth[:, None]], 1).numpy()
    face, weights, _ = rasterize_triangles(points, head.faces.numpy(), camera.width, camera.height, perspective=True)
    colours = (vertex_colours.numpy()[head.faces.numpy()[face]] * weights[..., None]).sum(2)
    mask = (face >= 0).astype(np.float32)
    return colours * mask[..., None] + 1 - mask[..., None], mask


@pytest.fixture(scope="module")
def colours(head):
    """Smooth colours over the template, so that a wrong look-up shows."""
    return (torch.sin(head.v_template * 40) * 0.4 + 0.5).clamp(0, 1).float()


@pytest.fixture(scope="module")
def capture(tmp_path_factory, head, frame, colours):
    cameras = [replace(Camera.orbit(math.radians(a), size=SIZE), name=f"{i:02d}") for i, a in enumerate((0, 45, -45))]
    writer = CaptureWriter(tmp_path_factory.mktemp("c") / "p" / "s", head, cameras, person="p", sequence="s")
    for timestep, jaw in enumerate((0.0, 0.3)):
        pose = torch.zeros(5, 3)
        pose[2, 0] = jaw
        moved = replace(frame, timestep=timestep, pose=pose)
        for camera in cameras:
            picture, mask = paint(head, moved, camera, colours)
            writer.add(moved, camera, (picture * 255).astype(np.uint8), (mask * 255).astype(np.uint8))
    return Capture.open(writer.close(), head)


def test_gradients_are_sobels_over_the_largest_value():
    from scipy.ndimage import sobel

    image = torch.rand(20, 24, 3, generator=torch.Generator().manual_seed(0))
    grey = (image @ torch.tensor([0.299, 0.587, 0.114])).double().numpy()
    gx, gy = sobel(grey, axis=1, mode="nearest"), sobel(grey, axis=0, mode="nearest")
    largest = max(np.abs(gx).max(), np.abs(gy).max())
    ours = image_gradients(image).numpy()
    np.testing.assert_allclose(ours[..., 0], gx / largest, atol=1e-5)
    np.testing.assert_allclose(ours[..., 1], gy / largest, atol=1e-5)
    np.testing.assert_allclose(ours[..., 2], np.hypot(gx, gy) / largest, atol=1e-5)
    assert np.abs(ours[..., :2]).max() == pytest.approx(1.0)


def test_gradients_ignore_brightness_and_contrast_but_not_structure():
    image = torch.rand(20, 24, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(image_gradients(image * 0.5 + 0.3), image_gradients(image), atol=1e-5, rtol=0)
    assert (image_gradients(image.flip(0)) - image_gradients(image)).abs().max() > 0.1
    assert image_gradients(torch.full((5, 5, 3), 0.4)).abs().max() < 1e-4


def test_sampling_hits_pixel_centres():
    image = torch.rand(6, 9, 2, generator=torch.Generator().manual_seed(0))
    centres = torch.tensor([[0.5, 0.5], [8.5, 5.5], [3.5, 2.5]])
    torch.testing.assert_close(sample_image(image, centres), image[[0, 5, 2], [0, 8, 3]])
    assert sample_image(image, torch.tensor([[-20.0, 3.0]])).abs().max() == 0


def test_mouth_map_lives_in_the_mouth_only(capture, head, uv_map):
    view = capture.view(1, "00")
    made = mouth_map(view.image(), head(**view.frame.parameters())[0], view.camera, uv_map)
    values = uv_map.gather(made)
    inside = torch.stack([uv_map.region(r) for r in MOUTH_REGIONS]).any(0)
    assert values[~inside].abs().max() == 0 and values[inside].abs().max() > 0.01
    assert made[:, ~uv_map.mask].abs().max() == 0


def test_mouth_maps_do_not_depend_on_the_target_camera(capture, uv_map):
    """The map of a timestep is one tensor, made from the frontal picture, whatever view is rendered."""
    maps = conditioning(capture, uv_map)
    frontal = capture.frontal_camera(capture.frame(1))
    assert frontal == "00"
    expected = mouth_map(
        capture.view(1, frontal).image(),
        capture.head(**capture.frame(1).parameters())[0],
        capture.cameras[frontal],
        uv_map,
    )
    for _target in capture.cameras:
        torch.testing.assert_close(maps.mouth(1), expected, atol=2e-3, rtol=0)  # stored as float16
    side = mouth_map(
        capture.view(1, "01").image(), capture.head(**capture.frame(1).parameters())[0], capture.cameras["01"], uv_map
    )
    assert (side - expected).abs().max() > 0.05  # another view would have given another map


def test_seams_are_filled_from_beside_and_wide_gaps_and_other_islands_are_not():
    seen, allowed = torch.ones(1, 30, 30), torch.ones(1, 30, 30)
    seen[:, :, 4:7] = 0  # a seam
    seen[:, :, 15:] = 0  # nobody looked there
    allowed[:, :, 16] = 0  # the gap before another island
    texture = torch.linspace(-1, 1, 30).expand(3, 30, 30) * seen
    filled = fill_seams(texture, seen, allowed)
    assert torch.equal(filled * seen, texture), "what was seen stays"
    across = ndimage.distance_transform_cdt(1 - seen[0].numpy(), "chessboard")
    near = torch.from_numpy((across > 0) & (across <= SEAM))[None].expand(3, -1, -1) & (allowed > 0)
    near[:, :, 16:] = False
    assert ((filled != 0) == ((seen > 0).expand(3, -1, -1) | near)).all()
    low, high = texture[0, 0, 3] - 1e-6, texture[0, 0, 7] + 1e-6
    assert low <= filled[0, 4, 4:7].min() and filled[0, 4, 4:7].max() <= high


def test_texture_recovers_the_painted_colours(capture, head, uv_map, colours):
    views = [capture.view(0, c) for c in capture.cameras]
    one, three = (uv_map.gather(identity_texture(head, uv_map, v)) for v in (views[:1], views))
    truth = uv_map.interpolate(colours) * 2 - 1
    for texture, least in ((one, 0.15), (three, 0.3)):
        seen = (texture != 0).any(1)
        assert seen.float().mean() > least
        assert (texture[seen] - truth[seen]).abs().median() < 0.05
    assert (three != 0).any(1).sum() > 1.2 * (one != 0).any(1).sum()
    assert one[mouth_texels(uv_map)].abs().max() == 0


def test_visibility_excludes_back_and_hidden_parts(head, uv_map, frame):
    vertices = head(**frame.parameters())[0]
    seen = texel_visibility(head, uv_map, vertices, Camera.orbit(0.0)) > 0
    normals = face_normals(vertices, head.faces)[uv_map.face]
    assert not seen[normals[:, 2] < -0.1].any()
    assert seen[uv_map.region("face")].float().mean() > 0.5
    assert seen[uv_map.region("tongue")].float().mean() < 0.2  # lips are in front


def test_expression_map_knows_neither_shape_nor_head_pose(head, uv_map):
    generator = torch.Generator().manual_seed(0)
    expression = torch.rand(2, head.num_expression, generator=generator)
    pose = torch.zeros(2, 5, 3)
    pose[:, 2, 0] = 0.2
    turned = pose.clone()
    turned[:, 0] = torch.tensor([0.1, 0.5, 0.0])
    torch.testing.assert_close(
        expression_map(head, uv_map, expression, pose), expression_map(head, uv_map, expression, turned)
    )
    assert expression_map(head, uv_map, expression * 0, pose * 0).abs().max() < 1e-4
    chin = expression_map(head, uv_map, expression * 0, pose)[0, 1]
    assert chin.min() < -0.5  # an open jaw moves the chin down by more than half a centimetre


def test_conditioning_is_kept_and_a_damaged_file_is_made_again(capture, uv_map, monkeypatch):
    first = conditioning(capture, uv_map)
    with monkeypatch.context() as patch:
        patch.setattr("realhead.condition.store._make", lambda *_: pytest.fail("was made again"))
        torch.testing.assert_close(conditioning(capture, uv_map).mouths, first.mouths)
    for damage in (b"", b"PK", b"no zip at all"):
        for path in (capture.folder / "conditioning").iterdir():
            path.write_bytes(damage)
        torch.testing.assert_close(conditioning(capture, uv_map).mouths, first.mouths)


@pytest.mark.parametrize("what", ["images/00001_00.png", "fg_masks/00000_01.png", "flame_param/00001.npz"])
def test_conditioning_is_made_again_when_an_input_changes(capture, uv_map, monkeypatch, what):
    """The driving picture, the mask of a neutral picture, parameters."""
    first = conditioning(capture, uv_map)
    path = capture.folder / what
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    called = []
    monkeypatch.setattr("realhead.condition.store._make", lambda *a: called.append(1) or first)
    conditioning(capture, uv_map)
    assert called


@pytest.mark.parametrize("kind", ["gradient", "rgb", "full_gradient", "full_rgb", "hog", "none"])
def test_every_variant_is_kept_as_it_was_made(capture, head, uv_map, kind):
    """Table II and III: what is read back is the map of the frontal picture, on its own texels only."""
    conditioning(capture, uv_map, kind)
    kept = conditioning(capture, uv_map, kind).mouth(1)
    view = capture.view(1, "00")
    wanted = mouth_map(view.image(), head(**view.frame.parameters())[0], view.camera, uv_map, kind)
    torch.testing.assert_close(kept, wanted, atol=5e-3, rtol=1e-3)  # stored as float16
    values = uv_map.gather(kept)
    covered = mouth_texels(uv_map, kind)
    assert values[~covered].abs().sum() == 0 and (kind == "none" or values[covered].abs().max() > 0.01)
    assert covered.sum() > 2 * mouth_texels(uv_map).sum() if kind.startswith("full") else True


def kept_expressions(capture):
    return sorted((capture.folder / "conditioning").glob("expression_*.npy"))


def test_kept_expression_maps_are_what_is_computed(capture, head, uv_map, monkeypatch):
    """Made and read back, against the plain computation; a micrometre is 1e-4 of the map's centimetres."""
    made = expression_maps(capture, uv_map)
    with monkeypatch.context() as patch:
        patch.setattr("realhead.condition.offsets._make", lambda *_: pytest.fail("was made again"))
        kept = expression_maps(capture, uv_map)
    for timestep in (0, 1):
        wanted = frame_expression_map(capture.frame(timestep), head, uv_map)
        for maps in (made, kept):
            torch.testing.assert_close(maps.at(timestep), wanted, atol=1e-4, rtol=0)
    assert kept.at(1).abs().max() > 0.5 and len(kept_expressions(capture)) == 1
    with pytest.raises(CaptureError, match="Timestep 7"):
        kept.at(7)


@pytest.mark.parametrize("damage", [b"", b"PK", b"no array", "cut short", "another shape", "pickled"])
def test_damaged_expression_maps_are_made_again(capture, uv_map, damage):
    wanted = expression_maps(capture, uv_map).at(1)
    (path,) = kept_expressions(capture)
    if damage == "another shape":
        np.save(path, np.zeros((1, 2, 3), np.float32))
    elif damage == "pickled":
        np.save(path, np.array({"x": 1}, object))
    else:
        path.write_bytes(path.read_bytes()[:-100] if damage == "cut short" else damage)
    torch.testing.assert_close(expression_maps(capture, uv_map).at(1), wanted)


def test_expression_maps_follow_parameters_layout_and_eyelids_but_no_picture(capture, head, uv_map):
    before = len(kept_expressions(capture)) if expression_maps(capture, uv_map) else 0
    picture, parameters = (capture.folder / name for name in ("images/00001_00.png", "flame_param/00001.npz"))
    os.utime(picture, ns=(0, picture.stat().st_mtime_ns + 1))
    expression_maps(capture, uv_map)
    assert len(kept_expressions(capture)) == before
    with np.load(parameters) as data:
        np.savez(parameters, **(dict(data) | {"jaw_pose": data["jaw_pose"] + 0.1}))
    changed = Capture.open(capture.folder, head)
    torch.testing.assert_close(
        expression_maps(changed, uv_map).at(1), frame_expression_map(changed.frame(1), head, uv_map)
    )
    expression_maps(changed, head.uv_map(32))
    with_lids = deepcopy(head)
    with_lids.eyelids = torch.zeros(2, head.num_vertices, 3)
    expression_maps(Capture.open(capture.folder, with_lids), uv_map)
    assert len(kept_expressions(capture)) == before + 3


def test_expression_maps_of_a_data_set_that_cannot_be_written_serve_all_the_same(capture, uv_map, monkeypatch):
    for path in kept_expressions(capture):
        path.unlink()

    def refuse(*_):
        raise PermissionError("read-only")

    monkeypatch.setattr("realhead.condition.store.os.replace", refuse)
    wanted = frame_expression_map(capture.frame(1), capture.head, uv_map)
    torch.testing.assert_close(expression_maps(capture, uv_map).at(1), wanted)
    assert not [path for path in (capture.folder / "conditioning").iterdir() if "expression" in path.name]
