"""pyproject.toml is the one source of dependencies; the lock and environment.yml agree with it, without addresses."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

FILES = ("pyproject.toml", "requirements.lock", "environment.yml", "Makefile", ".ci/run", "tools/lock.py")
NO_IMPORT_NEEDED = {
    *("torchvision", "splines", "packaging", "tabulate", "imageio-ffmpeg"),  # other packages import them unasked
    *("jupyterlab", "pytest-xdist", "ruff"),  # run as programs
}
LOADERS = ("importorskip", "find_spec", "import_module")


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def lock(root):
    lines = [line for line in (root / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    return {name: version for name, version in (line.split("==") for line in lines)}


@pytest.fixture(scope="module")
def conda(root):
    return yaml.safe_load((root / "environment.yml").read_text())


def all_requirements(project):
    """What `make setup` installs."""
    return project["dependencies"] + project["optional-dependencies"]["dev"]


def test_lock_satisfies_every_requirement(project, lock):
    for requirement in map(Requirement, all_requirements(project)):
        version = lock.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not locked: make lock"
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement} but {version} is locked"


def test_lock_is_exact_sorted_and_says_how_it_is_made(root, lock):
    text = (root / "requirements.lock").read_text()
    assert "make lock" in text.splitlines()[0]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][\w.]*", line) for line in text.splitlines()[1:])
    assert list(lock) == sorted(lock)


def test_lock_leaves_cuda_to_pip_and_matches_torch_with_torchvision(lock):
    assert not [name for name in lock if re.match(r"nvidia-|cuda-|triton$", name)]
    assert (lock["torch"], lock["torchvision"]) == ("2.14.1", "0.29.1")


def test_environment_installs_the_lock_and_repeats_no_version(project, conda):
    python = next(line for line in conda["dependencies"] if isinstance(line, str) and line.startswith("python="))
    assert SpecifierSet(project["requires-python"]).contains(python.removeprefix("python=") + ".0")
    (pip,) = (entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict))
    assert pip[0] == "-r requirements.lock"
    extras = re.fullmatch(r"-e \.\[(.*)\]", pip[1]).group(1).split(",")
    assert set(extras) <= set(project["optional-dependencies"])
    others = [line for line in conda["dependencies"] if isinstance(line, str) and not line.startswith("python=")]
    assert not [line for line in others if "=" in line]


@pytest.mark.parametrize("name", FILES)
def test_no_addresses(root, name):
    assert not re.search(r"https?://|--index-url|--find-links", (root / name).read_text())


def test_every_third_party_import_is_a_dependency(root, project):
    """What the package imports, anywhere in a function too, is asked for in pyproject.toml."""
    extras = project["optional-dependencies"]
    needed = {canonicalize_name(Requirement(line).name) for line in project["dependencies"] + extras["heic"]}
    allowed = needed | {canonicalize_name(Requirement(line).name) for line in extras["dev"]}
    owners = packages_distributions()
    for path in (root / "realhead").rglob("*.py"):
        for module in imported_modules(path):
            names = {canonicalize_name(name) for name in owners.get(module, [module])}
            limit = allowed if path.parent.name == "notebooks" else needed
            assert names & limit, f"{path.relative_to(root)} imports {module}, which pyproject.toml does not ask for"


def test_every_dependency_is_used(root, project):
    """A package nobody imports is not installed (unless another one needs it unasked)."""
    folders = ("realhead", "tests", "notebooks", "tools")
    used = {module for folder in folders for path in (root / folder).rglob("*.py") for module in imported_modules(path)}
    owners = {"dlib": ["dlib-bin"]} | packages_distributions()  # its wheel does not say what it holds
    imported = {canonicalize_name(name) for module in used for name in owners.get(module, [])}
    asked = {canonicalize_name(Requirement(line).name) for line in all_requirements(project)}
    assert asked - imported - NO_IMPORT_NEEDED == set()


def imported_modules(path):
    """Top-level modules that a file imports by a statement, or names to importorskip, find_spec or import_module."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in LOADERS:
            modules |= {arg.value.split(".")[0] for arg in node.args[:1] if isinstance(arg, ast.Constant)}
    local = {other.stem for other in path.parent.glob("*.py")} | {"realhead"}
    return modules - local - set(sys.stdlib_module_names)
