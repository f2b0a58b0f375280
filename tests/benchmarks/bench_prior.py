"""How fast are training, enrollment and driving with a prior, and where does a training step spend its time?

    python tests/benchmarks/bench_prior.py [DATA] [--prior laptop] [--out results/prior/bench.json]

DATA is a capture set with training people; without it, the two sample people are used (what they look like does not
change the time). All numbers are medians in one run; `yardstick` is the rate of a fixed convolution in the same run, so
that runs on other or busy machines can be compared: divide by it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from realhead import Avatar, Capture, enroll, load_prior, losses
from realhead.capture import CaptureSet
from realhead.condition.expression import frame_expression_map
from realhead.condition.offsets import expression_maps
from realhead.condition.store import driving_view
from realhead.config import LossConfig, train_config
from realhead.dataset import loader
from realhead.driving import driven_frames
from realhead.enrollment import choose_views
from realhead.training import Trainer


def median_ms(function: Callable[[], object], repeats: int = 9) -> float:
    """Milliseconds of a call, the first one not counted."""
    function()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken) * 1e3


def yardstick() -> float:
    """Gigaflops of a fixed convolution and its gradients."""
    x, w = torch.randn(2, 64, 128, 128, requires_grad=True), torch.randn(64, 64, 3, 3, requires_grad=True)
    work = 3 * 2 * 2 * 128 * 128 * 64 * 64 * 9
    return work / median_ms(lambda: torch.nn.functional.conv2d(x, w, padding=1).sum().backward()) / 1e6


def open_for_training(captures: CaptureSet) -> CaptureSet:
    """The set with nobody held out, if everybody is."""
    return captures if captures.people("train") else replace(captures, test_people=frozenset())


def training(captures: CaptureSet, adversarial: float, steps: int) -> dict[str, float]:
    """Iterations a second with the data loader in another process, as in a real run."""
    config = train_config("laptop", iterations=steps, log_every=steps, save_every=10 * steps)
    config = replace(config, adversarial_start=0.0, loss=LossConfig(adversarial=adversarial))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, captures, Path(folder))
        batches = iter(loader(trainer.samples, 0))
        next(batches)
        rate = 1e3 / median_ms(lambda: trainer.train_step([next(batches)]), steps - 2)
    return {"iterations_per_second": rate}


def parts(captures: CaptureSet) -> dict[str, float]:
    """Milliseconds of the parts of a step (batch 2)."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(train_config("laptop", num_workers=0), captures, Path(folder))
        batches = iter(loader(trainer.samples, 0))
        batch = next(batches)
        trainer.train_step([batch])
        keys = ("texture", "expression", "pose", "mouth", "eyelids", "offsets")
        network = lambda: trainer.prior(**{k: batch[k] for k in keys})  # noqa: E731
        pictures = trainer.forward(batch)[0].detach().requires_grad_()
        return {
            "two samples, one process": median_ms(lambda: next(batches)),
            "network forward": median_ms(network),
            "network forward and backward": median_ms(lambda: network().raw.sum().backward()),
            "network and splatting forward": median_ms(lambda: trainer.forward(batch)),
            "L1": median_ms(lambda: losses.photometric(pictures, batch["image"]).mean().backward()),
            "SSIM": median_ms(lambda: losses.structural(pictures, batch["image"]).mean().backward()),
            "LPIPS": median_ms(lambda: losses.perceptual(pictures, batch["image"]).mean().backward()),
            "optimiser": median_ms(trainer.optimiser.step),
            "whole step": median_ms(lambda: trainer.train_step([batch])),
        }


def expression(prior, capture: Capture) -> dict[str, float]:
    """Milliseconds of an expression map: computed, read from beside the capture, and opening a capture's maps."""
    frame, kept = capture.frames[-1], expression_maps(capture, prior.uv_map)
    return {
        "computed": median_ms(lambda: frame_expression_map(frame, prior.head, prior.uv_map)),
        "read": median_ms(lambda: kept.at(frame.timestep)),
        "capture opened": median_ms(lambda: expression_maps(capture, prior.uv_map)),
    }


def enrollment(prior, capture: Capture) -> dict[str, float]:
    """Seconds of an enrollment."""
    seconds = {}
    for shots in (1, 3):
        views = choose_views(capture, shots)
        started = time.perf_counter()
        enroll(prior, capture, views)
        seconds[f"{shots} pictures"] = time.perf_counter() - started
    return seconds


def driving(avatar: Avatar, capture: Capture) -> dict[str, float]:
    """Frames a second: of the method (mouth map, expression encoder, decoder, skinning, splatting), and of a clip."""
    view = driving_view(capture, capture.timesteps[-1])
    mouth = avatar.mouth_map(view)
    whole = median_ms(lambda: avatar.render(view.frame, view.camera, avatar.mouth_map(view)))
    alone = median_ms(lambda: avatar.render(view.frame, view.camera, mouth))
    started, count = time.perf_counter(), 0
    for _ in driven_frames(avatar, capture):
        count += 1
    return {
        "mouth map in hand": 1e3 / alone,
        "mouth map made": 1e3 / whole,
        "clip: reading, avatar, novel view": count / (time.perf_counter() - started),
    }


@torch.no_grad()
def driving_network(avatar: Avatar, capture: Capture) -> dict[str, float]:
    """Milliseconds of expression encoder and decoder for one frame, as trained and with the identity folded in."""
    prior, batch = avatar.prior, capture.frames[-1].parameters()
    maps = prior.driving_maps(batch["expression"], batch["pose"], None, batch["eyelids"])
    return {
        "as trained": median_ms(lambda: prior.decode(avatar.identity, prior.expression_encoder(maps), avatar.last)),
        "folded": median_ms(lambda: avatar.network(maps)),
    }


def main() -> None:
    """Runs everything, prints it and writes it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--prior", default="laptop")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    from realhead.samples import sample_captures

    captures = CaptureSet.open(options.data) if options.data else sample_captures()
    captures, prior = open_for_training(captures), load_prior(options.prior)
    capture = next(iter(captures.people("train").values()))[0]
    avatar = enroll(prior, capture, 0)
    result = {
        "threads": torch.get_num_threads(),
        "yardstick_gflops": yardstick(),
        "training": training(captures, 0.0, options.steps),
        "training with critic (stand-in)": training(captures, 0.05, options.steps),
        "parts of a step, ms": parts(captures),
        "expression map, ms": expression(prior, capture),
        "enrollment, s": enrollment(prior, capture),
        "network of a driven frame, ms": driving_network(avatar, capture),
        "driving at 256 pixels, frames/s": driving(avatar, capture),
    }
    text = json.dumps(result, indent=1, default=float)
    print(text)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
