"""The notebook machinery on a small notebook, and every notebook of the course in fast mode."""

from __future__ import annotations

import ast
import re
import shutil

import nbformat
import pytest
from conftest import ROOT

from realhead import notebooks

COURSE = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py"))
MAX_CELL_LINES = 25
TOY = """\
# %% [markdown]
# # A toy

# %%
import os
import numpy as np
import matplotlib.pyplot as plt
from tqdm.auto import tqdm

# %% tags=["parameters"]
steps = 2

# %%
for _ in tqdm(range(steps)):
    pass
print(steps, os.environ["REALHEAD_FAST"], object(), os.getcwd())
plt.imshow(np.eye(4))
plt.show()
"""


@pytest.fixture
def toy(tmp_path):
    twin = tmp_path / "00_toy.py"
    twin.write_text(TOY)
    return twin


def printed(path):
    return "".join(o.get("text", "") for cell in nbformat.read(path, 4).cells for o in cell.get("outputs", []))


def test_find_by_number_and_name(toy):
    folder = toy.parent
    assert notebooks.find((), folder) == notebooks.find(["00"], folder) == notebooks.find(["00_toy.ipynb"], folder)
    with pytest.raises(notebooks.NotebookError, match="no notebook '07'.*00_toy"):
        notebooks.find(["07"], folder)


@pytest.mark.slow
def test_two_runs_give_the_same_bytes_and_pass_the_check(toy, tmp_path):
    (first,) = notebooks.execute_all([toy], tmp_path / "a")
    (second,) = notebooks.execute_all([toy])
    assert first.read_bytes() == second.read_bytes()
    assert "image/png" in first.read_text() and printed(first).startswith("2 0 <object object at 0x…>")
    notebooks.check([toy])


@pytest.mark.slow
def test_a_timing_cell_keeps_its_stored_output_until_it_changes_or_is_recorded_anew(toy):
    timed = '# %% tags=["timing"]\nimport time\n\nprint(time.time_ns())\n'
    toy.write_text(timed)
    first, second, anew = (printed(notebooks.execute_all([toy], anew=anew)[0]) for anew in (False, False, True))
    assert first == second != anew
    toy.write_text(timed.replace("print(", "print('ns', "))
    assert "ns " in printed(notebooks.execute_all([toy])[0])


@pytest.mark.slow
def test_parameters_and_fast_mode_reach_the_kernel_and_leave_the_sources_alone(toy, tmp_path):
    (path,) = notebooks.execute_all([toy], tmp_path / "out", fast=True, parameters={"steps": 9})
    assert printed(path).startswith("9 1 ")
    assert notebooks.same_cells(nbformat.read(path, 4), notebooks.read_twin(toy))


@pytest.mark.slow
def test_a_failing_cell_is_told_and_nothing_is_written(toy):
    toy.write_text(TOY + "\n# %%\nraise ValueError('the reason')\n")
    with pytest.raises(notebooks.NotebookError, match="the reason"):
        notebooks.execute_all([toy])
    assert [path.name for path in toy.parent.iterdir()] == ["00_toy.py"]


def test_toy_results_do_not_replace_the_stored_notebook(toy):
    with pytest.raises(notebooks.NotebookError, match="--out"):
        notebooks.execute_all([toy], fast=True)


def test_sync_keeps_outputs_of_unchanged_cells_only(toy):
    (path,) = notebooks.sync([toy])
    book = nbformat.read(path, 4)
    for cell in book.cells[1:]:
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=f"of {cell.id}")]
    nbformat.write(book, path)
    toy.write_text(TOY.replace("steps = 2", "steps = 3"))
    notebooks.sync([toy])
    outputs = [bool(cell.outputs) for cell in nbformat.read(path, 4).cells[1:]]
    assert outputs == [True, False, True]


def test_check_names_a_missing_and_a_stale_notebook(toy):
    with pytest.raises(notebooks.NotebookError, match="is missing"):
        notebooks.check([toy])
    notebooks.sync([toy])
    toy.write_text(TOY.replace("# # A toy", "# # Another"))
    with pytest.raises(notebooks.NotebookError, match="differ"):
        notebooks.check([toy])


def test_parameters_are_python_literals_or_text():
    assert notebooks.parse_parameters(["a=1", "b=[2, 3]", "c=laptop"]) == {"a": 1, "b": [2, 3], "c": "laptop"}
    with pytest.raises(notebooks.NotebookError, match="name=value"):
        notebooks.parse_parameters(["steps"])


def test_a_notebook_without_a_parameters_cell_takes_none(toy, tmp_path):
    toy.write_text(TOY.replace(' tags=["parameters"]', ""))
    with pytest.raises(notebooks.NotebookError, match="no cell tagged"):
        notebooks.execute_all([toy], tmp_path / "out", parameters={"steps": 1})


def course(test):
    return pytest.mark.parametrize("twin", COURSE, ids=lambda twin: twin.stem)(test)


@course
@pytest.mark.notebook
def test_course_runs_from_top_to_bottom(twin, tmp_path):
    """In fast mode, in a copy of the folders that it may read and write."""
    work = tmp_path / "notebooks"
    work.mkdir()
    for name in ("data", "results"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, symlinks=True, ignore=shutil.ignore_patterns("openheads*"))
    (path,) = notebooks.execute_all([twin], tmp_path / "out", fast=True, work=work)
    assert notebooks.same_cells(nbformat.read(path, 4), notebooks.read_twin(twin))


@course
def test_course_is_stored_as_its_twin_says(twin):
    notebooks.check([twin])


def test_all_stored_notebooks_together_stay_small():
    stored = list((ROOT / "notebooks").glob("*.ipynb"))
    assert sum(path.stat().st_size for path in stored) <= notebooks.MAX_TOTAL_BYTES
    assert {path.stem for path in stored} == {twin.stem for twin in COURSE}


@course
def test_course_teaches_in_small_cells_and_defines_no_class(twin):
    cells = notebooks.read_twin(twin).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert cells[0].cell_type == "markdown" and cells[0].source.startswith("# ")
    assert "xercise" in cells[-1].source, "a notebook ends with exercises"
    assert max(len(cell.source.splitlines()) for cell in code[1:]) <= MAX_CELL_LINES  # the first one imports
    trees = [ast.parse(cell.source) for cell in code if not cell.source.lstrip().startswith(("%", "!"))]
    assert not [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


@course
def test_links_lead_to_files_and_to_the_next_notebook(twin):
    prose = [cell.source for cell in notebooks.read_twin(twin).cells if cell.cell_type == "markdown"]
    links = re.findall(r"\]\(([^)]+)\)", "\n".join(prose))
    assert not [link for link in links if not (twin.parent / link).is_file()]
    after = COURSE[(COURSE.index(twin) + 1) % len(COURSE)]
    assert links[-1] == f"{after.stem}.ipynb", "a notebook ends with a link to the next one, the last with the first"


@course
def test_course_says_what_is_learnt_and_ends_with_a_check(twin):
    prose = [cell.source for cell in notebooks.read_twin(twin).cells if cell.cell_type == "markdown"]
    assert prose[0].startswith(f"# {twin.stem[:2]} ")
    assert "**You will learn**" in prose[0] and "**Time:**" in prose[0]
    headings = re.findall(r"^## (.*)$", "\n".join(prose), re.MULTILINE)
    assert headings[-3:] == ["Check", "Summary", "Exercises"]
