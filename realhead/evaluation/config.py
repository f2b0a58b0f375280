"""What an evaluation measures, and the three protocols."""

from __future__ import annotations

from dataclasses import dataclass, field

from realhead.config import EnrollConfig
from realhead.evaluation.views import Protocol


@dataclass(frozen=True)
class EvaluationConfig:
    """What is evaluated. The defaults suit a CPU; the paper's counts are named."""

    shots: tuple[int, ...] = (0, 1, 3)
    """Enrolled pictures; 0 is the prior without fine-tuning."""
    people: int | None = None
    """At most so many people. Paper: 20, 15 and 8."""
    sequences: int | None = None
    """At most so many sequences a person. Paper: 5 in the ablations."""
    timesteps: int = 5
    """Unseen timesteps a person, evenly spread over the sequences."""
    cameras: int = 4
    """Cameras a timestep: frontal, left, right, then others in turn."""
    clip_frames: int = 10
    """Consecutive frames for the temporal metrics; fewer than two leave them out."""
    wild_frames: int = 600
    """Last frames of a clip from which the wild protocol takes its test frames. Paper: 600."""
    vgg_views: int = 3
    """Unseen pictures a person and method on which LPIPS with VGG16 is measured too."""
    floor: bool = True
    """Whether the mean head is measured as well."""
    ceiling_steps: int = 0
    """Steps of the fit to a person's whole capture; 0 leaves the ceiling out."""
    pictures: int = 3
    """Pictures a person that are kept for figures: enrolled, widest open mouth, the same from the side."""
    pictured_people: int = 4
    """For how many people pictures are kept."""
    seed: int = 0
    """Seed of anything random."""
    enroll: EnrollConfig = field(default_factory=EnrollConfig)
    """How people are enrolled."""


PROTOCOLS: dict[Protocol, EvaluationConfig] = {
    "studio": EvaluationConfig(),
    "wild": EvaluationConfig(shots=(0, 1, 3), timesteps=20, cameras=1),
    "ablation": EvaluationConfig(shots=(0,), sequences=5, floor=False),
}
