"""What the README tells people to type exists."""

from __future__ import annotations

import ast
import importlib
import re

import pytest

from realhead import cli


@pytest.fixture(scope="module")
def text(root):
    return (root / "README.md").read_text(encoding="utf-8")


def test_commands_and_options_exist(text, capsys):
    calls = re.findall(r"`realhead ([a-z]+)([^`]*)`", text)
    assert {"avatar", "view", "data", "train", "evaluate"} <= {name for name, _ in calls}
    for name, rest in calls:
        assert cli.main([name, "--help"]) == 0, name
        shown = capsys.readouterr().out
        assert not [option for option in re.findall(r"--[a-z-]+", rest) if option not in shown], (name, rest)


def test_make_targets_exist(text, root):
    targets = set(re.findall(r"^([a-z]+):", (root / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE)) <= targets


def test_links_and_pictures_are_there(text, root):
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")]
    assert links and not [link for link in links if not (root / link).exists()]


def test_names_of_the_snippet_are_exported(text):
    (snippet,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    tree = ast.parse(snippet)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert imports
    for node in imports:
        assert all(hasattr(importlib.import_module(node.module), alias.name) for alias in node.names)
    classes = [importlib.import_module("realhead").Avatar, importlib.import_module("realhead").Capture]
    called = {n.func.attr for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)}
    known = {name for c in classes for name in dir(c)} | {"save_ply"}
    assert called <= known
