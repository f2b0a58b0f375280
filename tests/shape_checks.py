"""Checks the shapes in the annotations while the tests run: `Float[Tensor, "*b n 3"]` is then more than a comment.

Only annotations with a shape are checked; the others speak to people and editors. Modules with Numba kernels are left
alone, since Numba cannot compile a wrapped function.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from pathlib import Path

import jaxtyping
from beartype import BeartypeConf, beartype

_checked = beartype(conf=BeartypeConf(violation_type=TypeError))


def install(package: Path) -> None:
    """Hooks the modules of `package` that are imported from now on."""
    sources = [path for path in sorted(package.rglob("*.py")) if path.name != "__init__.py"]
    names = [
        ".".join(path.relative_to(package.parent).with_suffix("").parts)
        for path in sources
        if "jaxtyping" in (text := path.read_text(encoding="utf-8")) and "njit" not in text
    ]
    if names:
        jaxtyping.install_import_hook(names, "shape_checks.shapes_only")


def shapes_only(function: Callable) -> Callable:
    """Checks the annotations of a function that carry a shape; a function without any stays as it is."""
    hints = {name: _resolved(hint, function) for name, hint in getattr(function, "__annotations__", {}).items()}
    shaped = {name: hint if _has_shape(hint) else typing.Any for name, hint in hints.items()}
    if all(hint is typing.Any for hint in shaped.values()):
        return function
    function.__annotations__ = shaped
    return _checked(function)


def _resolved(hint: object, function: Callable) -> object:
    if not isinstance(hint, str):
        return hint
    try:
        return eval(hint, function.__globals__)
    except NameError:  # a name that only type checkers import
        return typing.Any


def _has_shape(hint: object) -> bool:
    if isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    return any(_has_shape(part) for part in typing.get_args(hint))
