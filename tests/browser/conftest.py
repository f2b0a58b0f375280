"""A headless Chromium with software WebGL, one per test module."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def launch(chromium: str) -> Iterator[Callable]:
    """A function that starts a browser with further flags; all are closed at the end of the module."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright drives the browser tests")
    with playwright.sync_playwright() as engine:
        opened = []

        def start(*flags: str):
            opened.append(engine.chromium.launch(executable_path=chromium, args=[*FLAGS, *flags], timeout=120_000))
            return opened[-1]

        yield start
        for browser in opened:
            browser.close()


@pytest.fixture(scope="module")
def browser(launch):
    """A browser."""
    return launch()


def open_page(browser, address: str, width: int = 600, height: int = 500, **context):
    """A page of this size at an address; slow machines get two minutes for everything."""
    page = browser.new_context(viewport={"width": width, "height": height}, **context).new_page()
    page.set_default_timeout(120_000)
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(address)
    page.wait_for_selector("canvas")
    return page


def pixels(page) -> np.ndarray:
    """What the page shows, [H, W, 3] in [0, 1]."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"), dtype=np.float32) / 255


def head_share(page) -> float:
    """Share of the picture's middle that is not white."""
    image = pixels(page)
    height, width = image.shape[:2]
    middle = image[height // 3 : 2 * height // 3, 2 * width // 5 : 3 * width // 5]
    return float((middle.min(-1) < 0.9).mean())


def eventually(condition: Callable[[], bool], seconds: float = 120.0) -> bool:
    """Whether a condition comes true in time; software WebGL on a busy machine takes its time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.25)
    return False
