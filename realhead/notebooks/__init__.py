"""The notebooks on disk: text twins in, executed and normalised .ipynb files out.

`notebooks/NN_name.py` (jupytext, percent format) is the source that people review; `NN_name.ipynb` beside it holds the
same cells with their outputs for readers on the web. Two runs of an unchanged notebook give the same bytes:
`realhead.notebooks.outputs` removes what differs, and a cell tagged `timing` keeps the seconds that were first stored
for it (`realhead notebooks --execute --anew` records them again).
"""

from __future__ import annotations

import ast
import logging
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from realhead.errors import RealheadError
from realhead.notebooks.outputs import faults, normalise

if TYPE_CHECKING:
    from nbformat import NotebookNode

log = logging.getLogger(__name__)

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
MAX_TOTAL_BYTES = 4_000_000
"""All stored notebooks together."""
TIMEOUT_S = 1800
"""Longest a single cell may take, in seconds."""


class NotebookError(RealheadError):
    """A notebook that cannot be found, run or stored."""


def find(names: Iterable[str] = (), folder: Path = FOLDER) -> list[Path]:
    """Text twins by number or name ("04", "04_prior_training"), in order; all when no name is given.

    Raises:
        NotebookError: No notebook has one of the names.
    """
    twins = sorted(folder.glob("[0-9][0-9]_*.py"))
    chosen: list[Path] = []
    for name in names:
        stem = Path(name).stem
        fitting = [twin for twin in twins if twin.stem == stem or twin.stem.startswith(f"{stem}_")]
        if not fitting:
            known = ", ".join(twin.stem for twin in twins)
            raise NotebookError(f"There is no notebook {name!r} in {folder}: choose one of {known}.")
        chosen += fitting
    if not twins:
        raise NotebookError(f"No notebooks (NN_name.py) were found in {folder}: run this in a clone of the repository.")
    return sorted(set(chosen)) or twins


def read_twin(twin: Path) -> NotebookNode:
    """Reads a percent script as a notebook without outputs, with stable cell ids."""
    import jupytext

    notebook = jupytext.read(twin, fmt="py:percent")
    return normalise(notebook)


def same_cells(left: NotebookNode, right: NotebookNode) -> bool:
    """Whether two notebooks hold the same cells: kinds, sources and tags, in order."""
    return _cells(left) == _cells(right)


def sync(twins: Iterable[Path], out: Path | None = None) -> list[Path]:
    """Writes each .ipynb from its twin and keeps the outputs of cells that did not change.

    Args:
        twins: Text twins.
        out: Folder for the notebooks; beside the twins when None.

    Returns:
        Paths of the notebooks.
    """
    written = []
    for twin in twins:
        notebook, kept = read_twin(twin), _stored_outputs(twin)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = kept.get(cell.id, [])
        written.append(_write(notebook, _target(twin, out)))
    return written


def execute(
    notebook: NotebookNode, folder: Path, parameters: Mapping[str, object] | None = None, fast: bool = False
) -> NotebookNode:
    """Runs a notebook from top to bottom with this very Python.

    Args:
        notebook: The notebook; it is changed in place.
        folder: Working directory of the kernel.
        parameters: Values assigned after the cell tagged `parameters`.
        fast: Whether REALHEAD_FAST=1 is set for it, the mode of the tests.

    Returns:
        The same notebook with raw outputs.

    Raises:
        NotebookError: A cell failed; the message holds its traceback.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    from realhead.notebooks.kernel import kernel_manager

    injected = _inject(notebook, parameters or {})
    environment = {
        **os.environ,
        "REALHEAD_FAST": "1" if fast else "0",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # whatever the shell says
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    with tempfile.TemporaryDirectory(prefix="realhead-") as sockets:
        client = NotebookClient(
            notebook,
            km=kernel_manager(Path(sockets)),
            timeout=TIMEOUT_S,
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": str(folder)}},
        )
        try:
            client.execute(env=environment, cleanup_kc=True)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            raise NotebookError(f"A cell failed; mend it in the notebook's .py twin:\n{error}") from error
        finally:
            if injected is not None:
                notebook.cells.remove(injected)
    return notebook


def execute_all(
    twins: Iterable[Path],
    out: Path | None = None,
    fast: bool = False,
    parameters: Mapping[str, object] | None = None,
    work: Path | None = None,
    anew: bool = False,
) -> list[Path]:
    """Runs notebooks and writes them, normalised.

    Args:
        twins: Text twins.
        out: Folder for the notebooks; beside the twins when None.
        fast: Run in the tests' fast mode; then `out` is needed, since its pictures are toys.
        parameters: Values for the cell tagged `parameters`.
        work: Working directory of the kernels; each twin's own folder when None, as in JupyterLab.
        anew: Replace the stored outputs of cells tagged `timing`, too.

    Returns:
        Paths of the notebooks.
    """
    if out is None and (fast or parameters):
        raise NotebookError("Fast mode and other parameters are for trying out: say with --out where the results go.")
    written = []
    for twin in twins:
        log.info("running %s", twin.name)
        notebook = normalise(execute(read_twin(twin), work or twin.parent, parameters, fast))
        kept = {} if anew or fast or parameters else _stored_outputs(twin)
        for cell in notebook.cells:
            if "timing" in cell.metadata.get("tags", []) and kept.get(cell.id):
                cell.outputs = kept[cell.id]
        written.append(_write(notebook, _target(twin, out)))
    return written


def check(twins: Iterable[Path]) -> None:
    """Compares the stored notebooks with their twins and with what may be committed.

    Raises:
        NotebookError: With every fault found, one a line.
    """
    import nbformat

    found: list[str] = []
    total = 0
    for twin in twins:
        stored = _target(twin, None)
        if not stored.exists():
            found.append(f"{stored.name} is missing: run realhead notebooks --execute {twin.stem}")
            continue
        total += stored.stat().st_size
        notebook = nbformat.read(stored, 4)
        if not same_cells(read_twin(twin), notebook):
            found.append(f"{stored.name} and {twin.name} differ: run realhead notebooks --execute {twin.stem}")
        found += [f"{stored.name}: {fault}" for fault in faults(notebook, stored.read_text(encoding="utf-8"))]
    if total > MAX_TOTAL_BYTES:
        found.append(f"all notebooks together take {total / 1e6:.1f} MB, more than {MAX_TOTAL_BYTES / 1e6:.0f} MB")
    if found:
        raise NotebookError("\n".join(found))


def parse_parameters(assignments: Iterable[str]) -> dict[str, object]:
    """Reads "steps=10" or "name='x'"; a value that is no Python literal is taken as text."""
    values: dict[str, object] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name.isidentifier():
            raise NotebookError(f"{assignment!r} is no parameter: write name=value, as steps=10.")
        try:
            values[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            values[name] = text
    return values


def _inject(notebook: NotebookNode, parameters: Mapping[str, object]) -> NotebookNode | None:
    from nbformat.v4 import new_code_cell

    if not parameters:
        return None
    places = [i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])]
    if not places:
        raise NotebookError("The notebook has no cell tagged `parameters`, so no parameter can be set.")
    cell = new_code_cell("\n".join(f"{name} = {value!r}" for name, value in parameters.items()))
    notebook.cells.insert(places[0] + 1, cell)
    return cell


def _cells(notebook: NotebookNode) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(c.cell_type, c.source.strip(), tuple(sorted(c.metadata.get("tags", [])))) for c in notebook.cells]


def _stored_outputs(twin: Path) -> dict[str, list]:
    """Outputs of the notebook beside a twin, by cell id; an edited cell has another id."""
    import nbformat

    stored = _target(twin, None)
    if not stored.exists():
        return {}
    return {cell.id: cell.get("outputs", []) for cell in nbformat.read(stored, 4).cells}


def _target(twin: Path, out: Path | None) -> Path:
    return (out or twin.parent) / f"{twin.stem}.ipynb"


def _write(notebook: NotebookNode, target: Path) -> Path:
    """Writes in one step, so that a broken run leaves the old notebook."""
    import nbformat

    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    part.write_text(nbformat.writes(notebook, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(part, target)
    return target
