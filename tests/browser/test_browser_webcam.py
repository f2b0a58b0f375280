"""A student's JupyterLab with a fake camera: pictures reach a running cell, unmirrored, and Stop stops."""

import json
import os
import socket
import subprocess
import sys

import nbformat
import pytest

from browser.conftest import eventually

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SHOW = "from realhead.view import Webcam\ncamera = Webcam(frames_per_second=10)\ncamera"
READ = """
import json, pathlib
async for frame in camera:
    if frame.index >= 12:
        break
left, right = frame.image[:, 40].mean(0).tolist(), frame.image[:, -40].mean(0).tolist()
result = {"shape": frame.image.shape, "left": left, "right": right, "received": camera.received, "state": camera.state}
pathlib.Path("result.json").write_text(json.dumps(result))
camera.stop()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A notebook and a clip whose left half is red, right half blue (y4m: uncompressed YUV with a text header)."""
    folder = tmp_path_factory.mktemp("lab")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SHOW), nbformat.v4.new_code_cell(READ)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / "webcam.ipynb")
    red, blue = (76, 85, 255), (29, 255, 107)
    planes = [
        b"".join(bytes([a] * (w // 2) + [b] * (w // 2)) for _ in range(h))
        for a, b, w, h in zip(red, blue, (320, 160, 160), (240, 120, 120), strict=True)
    ]
    frame = b"FRAME\n" + b"".join(planes)
    (folder / "camera.y4m").write_bytes(b"YUV4MPEG2 W320 H240 F15:1 Ip A1:1 C420jpeg\n" + frame * 15)
    return folder


@pytest.fixture(scope="module")
def lab(folder, root):
    """JupyterLab's address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    private = {name: str(folder / ".jupyter") for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
               "--IdentityProvider.token=test", f"--ServerApp.root_dir={folder}"]  # fmt: skip
    environment = {**os.environ, **private, "PYTHONPATH": str(root)}
    with open(folder / "lab.log", "w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        assert eventually(lambda: "is running at" in (folder / "lab.log").read_text()), "JupyterLab did not start"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def test_camera_pictures_reach_a_running_cell(launch, lab, folder):
    browser = launch(
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={folder / 'camera.y4m'}",
    )
    page = browser.new_context(viewport={"width": 1100, "height": 800}).new_page()
    page.set_default_timeout(120_000)
    page.goto(f"{lab}/lab/tree/webcam.ipynb?reset&token=test")
    page.get_by_text("from realhead.view import Webcam").first.wait_for()
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.get_by_role("button", name="Start the camera").click()
    assert eventually((folder / "result.json").exists), (folder / "lab.log").read_text()[-2000:]
    result = json.loads((folder / "result.json").read_text())
    assert result["shape"] == [240, 320, 3] and result["received"] >= 12 and result["state"] == "running"
    assert result["left"][0] > 180 > 80 > result["left"][2] and result["right"][2] > 180 > 80 > result["right"][0]
    assert eventually(lambda: page.get_by_role("button", name="Start the camera").is_visible()), "Stop did not stop"
