"""Slider panels show the newest picture, once, and leave one for readers without widgets."""

import threading
import time
from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from view_fakes import FakeAvatar, fake_camera

from realhead.errors import RealheadError
from realhead.view.widgets import SliderPanel, expression_panel, identity_panel, to_png


def grey(value):
    return np.full((4, 4, 3), value)


def shown(panel):
    return np.asarray(Image.open(BytesIO(panel.png)))[0, 0, 0] / 255


def test_first_picture_is_there_without_a_browser():
    panel = SliderPanel(lambda values: grey(values["level"]), {"level": (0.0, 1.0, 0.4)})
    assert shown(panel) == pytest.approx(0.4, abs=0.01) and panel.error is None


def test_moving_a_slider_renders_and_reset_returns():
    panel = SliderPanel(lambda values: grey(values["level"]), {"level": (0.0, 1.0, 0.4)})
    panel.sliders["level"].value = 0.8
    assert panel.settle(10) and shown(panel) == pytest.approx(0.8, abs=0.01)
    panel.reset()
    assert panel.settle(10) and shown(panel) == pytest.approx(0.4, abs=0.01)


def test_dragging_queues_nothing_and_ends_with_the_newest():
    calls, gate = [], threading.Event()

    def slow(values):
        calls.append(values["level"])
        if len(calls) == 2:
            gate.wait(10)
        return grey(values["level"])

    panel = SliderPanel(slow, {"level": (0.0, 1.0, 0.0)})
    for value in np.linspace(0.1, 0.9, 9):
        panel.sliders["level"].value = float(value)
        while len(calls) < 2:
            time.sleep(0.01)
    gate.set()
    assert panel.settle(10) and len(calls) == 3
    assert calls[-1] == pytest.approx(0.9) and shown(panel) == pytest.approx(0.9, abs=0.01)


def test_a_failing_render_is_said_and_survived():
    def render(values):
        if values["level"] > 0.5:
            raise ValueError("<too bright>")
        return grey(values["level"])

    panel = SliderPanel(render, {"level": (0.0, 1.0, 0.2)})
    panel.sliders["level"].value = 0.9
    assert panel.settle(10) and "too bright" in panel.error and "&lt;too bright&gt;" in panel._trouble.value
    panel.sliders["level"].value = 0.3
    assert panel.settle(10) and panel.error is None and panel._trouble.value == ""


def test_stored_notebook_keeps_a_picture():
    panel = SliderPanel(lambda values: grey(0.5), {"level": (0.0, 1.0, 0.4)})
    bundle = panel._repr_mimebundle_()
    assert b64decode(bundle["image/png"]) == panel.png
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_identity_panel_mixes_linearly_with_weights_of_sum_one():
    seen = []
    people = [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])]
    panel = identity_panel(lambda identity: seen.append(identity) or grey(0.5), people, ["Ada", "Bo"])
    assert seen[-1].tolist() == [1.0, 0.0]
    panel.sliders["Bo"].value = 1.0
    assert panel.settle(10)
    assert seen[-1].tolist() == pytest.approx([0.5, 0.5])
    with pytest.raises(RealheadError, match="one name per identity"):
        identity_panel(lambda identity: grey(0), people, ["Ada"])


def test_expression_panel_moves_the_avatar():
    avatar = FakeAvatar()
    panel = expression_panel(avatar, fake_camera(size=96), labels=["Smile", "Turn to the left"])
    before = panel.png
    assert before == to_png(avatar.render(avatar.neutral, fake_camera(size=96)))
    panel.sliders["Turn to the left"].value = 30.0
    assert panel.settle(10) and panel.png != before and panel.error is None
    with pytest.raises(RealheadError, match="Wiggle"):
        expression_panel(avatar, fake_camera(), labels=["Wiggle"])
