"""Generates a data set of captures: people before sixteen cameras, or before one in the wild.

    OUT/<person>/<sequence>/   one capture in VHAP's layout; complete when its realhead.json exists
    OUT/split.json             the people held out for testing

A capture in the wild also keeps what the webcam saw, room and all, in `raw/`: pictures to try a tracker on.

A run that was stopped goes on where it was: finished captures are kept, and of those in work the finished pictures.
"""

from __future__ import annotations

import errno
import json
import logging
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from realhead.capture.openheads.sizes import Size, size_of
from realhead.errors import RealheadError

log = logging.getLogger(__name__)

VERSION = 5
UNFINISHED = ".unfinished.json"
"""In the folder of a capture in work: which job makes it."""
BYTES_PER_PIXEL = 1.25
"""PNG picture and mask together, measured over many people; for estimates only."""
SECONDS_PER_PERSON, SECONDS_PER_TIMESTEP, SECONDS_PER_IMAGE = 1.5, 0.11, 0.041
"""Measured by tests/benchmarks/bench_openheads.py with one process, pictures of 256x256; for estimates only."""

SCRIPT_ADVICE = (
    "Worker processes run a script from its top: call this below `if __name__ == '__main__':`, or give processes=1."
)


@dataclass(frozen=True)
class Job:
    """All sequences of one person."""

    out: Path
    seed: int
    size: Size
    tracking: str


def generate(
    out: str | Path, size: str = "laptop", *, people: int | None = None, seed: int = 0, tracking: str | None = None,
    processes: int = 2, frames: int | None = None, timesteps: int | None = None, first: int = 0,
    sequences: Sequence[str] | None = None,
) -> Path:  # fmt: skip
    """Generates captures.

    Args:
        out: Folder of the data set.
        size: "mini", "laptop", "paper" or "wild".
        people: Another number of people than the size has (about one in eleven is held out).
        seed: Seed of the data set; person k has the seed 10000 * seed + first + k, so no two seeds share people.
        tracking: Noise of the stored parameters: "exact", "studio" or "wild"; default: studio, or wild for size "wild".
        processes: Processes that render.
        frames: Frames of each wild performance.
        timesteps: Timesteps of each studio sequence.
        first: Number of the first person.
        sequences: Names of the studio sequences, if not all.

    Returns:
        The folder.

    Raises:
        RealheadError: A number or name is not possible, or the disk is full.
    """
    from realhead.capture.openheads.tracking import NOISE

    if processes < 1:
        raise RealheadError(f"--processes is {processes}: it must be at least 1.")
    refuse_workers_of_workers(processes)
    extent, out = size_of(size, people, frames, timesteps, sequences), Path(out)
    tracking = tracking or ("wild" if extent.wild else "studio")
    if tracking not in NOISE:
        raise RealheadError(f"Unknown tracking noise '{tracking}': use one of {', '.join(NOISE)}.")
    if first + extent.people + extent.test_people > 10000:
        raise RealheadError("A data set has at most 10000 people: lower --people, or use another --seed for more.")
    seeds = [10000 * seed + first + k for k in range(extent.people + extent.test_people)]
    jobs = [Job(out, s, extent, tracking) for s in seeds]
    _announce(out, extent, processes)
    try:
        out.mkdir(parents=True, exist_ok=True)
        _write_split(out, seeds[extent.people :])
        _run(jobs, processes, extent.num_images)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise RealheadError(
                f"The disk of {out} is full: free some space and run the same command again; what is finished is kept."
            ) from error
        raise
    return out


def refuse_workers_of_workers(processes: int) -> None:
    """Stops a script that its own worker processes run again.

    Raises:
        RealheadError: This is a worker, and it would start workers.
    """
    main = sys.modules["__main__"]
    if processes > 1 and sys.modules.get("__mp_main__", main) is not main:  # the name under which workers run a script
        raise RealheadError(SCRIPT_ADVICE)


def _announce(out: Path, size: Size, processes: int) -> None:
    pixels, people = size.width * size.height, size.people + size.test_people
    work = people * SECONDS_PER_PERSON + size.num_images * SECONDS_PER_IMAGE * (pixels / 65536) ** 0.8
    work += size.num_images / (1 if size.wild else 16) * SECONDS_PER_TIMESTEP
    seconds = work / processes + 12
    gigabytes = size.num_images * pixels * BYTES_PER_PIXEL / 1e9
    log.info(
        "%d people, about %d pictures of %dx%d: about %.1f minutes and %.2f GB in %s",
        people, size.num_images, size.width, size.height, seconds / 60, gigabytes, out,
    )  # fmt: skip
    existing = out if out.exists() else out.parent
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free / 1e9
    if free < gigabytes:
        log.warning("only %.2f GB are free there", free)


def read_split(out: Path) -> set[str]:
    """Names of the people whom a data set holds out so far."""
    from realhead.capture.files import read_json

    path = out / "split.json"
    return set(read_json(path).get("test", [])) if path.exists() else set()


def _write_split(out: Path, test_seeds: list[int]) -> None:
    from realhead.capture.writer import write_json

    write_json(out / "split.json", {"test": sorted(read_split(out) | {f"p{s:04d}" for s in test_seeds})})


def _run(jobs: list[Job], processes: int, num_images: int) -> None:
    import multiprocessing

    from tqdm import tqdm

    if processes <= 1 or len(jobs) == 1:
        with tqdm(total=num_images, unit="img", desc="OpenHeads", mininterval=1.0) as bar:
            for job in jobs:
                _make_person(job, bar.update)
        return
    context = multiprocessing.get_context("spawn")
    trial = context.Process(target=_nothing)
    trial.start()
    trial.join()
    if trial.exitcode:
        raise RealheadError(SCRIPT_ADVICE)
    counter = context.Value("q", 0)
    with context.Pool(min(processes, len(jobs)), _start_worker, (counter,)) as pool:
        results = [pool.apply_async(_work, (job,)) for job in jobs]
        pool.close()
        with tqdm(total=num_images, unit="img", desc="OpenHeads", mininterval=1.0) as bar:
            waiting = list(results)
            while waiting:
                done = [r for r in waiting if r.ready()]
                for result in done:
                    result.get()  # raises what the worker raised; leaving the block ends the other workers
                waiting = [r for r in waiting if not r.ready()]
                bar.update(counter.value - bar.n)
                time.sleep(0.2)
            bar.update(counter.value - bar.n)


def _nothing() -> None:
    """What a process does that only shows that processes can start."""


_shared: dict = {}
"""The counter of finished pictures, in each worker."""


def _start_worker(counter) -> None:
    """One core per process; Ctrl-C is the parent's business."""
    import torch

    _shared["counter"] = counter
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _work(job: Job) -> None:
    def count(number: int) -> None:
        with _shared["counter"].get_lock():
            _shared["counter"].value += number

    _make_person(job, count)


@lru_cache(maxsize=1)
def _head():
    from realhead.head import load_head

    return load_head("open")


def _make_person(job: Job, count) -> None:
    """Makes all captures of a person that are not there yet."""
    from realhead.capture.openheads.people import make_person

    folders = {name: job.out / f"p{job.seed:04d}" / name for name in job.size.sequences}
    missing = {name: folder for name, folder in folders.items() if not (folder / "realhead.json").exists()}
    views = job.size.num_images // ((job.size.people + job.size.test_people) * len(folders))
    count(views * (len(folders) - len(missing)))
    if not missing:
        return
    person = make_person(_head(), job.seed, job.size.strands)
    for name, folder in missing.items():
        _make_capture(person, name, folder, job, count)


def _make_capture(person, sequence: str, folder: Path, job: Job, count) -> None:
    import numpy as np

    from realhead.capture.openheads.background import room
    from realhead.capture.openheads.camera_noise import photograph
    from realhead.capture.openheads.lighting import wild_lighting
    from realhead.capture.openheads.motion import perform
    from realhead.capture.openheads.performance import Performance
    from realhead.capture.openheads.render import render
    from realhead.capture.openheads.rig import studio_cameras, wild_camera
    from realhead.capture.openheads.tracking import track_frames
    from realhead.capture.writer import CaptureWriter, save_image

    size = job.size
    clip = perform(sequence, person.traits.habits, job.seed, size.frames)
    light = wild_lighting(np.random.default_rng([job.seed, 9])) if size.wild else person.light
    stage = Performance(person, clip, light)
    chosen = clip.expressive_timesteps(size.timesteps) if size.timesteps else list(range(len(clip)))
    tracked = track_frames(person.head, [stage.frame(t) for t in chosen], job.tracking, job.seed)
    cameras = [wild_camera(size.width, size.height, job.seed)] if size.wild else studio_cameras(size.width, size.height)
    source = {"generator": "OpenHeads", "version": VERSION, "seed": job.seed}
    _clear_unless_same(folder, {"source": source, "tracking": job.tracking, "size": asdict(size)})
    writer = CaptureWriter(
        folder, person.head, cameras, person=person.name, sequence=sequence, tracking=job.tracking, source=source
    )
    background = room(size.width, size.height, job.seed) if size.wild else None
    for timestep, frame in zip(chosen, tracked, strict=True):
        left = [camera for camera in cameras if not writer.keep(frame, camera)]
        count(len(cameras) - len(left))
        if not left and timestep != chosen[0]:
            continue
        scene = stage.scene(timestep)  # of the first timestep always: later ones use what it finds around the hair
        for camera in left:
            image, mask = render(scene, camera.K.numpy(), camera.cam_from_world.numpy(), camera.width, camera.height)
            if background is not None:
                raw, image = photograph(image, mask, background, job.seed, timestep)
                save_image(raw, folder / "raw" / f"{timestep:05d}.jpg", quality=95)
            writer.add(frame, camera, image, mask)
            count(1)
    (folder / UNFINISHED).unlink()
    writer.close()


def _clear_unless_same(folder: Path, job: dict) -> None:
    """Prepares a folder: pictures that a stopped run of the same job has left are kept, anything else goes."""
    from realhead.capture.files import read_json
    from realhead.capture.writer import write_json

    mark = folder / UNFINISHED
    job = json.loads(json.dumps(job))  # as it reads when it comes back
    if folder.exists() and (not mark.exists() or read_json(mark) != job):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(mark, job)
