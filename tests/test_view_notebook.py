"""Snapshots stay when the kernel is gone; the viewer in a cell shares the kernel's one server."""

import sys
from base64 import b64decode

import numpy as np
import pytest
from view_fakes import FakeAvatar

import realhead.view
from realhead.view.notebook import show, still
from realhead.view.server import kernel_server, stop_server
from realhead.view.viewer import live


@pytest.fixture(scope="module")
def gaussians():
    avatar = FakeAvatar()
    return avatar.gaussians(avatar.neutral)


def test_snapshot_is_a_whole_page_and_a_picture(gaussians):
    snapshot = show(gaussians)
    bundle = snapshot._repr_mimebundle_()
    assert bundle["text/html"].startswith("<iframe srcdoc=") and "127.0.0.1" not in bundle["text/html"]
    assert b64decode(bundle["image/png"]) == snapshot.png and len(snapshot.png) < 60_000
    assert "__VISER_EMBED_DATA__" in snapshot.html


def test_still_picture_shows_the_head_in_the_middle(gaussians):
    image = still(gaussians, size=64)
    rows, columns = np.nonzero(image.min(-1) < 0.9)
    assert image.shape == (64, 64, 3) and abs(rows.mean() - 32) < 4 and abs(columns.mean() - 32) < 4
    assert 0.1 < (image.min(-1) < 0.9).mean() < 0.8


def test_colours_reach_the_picture(gaussians):
    green = np.tile([0.0, 1.0, 0.0], (len(gaussians), 1))
    middle = still(gaussians, green, size=64)[28:36, 28:36].mean((0, 1))
    assert middle[1] > 0.9 and middle[0] < 0.2


def test_snapshot_leaves_the_live_viewer_alone(gaussians):
    viewer = live(FakeAvatar())
    try:
        show(gaussians)
        assert viewer.settle() and viewer.server.scene.get_handle_by_name("/gaussians") is not None
        assert viewer.url in viewer._repr_mimebundle_()["text/html"]
    finally:
        viewer.stop()


def test_running_the_cell_again_keeps_the_server():
    first = live(FakeAvatar())
    port = first.server.get_port()
    second = live(FakeAvatar())
    try:
        assert second.server.get_port() == port and second.settle() and not first._worker.is_alive()
        assert second.expression.set("Smile", 1.0) is None and second.settle() and second.frame.expression[1] == 1
    finally:
        stop_server(kernel_server())


def test_every_public_name_loads():
    for name in realhead.view.__all__:
        assert callable(getattr(realhead.view, name))
    with pytest.raises(AttributeError):
        realhead.view.nothing  # noqa: B018


def test_importing_the_package_is_light():
    import subprocess

    code = "import sys, realhead.view; assert not {'torch', 'viser', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
