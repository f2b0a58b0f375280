"""What stands beside every number: configuration, seed, versions, checkpoint, data, stand-ins."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import platform
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from realhead import __version__, metrics
from realhead.capture.capture import CaptureSet
from realhead.config import config_hash
from realhead.evaluation.anchors import prior_hash
from realhead.evaluation.measures import DEFINITIONS
from realhead.evaluation.views import PersonViews, Protocol
from realhead.model.prior import Prior

if TYPE_CHECKING:
    from realhead.evaluation import EvaluationConfig

VERSION = 2
"""Counts changes of what the numbers mean; results of another version are made again."""

_log = logging.getLogger(__name__)


def read_result(path: Path, key: str | None = None) -> dict | None:
    """A finished result, if it is there and (where a key is given) was made from the same inputs."""
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        _log.warning("%s is damaged and is made again.", path)
        return None
    if not isinstance(content, dict) or (key and content.get("key") != key):
        _log.info("%s holds another evaluation and is replaced.", path)
        return None
    return content


def header(
    prior: Prior, captures: CaptureSet, chosen: list[PersonViews], protocol: Protocol, config: EvaluationConfig
) -> dict:
    """Everything that says what was measured, with what, on what; `key` names it."""
    homes = [views.home for views in chosen]
    view = chosen[0].unseen[0].view
    checkpoint = {"hash": prior_hash(prior), "source": Path(getattr(prior, "source", "memory")).name}
    data = {
        "root": captures.root.name,
        "people": [views.person for views in chosen],
        "training_people": len(captures.people("train")),
        "head": {"name": prior.head.name, "hash": prior.head.hash},
        "cameras": len(homes[0].cameras),
        "picture": [view.camera.width, view.camera.height],
        "tracking": homes[0].info.get("tracking"),
        "source": homes[0].info.get("source", {}),
        "fingerprint": _fingerprint(chosen),
    }
    stand_ins = {
        "lpips": "AlexNet and VGG16 with the published weights",
        "identity": metrics.IDENTITY_NETWORK,
        "perceptual loss of the enrollment": "LPIPS, AlexNet (the paper cites a VGG-type loss)",
    }
    record = {
        "kind": "evaluation",
        "version": VERSION,
        "protocol": protocol,
        "config": asdict(config),
        "config_hash": config_hash(config),
        "seed": config.seed,
        "checkpoint": checkpoint,
        "network": asdict(prior.config),
        "data": data,
        "stand_ins": stand_ins,
        "definitions": DEFINITIONS,
        "versions": versions(),
        "device": f"{platform.machine()} CPU" if not torch.cuda.is_available() else torch.cuda.get_device_name(),
    }
    identity = [VERSION, __version__, protocol, record["config"], checkpoint["hash"], data["fingerprint"]]
    identity += [[str(v.image_path.name) for v in view_list] for p in chosen for view_list in p.enrolled.values()]
    record["key"] = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    return record


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    names = ("torch", "numpy", "numba", "gsplat")
    return {"realhead": __version__, "python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in names
    }


def _fingerprint(chosen: list[PersonViews]) -> str:
    """Names the data: cameras, parameters and sizes of all pictures of the people."""
    digest = hashlib.sha256()
    for views in chosen:
        for capture in views.captures:
            digest.update(f"{capture.person}/{capture.sequence}".encode())
            digest.update((capture.folder / "transforms.json").read_bytes())
            digest.update(json.dumps(capture.info, sort_keys=True).encode())
            for key in capture.keys():
                digest.update(str(capture.view(*key).image_path.stat().st_size).encode())
    return digest.hexdigest()[:16]
