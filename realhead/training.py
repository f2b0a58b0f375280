"""Training of the prior (paper IV-B): streamed samples in, checkpoints and one JSONL log out.

A run is a folder: `config.json`, `log.jsonl`, `state.safetensors` (everything to go on from), `prior.safetensors`
(averaged weights, what is used) and `card.json`. Calling `train` on a folder with a state resumes it.
"""

from __future__ import annotations

import json
import math
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from realhead import losses
from realhead.capture.capture import CaptureSet
from realhead.capture.writer import write_json
from realhead.config import TrainConfig, config_hash
from realhead.dataset import HeadSamples, Sample, loader, unpack
from realhead.errors import CheckpointError, RealheadError
from realhead.model.checkpoint import load_prior, load_tensors, save_prior, save_tensors
from realhead.model.critic import Critic, diff_augment
from realhead.model.primitives import Primitives, pose_primitives
from realhead.model.prior import Prior
from realhead.rendering import render

Monitor = Callable[[int, dict[str, float], Tensor, Tensor], None]
"""Called every `log_every` steps with step, numbers, rendered pictures and their targets (BCHW)."""


class Trainer:
    """Prior, critic, optimisers and averaged weights of one run."""

    def __init__(self, config: TrainConfig, captures: CaptureSet, out: Path, init: str | Path | None = None):
        """Starts a run, or takes up the one that lies in `out`."""
        torch.manual_seed(config.seed)
        self.config, self.out = config, Path(out)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        head = next(iter(captures)).head
        prior = load_prior(init, head) if init else Prior(head, config.prior)
        self.prior = prior.requires_grad_(False).to(self.device)
        self.weights = dict(self.prior.named_parameters())
        self.weights = {k: p.requires_grad_() for k, p in self.weights.items() if not k.startswith("head.")}
        self.average = {k: p.detach().clone() for k, p in self.weights.items()}
        self.optimiser = torch.optim.Adam(self.weights.values(), lr=config.learning_rate, betas=(0.9, 0.99))
        self.samples = HeadSamples(captures, config, head.uv_map(config.prior.resolution))
        self.critic = Critic().to(self.device) if config.loss.adversarial > 0 else None
        if self.critic:
            heads = [p for p in self.critic.parameters() if p.requires_grad]
            self.critic_optimiser = torch.optim.Adam(heads, lr=2e-3, betas=(0.0, 0.99))
        self.step, self.seconds, self.init = 0, 0.0, str(init) if init else None
        self._resume()

    def run(self, monitor: Monitor | None = None, progress: bool = True) -> Path:
        """Trains to the end; Ctrl-C saves and can be resumed.

        Returns:
            The checkpoint of the averaged weights.
        """
        config = self.config
        started = waited = time.perf_counter()
        wait = 0.0
        bar = tqdm(total=config.iterations, initial=self.step, desc="training", disable=not progress, file=sys.stderr)
        try:
            for batch in loader(self.samples, self.step):
                wait += time.perf_counter() - waited
                numbers, pictures, targets = self.train_step({k: v.to(self.device) for k, v in batch.items()})
                self.step += 1
                bar.update()
                if self.step % config.log_every == 0 or self.step == config.iterations:
                    elapsed = time.perf_counter() - started
                    numbers |= {"step": self.step, "data_wait_share": wait / elapsed, "seconds": self.seconds + elapsed}
                    self._log(numbers)
                    bar.set_postfix(psnr=f"{numbers['psnr']:.2f}", wait=f"{wait / elapsed:.0%}")
                    if monitor:
                        monitor(self.step, numbers, pictures, targets)
                if self.step % config.save_every == 0 or self.step == config.iterations:
                    self.save(self.seconds + time.perf_counter() - started)
                waited = time.perf_counter()
        except KeyboardInterrupt:
            self.save(self.seconds + time.perf_counter() - started)
            raise
        finally:
            bar.close()
        return self.out / "prior.safetensors"

    def train_step(self, batch: Sample) -> tuple[dict[str, float], Tensor, Tensor]:
        """One step of equation (5), and of the critic once it has started."""
        config = self.config
        self._set_rate()
        pictures, primitives = self.forward(batch)
        target = batch["image"]
        terms = losses.reconstruction(pictures, target, primitives, config.loss)
        adversarial = self.critic is not None and self.step >= config.adversarial_start * config.iterations
        if adversarial:
            terms["adversarial"] = config.loss.adversarial * self._fool_critic(pictures)
        loss = sum(terms.values())
        if not torch.isfinite(loss):
            raise self._not_finite(batch, terms)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(list(self.weights.values()), config.gradient_clip)
        self.optimiser.step()
        with torch.no_grad():
            decay = min(config.ema, (1 + self.step) / (10 + self.step))  # a young average follows quickly
            torch._foreach_lerp_(list(self.average.values()), list(self.weights.values()), 1 - decay)
        numbers = {name: float(term.detach()) for name, term in terms.items()}
        if adversarial:
            numbers["critic"] = self._train_critic(target, pictures.detach())
        mask = batch["mask"]
        error = ((pictures.detach().clamp(0, 1) - target).square() * mask).sum() / (3 * mask.sum()).clamp_min(1)
        return numbers | {"psnr": -10 * math.log10(max(float(error), 1e-10)), "gradient": float(norm)}, pictures, target

    def forward(self, batch: Sample) -> tuple[Tensor, Primitives]:
        """Conditioning in, pictures out (Figure 2)."""
        keys = ("texture", "expression", "pose", "mouth", "eyelids")
        primitives = self.prior(**{k: batch[k] for k in keys})
        pictures = []
        for i in range(len(batch["texture"])):
            frame, camera = unpack(batch, i)
            gaussians = pose_primitives(self.prior.head, self.prior.uv_map, primitives, frame, i)
            pictures.append(render(gaussians, camera)[0].permute(2, 0, 1))
        return torch.stack(pictures), primitives

    def save(self, seconds: float) -> None:
        """Writes state and averaged weights; each file appears whole or not at all."""
        tensors = {f"weights.{k}": v for k, v in self.weights.items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        tensors |= _optimiser_tensors("optimiser", self.optimiser)
        if self.critic:
            tensors |= {f"critic.{k}": v for k, v in self.critic.state_dict().items()}
            tensors |= _optimiser_tensors("critic_optimiser", self.critic_optimiser)
        metadata = {"step": self.step, "seconds": seconds, "config": asdict(self.config), "init": self.init}
        save_tensors(self.out / "state.safetensors", tensors, metadata)
        current = {k: v.detach().clone() for k, v in self.weights.items()}
        self.prior.load_state_dict(self.average, strict=False)
        save_prior(self.prior, self.out / "prior.safetensors", self.card(seconds))
        self.prior.load_state_dict(current, strict=False)
        write_json(self.out / "card.json", self.card(seconds))

    def card(self, seconds: float) -> dict:
        """What this run was: configuration, data, versions, hours."""
        return {
            "command": " ".join(["realhead", *sys.argv[1:]])
            if sys.argv[0].endswith(("realhead", "__main__.py"))
            else None,
            "config": asdict(self.config),
            "config_hash": config_hash(self.config),
            "init": self.init,
            "step": self.step,
            "hours": round(seconds / 3600, 3),
            "people": len(self.samples.people),
            "data": self.samples.people[0][0].info.get("source", {}),
            "critic": self.critic.name if self.critic else None,
            "perceptual": "LPIPS, AlexNet",
            "device": torch.cuda.get_device_name() if self.device.type == "cuda" else f"{platform.machine()} CPU",
            "torch": torch.__version__,
        }

    def _set_rate(self) -> None:
        config = self.config
        warm = min(1.0, (self.step + 1) / config.warmup)
        cosine = 0.5 * (1 + math.cos(math.pi * self.step / config.iterations))
        rate = config.learning_rate * warm * (config.final_learning_rate + (1 - config.final_learning_rate) * cosine)
        for group in self.optimiser.param_groups:
            group["lr"] = rate

    def _generator(self, stream: int) -> torch.Generator:
        """The critic's randomness, a function of the step like the samples'."""
        return torch.Generator(self.device).manual_seed(hash((self.config.seed, self.step, stream)) & 0x7FFFFFFF)

    def _fool_critic(self, fake: Tensor) -> Tensor:
        generator = self._generator(0)
        return losses.adversarial_generator(self.critic(diff_augment(fake, generator), generator)).mean()

    def _train_critic(self, real: Tensor, fake: Tensor) -> float:
        generator = self._generator(1)
        logits = [self.critic(diff_augment(images, generator), generator) for images in (real, fake)]
        loss = losses.adversarial_critic(*logits).mean()
        self.critic_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.critic_optimiser.step()
        return float(loss.detach())

    def _not_finite(self, batch: Sample, terms: dict[str, Tensor]) -> RealheadError:
        path = self.out / f"bad_batch_{self.step}.safetensors"
        save_tensors(path, batch, {"step": self.step})
        bad = ", ".join(k for k, v in terms.items() if not torch.isfinite(v)) or "their sum"
        return RealheadError(
            f"The loss became NaN or infinite at step {self.step} ({bad}); the batch is in {path}, the last checkpoint "
            "is untouched. Lower --learning-rate, or check the data with `realhead check`."
        )

    def _log(self, numbers: dict[str, float]) -> None:
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({k: round(v, 6) for k, v in numbers.items()}) + "\n")

    def _resume(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        path = self.out / "state.safetensors"
        if not path.exists():
            write_json(self.out / "config.json", asdict(self.config))
            (self.out / "log.jsonl").unlink(missing_ok=True)
            return
        tensors, metadata = load_tensors(path)
        if json.dumps(metadata["config"]) != json.dumps(asdict(self.config)):
            raise CheckpointError(
                f"{self.out} holds a run of another configuration: choose another --out, or give the options of its "
                "config.json to resume it."
            )
        self.step, self.seconds, self.init = metadata["step"], metadata["seconds"], metadata["init"]
        with torch.no_grad():
            for name, store in (("weights", self.weights), ("average", self.average)):
                for key, value in store.items():
                    value.copy_(tensors[f"{name}.{key}"])
        _restore_optimiser("optimiser", self.optimiser, tensors)
        if self.critic:
            self.critic.load_state_dict({k[7:]: v for k, v in tensors.items() if k.startswith("critic.")})
            _restore_optimiser("critic_optimiser", self.critic_optimiser, tensors)
        self._trim_log()

    def _trim_log(self) -> None:
        """Drops the lines after the checkpoint: they are going to be made again."""
        path = self.out / "log.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= self.step]
        path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


def train(
    data: str | Path,
    out: str | Path,
    config: TrainConfig,
    *,
    init: str | Path | None = None,
    monitor: Monitor | None = None,
    progress: bool = True,
) -> Path:
    """Trains a prior on a capture set, or resumes the run that lies in `out`.

    Args:
        data: Root of a capture set.
        out: The run's folder.
        config: What to do; see `realhead.config.train_config`.
        init: A prior to start from ('laptop' or a path); its architecture must be the configuration's.
        monitor: Called at every line of the log.
        progress: Whether a bar is shown on stderr.

    Returns:
        Path of the trained prior.
    """
    return Trainer(config, CaptureSet.open(data), Path(out), init).run(monitor, progress)


def _optimiser_tensors(name: str, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimiser.state_dict()["state"]
    return {f"{name}.{i}.{key}": torch.as_tensor(v) for i, entry in state.items() for key, v in entry.items()}


def _restore_optimiser(name: str, optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(f"{name}."):
            _, index, field = key.split(".", 2)
            state.setdefault(int(index), {})[field] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
