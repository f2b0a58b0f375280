"""The viewer follows its sliders, and survives what goes wrong. (What the browser draws: tests/browser.)"""

import io
from base64 import b64decode

import numpy as np
import pytest
import torch
from PIL import Image
from view_fakes import FakeAvatar, FakeCapture

from realhead.view.splats import UNITS_PER_METRE
from realhead.view.viewer import MESH, view


@pytest.fixture
def viewer():
    avatar = FakeAvatar()
    with view(avatar, FakeCapture(avatar), open_browser=False) as viewer:
        assert viewer.settle()
        yield viewer


def centres(viewer):
    return viewer.splats.centers / UNITS_PER_METRE


def test_viewer_shows_the_neutral_avatar(viewer):
    np.testing.assert_allclose(centres(viewer), viewer.avatar.gaussians(viewer.avatar.neutral).means, atol=1e-6)
    assert viewer.url.startswith("http://127.0.0.1:") and viewer.error is None


def test_in_a_cell_it_is_a_live_page_and_a_still_picture(viewer):
    bundle = viewer._repr_mimebundle_()
    assert f'src="{viewer.url}"' in bundle["text/html"]
    shown = np.asarray(Image.open(io.BytesIO(b64decode(bundle["image/png"]))).convert("RGB"))
    assert (shown.min(-1) < 200).mean() > 0.02 and (shown == 255).mean() > 0.3
    assert not any(digit in bundle["text/plain"] for digit in "0123456789"), "the same in every run"


def test_sliders_move_the_gaussians_and_reset_brings_them_back(viewer):
    before = centres(viewer).copy()
    viewer.expression.set("Turn to the left", 20.0)
    viewer.expression.set("Smile", 1.0)
    assert viewer.settle()
    expected = viewer.avatar.gaussians(viewer.frame).means
    assert viewer.frame.expression[1] == 1.0
    np.testing.assert_allclose(centres(viewer), expected, atol=1e-6)
    assert np.abs(centres(viewer) - before).max() > 0.01
    viewer.expression.reset()
    assert viewer.settle()
    np.testing.assert_allclose(centres(viewer), before, atol=1e-6)


def test_timestep_plays_the_capture(viewer):
    viewer.expression._timestep.value = 2
    assert viewer.settle()
    assert viewer.frame.timestep == 2 and viewer.frame.expression[0] == pytest.approx(1.6)


def test_filters_leave_what_they_say(viewer):
    viewer.look.min_opacity = 0.95  # all of the fake's are 0.9
    assert viewer.settle()
    assert len(centres(viewer)) == 0 and not viewer.shown.any()
    viewer.look.min_opacity = 0.5
    assert viewer.settle()
    assert viewer.shown.all()


def test_mesh_comes_and_goes(viewer):
    for style, expected in (("wireframe", True), ("solid", True), ("off", False)):
        viewer.look.mesh = style
        assert viewer.settle()
        assert (viewer.server.scene.get_handle_by_name(MESH) is not None) == expected


def test_colouring_reaches_the_splats(viewer):
    before = viewer.splats.rgbs.copy()
    viewer.look.colouring = "region"
    assert viewer.settle()
    assert (viewer.splats.rgbs != before).any() and "lips" in viewer.look._legend.content


def test_a_failing_avatar_is_said_and_survived(viewer, monkeypatch):
    def broken(frame, mouth=None):
        raise RuntimeError("out of luck")

    whole = viewer.avatar.gaussians
    monkeypatch.setattr(viewer.avatar, "gaussians", broken, raising=False)
    viewer.expression.set("Smile", 0.5)
    assert viewer.settle() and "out of luck" in viewer.error and "out of luck" in viewer.look._trouble.content
    monkeypatch.setattr(viewer.avatar, "gaussians", whole)
    viewer.expression.set("Smile", 0.6)
    assert viewer.settle() and viewer.error is None and not viewer.look._trouble.visible


def test_click_inspects_and_a_miss_says_so(viewer):
    class Click:
        ray_origin, ray_direction = (0.0, 0.0, 1.0), (0.0, 0.0, -1.0)

    viewer._on_click(Click())
    assert viewer.chosen is not None and "Triangle" in viewer.inspect.text
    Click.ray_direction = (0.0, 1.0, 0.0)
    viewer._on_click(Click())
    assert viewer.chosen is None and "Nothing there" in viewer.inspect.text


def test_capture_cameras_stand_where_they_are(viewer):
    handle = viewer.server.scene.get_handle_by_name("/cameras/left")
    np.testing.assert_allclose(handle.position, viewer.capture.cameras["left"].centre, atol=1e-5)


def test_jump_puts_the_eye_into_the_camera(viewer):
    import contextlib

    class Client:
        camera = type("Camera", (), {})()

        def atomic(self):
            return contextlib.nullcontext()

    camera = viewer.capture.cameras["left"]
    viewer.cameras.jump(Client(), camera)
    eye = Client.camera
    np.testing.assert_allclose(eye.position, camera.centre, atol=1e-5)
    forward = (eye.look_at - eye.position) / np.linalg.norm(eye.look_at - eye.position)
    np.testing.assert_allclose(forward, camera.forward, atol=1e-5)
    assert eye.fov == pytest.approx(0.4, abs=1e-3)


def test_saved_ply_holds_the_gaussians(viewer):
    from realhead.splatting.gaussians import Gaussians

    class Event:
        class client:
            @staticmethod
            def send_file_download(name, content):
                Event.name, Event.content = name, content

    viewer.look._save(Event)
    assert Event.name == "head.ply"
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".ply") as file:
        file.write(Event.content)
        file.flush()
        loaded = Gaussians.load_ply(file.name)
    torch.testing.assert_close(loaded.means, viewer.gaussians.means)


def test_mouth_map_is_used_while_nothing_is_edited(viewer, monkeypatch):
    seen, whole = [], viewer.avatar.gaussians
    monkeypatch.setattr(viewer, "_mouth_of", lambda frame: f"mouth of {frame.timestep}")
    monkeypatch.setattr(viewer.avatar, "gaussians", lambda frame, mouth=None: seen.append(mouth) or whole(frame))
    viewer.expression._mouth.value = True
    viewer.expression._timestep.value = 1
    assert viewer.settle() and seen[-1] == "mouth of 1"
    viewer.expression.set("Smile", 1.0)
    assert viewer.settle() and seen[-1] is None
    viewer.expression.reset()
    assert viewer.settle() and seen[-1] == "mouth of 1" and viewer.error is None
