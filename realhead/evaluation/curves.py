"""Enrollment as curves: does it help where it was not looking?

An inversion that only watches its own pictures can gain ten decibels there and lose three everywhere else. So the
numbers are taken on both sides while it runs.
"""

from __future__ import annotations

import torch

from realhead import metrics
from realhead.avatar import Avatar
from realhead.capture.capture import Capture, View
from realhead.config import EnrollConfig
from realhead.enrollment import choose_views, enroll
from realhead.errors import RealheadError
from realhead.evaluation import EvaluationConfig, render_views
from realhead.evaluation.measures import quantised
from realhead.evaluation.views import ScoredView, person_views
from realhead.model.prior import Prior


def enrollment_curves(
    prior: Prior,
    captures: list[Capture],
    shots: int = 3,
    config: EnrollConfig | None = None,
    *,
    every: int = 10,
    timesteps: int = 2,
    cameras: int = 3,
    seed: int = 0,
    progress: bool = False,
) -> dict:
    """Enrolls a person and measures enrolled and unseen views on the way.

    Args:
        prior: The prior.
        captures: All sequences of the person, from several cameras.
        shots: Pictures to enroll.
        config: Enrollment.
        every: Steps between measurements.
        timesteps: Unseen timesteps.
        cameras: Cameras a timestep.
        seed: Seed of anything random.
        progress: Whether a bar is shown on stderr.

    Returns:
        `steps` with 0 for the start, and over them `enrolled` and `unseen`, each with `psnr` (inside the mask, dB) and
        `lpips_alex` (whole picture; absent without the weights); `loss`: the terms of every step by name;
        `stage2_from`: where the second stage begins.
    """
    if shots < 1:
        raise RealheadError("Curves need at least one enrolled picture: pass shots=1 or more.")
    config = config or EnrollConfig()
    wanted = EvaluationConfig(shots=(shots,), timesteps=timesteps, cameras=cameras, clip_frames=0)
    views = person_views(captures[0].person, captures, "studio", wanted)
    home = views.home
    groups = {"enrolled": [ScoredView(home, v) for v in choose_views(home, shots)], "unseen": views.unseen}
    curves: dict = {"steps": [], **{name: {"psnr": [], "lpips_alex": []} for name in groups}}

    def look(step: int, avatar: Avatar) -> None:
        curves["steps"].append(step)
        for name, scored in groups.items():
            for metric, value in _numbers(avatar, scored).items():
                curves[name][metric].append(value)

    def observer(step: int, avatar: Avatar) -> None:
        if step % every == 0 or step == config.stage1_steps + config.stage2_steps:
            look(step, avatar)

    look(0, enroll(prior, home, groups_views(groups["enrolled"]), seed, _untouched(config)))
    avatar = enroll(prior, home, groups_views(groups["enrolled"]), seed, config, observer=observer, progress=progress)
    history = avatar.info["history"]
    terms = {name: [entry[name] for entry in history] for name in (history[0] if history else {})}
    return {"person": views.person, "shots": shots, **curves, "loss": terms, "stage2_from": config.stage1_steps}


def groups_views(scored: list[ScoredView]) -> list[View]:
    """The pictures of scored views."""
    return [item.view for item in scored]


def _untouched(config: EnrollConfig) -> EnrollConfig:
    """No steps: the same identity texture, nothing fitted."""
    from dataclasses import replace

    return replace(config, stage1_steps=0, stage2_steps=0)


def _numbers(avatar: Avatar, scored: list[ScoredView]) -> dict[str, float]:
    prediction = quantised(render_views(avatar, scored))
    target = torch.stack([s.view.image() for s in scored])
    mask = torch.stack([s.view.mask() for s in scored])
    numbers = {"psnr": float(metrics.psnr(prediction, target, mask).clamp(max=100).mean())}
    try:
        return numbers | {"lpips_alex": float(metrics.lpips(prediction, target).mean())}
    except RealheadError:
        return numbers
