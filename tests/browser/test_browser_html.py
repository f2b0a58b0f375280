"""The offline page opens from the disk with no network, plays, and can be scrubbed."""

import numpy as np
import pytest
import torch
from view_fakes import FakeAvatar, FakeHead

from browser.conftest import eventually, head_share, open_page, pixels
from realhead.splatting.gaussians import Gaussians
from realhead.view.controls import edited_frame
from realhead.view.html import write_html

pytestmark = [pytest.mark.browser, pytest.mark.slow]


class HollowAvatar(FakeAvatar):
    """A dense shell with a blue core, stored after the shell: it shows unless the browser sorts by depth."""

    def gaussians(self, frame, mouth=None):
        shell = super().gaussians(frame)
        blue = torch.zeros_like(shell.sh)
        blue[:, 0] = torch.tensor([-1.7, -1.7, 1.7])
        pairs = ((shell.means, shell.means * 0.7), (shell.covars * 2, shell.covars), (shell.opacities, shell.opacities))
        return Gaussians(*(torch.cat(pair) for pair in pairs), torch.cat([shell.sh, blue]))


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    """A hollow head that turns to its left at second 1 and back at second 2."""
    avatar = HollowAvatar(FakeHead(16, 24))
    frames = [edited_frame(avatar.head, avatar.neutral, angles={"Turn to the left": a}) for a in (0.0, 40.0, 0.0)]
    path = tmp_path_factory.mktemp("page") / "avatar.html"
    write_html(avatar, path, frames, labels=["Neutral", "Turned", "Neutral"], frames_per_second=1.0)
    page = open_page(browser, path.as_uri(), offline=True)
    assert scrubbed(page, 0.5, lambda: head_share(page) > 0.8), "the splats never appeared"
    return page


def scrub(page, seconds):
    box = page.locator("input").first
    box.fill(f"{seconds:.1f}")
    box.press("Enter")


def scrubbed(page, seconds, condition):
    """Whether a condition comes true at this second; a player that is still drawing may overwrite what is typed."""

    def typed():
        scrub(page, seconds)
        return condition()

    return eventually(typed)


def stands_still(page):
    before = pixels(page)
    page.wait_for_timeout(300)
    return np.array_equal(before, pixels(page))


def test_nothing_is_requested(page):
    assert [url for url in page.asked if not url.startswith(("data:", "blob:"))] == [page.url]
    assert page.title() == "realhead avatar"


def test_splats_are_sorted_without_a_server(page):
    def middle():
        return pixels(page)[220:280, 270:330].mean((0, 1))

    assert eventually(lambda: middle()[0] > middle()[2] + 0.1), f"the core shows through: {middle()}"


def test_scrubber_turns_the_head_there_and_back(page):
    def eyes_at(seconds):
        """Mean column of the dark eyes once the picture stands still; the player may still show another second."""
        scrub(page, seconds)
        eventually(lambda: stands_still(page), seconds=20)
        dark = pixels(page)[140:250, 150:450].max(-1) < 0.4
        return np.nonzero(dark)[1].mean() if dark.any() else np.nan

    seen = []

    def turns_there_and_back():
        seen[:] = before, turned, after = [eyes_at(seconds) for seconds in (0.5, 1.5, 0.5)]
        return turned - before > 15 and abs(after - before) < 6

    assert eventually(turns_there_and_back), f"turning to the person's left moves the eyes right; they were at {seen}"


def test_caption_follows(page):
    def caption():
        return pixels(page)[10:90, 240:360].mean(-1)

    assert scrubbed(page, 0.5, lambda: caption().min() < 0.6), "no caption above the head"
    neutral = caption()
    assert scrubbed(page, 1.5, lambda: np.abs(caption() - neutral).max() > 0.3)
