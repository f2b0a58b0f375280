"""realhead: few-shot 3D Gaussian head avatars, as a workbench to learn with.

`import realhead` is light: the names below load their modules, and PyTorch with them, when they are first used.
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

_HOMES = {
    "load_head": "realhead.head",
    "Camera": "realhead.capture",
    "Capture": "realhead.capture",
    "CaptureSet": "realhead.capture",
    "Frame": "realhead.capture",
    "View": "realhead.capture",
    "load_prior": "realhead.model.checkpoint",
    "enroll": "realhead.enrollment",
    "Avatar": "realhead.avatar",
    "RealheadError": "realhead.errors",
}

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604  the keys are strings


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'realhead' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
