"""What of a notebook's outputs is kept."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from nbformat import v4, writes
from PIL import Image

from realhead.notebooks.outputs import MAX_PNG_BYTES, faults, normalise

KERNEL = {"name": "mine", "display_name": "My own"}


def notebook(*outputs, tags=(), source="x"):
    cell = v4.new_code_cell(source, outputs=list(outputs), metadata={"tags": list(tags), "scrolled": True})
    cell.execution_count = 7
    return v4.new_notebook(cells=[cell], metadata={"widgets": {"state": {}}, "kernelspec": KERNEL})


def kept(*outputs, **options):
    return normalise(notebook(*outputs, **options)).cells[0].outputs


def stored(book):
    return writes(normalise(book), indent=1, sort_keys=True) + "\n"


def png(size):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_counts_and_foreign_metadata_are_gone():
    book = normalise(notebook(v4.new_output("execute_result", {"text/plain": "1"}, execution_count=7)))
    assert book.cells[0].execution_count is None and book.cells[0].outputs[0].execution_count is None
    assert set(book.metadata) == {"kernelspec", "language_info"} and book.metadata.kernelspec.name == "python3"
    assert book.cells[0].metadata == {}


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("<object object at 0x7f12ab34cd56>", "<object object at 0x…>"),
        ("/home/someone/run/prior.safetensors", "…/prior.safetensors"),
        ("error 0.1 / 0.2 and a/b", "error 0.1 / 0.2 and a/b"),
    ],
)
def test_addresses_and_folders_are_replaced(printed, expected):
    assert kept(v4.new_output("stream", name="stdout", text=printed))[0].text == expected


def test_stderr_widgets_and_scripts_are_dropped():
    bar = v4.new_output("stream", name="stderr", text="100%|####| 3/3")
    widget = v4.new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "Slider()"})
    script = v4.new_output("display_data", {"text/html": "<div><script>1</script></div>"})
    assert kept(bar, widget, script) == []


def test_interactive_cells_keep_nothing():
    text = v4.new_output("stream", name="stdout", text="served at a port")
    assert kept(text) != [] and kept(text, tags=["interactive"]) == []


def test_tables_keep_their_rows_and_lose_their_style():
    html = "<style scoped>\n td {color: red}\n</style>\n<table id='T_1a2b3c'><tr><td>4</td></tr></table>"
    (output,) = kept(v4.new_output("display_data", {"text/html": html, "text/plain": "4"}))
    assert output.data["text/html"] == "<table id='T_0'><tr><td>4</td></tr></table>"


def test_large_pictures_become_jpeg_and_small_ones_stay():
    (small,) = kept(v4.new_output("display_data", {"image/png": png(16)}))
    assert small.data["image/png"] == png(16)
    large = png(256)
    assert len(base64.b64decode(large)) > MAX_PNG_BYTES
    (output,) = kept(v4.new_output("display_data", {"image/png": large}))
    assert set(output.data) == {"image/jpeg"}
    assert Image.open(io.BytesIO(base64.b64decode(output.data["image/jpeg"]))).size == (256, 256)


def test_normalising_twice_changes_nothing():
    book = notebook(
        v4.new_output("stream", name="stdout", text="at 0x1234567890\n"),
        v4.new_output("display_data", {"image/png": png(256), "text/plain": "<Figure>"}),
    )
    once = stored(book)
    assert stored(normalise(book)) == once


def test_cell_ids_follow_the_source_and_stay_unique():
    def ids(*sources):
        return [c.id for c in normalise(v4.new_notebook(cells=[v4.new_code_cell(s) for s in sources])).cells]

    assert ids("a", "b")[1] == ids("new", "a", "b")[2]
    assert len(set(ids("a", "a"))) == 2


@pytest.mark.parametrize(
    ("output", "fault"),
    [
        (v4.new_output("error", ename="ValueError", evalue="no", traceback=[]), "error"),
        (v4.new_output("stream", name="stdout", text="x" * 700_000), "kB"),
        (None, "no outputs"),
    ],
)
def test_faults_of_a_normalised_notebook_are_named(output, fault):
    text = stored(notebook(*([output] if output else [])))
    (found,) = faults(normalise(notebook(*([output] if output else []))), text)
    assert fault in found


def test_faults_of_a_raw_notebook_are_named():
    raw = notebook(v4.new_output("stream", name="stdout", text="<A at 0x1234567890> in /home/someone/x"))
    found = " ".join(faults(raw, writes(raw)))
    assert "memory address" in found and "absolute path" in found and "not normalised" in found


def test_a_clean_notebook_has_no_fault():
    book = normalise(notebook(v4.new_output("stream", name="stdout", text="PSNR 31.2 dB\n")))
    assert faults(book, stored(book)) == []
