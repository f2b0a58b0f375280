"""The training monitor shows what it can, says what it cannot, and never takes the process with it."""

import os
import sys
import time

import numpy as np
import pytest
import torch
from view_fakes import FakeAvatar

from realhead.errors import RealheadError
from realhead.view.training_monitor import MAX_CPU_PIXELS, TrainingMonitor, camera_from, message_picture

pytest.importorskip("nerfview")


class CameraState:
    fov, aspect = 0.6, 1.5
    c2w = np.diag([1.0, -1.0, -1.0, 1.0])


CameraState.c2w[2, 3] = 0.8


@pytest.fixture(scope="module")
def gaussians():
    avatar = FakeAvatar()
    return avatar.gaussians(avatar.neutral)


def monitor_with(render):
    return TrainingMonitor(render, in_kernel=False)


def grey(gaussians, camera):
    return torch.full((camera.height, camera.width, 3), 0.5)


def still(monitor, width=90, height=60):
    state = monitor.viewer.render_tab_state
    state.viewer_width, state.viewer_height = width, height
    return monitor.draw(CameraState, state)


def test_monitor_waits_then_shows_the_newest(gaussians):
    with monitor_with(grey) as monitor:
        assert still(monitor).min() < 200 and monitor.error is None  # the waiting text
        monitor.update(1, gaussians)
        picture = still(monitor)
    assert picture.shape == (60, 90, 3) and picture.dtype == np.uint8 and (picture == 128).all()


@pytest.mark.parametrize("error", [TypeError("old signature?"), RuntimeError("CUDA out of memory"), KeyError("x")])
def test_errors_become_a_picture_and_the_next_one_is_tried(gaussians, error):
    trouble = [error]

    def render(gaussians, camera):
        if trouble:
            raise trouble.pop()
        return grey(gaussians, camera)

    with monitor_with(render) as monitor:
        monitor.update(1, gaussians)
        assert still(monitor).shape == (60, 90, 3) and type(error).__name__ in monitor.error
        assert (still(monitor) == 128).all() and monitor.error is None


def test_wrong_size_is_said(gaussians):
    with monitor_with(lambda g, camera: torch.ones(5, 7, 3)) as monitor:
        monitor.update(1, gaussians)
        still(monitor)
        assert "7x5" in monitor.error


def test_nerfview_s_own_thread_survives_a_broken_render(gaussians, monkeypatch):
    """The thread that calls os._exit on any exception goes on drawing, and nothing is traced in it."""
    from nerfview._renderer import RenderTask

    shown, traced = [], []

    def render(gaussians, camera):
        traced.append(sys.gettrace() is not None and sys._getframe().f_trace is not None)
        raise TypeError("inside the render function")

    class Client:
        client_id = 0
        camera = type("Camera", (), {"on_update": staticmethod(lambda callback: callback)})()

        class scene:
            @staticmethod
            def set_background_image(image, **options):
                shown.append(image)

    monkeypatch.setattr(os, "_exit", lambda code: shown.append("exit"))
    with monitor_with(render) as monitor:
        monitor.update(1, gaussians)
        monkeypatch.setattr(monitor.viewer, "get_camera_state", lambda client: CameraState)
        monitor.viewer._connect_client(Client())
        renderer = monitor.viewer._renderers[0]
        for _ in range(3):
            renderer.submit(RenderTask("rerender", CameraState))
            time.sleep(0.25)
        assert renderer.is_alive()
    assert len(shown) >= 2 and "exit" not in [s for s in shown if isinstance(s, str)]
    assert not any(traced)


def test_stills_are_small_on_the_cpu_and_no_share_button():
    if torch.cuda.is_available():
        pytest.skip("the limit is for CPUs")
    with monitor_with(grey) as monitor:
        assert monitor.viewer.render_tab_state.viewer_res == MAX_CPU_PIXELS
        themes = [
            m
            for m in monitor.server._websock_server._broadcast_buffer.message_from_id.values()
            if type(m).__name__ == "ThemeConfigurationMessage"
        ]
        assert themes and not themes[-1].show_share_button


def test_update_survives_a_broken_viewer(gaussians, monkeypatch):
    with monitor_with(grey) as monitor:
        monkeypatch.setattr(monitor.viewer, "update", lambda *a: 1 / 0)
        for step in range(8):
            monitor.update(step, gaussians)
        assert monitor._gaussians is gaussians and not monitor.paused


def test_camera_agrees_with_nerfview_s_own_intrinsics():
    from nerfview import CameraState as Nerfview

    state = Nerfview(fov=0.6, aspect=1.5, c2w=CameraState.c2w)
    camera = camera_from(state, 90, 60)
    np.testing.assert_allclose(camera.K, state.get_K((90, 60)), rtol=1e-6)
    np.testing.assert_allclose(camera.centre, [0, 0, 0.8], atol=1e-6)


def test_missing_nerfview_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "nerfview", None)
    with pytest.raises(RealheadError, match="pip install nerfview"):
        TrainingMonitor(grey)


def test_message_picture_has_the_asked_size():
    assert message_picture("x" * 2000, 33, 21).shape == (21, 33, 3)
