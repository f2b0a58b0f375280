"""Webcam and clip hand out the newest picture and never queue. (The browser's half: tests/browser.)"""

import asyncio
import io
import threading
import time

import numpy as np
import pytest
from PIL import Image

from realhead.errors import RealheadError
from realhead.tracking.video import ClipFrame
from realhead.view.webcam import NewestFrame, VideoSource, Webcam, decode_jpeg


def jpeg(level, size=(32, 24), kind="JPEG"):
    stream = io.BytesIO()
    Image.new("RGB", size, (level,) * 3).save(stream, kind)
    return stream.getvalue()


@pytest.fixture
def webcam(monkeypatch):
    camera = Webcam()
    camera.sent = []
    monkeypatch.setattr(type(camera), "send", lambda self, content, buffers=None: self.sent.append(content))
    return camera


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    import imageio.v3 as iio

    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    frames = np.stack([np.full((48, 64, 3), 20 * i, np.uint8) for i in range(12)])
    iio.imwrite(path, frames, fps=60, macro_block_size=1)
    return path


def test_frame_is_decoded_and_acknowledged(webcam):
    webcam._receive(webcam, {"type": "frame", "number": 7, "time": 1.5}, [memoryview(jpeg(200))])
    frame = webcam.latest()
    assert frame.image.shape == (24, 32, 3) and abs(int(frame.image[0, 0, 0]) - 200) < 3 and frame.time == 1.5
    assert webcam.sent == [{"type": "ack", "number": 7}] and webcam.received == 1


@pytest.mark.parametrize("data", [b"", b"not a jpeg", jpeg(10)[:200], jpeg(10, kind="PNG")])
def test_damaged_frames_are_dropped_but_acknowledged(webcam, data):
    webcam._receive(webcam, {"type": "frame", "number": 1}, [data])
    assert webcam.latest() is None and webcam.sent == [{"type": "ack", "number": 1}]


def test_other_messages_are_ignored(webcam):
    for content in ("hello", {"type": "other"}, None):
        webcam._receive(webcam, content, [])
    assert webcam.sent == [] and webcam.latest() is None


def test_huge_pictures_are_refused():
    with pytest.raises(RealheadError, match="bytes"):
        decode_jpeg(b"\xff" * 9_000_000)
    with pytest.raises(RealheadError, match="pixels"):
        decode_jpeg(jpeg(1, size=(5000, 8)))


def test_sizes_out_of_range_are_one_sentence():
    with pytest.raises(RealheadError, match="4096"):
        Webcam(width=5)


def test_only_the_newest_is_kept():
    mailbox = NewestFrame()
    for i in range(5):
        mailbox.put(ClipFrame(i, 0.0, np.zeros((1, 1, 3))))
    assert mailbox.wait().index == 4 and mailbox.wait(after=4, timeout=0.01) is None


def test_waiting_thread_is_woken():
    mailbox = NewestFrame()
    threading.Timer(0.05, lambda: mailbox.put(ClipFrame(0, 0.0, np.zeros((1, 1, 3))))).start()
    assert mailbox.wait(timeout=5).index == 0


def test_async_loop_sees_rising_indices_and_drops_what_it_is_too_slow_for():
    async def run():
        mailbox, seen = NewestFrame(), []
        threading.Thread(target=fill, args=(mailbox,)).start()
        async for frame in mailbox.newer():
            seen.append(frame.index)
            await asyncio.sleep(0.05)
        return seen

    def fill(mailbox):
        for i in range(20):
            mailbox.put(ClipFrame(i, 0.0, np.zeros((1, 1, 3))))
            time.sleep(0.01)
        mailbox.finish()

    seen = asyncio.run(run())
    assert seen == sorted(set(seen)) and len(seen) < 20 and seen[-1] == 19


def test_closing_ends_the_loop(webcam):
    webcam.close()
    assert asyncio.run(collect(webcam)) == [] and {"type": "stop"} in webcam.sent


async def collect(source):
    return [frame async for frame in source]


def test_clip_plays_to_its_end(clip):
    with VideoSource(clip, frames_per_second=60) as source:
        frames = asyncio.run(collect(source))
    assert frames[-1].index == 11 and source.state == "stopped"
    assert abs(int(frames[-1].image.mean()) - 220) < 8


def test_clip_loops_until_stopped(clip):
    source = VideoSource(clip, frames_per_second=60, loop=True)
    assert source.wait(after=15, timeout=10).index > 15
    source.stop()
    assert source.wait(after=10**6, timeout=5) is None


def test_absent_and_damaged_clips_are_one_sentence(tmp_path):
    with pytest.raises(RealheadError, match="does not exist"):
        VideoSource(tmp_path / "no.mp4")
    (tmp_path / "bad.mp4").write_bytes(b"nothing")
    source = VideoSource(tmp_path / "bad.mp4")
    assert source.wait(timeout=10) is None and source.state == "error" and "video" in source.message
