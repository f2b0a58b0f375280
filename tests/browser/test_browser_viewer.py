"""The live viewer as a user meets it: the head is there, sliders move it, a click explains it, strangers stay out."""

import numpy as np
import pytest
from view_fakes import FakeAvatar, FakeCapture, FakeHead

from browser.conftest import eventually, head_share, open_page, pixels
from realhead.view.viewer import view

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def viewer():
    avatar = FakeAvatar(FakeHead(16, 24))
    with view(avatar, FakeCapture(avatar), open_browser=False) as viewer:
        yield viewer


@pytest.fixture(scope="module")
def page(browser, viewer):
    page = open_page(browser, viewer.url, 1100, 600)
    assert eventually(lambda: head_share(page) > 0.8), "the splats never appeared"
    return page


def fill(page, label, value):
    """Type into the number beside a slider."""
    row = page.get_by_text(label, exact=True).locator("xpath=ancestor::*[.//input][1]")
    box = row.locator("input").last
    box.fill(str(value))
    box.press("Enter")


def test_head_stands_in_the_middle(page):
    rows, columns = np.nonzero(pixels(page)[:, 300:760].min(-1) < 0.9)
    assert abs(rows.mean() - 300) < 60 and abs(columns.mean() + 300 - 550) < 60


def test_slider_turns_the_head(page, viewer):
    page.get_by_role("tab", name="Expression").click()
    fill(page, "Turn to the left, °", 40)
    assert eventually(lambda: viewer.frame.pose[1, 1].item() > 0.6)
    page.get_by_role("button", name="Reset the expression").click()
    assert eventually(lambda: not viewer.frame.pose.any())


def test_click_inspects_the_gaussian_under_the_mouse(page, viewer):
    page.mouse.click(550, 340)
    assert eventually(lambda: viewer.chosen is not None)
    page.get_by_role("tab", name="Inspect").click()
    assert eventually(lambda: page.get_by_text("Triangle").is_visible())
    mean = viewer.gaussians.means[viewer.chosen]
    assert abs(mean[0]) < 0.02 and mean[2] > 0.05  # in the middle, on the near side


def test_click_beside_the_head_says_so(page, viewer):
    page.mouse.click(60, 540)
    assert eventually(lambda: "Nothing there" in viewer.inspect.text)


def test_colouring_changes_the_picture(page, viewer):
    before = pixels(page)[250:400, 480:620].mean((0, 1))
    viewer.look.colouring = "normal"
    assert eventually(lambda: np.abs(pixels(page)[250:400, 480:620].mean((0, 1)) - before).max() > 0.1)
    viewer.look.colouring = "colour"


def test_camera_list_moves_the_eye(page, viewer):
    page.get_by_role("tab", name="Cameras").click()
    client = next(iter(viewer.server.get_clients().values()))
    viewer.cameras.jump(client, viewer.capture.cameras["left"])
    centre = viewer.capture.cameras["left"].centre.numpy()
    assert eventually(lambda: np.abs(client.camera.position - centre).max() < 0.01)


def test_no_share_button(page):
    assert page.locator("[aria-label*='hare']").count() == 0


def test_a_foreign_page_gets_no_head(browser, viewer):
    page = browser.new_page()
    page.goto("data:text/html,<p>evil</p>")
    answer = page.evaluate(
        """(address) => new Promise((done) => {
            const socket = new WebSocket(address, ["viser-v1"]);
            socket.onopen = () => done("open");
            socket.onerror = () => done("refused");
        })""",
        viewer.url.replace("http", "ws"),
    )
    assert answer == "refused"
