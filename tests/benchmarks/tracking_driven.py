"""A real clip: three of its frames enrolled with the shipped prior, others driven and compared with the true frames."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from tracking_real import CLIPS

from realhead import enroll, load_prior, metrics
from realhead.avatar import Avatar
from realhead.capture import Capture
from realhead.capture.capture import View
from realhead.condition.store import driving_view
from realhead.config import EnrollConfig
from realhead.driving import to_uint8
from realhead.tracking import track

SECONDS, FPS = 16.0, 6.0
HELD_OUT = 30
"""Driven frames, evenly spread over the second half; the enrolled ones are of the first."""
PICTURED = 5


def driven(folder: Path | None, picture: Path, prior: str = "laptop") -> dict:
    """PSNR, SSIM, LPIPS and ID of each clip's driven frames inside the mask, and a sheet of pictures.

    Args:
        folder: Where the public material lies; {} without it.
        picture: Sheet to write: above the true frames, below the avatar.
        prior: What `load_prior` takes.
    """
    from PIL import Image

    prior = load_prior(prior)
    rows, table = [], {}
    for name, path in CLIPS.items():
        if folder is None or not (folder / path).is_file() or name == "carphone":
            continue
        with tempfile.TemporaryDirectory() as place:
            options = {"size": 256, "fps": FPS, "longest": SECONDS, "progress": False}
            capture = track(folder / path, Path(place) / "capture", head=prior.head, **options)
            views = enrolled_views(capture)
            avatar = enroll(prior, capture, views, config=EnrollConfig(affine_colour=True))
            later = capture.frames[len(capture.frames) // 2 :]
            chosen = later[:: max(1, len(later) // HELD_OUT)][:HELD_OUT]
            table[name] = {"enrolled": [v.frame.timestep for v in views], "driven": len(chosen)}
            for kind, mouth in (("", True), (" without the mouth map", False)):
                shown, truth, masks = rendered(avatar, capture, [f.timestep for f in chosen], mouth)
                table[name]["avatar" + kind] = compared(shown, truth, masks)
                if mouth:
                    picks = np.linspace(0, len(chosen) - 1, PICTURED).astype(int)
                    rows += [[truth[i] for i in picks], [shown[i] for i in picks]]
    if rows:
        sheet = np.concatenate([np.concatenate([to_uint8(p) for p in row], 1) for row in rows])
        Image.fromarray(sheet).resize((sheet.shape[1] // 2, sheet.shape[0] // 2)).save(picture, quality=85)
    return table


def enrolled_views(capture: Capture) -> list[View]:
    """The calmest frame of the first half, and the two that look furthest to the sides while calm."""
    early = capture.frames[: len(capture.frames) // 2]
    effort = np.array([f.effort for f in early])
    calm = [f for f, e in zip(early, effort, strict=True) if e <= np.quantile(effort, 0.6)]
    first = early[int(effort.argmin())]
    yaw = [float(f.pose[1, 1]) for f in calm]
    frames = [first, calm[int(np.argmax(yaw))], calm[int(np.argmin(yaw))]]
    return [driving_view(capture, t) for t in dict.fromkeys(f.timestep for f in frames)]


def rendered(avatar: Avatar, capture: Capture, timesteps: list[int], mouth: bool) -> tuple[torch.Tensor, ...]:
    """The avatar in the driver's frames, the true pictures, and their masks."""
    shown, truth, masks = [], [], []
    for timestep in timesteps:
        view = driving_view(capture, timestep)
        shown.append(avatar.render(view.frame, view.camera, avatar.mouth_map(view) if mouth else None))
        truth.append(view.image())
        masks.append(view.mask())
    return torch.stack(shown), torch.stack(truth), torch.stack(masks)


def compared(shown: torch.Tensor, truth: torch.Tensor, masks: torch.Tensor) -> dict[str, float]:
    """Means over the frames."""
    values = {
        "psnr": metrics.psnr(shown, truth, masks),
        "ssim": metrics.ssim(shown, truth, masks),
        "lpips": metrics.lpips(shown, truth, masks),
        "id": metrics.identity(shown, truth, masks),
    }
    return {name: round(float(v.mean()), 4) for name, v in values.items()}
