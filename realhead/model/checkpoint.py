"""Priors on disk: safetensors with a card. A checkpoint knows the head, UV layout and conditioning of its training."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from realhead.condition.store import conditioning_hash
from realhead.config import PriorConfig
from realhead.errors import CheckpointError
from realhead.head.model import Head
from realhead.model.prior import Prior

SHIPPED = Path(__file__).resolve().parents[2] / "data" / "priors"
"""Where the priors lie that come with the repository."""


def save_tensors(path: str | Path, tensors: dict[str, Tensor], metadata: dict) -> None:
    """Writes a safetensors file in one step; metadata values become JSON.

    Raises:
        CheckpointError: It could not be written; an older file of that name is untouched.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    contiguous = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    try:
        save_file(contiguous, temporary, {k: json.dumps(v) for k, v in metadata.items()})
        temporary.chmod(0o644)  # safetensors makes files for their owner's eyes only
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise CheckpointError(
            f"{path} could not be written ({error}): free some space or choose another folder, and run the command "
            "again; what was there before is untouched."
        ) from error


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict]:
    """Reads a file of `save_tensors`; nothing in it is executed.

    Raises:
        CheckpointError: The file is absent, truncated, or not ours.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            metadata = {k: json.loads(v) for k, v in (file.metadata() or {}).items()}
            # cloned, since the tensors are mapped onto a file that may be written over
            return {k: file.get_tensor(k).clone() for k in file.keys()}, metadata
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path} does not exist: give the path of a .safetensors file, or 'laptop' for a prior."
        ) from error
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged or no checkpoint of realhead ({error}): get it again.") from error


def binding(head: Head, config: PriorConfig) -> dict[str, str]:
    """What a checkpoint is bound to; FLAME's own masks decide which texels carry a mouth map."""
    bound = {
        "head": head.hash,
        "uv_layout": head.uv_hash,
        "conditioning": conditioning_hash(config.mouth),
    }
    return bound | ({"FLAME_masks": head.masks} if head.masks else {})


def save_prior(prior: Prior, path: str | Path, card: dict) -> None:
    """Writes the weights as float16 (they lose less than 1e-3 of a pixel's range), with configuration and card."""
    weights = {k: v.half() for k, v in network_state(prior).items()}
    save_tensors(path, weights, {"kind": "prior", "card": card, **prior_metadata(prior)})


def prior_metadata(prior: Prior) -> dict:
    """Configuration and binding of a prior, as checkpoints and avatars store them."""
    return {
        "config": asdict(prior.config),
        "head_source": prior.head.name,
        "binding": binding(prior.head, prior.config),
    }


def network_state(prior: Prior) -> dict[str, Tensor]:
    """The learned weights, without the head's data."""
    return {k: v for k, v in prior.state_dict().items() if not k.startswith("head.")}


def load_prior(source: str | Path = "laptop", head: Head | None = None) -> Prior:
    """Loads a prior.

    Args:
        source: 'laptop' (comes with the repository) or the path of a .safetensors file, or of a run folder.
        head: The head to bind it to; default: the one it was trained with.

    Raises:
        CheckpointError: Absent, damaged, or trained with another head, UV layout or conditioning.
    """
    path = Path(source)
    if not path.suffix and (SHIPPED / f"{source}.safetensors").exists():
        path = SHIPPED / f"{source}.safetensors"
    elif path.is_dir():
        path = path / "prior.safetensors"
    weights, metadata = load_tensors(path)
    prior = prior_from(weights, metadata, path, head)
    prior.source, prior.card = str(source), metadata.get("card", {})
    return prior


def prior_from(weights: dict[str, Tensor], metadata: dict, path: str | Path, head: Head | None = None) -> Prior:
    """Builds a prior from the content of a checkpoint (or of an avatar, which carries its prior)."""
    from realhead.head import load_head

    try:
        fields = {k: tuple(v) if isinstance(v, list) else v for k, v in metadata["config"].items()}
        config = PriorConfig(**fields)
        head = head or load_head(metadata["head_source"], uv_layout=config.uv_layout)
        expected = {} | metadata["binding"]
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is no prior of realhead ({error} is missing or unknown).") from error
    here = binding(head, config)
    for what in here | expected:
        if expected.get(what) != here.get(what):
            raise CheckpointError(
                f"{path} was trained with another {what.replace('_', ' ')} ({expected.get(what)}) than the one here "
                f"({here.get(what)}): use the checkpoint of this version, or train again."
            )
    prior = Prior(head, config)
    state = network_state(prior)
    if state.keys() != weights.keys() or any(state[k].shape != weights[k].shape for k in state):
        raise CheckpointError(f"{path} holds weights of another architecture than its configuration says.")
    prior.load_state_dict({k: v.float() for k, v in weights.items()}, strict=False)
    prior.weights_hash = weights_hash(weights)
    return prior.eval().requires_grad_(False)


def weights_hash(weights: dict[str, Tensor]) -> str:
    """First 16 hex digits of the SHA-256 over all weights; names the checkpoint beside every result."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].detach().to(torch.float16).cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
