"""What the numbers are compared with, and the avatars that are measured.

A number in dB says little by itself: a grey ball on white reaches 20. So every table carries two anchors on the same
people. The floor is the mean head in the person's skin tone; the ceiling is the same network, trained on nothing but
the whole capture of that person, the scored pictures included. A method is as good as the share of the way it covers.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from realhead.avatar import Avatar
from realhead.capture.capture import Capture, CaptureSet, Frame, View
from realhead.condition.mouth import sample_image
from realhead.condition.store import neutral_views
from realhead.condition.texture import identity_texture, texel_visibility
from realhead.config import EnrollConfig, LossConfig, TrainConfig
from realhead.enrollment import enroll
from realhead.errors import CheckpointError
from realhead.model.checkpoint import load_prior, network_state, save_prior, weights_hash
from realhead.model.prior import Prior

MEAN_OF = 16
"""Training people of whom the mean head is made, at most."""

_log = logging.getLogger(__name__)


def prior_hash(prior: Prior) -> str:
    """Names the weights; the same for a prior in memory and for its file."""
    return getattr(prior, "weights_hash", None) or weights_hash(network_state(prior))


def enrolled_avatar(
    prior: Prior,
    home: Capture,
    views: list[View],
    shots: int,
    config: EnrollConfig,
    *,
    seed: int = 0,
    folder: Path | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> Avatar:
    """Enrolls a person, or reads the avatar that an earlier call with the same inputs left in `folder`.

    Args:
        prior: The prior.
        home: The capture of the pictures.
        views: The pictures; the first alone makes the identity texture of a clip.
        shots: How many of them are fitted; 0 fits nothing.
        config: Enrollment.
        seed: Seed of anything random.
        folder: Where avatars are kept; None keeps nothing.
        on_step: Called after every step.
    """
    path = None
    if folder is not None and shots:
        names = [(str(v.image_path), v.image_path.stat().st_size, v.image_path.stat().st_mtime_ns) for v in views]
        key = json.dumps([prior_hash(prior), home.head.hash, names, asdict(config), seed])
        path = Path(folder) / f"{home.person}_{shots}shot_{hashlib.sha256(key.encode()).hexdigest()[:12]}.safetensors"
        if path.exists():
            try:
                return Avatar.load(path, home.head).to(prior.device)
            except CheckpointError as error:
                _log.warning("%s Enrolled again.", error)
    avatar = enroll(prior, home, views if shots else 0, seed, config, observer=lambda *_: on_step())
    if path is not None:
        avatar.save(path)
    return avatar


def floor_avatar(prior: Prior, captures: CaptureSet, frontal: View) -> Avatar:
    """The mean head in the right tone: mean identity features of training people, mean shape, the person's skin colour.

    Without training people in the set, the features are those of an empty identity texture.

    Args:
        prior: The prior.
        captures: Where training people are looked for.
        frontal: The person's enrolled picture; one gain a channel gives the mean face its colour.
    """
    homes = [min(own, key=lambda c: c.neutral.effort) for own in list(captures.people("train").values())[:MEAN_OF]]
    with torch.no_grad():
        neutral = [[view.to(prior.device) for view in neutral_views(home)] for home in homes]
        textures = [identity_texture(prior.head, prior.uv_map, views) for views in neutral]
        if not textures:
            textures = [torch.zeros(3, prior.config.resolution, prior.config.resolution, device=prior.device)]
        maps = [torch.stack(level).mean(0) for level in zip(*(prior.identity_encoder(t[None]) for t in textures))]
    info = {"kind": "floor", "mean_of": len(homes)}
    frontal = frontal.to(prior.device)
    shape = torch.zeros_like(frontal.frame.shape)
    avatar = Avatar(prior, shape, maps, None, None, info)
    rendered = avatar.render(frontal.frame, frontal.camera)
    mean_frame = replace(frontal.frame, shape=shape)
    tones = [
        skin_colour(avatar, frontal, frontal.frame, frontal.image()),
        skin_colour(avatar, frontal, mean_frame, rendered),
    ]
    gain = tones[0] / tones[1].clamp_min(0.02)
    return replace(avatar, colour=torch.cat([torch.diag(gain), gain.new_zeros(3, 1)], 1))


def skin_colour(avatar: Avatar, view: View, frame: Frame, image: Float[Tensor, "h w 3"]) -> Float[Tensor, "3"]:
    """Median colour of the face's skin in a picture, where the mesh of `frame` says that the camera sees it."""
    with torch.no_grad():
        vertices = avatar.head(**frame.parameters())[0]
        seen = texel_visibility(avatar.head, avatar.uv_map, vertices, view.camera) > 0.25
        xy, _ = view.camera.project(avatar.uv_map.interpolate(vertices))
    return sample_image(image, xy[seen & avatar.uv_map.region("face")]).median(0).values


def ceiling_avatar(
    prior: Prior,
    captures: list[Capture],
    home: Capture,
    steps: int,
    seed: int = 0,
    on_step: Callable = lambda *_: None,
    learning_rate: float = 4e-3,
) -> Avatar:
    """The same network fitted to the person's whole capture: all weights, all pictures, those to be scored included.

    Args:
        prior: Where the fit starts.
        captures: All sequences of the person.
        home: The sequence of the neutral frame.
        steps: Optimiser steps of two pictures each.
        seed: Seed of the order of pictures.
        on_step: Called after every step.
        learning_rate: Adam's rate.
    """
    from realhead.training import Trainer

    config = TrainConfig(
        preset="ceiling",
        iterations=steps,
        learning_rate=learning_rate,
        mean_rate=1.0,
        warmup=min(20, steps),
        ema=0.98,
        mouth_dropout=0.0,
        jitter_probability=0.0,
        blur_probability=0.0,
        three_view_share=1.0,
        log_every=1,
        save_every=steps,
        num_workers=0,
        seed=seed,
        prior=prior.config,
        loss=LossConfig(adversarial=0.0),
    )
    alone = CaptureSet(home.folder.parent, tuple(c.folder for c in captures), frozenset())
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "start.safetensors"
        save_prior(prior, start, {})
        fitted = Trainer(config, alone, Path(folder) / "run", start).run(on_step, progress=False)
        fitted_prior = load_prior(fitted, prior.head).to(prior.device)
        avatar = enroll(fitted_prior, home, 0, texture_views=len(neutral_views(home)))
    return replace(avatar, info={"kind": "ceiling", "steps": steps})
