"""The offline page: small, self-contained, and true to the avatar within what the eye can see."""

import base64
import re

import numpy as np
import pytest
import torch
from view_fakes import FakeAvatar, FakeHead

from realhead.errors import RealheadError
from realhead.view.controls import edited_frame
from realhead.view.html import expression_tour, write_html
from realhead.view.recording import SplatState, rigid_motion
from realhead.view.splats import UNITS_PER_METRE, splat_arrays


@pytest.fixture(scope="module")
def avatar():
    return FakeAvatar()


def messages_in(page):
    """The recording inside a page, by viser's own format: (time, message), with buffers as arrays."""
    import msgspec
    import zstandard

    data = base64.b64decode(re.search(r'__VISER_EMBED_DATA__="([^"]+)"', page).group(1))
    inner = zstandard.ZstdDecompressor().decompress(data[8:], max_output_size=int.from_bytes(data[:8], "little"))
    length = int.from_bytes(inner[:8], "little")
    recording = msgspec.msgpack.decode(inner[8 : 8 + length])
    offset, buffers = 8 + length, []
    for size in recording["binaryBufferLengths"]:
        offset += -offset % 8
        buffers.append(np.frombuffer(inner, np.uint8, size, offset))
        offset += size
    return recording["messages"], buffers


def played(page, time):
    """Centres [N, 3] in metres that a browser shows at a time."""
    messages, buffers = messages_in(page)
    wxyz, position, centers = np.array([1.0, 0, 0, 0]), np.zeros(3), None
    for when, message in messages:
        if when > time:
            break
        if message.get("name") != "/head":
            continue
        wxyz = np.array(message.get("wxyz", wxyz))
        position = np.array(message.get("position", position))
        content = message.get("props") or message.get("updates") or {}
        if "buffer" in content:
            words = buffers[content["buffer"]["__binary_index"]].view(np.uint32).reshape(-1, 8)
            centers = np.ascontiguousarray(words[:, :3]).view(np.float32)
    from viser.transforms import SO3

    return (centers / UNITS_PER_METRE) @ SO3(wxyz).as_matrix().T + position


def test_page_shows_each_frame_where_the_avatar_has_it(avatar, tmp_path):
    frames = [
        avatar.neutral,
        edited_frame(avatar.head, avatar.neutral, {"mouthSmileLeft": 1.0}),
        edited_frame(avatar.head, avatar.neutral, {"browInnerUp": 1.0}, {"Turn to the left": 30.0}),
    ]
    size = write_html(avatar, tmp_path / "a.html", frames, frames_per_second=10)
    page = (tmp_path / "a.html").read_text()
    assert size == (tmp_path / "a.html").stat().st_size
    for i, frame in enumerate(frames):
        np.testing.assert_allclose(played(page, 0.1 * i + 0.05), avatar.gaussians(frame).means, atol=0.0003)


def test_page_asks_for_nothing_and_escapes_its_title(avatar, tmp_path):
    write_html(avatar, tmp_path / "a.html", [avatar.neutral], title="<script>alert(1)</script>")
    page = (tmp_path / "a.html").read_text()
    assert "<title>&lt;script&gt;" in page
    assert not re.search(r"""<(script|link|img)[^>]+(src|href)=["']?https?:""", page)


def test_rigid_motion_and_still_parts_cost_nothing(tmp_path):
    """Turning the head adds a pose per frame, not Gaussians."""
    avatar = FakeAvatar(FakeHead(50, 60))
    turns = [edited_frame(avatar.head, avatar.neutral, angles={"Turn to the left": float(a)}) for a in range(0, 30, 3)]
    still = write_html(avatar, tmp_path / "still.html", [avatar.neutral])
    turning = write_html(avatar, tmp_path / "turning.html", turns)
    assert turning - still < 10_000


def test_labels_must_fit(avatar, tmp_path):
    with pytest.raises(RealheadError, match="2 frames but 1 labels"):
        write_html(avatar, tmp_path / "a.html", [avatar.neutral] * 2, labels=["x"])
    with pytest.raises(RealheadError, match="at least one frame"):
        write_html(avatar, tmp_path / "a.html", [])
    assert not list(tmp_path.iterdir())


def test_unwritable_place_is_one_sentence(avatar, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RealheadError, match="cannot be written"):
        write_html(avatar, tmp_path / "file" / "a.html", [avatar.neutral])


def test_tour_starts_neutral_and_names_its_stops(avatar):
    frames, labels = expression_tour(avatar)
    assert len(frames) == len(labels) and labels[0] == labels[-1] == "Neutral"
    assert {"Jaw open", "Smile", "Turn left"} <= set(labels) and not frames[0].expression.any()


def test_rigid_motion_ignores_what_moves_otherwise():
    generator = np.random.default_rng(0)
    points = generator.normal(size=(500, 3)) * 0.1
    angle = 0.4
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    moved = points @ turn.T + [0.01, -0.02, 0.03]
    moved[:100] += [0.0, -0.03, 0.0]  # the jaw
    rotation, shift = rigid_motion(points, moved)
    np.testing.assert_allclose(rotation, turn, atol=1e-3)
    np.testing.assert_allclose(shift, [0.01, -0.02, 0.03], atol=1e-4)


def test_rigid_motion_is_never_a_mirror():
    points = np.random.default_rng(1).normal(size=(50, 3)) * [1, 1, 1e-6]
    rotation, _ = rigid_motion(points, points * [1, 1, -1])
    assert np.linalg.det(rotation) == pytest.approx(1.0)


def test_state_never_drifts_further_than_visible(avatar):
    """Many small steps, each below the threshold, still arrive."""
    from viser._scene_handles import GaussianSplatHandle as handle

    gaussians = avatar.gaussians(avatar.neutral)
    arrays = splat_arrays(gaussians)

    def buffer(shift):
        new = np.zeros((len(arrays.centers), 8), np.uint32)
        handle._pack_centers(new, arrays.centers + shift)
        handle._pack_covariances(new, arrays.covariances)
        return new

    state = SplatState(buffer(0.0))
    for i in range(100):
        state.advance(buffer(0.004 * i))
    centers = np.ascontiguousarray(state.buffer[:, :3]).view(np.float32)
    np.testing.assert_allclose(centers, arrays.centers + 0.004 * 99, atol=0.021)
    halves = np.ascontiguousarray(state.buffer[:, 4:7]).view(np.float16)
    largest = torch.tensor(arrays.covariances).abs().amax((1, 2)).numpy()
    expected = arrays.covariances.reshape(-1, 9)[:, [0, 1, 2, 4, 5, 8]]
    assert (np.abs(halves - expected).max(1) <= 0.08 * largest).all()
