"""Configuration: frozen dataclasses with the reason of each number, and the presets tiny, laptop and paper.

"Paper" behind a value: the paper states it. "Ours": the paper leaves it out; see README, section "What is ours".
"""

from __future__ import annotations

import hashlib
import json
from ast import literal_eval
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from typing import Literal, TypeVar

from realhead.errors import RealheadError

Preset = Literal["tiny", "laptop", "paper"]
Config = TypeVar("Config")


@dataclass(frozen=True)
class PriorConfig:
    """The network of Figure 2."""

    resolution: int = 128
    """Texels along a side of all UV maps; ours (the paper's number is lost), paper preset 256 as its sibling GEM."""
    uv_layout: str = "default"
    """UV layout of the head: 'default', or 'fewer_mouth' with 70 % fewer mouth texels (Table IV)."""
    encoder_channels: tuple[int, ...] = (16, 32, 64, 96, 128, 160)
    """Channels of the six feature maps, full resolution first; six is the paper's, the counts are ours."""
    decoder_channels: tuple[int, ...] = (32, 48, 80, 128, 192, 192)
    """Channels of the decoder, full resolution first; ours."""
    style_dim: int = 64
    """Length of the style vector (StyleAvatar's)."""
    mouth: str = "gradient"
    """What the mouth map stores: gradient (paper), rgb, full_gradient, full_rgb, hog, dino, none (Tables II, III)."""
    expression_input: bool = True
    """Whether the expression map is an input; Table V drops it."""

    @property
    def num_levels(self) -> int:
        """Feature maps per encoder."""
        return len(self.encoder_channels)


@dataclass(frozen=True)
class LossConfig:
    """Weights of equations (5) to (8). All ours: the paper's numbers are lost."""

    photometric: float = 1.0
    """L1."""
    perceptual: float = 0.2
    """LPIPS (AlexNet), a stand-in for the paper's VGG-type loss that a CPU can afford."""
    ssim: float = 0.2
    """1 - SSIM."""
    position: float = 0.1
    """Mean squared position offset, in decimetres squared (metres times ten)."""
    scale: float = 0.003
    """Mean squared scale offset, a logarithm. At 0.1, on four people outside the test set, unseen views after enrolling
    1 / 3 pictures lost 0.2 / 0.1 dB, and their LPIPS rose by 3 / 2 %."""
    adversarial: float = 0.0
    """Hinge loss of the critic; zero switches the critic off."""
    closeness: float = 0.1
    """Enrollment only, equation (8): mean squared distance to the initial primitives. Chosen with the rates below on
    two people outside the test set, unseen views from 1 / 3 pictures: 18.7 / 20.5 dB and LPIPS 0.137 / 0.115. Half the
    rates and 1.0 gave 18.3 / 19.6 dB and 0.132 / 0.116; twice the rates and 0.3 gave 18.5 / 20.6 dB and 0.147 / 0.118.
    """


@dataclass(frozen=True)
class TrainConfig:
    """One training run."""

    preset: str = "laptop"
    """Name of the preset that this run started from."""
    iterations: int = 20_000
    """Optimiser steps. Paper: 1,000,000."""
    batch_size: int = 2
    """Samples per step. Paper: 2."""
    accumulate: int = 1
    """Batches whose gradients are added up before a step."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the network's convolutions; geometry, splatting and losses stay in float32. Most CPUs lose by bfloat16."""
    learning_rate: float = 8e-3
    """Adam's rate at the start; ours. Equalised weights have unit variance, so this moves them by 0.8 % a step; with
    StyleGAN's 0.002 hair had not begun to grow after 300 steps."""
    final_learning_rate: float = 0.05
    """Rate at the end as a fraction; cosine decay in between. Paper: 'decayed progressively'."""
    mean_rate: float = 0.25
    """Rate of the mean person's map as a share of the others'; ours. Adam's steps have the same length for texels that
    the pictures show and for those that they hardly do, so at 1 neighbouring texels drift apart."""
    warmup: int = 100
    """Steps of linear warm-up; ours."""
    gradient_clip: float = 1.0
    """Largest gradient norm; ours."""
    ema: float = 0.999
    """Decay of the averaged weights, which are what is shipped; ours."""
    mouth_dropout: float = 0.15
    """Share of samples whose mouth map is dropped to zero, so that sliders and lost faces work; ours."""
    jitter_probability: float = 0.5
    """Share of samples with colour jitter; the strengths are the paper's, the share is ours."""
    blur_probability: float = 0.1
    """Share of samples with a Gaussian blur of kernel 5 (paper); the share is ours."""
    blur_sigma: tuple[float, float] = (0.1, 1.0)
    """Range of the blur's standard deviation in pixels; ours."""
    three_view_share: float = 0.5
    """Share of samples whose identity texture comes from three views instead of one (paper: 'randomly mix')."""
    image_size: int = 256
    """Most pixels along the shorter side of the training pictures; larger ones are made smaller."""
    seed: int = 0
    """Seed of initialisation, sampling and augmentation."""
    save_every: int = 500
    """Steps between checkpoints."""
    log_every: int = 25
    """Steps between lines of the log."""
    num_workers: int = 1
    """Processes that read pictures; 0 reads in the training process."""
    adversarial_start: float = 0.6
    """When the critic starts, as a share of the run ('later stages' in the paper); ours."""
    people: int | None = None
    """Use only so many training people (Table VI); default all."""
    prior: PriorConfig = field(default_factory=PriorConfig)
    """The network."""
    loss: LossConfig = field(default_factory=LossConfig)
    """The loss weights."""

    def __post_init__(self):
        """Refuses counts with which nothing would be trained."""
        for name in ("iterations", "batch_size", "accumulate", "warmup", "log_every", "save_every"):
            if getattr(self, name) < 1:
                raise RealheadError(f"{name} is {getattr(self, name)}: it must be at least 1.")


@dataclass(frozen=True)
class EnrollConfig:
    """Inversion from 1-3 pictures in two stages (paper, Appendix B). The numbers are ours."""

    stage1_steps: int = 60
    """Steps on the lower three identity feature maps."""
    stage2_steps: int = 60
    """Steps on the upper three and the last decoder layer."""
    learning_rate: float = 1e-2
    """Adam's rate for feature maps."""
    last_layer_rate: float = 1e-3
    """Adam's rate for the last decoder layer."""
    affine_colour: bool = False
    """Whether a 3x4 colour transform is fitted too, for pictures unlike the training data."""
    loss: LossConfig = field(default_factory=LossConfig)
    """The loss weights."""


PRIORS: dict[str, PriorConfig] = {
    "tiny": PriorConfig(
        resolution=64, encoder_channels=(8, 12, 16, 24, 32, 32), decoder_channels=(16, 16, 24, 32, 32, 32), style_dim=16
    ),
    "laptop": PriorConfig(),
    "paper": PriorConfig(
        resolution=256,
        encoder_channels=(32, 64, 128, 256, 384, 512),
        decoder_channels=(64, 128, 256, 384, 512, 512),
        style_dim=64,
    ),
}

TRAINING: dict[str, TrainConfig] = {
    "tiny": TrainConfig(preset="tiny", iterations=120, save_every=60, log_every=5, warmup=10, ema=0.95, num_workers=0),
    "laptop": TrainConfig(),
    "paper": TrainConfig(
        iterations=1_000_000, learning_rate=5e-4, image_size=550, ema=0.9999, save_every=5000, num_workers=8
    ),
}


def train_config(preset: Preset, **changes) -> TrainConfig:
    """The configuration of a preset, with fields replaced."""
    return replace(TRAINING[preset], preset=preset, prior=changes.pop("prior", PRIORS[preset]), **changes)


def config_hash(config) -> str:
    """First 12 hex digits of the SHA-256 of a configuration, written beside every result."""
    return hashlib.sha256(json.dumps(asdict(config), sort_keys=True).encode()).hexdigest()[:12]


def with_fields(config: Config, assignments: Iterable[str]) -> Config:
    """Replaces fields given as text, such as 'learning_rate=4e-3' or 'loss.adversarial=0.05'.

    Args:
        config: The configuration to start from, any frozen dataclass.
        assignments: Texts NAME=VALUE; NAME leads into nested configurations with a dot.

    Raises:
        RealheadError: No such field, or a value of another type.
    """
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise RealheadError(f"'{assignment}' is no assignment: write NAME=VALUE, as in learning_rate=4e-3.")
        config = _with_field(config, name, text, name)
    return config


def _with_field(config, name: str, text: str, whole: str):
    first, _, rest = name.partition(".")
    kinds = {f.name: str(f.type) for f in fields(config)}
    if first not in kinds:
        near = get_close_matches(first, kinds, 1)
        hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(kinds)}."
        raise RealheadError(f"There is no field '{whole}': {hint}")
    old = getattr(config, first)
    if is_dataclass(old) != bool(rest):
        what = "a group of fields" if is_dataclass(old) else "a single field"
        raise RealheadError(f"'{whole}' does not name a field, since {first} is {what}.")
    value = _with_field(old, rest, text, whole) if rest else _parse(text, old, whole, any_length="..." in kinds[first])
    return replace(config, **{first: value})


def _parse(text: str, old, name: str, any_length: bool):
    if isinstance(old, str):
        return text
    try:
        value = literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(old, bool) and isinstance(value, bool):
        return value
    if isinstance(old, float) and number:
        return float(value)
    if (type(old) is int or old is None) and type(value) is int:
        return value
    if isinstance(old, tuple) and isinstance(value, tuple | list) and (any_length or len(value) == len(old)):
        return tuple(value)
    raise RealheadError(f"{name}={text} is not possible: the present value is {old!r}, give one of its type.")
