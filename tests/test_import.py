"""`import realhead` is light, and its names lead where they say."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import realhead

HEAVY = ("torch", "matplotlib", "numpy", "numba", "scipy", "viser", "pandas", "anny")
PROBE = """
import json, sys
before = set(sys.modules)
{statement}
print(json.dumps(sorted({{name.split(".")[0] for name in set(sys.modules) - before}})))
"""


def loaded_by(statement: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(statement=statement)], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("statement", ["import realhead", "import realhead.cli", "import realhead.errors"])
def test_import_loads_nothing_heavy(statement):
    loaded = loaded_by(statement)
    assert "realhead" in loaded
    assert not loaded.intersection(HEAVY)


def test_import_brings_no_third_party_package_at_all():
    """The budget of half a second is kept by loading nothing, not by a timed test."""
    assert loaded_by("import realhead") <= {"realhead"} | set(sys.stdlib_module_names)


@pytest.mark.parametrize("name", realhead.__all__)
def test_every_exported_name_resolves(name):
    value = getattr(realhead, name)
    assert value is getattr(realhead, name)
    assert name in dir(realhead)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = realhead.nothing


def test_public_functions_share_no_name_with_a_module(root):
    """`realhead.enroll` must stay the function, whatever was imported before."""
    modules = {path.stem for path in (root / "realhead").iterdir() if path.stem != "__init__"}
    assert not modules.intersection(realhead.__all__)
