"""The offline page opens from the disk with no network, plays, and can be scrubbed."""

import numpy as np
import pytest
import torch
from view_fakes import FakeAvatar, FakeHead

from browser.conftest import eventually, head_share, pixels
from realhead.splatting.gaussians import Gaussians
from realhead.view.controls import edited_frame
from realhead.view.html import write_html

pytestmark = [pytest.mark.browser, pytest.mark.slow]


class HollowAvatar(FakeAvatar):
    """A blue core inside the head, stored after it: it shows unless the browser sorts by depth."""

    def gaussians(self, frame, mouth=None):
        shell = super().gaussians(frame)
        blue = torch.zeros_like(shell.sh)
        blue[:, 0] = torch.tensor([-1.7, -1.7, 1.7])
        pairs = ((shell.means, shell.means * 0.7), (shell.covars, shell.covars), (shell.opacities, shell.opacities))
        return Gaussians(*(torch.cat(pair) for pair in pairs), torch.cat([shell.sh, blue]))


def test_splats_are_sorted_without_a_server(browser, tmp_path):
    avatar = HollowAvatar(FakeHead(30, 40))
    write_html(avatar, tmp_path / "hollow.html", [avatar.neutral])
    page = browser.new_page(viewport={"width": 500, "height": 450})
    page.goto((tmp_path / "hollow.html").as_uri())
    assert eventually(lambda: (pixels(page)[150:300, 200:300].min(-1) < 0.9).mean() > 0.9)
    middle = lambda: pixels(page)[200:260, 220:280].mean((0, 1))  # noqa: E731
    assert eventually(lambda: middle()[0] > middle()[2] + 0.1), f"the core shows through: {middle()}"


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    avatar = FakeAvatar(FakeHead(30, 40))
    frames = [edited_frame(avatar.head, avatar.neutral, angles={"Turn to the left": a}) for a in (0.0, 40.0, 0.0)]
    path = tmp_path_factory.mktemp("page") / "avatar.html"
    write_html(avatar, path, frames, labels=["Neutral", "Turned", "Neutral"], frames_per_second=1.0)
    context = browser.new_context(offline=True, viewport={"width": 800, "height": 700})
    page = context.new_page()
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(path.as_uri())
    assert eventually(lambda: head_share(page) > 0.1), "the splats never appeared"
    return page


def scrub(page, seconds):
    box = page.locator("input").first
    box.fill(f"{seconds:.1f}")
    box.press("Enter")


def test_nothing_is_requested(page):
    assert [url for url in page.asked if not url.startswith(("data:", "blob:"))] == [page.url]
    assert page.title() == "realhead avatar"


def test_scrubber_turns_the_head_there_and_back(page):
    def eyes():
        """Mean column of the dark eyes."""
        dark = pixels(page)[200:380, 200:600].max(-1) < 0.3
        return np.nonzero(dark)[1].mean() if dark.any() else -1.0

    scrub(page, 0.5)
    assert eventually(lambda: eyes() > 0)
    middle = eyes()
    scrub(page, 1.5)
    assert eventually(lambda: eyes() - middle > 20), "turning to the person's left moves the eyes to the right"
    scrub(page, 0.5)
    assert eventually(lambda: abs(eyes() - middle) < 8)


def test_caption_follows(page):
    def caption():
        return pixels(page)[20:110, 320:480].mean(-1)

    scrub(page, 0.5)
    assert eventually(lambda: caption().min() < 0.6), "no caption above the head"
    neutral = caption()
    scrub(page, 1.5)
    assert eventually(lambda: np.abs(caption() - neutral).max() > 0.3)
