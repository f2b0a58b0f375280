"""How fast does OpenHeads make pictures, and where does the time go?

    python tests/benchmarks/bench_openheads.py [people] [size in pixels]

Seconds are CPU seconds of one process (so other work on the machine does not change them); pictures per second on two
cores are twice the rate of one. Kernels are compiled before the clock starts.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch

from realhead.capture.openheads import motion, people, render
from realhead.capture.openheads.performance import Performance
from realhead.capture.openheads.rig import studio_cameras
from realhead.capture.writer import CaptureWriter
from realhead.head import load_head

STAGES = ("project", "draw_triangles", "shade_strands", "draw_ribbons", "shade_surface", "_resolve")


def clocked(times: Counter, name: str, function):
    """A function that adds its CPU seconds to `times[name]`."""

    def run(*args, **kwargs):
        start = time.process_time()
        result = function(*args, **kwargs)
        times[name] += time.process_time() - start
        return result

    return run


def make_pictures(head, seed: int, size: int, folder: Path, times: Counter, timesteps: int = 3) -> int:
    """Makes one capture of a person and returns the number of pictures."""
    person = clocked(times, "person", people.make_person)(head, seed)
    clip = clocked(times, "motion", motion.perform)("EMO-1-shout+laugh", person.traits.habits, seed)
    stage = Performance(person, clip, person.light)
    cameras = studio_cameras(size, size)
    writer = CaptureWriter(folder, head, cameras, person=person.name, sequence="bench")
    for timestep in clip.expressive_timesteps(timesteps):
        scene = clocked(times, "pose and light", stage.scene)(timestep)
        for camera in cameras:
            picture = clocked(times, "render", render.render)(
                scene, camera.K.numpy(), camera.cam_from_world.numpy(), size, size
            )
            clocked(times, "encode and write", writer.add)(stage.frame(timestep), camera, *picture)
    clocked(times, "encode and write", writer.close)()
    return timesteps * len(cameras)


def main(num_people: int = 6, size: int = 256) -> dict:
    """Runs the benchmark and returns its numbers."""
    torch.set_num_threads(1)
    head = load_head("open")
    times: Counter = Counter()
    inner: Counter = Counter()
    for name in STAGES:
        setattr(render, name, clocked(inner, name, getattr(render, name)))
    with tempfile.TemporaryDirectory() as folder:
        make_pictures(head, 9999, size, Path(folder) / "warm", Counter(), 1)
        inner.clear()
        count = sum(make_pictures(head, s, size, Path(folder) / str(s), times) for s in range(num_people))
    # In a data set six sequences share one person.
    per_image = {k: 1000 * v / count / (6 if k == "person" else 1) for k, v in times.items()}
    total = sum(per_image.values())
    return {
        "pictures": count, "size": size, "images_per_second_two_cores": round(2000 / total, 1),
        "milliseconds_per_image": {k: round(v, 2) for k, v in per_image.items()},
        "inside_render": {k: round(1000 * v / count, 2) for k, v in inner.items()},
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(main(*map(int, sys.argv[1:])), indent=1))
