"""Training samples, streamed from captures.

A sample is a function of (seed, step, slot) alone: no state of a random generator has to be saved for a resumed run to
see exactly what an uninterrupted one would have seen.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from realhead.augmentation import Augmentation
from realhead.capture.camera import Camera
from realhead.capture.capture import Capture, CaptureSet, Frame, View
from realhead.condition.expression import expression_source
from realhead.condition.offsets import ExpressionMaps, expression_maps
from realhead.condition.store import Conditioning, conditioning
from realhead.config import TrainConfig
from realhead.errors import CaptureError, RealheadError
from realhead.head.uv import UVMap

Sample = dict[str, Tensor]

_log = logging.getLogger(__name__)


class HeadSamples(Dataset):
    """Samples of a run by number (see `sample_numbers`)."""

    def __init__(self, captures: CaptureSet, config: TrainConfig, uv_map: UVMap):
        """Uses the training people of a set.

        Raises:
            CaptureError: Pictures of different sizes, or nobody to train on.
        """
        self.config, self.uv_map = config, uv_map
        people = captures.people("train")
        if config.people is not None:
            people = dict(list(people.items())[: config.people])
        self.people = list(people.values())
        if not self.people:
            raise CaptureError(f"{captures.root} has no training people: split.json holds everyone out.")
        sizes = {(c.width, c.height) for person in self.people for capture in person for c in capture.cameras.values()}
        if len(sizes) > 1:
            raise CaptureError(f"{captures.root} mixes picture sizes {sorted(sizes)}: training needs one size.")
        self.expression_source = expression_source(capture for person in self.people for capture in person)
        self._conditioning = lru_cache(maxsize=64)(self._load_conditioning)

    def __len__(self) -> int:
        return self.config.iterations * self.config.accumulate * self.config.batch_size

    def __getitem__(self, index: int) -> Sample:
        """Draws person, sequence, timestep and camera evenly; a broken picture is replaced by the next draw."""
        for attempt in range(20):
            try:
                return self._draw(np.random.default_rng([self.config.seed, index, attempt]))
            except RealheadError as error:
                _log.warning("%s Another picture is drawn.", error)
        raise CaptureError("20 pictures in a row could not be read: check the folder with `realhead check`.")

    def _draw(self, rng: np.random.Generator) -> Sample:
        person = self.people[rng.integers(len(self.people))]
        capture = person[rng.integers(len(person))]
        view = capture.view(*capture.keys()[rng.integers(len(capture.keys()))])
        maps, expressions = self._conditioning(capture)
        texture = maps.texture(bool(rng.random() < self.config.three_view_share))
        mouth = maps.mouth(view.frame.timestep) * float(rng.random() >= self.config.mouth_dropout)
        draw = Augmentation.draw(rng, self.config)
        picture, mask, camera = at_most(view, self.config.image_size)
        image = draw.apply_to_picture(picture, mask)
        return pack(view.frame, camera) | {
            "texture": draw.apply_to_texture(texture),
            "mouth": mouth,
            "offsets": expressions.at(view.frame.timestep),
            "image": image,
            "mask": mask,
        }

    def _load_conditioning(self, capture: Capture) -> tuple[Conditioning, ExpressionMaps]:
        return conditioning(capture, self.uv_map, self.config.prior.mouth), expression_maps(capture, self.uv_map)


def at_most(view: View, shorter: int) -> tuple[Float[Tensor, "3 h w"], Float[Tensor, "1 h w"], Camera]:
    """Picture, mask and camera of a view, made smaller where the shorter side has more than `shorter` pixels."""
    picture, mask, camera = view.image().permute(2, 0, 1), view.mask()[None], view.camera
    share = shorter / min(camera.width, camera.height)
    if share >= 1:
        return picture, mask, camera
    camera = camera.scaled(round(share * camera.width), round(share * camera.height))
    both = torch.nn.functional.interpolate(
        torch.cat([picture, mask])[None], (camera.height, camera.width), mode="bilinear", antialias=True
    )[0]
    return both[:3], both[3:], camera


def pack(frame: Frame, camera: Camera) -> Sample:
    """Frame and camera as tensors that a loader can batch."""
    eyelids = frame.eyelids if frame.eyelids is not None else torch.zeros(2)
    return {
        "timestep": torch.tensor(frame.timestep),
        "shape": frame.shape,
        "expression": frame.expression,
        "pose": frame.pose,
        "translation": frame.translation,
        "eyelids": eyelids,
        "K": camera.K,
        "cam_from_world": camera.cam_from_world,
    }


def unpack(batch: Sample, index: int) -> tuple[Frame, Camera]:
    """One element of a batch as Frame and Camera."""
    keys = ("shape", "expression", "pose", "translation", "eyelids")
    height, width = batch["image"].shape[-2:]
    frame = Frame(int(batch["timestep"][index]), **{k: batch[k][index] for k in keys})
    return frame, Camera(batch["K"][index], batch["cam_from_world"][index], width, height)


def sample_numbers(config: TrainConfig, first_step: int, rank: int = 0, processes: int = 1) -> Iterator[int]:
    """Numbers of the samples of one process from `first_step` to the end of the run, in order.

    The batches of all processes, laid side by side, are what one process with the larger batch would see.
    """
    for group in range(first_step * config.accumulate, config.iterations * config.accumulate):
        first = (group * processes + rank) * config.batch_size
        yield from range(first, first + config.batch_size)


def loader(samples: HeadSamples, first_step: int, rank: int = 0, processes: int = 1) -> DataLoader:
    """Batches of one process from `first_step` to the end of the run, in order, `accumulate` of them a step."""
    config = samples.config
    order = list(sample_numbers(config, first_step, rank, processes))
    workers = config.num_workers
    extra = {"prefetch_factor": 8, "multiprocessing_context": "fork"} if workers else {}
    return DataLoader(
        samples, config.batch_size, sampler=order, num_workers=workers, worker_init_fn=_one_thread, **extra
    )


def plain(error: RealheadError) -> RealheadError:
    """An error of a reading process without the traceback that the loader puts before its sentence."""
    return type(error)(str(error).strip().splitlines()[-1].split("Error: ", 1)[-1])


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
