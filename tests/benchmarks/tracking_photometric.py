"""Would a photometric refinement help? An experiment; tracking goes without it as long as these numbers say no.

A texel of the skin is a Gaussian with the colour that the calmest frame shows there. Frames are rendered with the
project's differentiable rasterizer, and Adam lowers the difference of colours by expression, jaw, rotation and
translation, from the landmark fit on.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import roma
import torch
from tracking_truth import columns, make_clip, measure

from realhead.condition.mouth import sample_image
from realhead.condition.texture import texel_visibility
from realhead.head import load_head
from realhead.splatting import rasterization
from realhead.tracking.assemble import camera_at
from realhead.tracking.clip import ClipFit, fit_clip, spread_frames, watch
from realhead.tracking.fit import Fitter
from realhead.tracking.landmark_head import JAW, LandmarkHead, State, rotation_matrix
from realhead.tracking.run import TrackOptions
from realhead.tracking.video import read_clip

STEPS, RATE, CLOSENESS = 25, 0.004, 0.02
TEXELS = 96
COMPARED = ("jawOpen", "eyeBlink", "mouthSmile", "mouthPucker", "browInnerUp")


def photometric(people: int = 3, frames: int = 75, chosen: int = 6, first: int = 4000, size: int = 256) -> dict:
    """Errors before and after the refinement, on a few frames that differ most from each other."""
    head = load_head("open")
    reduced = LandmarkHead(head)
    rows: dict[str, list[np.ndarray]] = {"landmark fit": [], "refined by colours": []}
    for seed in range(first, first + people):
        with tempfile.TemporaryDirectory() as folder:
            path, truths, K = make_clip(head, seed, frames, size, Path(folder))
            seen = watch(path, reduced, TrackOptions(progress=False))
            pictures = {f.index: torch.from_numpy(f.image.astype(np.float32) / 255) for f in read_clip(path)}
        observations = seen.observations(head, seen.rest())
        fit = fit_clip(observations, Fitter(reduced))
        calm, *others = spread_frames(observations, chosen + 1)
        skin = PaintedSkin(head, fit, calm, pictures[calm], size)
        refined = ClipFit(fit.focal, fit.shape, {i: skin.refine(fit.states[i], pictures[i]) for i in others})
        before = ClipFit(fit.focal, fit.shape, {i: fit.states[i] for i in others})
        for name, result in zip(rows, (before, refined), strict=True):
            rows[name].append(_errors(measure(head, reduced, result, truths, K), [truths[i].scores for i in others]))
    names = [*(f"{n}, mean error of the score" for n in COMPARED), "rotation, degrees", "mouth corner, mm"]
    table = {name: dict(zip(names, np.mean(v, 0).round(3).tolist(), strict=True)) for name, v in rows.items()}
    return {"people": people, "frames": chosen * people, **table}


def _errors(found: dict, truth: list[np.ndarray]) -> np.ndarray:
    scores = np.abs(found["scores"] - np.stack(truth))
    actions = [scores[:, columns(name)].mean() for name in COMPARED]
    return np.array([*actions, np.linalg.norm(found["turn"], axis=1).mean(), found["corners"].mean()])


class PaintedSkin:
    """The skin's Gaussians with the colours of one frame."""

    def __init__(self, head, fit: ClipFit, calm: int, picture: torch.Tensor, size: int):
        """Takes the colours from the frame `calm`, where the skin is seen."""
        self.head, self.uv_map, self.size = head, head.uv_map(TEXELS), size
        self.shape = torch.from_numpy(fit.shape).float()
        K = np.array([[fit.focal, 0, size / 2], [0, fit.focal, size / 2], [0, 0, 1]], np.float32)
        self.camera = camera_at(K, np.zeros(3), size, "00")
        with torch.no_grad():
            vertices = self.vertices(fit.states[calm], torch.zeros(8 + head.num_expression))
            seen = texel_visibility(head, self.uv_map, vertices, self.camera) > 0.05
            xy, _ = self.camera.project(self.uv_map.interpolate(vertices))
            self.kept = seen & self.uv_map.region("skin")
            self.colours = sample_image(picture, xy)[self.kept]
        self.scales = self.uv_map.footprint.mean(1, keepdim=True).expand(-1, 3)[self.kept] * 0.7

    def vertices(self, state: State, step: torch.Tensor) -> torch.Tensor:
        """The mesh after a step: rotation 3, translation 3, jaw 2, expression."""
        pose = torch.from_numpy(state.pose()).float().clone()
        turned = roma.rotvec_to_rotmat(step[:3]) @ roma.rotvec_to_rotmat(pose[0])
        jaw = torch.cat([pose[JAW, :2] + step[6:8], pose[JAW, 2:]])
        pose = torch.stack([roma.rotmat_to_rotvec(turned), pose[1], jaw, pose[3], pose[4]])
        expression = (torch.from_numpy(state.expression).float() + step[8:]).clamp(0, 1)
        translation = torch.from_numpy(state.translation).float() + step[3:6]
        return self.head(self.shape[None], expression[None], pose[None], translation[None])[0]

    def refine(self, state: State, picture: torch.Tensor) -> State:
        """Lowers the difference of colours."""
        step = torch.zeros(8 + self.head.num_expression, requires_grad=True)
        unit = torch.ones_like(step)
        unit[3:6] = 0.1  # metres and radians
        optimiser = torch.optim.Adam([step], RATE)
        identity = torch.zeros(int(self.kept.sum()), 4)
        identity[:, 0] = 1
        for _ in range(STEPS):
            points = self.uv_map.interpolate(self.vertices(state, step * unit))[self.kept]
            rendered, alpha, _ = rasterization(
                points, identity, self.scales, torch.full((len(points),), 0.95), self.colours,
                self.camera.cam_from_world[None], self.camera.K[None], self.size, self.size,
            )  # fmt: skip
            weight = alpha[0].detach()
            difference = ((rendered[0] / alpha[0].clamp_min(1e-3) - picture).abs() * weight).sum() / weight.sum()
            loss = difference + CLOSENESS * (step**2).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        moved = (step * unit).detach().double().numpy()
        return State(
            rotation_matrix(moved[:3]) @ state.rotation, state.translation + moved[3:6],
            np.clip(state.expression + moved[8:], 0, 1), state.jaw + moved[6:8], state.gaze,
        )  # fmt: skip
