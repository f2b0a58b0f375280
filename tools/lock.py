"""Writes requirements.lock: the closure of pyproject.toml's dependencies at the versions installed here.

Run by `make lock` in an environment whose tests pass. CUDA's own packages are left out: pip brings those that torch
asks for on the machine at hand, and none on a machine without them.
"""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PLATFORM_ONLY = re.compile(r"^(nvidia-|cuda-|triton$)")
HEADER = "# Made by `make lock` (tools/lock.py) from pyproject.toml; exact versions that pass the tests together.\n"


def closure(requirements: list[str]) -> dict[str, str]:
    """Follows the requirements of the installed distributions; returns exact versions by canonical name."""
    versions: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(line) for line in requirements]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if PLATFORM_ONLY.match(name):
            continue
        try:
            found = distribution(name)
        except PackageNotFoundError:
            sys.exit(f"{name} is not installed here: pip install -e .[dev], then make lock again.")
        if not requirement.specifier.contains(found.version, prereleases=True):
            sys.exit(f"{name} {found.version} is installed, but {requirement} is asked for.")
        versions[name] = found.version.split("+")[0]  # a local build tag is no release
        for extra in {"", *requirement.extras}:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            for line in found.requires or []:
                child = Requirement(line)
                if child.marker is None or child.marker.evaluate({"extra": extra}):
                    waiting.append(child)
    return versions


def main() -> None:
    """Writes the lock beside pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + project["optional-dependencies"]["dev"]
    versions = closure([*lines, "setuptools"])  # setuptools builds the package itself
    text = HEADER + "".join(f"{name}=={versions[name]}\n" for name in sorted(versions))
    (ROOT / "requirements.lock").write_text(text)


if __name__ == "__main__":
    main()
