"""A capture set of painted people that takes a second to make: the untrained prior's heads from 3 cameras."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from realhead.avatar import Avatar
from realhead.capture import Camera, CaptureSet, CaptureWriter, Frame
from realhead.config import EnrollConfig, LossConfig, PriorConfig
from realhead.driving import to_uint8
from realhead.evaluation import EvaluationConfig
from realhead.head import load_head
from realhead.model.prior import Prior
from realhead.rendering import render

SIZE = 72
TINY = PriorConfig(resolution=32, encoder_channels=(4, 4, 4, 4, 4, 4), decoder_channels=(8, 8, 8, 8, 8, 8), style_dim=8)
ENROLL = EnrollConfig(stage1_steps=2, stage2_steps=2, loss=LossConfig(perceptual=0.0))
QUICK = EvaluationConfig(
    shots=(0, 1), timesteps=2, cameras=2, clip_frames=3, vgg_views=0, pictures=2, pictured_people=1, enroll=ENROLL
)


@cache
def tiny_prior() -> Prior:
    """An untrained prior whose last layer is not quite zero, so that inputs matter."""
    torch.manual_seed(0)
    prior = Prior(load_head("open"), TINY).requires_grad_(False).eval()
    prior.decoder.last.weight.normal_(0, 0.1)
    return prior


def cameras(count: int) -> list[Camera]:
    """Front, left and right, as far as asked for."""
    azimuths = (0.0, math.radians(45), math.radians(-45))[:count]
    return [replace(Camera.orbit(a, size=SIZE), name=f"{i:02d}") for i, a in enumerate(azimuths)]


def make_people(
    root: Path, people=("anna", "bela", "carl"), test=("bela", "carl"), *, timesteps=3, views=3
) -> CaptureSet:
    """Writes a set; the people differ in shape and colour, and open their mouths in time."""
    prior = tiny_prior()
    generator = torch.Generator().manual_seed(1)
    for person in people:
        shape = torch.randn(prior.head.num_shape, generator=generator) * 0.5
        colour = torch.rand(3, generator=generator) * 0.6 + 0.2
        for sequence in ("one", "two"):
            writer = CaptureWriter(
                root / person / sequence,
                prior.head,
                cameras(views),
                person=person,
                sequence=sequence,
                source={"test": 1},
            )
            for timestep in range(timesteps):
                _add(writer, person_avatar(prior, shape, colour), timestep, sequence == "two")
            writer.close()
    (root / "split.json").write_text(json.dumps({"test": list(test)}))
    return CaptureSet.open(root)


def person_avatar(prior: Prior, shape, colour) -> Avatar:
    """The untrained head in one colour."""
    maps = [m * 0 for m in prior.identity_encoder(torch.zeros(1, 3, TINY.resolution, TINY.resolution))]
    paint = torch.cat([torch.zeros(3, 3), colour[:, None]], 1)
    return Avatar(prior, shape, maps, None, paint, None)


def _add(writer: CaptureWriter, avatar: Avatar, timestep: int, talks: bool) -> None:
    pose = torch.zeros(5, 3)
    pose[2, 0] = 0.12 * timestep if talks else 0.02 * timestep
    frame = Frame(timestep, avatar.shape, torch.zeros(avatar.head.num_expression), pose, torch.zeros(3))
    gaussians = avatar.gaussians(frame)
    for camera in writer.cameras:
        image, alpha = render(gaussians, camera)
        writer.add(frame, camera, to_uint8(image), to_uint8(alpha.expand(-1, -1, 3))[..., 0])
