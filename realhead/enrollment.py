"""Enrollment: one to three pictures become an avatar by inversion of the prior (paper IV-C1 and Appendix B).

Stage 1 optimises the lower three identity feature maps, stage 2 the upper three and the last decoder layer; everything
else stays frozen. Equation (8) keeps the primitives close to where they started, so that what no picture shows stays
what the prior believes.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from realhead import losses
from realhead.avatar import Avatar, new_last_layer, recolour
from realhead.capture.capture import Capture, Frame, View
from realhead.condition.expression import expression_source, smirk_expression_map
from realhead.condition.store import driving_view, neutral_views, view_mouth_map
from realhead.condition.texture import identity_texture
from realhead.config import EnrollConfig
from realhead.errors import RealheadError
from realhead.model.primitives import pose_primitives
from realhead.model.prior import FeatureMaps, Prior
from realhead.rendering import render

_log = logging.getLogger(__name__)

Observer = Callable[[int, "Avatar"], Any]
"""Called after every step with its number and the avatar so far (for curves and pictures)."""


def choose_views(capture: Capture, shots: int) -> list[View]:
    """Neutral pictures for an enrollment: the frontal one, then the sides.

    From a rig: the neutral frame from the front, 45 degrees left and right, then other cameras. From a clip or a few
    photographs: the most neutral frames whose head is turned most differently.
    """
    if capture.is_rig:
        frame = capture.neutral
        names = [view.camera.name for view in neutral_views(capture)]
        others = [c for t, c in capture.keys() if t == frame.timestep and c not in names]
        spread = others[:: max(1, len(others) // max(1, shots - len(names)))]
        views = [capture.view(frame.timestep, name) for name in [*names, *spread][:shots]]
    else:
        views = _turned_frames(capture, shots)
    if len(views) < shots:
        raise RealheadError(
            f"{capture.folder} has only {len(views)} pictures to enroll but {shots} shots were asked for."
        )
    return views


def _turned_frames(capture: Capture, shots: int) -> list[View]:
    """The calm half of a clip's training frames, at evenly spread head turns, the straightest first."""
    keys = capture.keys("train")
    frames = sorted((capture.frame(t) for t, _ in keys), key=lambda f: f.effort)
    calm = sorted(frames[: max(shots, len(frames) // 2)], key=lambda f: float(f.pose[0, 1] + f.pose[1, 1]))
    straight = min(calm, key=lambda f: abs(float(f.pose[0, 1] + f.pose[1, 1])))
    ends = [calm[round(i * (len(calm) - 1) / max(1, shots - 2))] for i in range(shots - 1)] if shots > 1 else []
    chosen = list(dict.fromkeys([straight.timestep, *(f.timestep for f in ends)]))
    chosen += [f.timestep for f in calm if f.timestep not in chosen][: shots - len(chosen)]
    return [capture.view(t, next(c for s, c in keys if s == t)) for t in chosen]


@dataclass
class Inversion:
    """The state of one enrollment.

    Attributes:
        prior: The frozen prior.
        views: Pictures to explain.
        frames: Their distinct timesteps.
        expression: Expression feature maps of `frames`, computed once.
        identity: Six identity feature maps, being optimised.
        last: The last decoder layer, being optimised.
        colour: Affine colour transform, being optimised if the configuration says so.
    """

    prior: Prior
    views: list[View]
    frames: list[Frame]
    expression: FeatureMaps
    identity: FeatureMaps
    last: nn.Module
    colour: Tensor
    config: EnrollConfig
    history: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self):
        """Remembers the pictures and the initial primitives of equation (8)."""
        self.targets = torch.stack([v.image().permute(2, 0, 1) for v in self.views])
        with torch.no_grad():
            self.initial = self.prior.decode(self.identity, self.expression, self.last)

    def loss(self) -> dict[str, Tensor]:
        """Equations (7) and (8) over all pictures."""
        primitives = self.prior.decode(self.identity, self.expression, self.last)
        posed = [
            pose_primitives(self.prior.head, self.prior.uv_map, primitives, frame, i)
            for i, frame in enumerate(self.frames)
        ]
        if self.config.affine_colour:
            posed = [recolour(gaussians, self.colour) for gaussians in posed]
        at = {frame.timestep: i for i, frame in enumerate(self.frames)}
        pictures = [render(posed[at[v.frame.timestep]], v.camera)[0].permute(2, 0, 1) for v in self.views]
        terms = losses.reconstruction(torch.stack(pictures), self.targets, primitives, self.config.loss)
        near = losses.closeness(primitives, self.initial).mean()
        return terms | {"closeness": self.config.loss.closeness * near}

    def optimise(self, groups: list[dict], steps: int, after_step: Callable[[], None]) -> None:
        """One stage: Adam with a rate that falls to a tenth."""
        for group in groups:
            for tensor in group["params"]:
                tensor.requires_grad_()
        optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99))
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, 0.1 ** (1 / max(1, steps)))
        for _ in range(steps):
            terms = self.loss()
            total = sum(terms.values())
            if not torch.isfinite(total):
                raise RealheadError(
                    "Enrollment diverged (the loss is not finite): lower the learning rate in EnrollConfig."
                )
            optimiser.zero_grad()
            total.backward()
            optimiser.step()
            schedule.step()
            self.history.append({name: float(term.detach()) for name, term in terms.items()})
            after_step()
        for group in groups:
            for tensor in group["params"]:
                tensor.requires_grad_(False)

    def avatar(self, info: dict) -> Avatar:
        """The person as found so far."""
        maps = [m.detach().clone() for m in self.identity]
        colour = self.colour.detach().clone() if self.config.affine_colour else None
        last = new_last_layer(self.prior)
        last.load_state_dict(self.last.state_dict())
        return Avatar(self.prior, self.frames[0].shape, maps, last, colour, info)


def enroll(
    prior: Prior,
    capture: Capture,
    shots: int | Sequence[View] = 3,
    seed: int = 0,
    config: EnrollConfig | None = None,
    *,
    texture_views: int | None = None,
    observer: Observer | None = None,
    progress: bool = False,
) -> Avatar:
    """Recovers an avatar from a few pictures.

    Args:
        prior: The prior over heads; it is not changed. Where it is (`prior.to("cuda")`), there all is computed.
        capture: Where the pictures (and the frontal picture of each timestep) come from.
        shots: How many neutral pictures to choose (0: the encoder's guess, no optimisation), or the pictures.
        seed: Seed of anything random (nothing is at present, so equal inputs give equal avatars).
        config: Steps, rates, weights.
        texture_views: How many of the pictures enter the identity texture. Default: all from a rig; the first alone
            from a single camera (the paper's choice in the wild, V-D).
        observer: Called after every step.
        progress: Whether a bar is shown on stderr.

    Raises:
        RealheadError: The capture has another head than the prior, or too few pictures.
    """
    if shots < 0 if isinstance(shots, int) else not shots:
        raise RealheadError(
            f"{shots} pictures cannot be enrolled: ask for 1, 3 or more, or for 0, the encoder's guess."
        )
    if capture.head.hash != prior.head.hash:
        raise RealheadError(
            f"{capture.folder} was tracked with head '{capture.head.name}' but the prior knows "
            f"'{prior.head.name}': track it again with the prior's head."
        )
    torch.manual_seed(seed)
    config = config or EnrollConfig()
    chosen = choose_views(capture, max(1, shots)) if isinstance(shots, int) else shots
    views = [view.to(prior.device) for view in chosen]
    optimised = not isinstance(shots, int) or shots > 0
    inversion = _start(prior, capture, views, texture_views, config)
    info = {
        "person": capture.person,
        "shots": len(views) if optimised else 0,
        "pictures": [v.image_path.name for v in views],
        "prior": getattr(prior, "weights_hash", None),
        "expression_maps": _checked_source(prior, capture),
        "config": asdict(config),
    }
    if not optimised:
        return Avatar(prior, inversion.frames[0].shape, inversion.identity, None, None, info)
    steps = config.stage1_steps + config.stage2_steps
    bar = tqdm(total=steps, desc="enrollment", disable=not progress, file=sys.stderr, leave=False)

    def after_step() -> None:
        bar.update()
        bar.set_postfix(l1=f"{inversion.history[-1]['photometric']:.4f}")
        if observer:
            observer(len(inversion.history), inversion.avatar(info))

    half = len(inversion.identity) // 2
    upper, lower = inversion.identity[:half], inversion.identity[half:]
    colour = [{"params": [inversion.colour], "lr": config.last_layer_rate}] if config.affine_colour else []
    inversion.optimise([{"params": lower, "lr": config.learning_rate}, *colour], config.stage1_steps, after_step)
    last = {"params": list(inversion.last.parameters()), "lr": config.last_layer_rate}
    inversion.optimise([{"params": upper, "lr": config.learning_rate}, last, *colour], config.stage2_steps, after_step)
    bar.close()
    return inversion.avatar(info | {"history": inversion.history})


def _checked_source(prior: Prior, capture: Capture) -> str:
    """Where the capture's expression maps come from; a warning if the prior was trained with other ones."""
    now, trained = expression_source([capture]), getattr(prior, "card", {}).get("expression_maps")
    if isinstance(trained, str) and trained.startswith("SMIRK") != now.startswith("SMIRK"):
        _log.warning(
            "The prior was trained with %s, but %s has %s: expressions may be off.", trained, capture.folder, now
        )
    return now


def _start(
    prior: Prior, capture: Capture, views: list[View], texture_views: int | None, config: EnrollConfig
) -> Inversion:
    if texture_views is None:
        texture_views = len(views) if capture.is_rig else 1
    frames = list({v.frame.timestep: v.frame for v in views}.values())
    with torch.no_grad():
        texture = identity_texture(prior.head, prior.uv_map, views[:texture_views])
        kind = prior.config.mouth
        driving = [driving_view(capture, f.timestep).to(prior.device) for f in frames]
        mouths = [view_mouth_map(view, prior.uv_map, prior.head, kind) for view in driving]
        batch = [frame.parameters() for frame in frames]
        stacked = {k: torch.cat([b[k] for b in batch]) for k in ("expression", "pose")}
        eyelids = None if batch[0]["eyelids"] is None else torch.cat([b["eyelids"] for b in batch])
        offsets = smirk_expression_map(frames, prior.head, prior.uv_map)
        expression = prior.encode_expression(**stacked, mouth=torch.stack(mouths), eyelids=eyelids, offsets=offsets)
        identity = [m.clone() for m in prior.identity_encoder(texture[None])]
    colour = torch.eye(3, 4, device=prior.device)
    return Inversion(prior, views, frames, expression, identity, new_last_layer(prior), colour, config)
