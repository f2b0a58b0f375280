"""Training of the prior (paper IV-B): streamed samples in, checkpoints and one JSONL log out.

Calling `train` on the folder of a run (see `realhead.run_folder`) resumes it. Several processes share a run when
torchrun starts them (see `realhead.team`).
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from realhead import losses
from realhead.capture.capture import CaptureSet
from realhead.condition.features import dino_source
from realhead.config import TrainConfig
from realhead.dataset import HeadSamples, Sample, loader, plain, unpack
from realhead.errors import CheckpointError, RealheadError
from realhead.model.checkpoint import load_prior, save_prior
from realhead.model.critic import Critic, diff_augment
from realhead.model.primitives import Primitives, pose_primitives
from realhead.model.prior import Prior
from realhead.rendering import render
from realhead.run_folder import RunFolder, legs_of, optimiser_tensors, restore_optimiser, run_card
from realhead.team import Team

Monitor = Callable[[int, dict[str, float], Tensor, Tensor], None]
"""Called every `log_every` steps with step, numbers, rendered pictures and their targets (BCHW)."""

STARVED = 0.2
"""Share of the time spent waiting for pictures from which a warning says so."""

_log = logging.getLogger(__name__)


class Trainer:
    """Prior, critic, optimisers and averaged weights of one run."""

    def __init__(self, config: TrainConfig, captures: CaptureSet, out: Path, init: str | Path | None = None):
        """Starts a run, or takes up the one that lies in `out`."""
        torch.manual_seed(config.seed)
        self.config, self.folder, self.team = config, RunFolder(out, config), Team.join()
        self.device = self.team.device
        head = deepcopy(next(iter(captures)).head)  # the samples' own stays on the CPU
        prior = load_prior(init, head) if init else Prior(head, config.prior)
        if prior.config != config.prior:
            raise RealheadError(
                f"{init} has another architecture than preset '{config.preset}': choose the preset that it was trained "
                "with, or leave --init out."
            )
        self.legs = legs_of(prior.card) if init else []
        self.prior = prior.requires_grad_(False).to(self.device)
        self.weights = dict(self.prior.named_parameters())
        self.weights = {k: p.requires_grad_() for k, p in self.weights.items() if not k.startswith("head.")}
        self.network = self.team.share(self.prior)
        self.average = {k: p.detach().clone() for k, p in self.weights.items()}
        self.optimiser = torch.optim.Adam(self._groups(), betas=(0.9, 0.99))
        self.samples = HeadSamples(captures, config, head.uv_map(config.prior.resolution))
        self.critic = Critic().to(self.device) if config.loss.adversarial > 0 else None
        if self.critic:
            heads = [p for p in self.critic.parameters() if p.requires_grad]
            self.critic_optimiser = torch.optim.Adam(heads, lr=2e-3, betas=(0.0, 0.99))
        self.step, self.seconds = 0, 0.0
        self._resume()

    def run(self, monitor: Monitor | None = None, progress: bool = True) -> Path:
        """Trains to the end; Ctrl-C saves and can be resumed.

        Returns:
            The checkpoint of the averaged weights.
        """
        config, leads = self.config, self.team.leads
        start, earlier, wait = time.perf_counter(), self.seconds, 0.0
        batches = iter(loader(self.samples, self.step, self.team.rank, self.team.size))
        bar = tqdm(total=config.iterations, initial=self.step, desc="training", disable=not (progress and leads),
                   file=sys.stderr)  # fmt: skip
        try:
            while self.step < config.iterations:
                asked = time.perf_counter()
                group = self.next_batches(batches)
                wait += time.perf_counter() - asked
                numbers, pictures, targets = self.train_step(group)
                self.step += 1
                bar.update()
                self.seconds = earlier + time.perf_counter() - start
                last = self.step == config.iterations
                if leads and (self.step % config.log_every == 0 or last):
                    share = wait / (self.seconds - earlier)
                    numbers |= {"step": self.step, "data_wait_share": share, "seconds": self.seconds}
                    self.folder.log(numbers)
                    bar.set_postfix(psnr=f"{numbers['psnr']:.2f}", wait=f"{share:.0%}")
                    if monitor:
                        monitor(self.step, numbers, pictures, targets)
                if leads and (self.step % config.save_every == 0 or last):
                    self.save()
        except KeyboardInterrupt:
            if leads:
                self.save()
            raise
        finally:
            bar.close()
        self._report_starvation(wait / max(self.seconds - earlier, 1e-9))
        self.team.wait()
        return self.folder.prior

    def train_step(self, batches: list[Sample]) -> tuple[dict[str, float], Tensor, Tensor]:
        """One step of equation (5) over the batches that are accumulated, and of the critic once it has started.

        Returns:
            The numbers of the step (means over the batches), the pictures and their targets (BCHW).
        """
        self._set_rate()
        self.optimiser.zero_grad(set_to_none=True)
        outcomes = [self._gradients(b, 1 / len(batches), i + 1 < len(batches)) for i, b in enumerate(batches)]
        norm = torch.nn.utils.clip_grad_norm_(list(self.weights.values()), self.config.gradient_clip)
        self.optimiser.step()
        self._follow()
        numbers = {k: sum(outcome[0][k] for outcome in outcomes) / len(batches) for k in outcomes[0][0]}
        pictures, targets = torch.cat([o[1] for o in outcomes]), torch.cat([b["image"] for b in batches])
        if self._adversarial():
            numbers["critic"] = self._train_critic(targets, pictures)
        return numbers | {"gradient": float(norm)}, pictures, targets

    def _gradients(self, batch: Sample, share: float, more: bool) -> tuple[dict[str, float], Tensor]:
        """Adds `share` of a batch's gradients; `more` batches of the same step follow."""
        with self.team.local(self.network, more):
            pictures, primitives = self.forward(batch)
            terms = losses.reconstruction(pictures, batch["image"], primitives, self.config.loss)
            if self._adversarial():
                terms["adversarial"] = self.config.loss.adversarial * self._fool_critic(pictures)
            loss = sum(terms.values())
            if not torch.isfinite(loss):
                raise self._not_finite(batch, terms)
            (share * loss).backward()
        pictures, mask = pictures.detach(), batch["mask"]
        error = ((pictures.clamp(0, 1) - batch["image"]).square() * mask).sum() / (3 * mask.sum()).clamp_min(1)
        numbers = {name: float(term.detach()) for name, term in terms.items()}
        return numbers | {"psnr": -10 * math.log10(max(float(error), 1e-10))}, pictures

    def forward(self, batch: Sample) -> tuple[Tensor, Primitives]:
        """Conditioning in, pictures out (Figure 2); the network alone runs in the configured precision."""
        keys = ("texture", "expression", "pose", "mouth", "eyelids", "offsets")
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            primitives = self.network(**{k: batch[k] for k in keys})
        pictures = []
        for i in range(len(batch["texture"])):
            frame, camera = unpack(batch, i)
            gaussians = pose_primitives(self.prior.head, self.prior.uv_map, primitives, frame, i)
            pictures.append(render(gaussians, camera)[0].permute(2, 0, 1))
        return torch.stack(pictures), primitives

    def save(self) -> None:
        """Writes state, averaged weights and card."""
        tensors = {f"weights.{k}": v for k, v in self.weights.items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        tensors |= optimiser_tensors("optimiser", self.optimiser)
        if self.critic:
            tensors |= {f"critic.{k}": v for k, v in self.critic.state_dict().items()}
            tensors |= optimiser_tensors("critic_optimiser", self.critic_optimiser)
        source = self.samples.expression_source
        self.folder.save_state(tensors, step=self.step, seconds=self.seconds, legs=self.legs, expression_maps=source)
        current = {k: v.detach().clone() for k, v in self.weights.items()}
        self.prior.load_state_dict(self.average, strict=False)
        save_prior(self.prior, self.folder.prior, self.card())
        self.prior.load_state_dict(current, strict=False)
        self.folder.save_card(self.card())

    def card(self) -> dict:
        """What this run was; `legs` are the cards of the runs that it started from."""
        return run_card(
            self.config,
            step=self.step,
            hours=round(self.seconds / 3600, 3),
            people=len(self.samples.people),
            data=self.samples.people[0][0].info.get("source", {}),
            expression_maps=self.samples.expression_source,
            critic=self.critic.name if self.critic else None,
            mouth_features=dino_source() if self.config.prior.mouth == "dino" else None,
            processes=self.team.size,
            legs=self.legs,
        )

    def next_batches(self, batches: Iterator[Sample]) -> list[Sample]:
        """The batches of one step, on this process's device."""
        try:
            return [self._to_device(batch) for batch in islice(batches, self.config.accumulate)]
        except RealheadError as error:
            raise plain(error) from error

    def _to_device(self, batch: Sample) -> Sample:
        return {k: v.to(self.device) for k, v in batch.items()}

    def _set_rate(self) -> None:
        config = self.config
        warm = min(1.0, (self.step + 1) / config.warmup)
        cosine = 0.5 * (1 + math.cos(math.pi * self.step / config.iterations))
        rate = config.learning_rate * warm * (config.final_learning_rate + (1 - config.final_learning_rate) * cosine)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["share"]

    def _groups(self) -> list[dict]:
        """The mean person's map, and everything else."""
        mean = [p for k, p in self.weights.items() if k == "mean"]
        others = [p for k, p in self.weights.items() if k != "mean"]
        return [{"params": mean, "share": self.config.mean_rate}, {"params": others, "share": 1.0}]

    @torch.no_grad()
    def _follow(self) -> None:
        """Moves the averaged weights; a young average follows quickly."""
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.values()), list(self.weights.values()), 1 - decay)

    def _adversarial(self) -> bool:
        return self.critic is not None and self.step >= self.config.adversarial_start * self.config.iterations

    def _generator(self, stream: int) -> torch.Generator:
        """The critic's randomness, a function of step and process like the samples'."""
        seed = hash((self.config.seed, self.step, stream, self.team.rank)) & 0x7FFFFFFF
        return torch.Generator(self.device).manual_seed(seed)

    def _fool_critic(self, fake: Tensor) -> Tensor:
        generator = self._generator(0)
        return losses.adversarial_generator(self.critic(diff_augment(fake, generator), generator)).mean()

    def _train_critic(self, real: Tensor, fake: Tensor) -> float:
        generator = self._generator(1)
        logits = [self.critic(diff_augment(images, generator), generator) for images in (real, fake)]
        loss = losses.adversarial_critic(*logits).mean()
        self.critic_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.team.average_gradients(self.critic_optimiser.param_groups[0]["params"])
        self.critic_optimiser.step()
        return float(loss.detach())

    def _not_finite(self, batch: Sample, terms: dict[str, Tensor]) -> RealheadError:
        path = self.folder.save_bad_batch(batch, self.step)
        bad = ", ".join(k for k, v in terms.items() if not torch.isfinite(v)) or "their sum"
        return RealheadError(
            f"The loss became NaN or infinite at step {self.step} ({bad}); the batch is in {path}, the last checkpoint "
            "is untouched. Lower it with --set learning_rate=, or check the data with `realhead check`."
        )

    def _report_starvation(self, share: float) -> None:
        if share > STARVED:
            _log.warning(
                "The network waited for pictures during %.0f %% of the time: raise --set num_workers=%d, or put the "
                "data on a faster disk.", 100 * share, self.config.num_workers + 2,
            )  # fmt: skip

    def _resume(self) -> None:
        found = self.folder.resume(writes=self.team.leads)
        if found is None:
            return
        tensors, metadata = found
        self._require_same_expressions(metadata.get("expression_maps"))
        self.step, self.seconds, self.legs = metadata["step"], metadata["seconds"], metadata["legs"]
        with torch.no_grad():
            for name, store in (("weights", self.weights), ("average", self.average)):
                for key, value in store.items():
                    value.copy_(tensors[f"{name}.{key}"])
        restore_optimiser("optimiser", self.optimiser, tensors)
        if self.critic:
            self.critic.load_state_dict({k[7:]: v for k, v in tensors.items() if k.startswith("critic.")})
            restore_optimiser("critic_optimiser", self.critic_optimiser, tensors)

    def _require_same_expressions(self, before: str | None) -> None:
        """A run has one source of expression maps, which its card names; older states do not tell theirs."""
        now = self.samples.expression_source
        if before not in (None, now):
            raise CheckpointError(
                f"{self.folder.path} was trained with expression maps of {before}, and the data now give {now}: put "
                "SMIRK's results and FLAME 2020 back as they were, or choose another --out."
            )


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
