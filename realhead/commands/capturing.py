"""Commands that bring captures to disk and look at them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from realhead.commands.arguments import Out


def data(
    out: Out,
    size: Literal["mini", "laptop", "paper", "wild"] = "laptop",
    people: Annotated[int | None, arg(metavar="INT")] = None,
    timesteps: Annotated[int | None, arg(metavar="INT")] = None,
    frames: Annotated[int | None, arg(metavar="INT")] = None,
    sequences: Annotated[tuple[str, ...], arg(metavar="NAME")] = (),
    tracking: Literal["exact", "studio", "wild"] | None = None,
    processes: int = 2,
    seed: int = 0,
) -> None:
    """Captures synthetic people with sixteen cameras (or one, in the wild), in VHAP's layout.

    Args:
        out: Folder of the data set; finished captures in it are kept.
        size: mini (minutes), laptop, paper (as many as NeRSemble), or wild (one camera, changing light).
        people: Another number of people than the size has.
        timesteps: Another number of timesteps a sequence (laptop: 3, neutral included).
        frames: Another length of the clips in the wild (1600; the paper's have 3600).
        sequences: Only these of the six sequences, as EXP-4-lips: more people for the same time.
        tracking: Noise of the stored parameters; studio, or wild for size wild, when not given.
        processes: Processes that render.
        seed: Seed of the people; no two seeds share any.
    """
    from realhead.capture.openheads.generate import generate

    extent = {"people": people, "timesteps": timesteps, "frames": frames, "sequences": sequences}
    print(generate(out, size, **extent, seed=seed, tracking=tracking, processes=processes))


def track(
    files: Annotated[Positional[tuple[Path, ...]], arg(metavar="FILE...")],
    out: Out,
    size: int = 512,
    fps: float = 25.0,
    seconds: Annotated[float | None, arg(metavar="FLOAT")] = None,
    matting: Literal["fine", "fast", "own", "none"] | None = None,
    head: Annotated[str, arg(metavar="open|PATH")] = "open",
    person: Annotated[str | None, arg(metavar="NAME")] = None,
) -> None:
    """Tracks one person in photographs, a video or before a webcam, and writes a capture.

    Args:
        files: One to five photographs, one video, or webcam (webcam:1 is the second camera).
        out: Folder of the capture.
        size: Side of the capture's pictures in pixels.
        fps: Frames per second taken of a video.
        seconds: Use only so much of a video; length of a webcam's recording (10 when not given).
        matting: How the background goes; by the picture's own alpha, else fine for photographs, fast for videos.
        head: Head to fit: open, or a FLAME file.
        person: The person's name; the first file's when not given.
    """
    from realhead.head import load_head
    from realhead.tracking import track

    options = {"size": size, "fps": fps, "longest": seconds, "matting": matting, "person": person}
    print(track(files, out, head=load_head(head), **options).folder)
