"""How fast are training, enrollment and driving with a prior, and where does a training step spend its time?

    python tests/benchmarks/bench_prior.py [DATA] [--preset laptop] [--out results/prior/bench.json]

DATA is a capture set with training people; without it, the two sample people are used (what they look like does not
change the time; their pictures have 256 pixels, so `--preset paper` wants `realhead data --size paper --people 2
--timesteps 1`). It runs on the GPU where `realhead.device` finds one. All numbers are medians in one run; `yardstick`
is the rate of a fixed convolution in the same run: divide by it to compare runs on other or busy machines.
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
from realhead.config import LossConfig, TrainConfig, train_config
from realhead.dataset import loader
from realhead.device import best_device, on_best_device
from realhead.driving import driven_frames
from realhead.enrollment import choose_views
from realhead.model.prior import Prior
from realhead.training import Trainer


def finished() -> float:
    """The time when the GPU has done all that it was asked for."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def median_ms(function: Callable[[], object], repeats: int = 9) -> float:
    """Milliseconds of a call, the first one not counted."""
    function()
    taken = []
    for _ in range(repeats):
        started = finished()
        function()
        taken.append(finished() - started)
    return statistics.median(taken) * 1e3


def yardstick() -> float:
    """Gigaflops of a fixed convolution and its gradients."""
    x, w = (torch.randn(size, device=best_device(), requires_grad=True) for size in ((2, 64, 128, 128), (64, 64, 3, 3)))
    work = 3 * 2 * 2 * 128 * 128 * 64 * 64 * 9
    return work / median_ms(lambda: torch.nn.functional.conv2d(x, w, padding=1).sum().backward()) / 1e6


def open_for_training(captures: CaptureSet) -> CaptureSet:
    """The set with nobody held out, if everybody is."""
    return captures if captures.people("train") else replace(captures, test_people=frozenset())


def training(captures: CaptureSet, config: TrainConfig, adversarial: float = 0.0, **changes) -> dict[str, float]:
    """Iterations a second with the data loader in other processes, as in a real run, and the GPU's memory."""
    steps = config.iterations
    config = replace(config, log_every=steps, save_every=10 * steps, adversarial_start=0.0, **changes)
    config = replace(config, loss=LossConfig(adversarial=adversarial))
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, captures, Path(folder))
        batches = iter(loader(trainer.samples, 0))
        next(batches)
        rate = 1e3 / median_ms(lambda: trainer.train_step(trainer.next_batches(batches)), steps - 2)
    found = {"iterations_per_second": rate, "pictures_per_second": rate * config.batch_size}
    if torch.cuda.is_available():
        found["gpu_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return found


def parts(captures: CaptureSet, config: TrainConfig) -> dict[str, float]:
    """Milliseconds of the parts of a step."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(replace(config, num_workers=0), captures, Path(folder))
        batches = iter(loader(trainer.samples, 0))
        (batch,) = trainer.next_batches(batches)
        trainer.train_step([batch])
        keys = ("texture", "expression", "pose", "mouth", "eyelids", "offsets")
        network = lambda: trainer.prior(**{k: batch[k] for k in keys})  # noqa: E731
        pictures = trainer.forward(batch)[0].detach().requires_grad_()
        return {
            "samples, one process": median_ms(lambda: next(batches)),
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
        started = finished()
        enroll(prior, capture, views)
        seconds[f"{shots} pictures"] = finished() - started
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
    prior, batch = avatar.prior, capture.frames[-1].to(avatar.device).parameters()
    maps = prior.driving_maps(batch["expression"], batch["pose"], None, batch["eyelids"])
    return {
        "as trained": median_ms(lambda: prior.decode(avatar.identity, prior.expression_encoder(maps), avatar.last)),
        "folded": median_ms(lambda: avatar.network(maps)),
    }


def main() -> None:
    """Runs everything, prints it and writes it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--preset", default="laptop", choices=["tiny", "laptop", "paper"])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    from realhead.samples import sample_captures

    captures = CaptureSet.open(options.data) if options.data else sample_captures()
    captures = open_for_training(captures)
    capture = next(iter(captures.people("train").values()))[0]
    config = train_config(options.preset, iterations=options.steps)
    shipped = load_prior() if options.preset == "laptop" else Prior(capture.head, config.prior).requires_grad_(False)
    prior, camera = on_best_device(shipped), next(iter(capture.cameras.values()))
    avatar = enroll(prior, capture, 0)
    result = {
        "preset": options.preset,
        "device": torch.cuda.get_device_name() if prior.device.type == "cuda" else "CPU",
        "threads": torch.get_num_threads(),
        "yardstick_gflops": yardstick(),
        "training": training(captures, config),
        "training with critic (stand-in)": training(captures, config, 0.05),
    }
    if prior.device.type == "cuda":
        result["training, bfloat16"] = training(captures, config, precision="bfloat16")
        result["training, batch 16"] = training(captures, config, batch_size=16, num_workers=12)
    result |= {
        "parts of a step, ms": parts(captures, config),
        "expression map, ms": expression(shipped, capture),
        "enrollment, s": enrollment(prior, capture),
        "network of a driven frame, ms": driving_network(avatar, capture),
        f"driving at {camera.width}x{camera.height} pixels, frames/s": driving(avatar, capture),
    }
    text = json.dumps(result, indent=1, default=float)
    print(text)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
