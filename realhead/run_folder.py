"""The folder of a training run; each of its files appears whole or not at all.

config.json   log.jsonl   state.safetensors   prior.safetensors (averaged weights, what is used)   card.json
"""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from realhead.capture.writer import write_json
from realhead.config import TrainConfig, config_hash
from realhead.errors import CheckpointError
from realhead.model.checkpoint import load_tensors, save_tensors


class RunFolder:
    """Reads and writes the files of one run."""

    def __init__(self, path: str | Path, config: TrainConfig):
        """Opens the folder, which may not exist yet."""
        self.path, self.config = Path(path), config

    @property
    def prior(self) -> Path:
        """The checkpoint of the averaged weights."""
        return self.path / "prior.safetensors"

    def resume(self, writes: bool = True) -> tuple[dict[str, Tensor], dict] | None:
        """The state of an earlier start with its metadata, or None in a new folder.

        Args:
            writes: Whether this process may write: a new folder gets its configuration, and the log loses the lines
                after the checkpoint, which are going to be made again.

        Raises:
            CheckpointError: The folder holds a run of another configuration, or its state is damaged.
        """
        state = self.path / "state.safetensors"
        if not state.exists():
            if writes:
                self.path.mkdir(parents=True, exist_ok=True)
                write_json(self.path / "config.json", asdict(self.config))
                (self.path / "log.jsonl").unlink(missing_ok=True)
            return None
        tensors, metadata = load_tensors(state)
        if json.dumps(metadata["config"]) != json.dumps(asdict(self.config)):
            raise CheckpointError(
                f"{self.path} holds a run of another configuration: choose another --out, or give the options of its "
                "config.json to resume it."
            )
        if writes:
            self._trim_log(metadata["step"])
        return tensors, metadata

    def save_state(self, tensors: dict[str, Tensor], **metadata) -> None:
        """Writes everything that a later start needs."""
        save_tensors(self.path / "state.safetensors", tensors, metadata | {"config": asdict(self.config)})

    def save_card(self, card: dict) -> None:
        """Writes card.json."""
        write_json(self.path / "card.json", card)

    def save_bad_batch(self, batch: dict[str, Tensor], step: int) -> Path:
        """Keeps a batch whose loss was not finite."""
        path = self.path / f"bad_batch_{step}.safetensors"
        save_tensors(path, batch, {"step": step})
        return path

    def log(self, numbers: dict[str, float]) -> None:
        """Appends a line to log.jsonl."""
        with (self.path / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({k: round(v, 6) for k, v in numbers.items()}) + "\n")

    def _trim_log(self, step: int) -> None:
        path = self.path / "log.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
        path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


def run_card(config: TrainConfig, **facts) -> dict:
    """What a run was: command, configuration, machine, versions, and the facts that the trainer adds."""
    return {
        "command": _command(),
        "config": asdict(config),
        "config_hash": config_hash(config),
        "perceptual": "LPIPS, AlexNet",
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()} CPU",
        "python": platform.python_version(),
        "torch": torch.__version__,
        **facts,
    }


def legs_of(card: dict) -> list[dict]:
    """The legs of a training that a prior's card tells of, oldest first; the last one is the card's own run."""
    own = {k: v for k, v in card.items() if k != "legs"}
    return [*card.get("legs", []), own] if own else []


def optimiser_tensors(name: str, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimiser as named tensors."""
    state = optimiser.state_dict()["state"]
    return {f"{name}.{i}.{key}": torch.as_tensor(v) for i, entry in state.items() for key, v in entry.items()}


def restore_optimiser(name: str, optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Undoes `optimiser_tensors`."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(f"{name}."):
            _, index, field = key.split(".", 2)
            state.setdefault(int(index), {})[field] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _command() -> str | None:
    """The command line without the folders of this machine."""
    if not sys.argv[0].endswith(("realhead", "__main__.py")):
        return None
    return " ".join(["realhead", *(Path(a).name if Path(a).is_absolute() else a for a in sys.argv[1:])])
