"""Reports: made from results alone, the same bytes each time, the paper's numbers beside ours, or the reason."""

import json

import numpy as np
import pytest
from PIL import Image

from realhead.errors import RealheadError
from realhead.evaluation.measures import DEFINITIONS
from realhead.evaluation.summary import summarise
from realhead.report import paper_tables, read_results, report
from realhead.report.figures import ablation_grid, curves_figure, picture_grid, save, training_figure
from realhead.report.tables import PAPER, REASON, Table, number, paper_table

METHODS = ("floor", "0-shot", "1-shot", "3-shot")


def evaluation(protocol="studio", methods=METHODS):
    rows = [
        {"person": person, "method": method, "views": views, "region": region, "count": 4, "psnr": 20.0 + i + j,
         "ssim": 0.8 + i / 100, "lpips_alex": 0.2 - i / 100, "id": 0.9}
        for i, method in enumerate(methods)
        for j, person in enumerate(("ann", "bob"))
        for views in ("enrolled", "unseen")
        for region in ("picture", "mask", "mouth")
    ]  # fmt: skip
    temporal = [{"person": "ann", "method": m, "tlp": 0.01, "tlp_x100": 1.0, "lpips_tdiff": 0.1} for m in methods]
    return {
        "kind": "evaluation",
        "protocol": protocol,
        "checkpoint": {"hash": "abc", "source": "laptop"},
        "network": {"resolution": 128},
        "data": {"people": ["ann", "bob"], "picture": [256, 256]},
        "stand_ins": {"identity": "dlib"},
        "definitions": DEFINITIONS,
        "left_out": {"lpips_vgg": "no weights"},
        "summary": summarise(rows),
        "temporal_summary": summarise(temporal),
        "closed": [{"method": "1-shot", "region": "mask", "psnr": 0.61}],
        "pictures": [{"person": "ann", "method": m, "files": [f"studio/ann_{m}.png"]} for m in ("truth", *methods)],
    }


def ablation(variants):
    lines = evaluation("ablation", ("0-shot",))
    result = {"file": "absent.json", "train": {"people": 8, "iterations": 20, "preset": "tiny"}} | lines
    rows = {
        name: {"label": name, "tables": ["II"], "results": [result] * n, "failed": why} for name, n, why in variants
    }
    return {"kind": "ablation", "variants": rows}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "results"
    (folder / "studio").mkdir(parents=True)
    for i, method in enumerate(("truth", *METHODS)):
        Image.new("RGB", (32, 32), (40 * i, 0, 0)).save(folder / "studio" / f"ann_{method}.png")
    (folder / "studio.json").write_text(json.dumps(evaluation()))
    (folder / "ablation.json").write_text(json.dumps(ablation([("ours", 2, None), ("dino", 0, "no DINO file")])))
    curves = {"kind": "curves", "steps": [0, 2], "stage2_from": 1, **{v: {"psnr": [1, 2], "lpips_alex": []} for v in
              ("enrolled", "unseen")}}  # fmt: skip
    (folder / "anna.json").write_text(json.dumps(curves))
    (folder / "broken.json").write_text("{")
    (folder / "other.json").write_text("[1]")
    return folder


@pytest.fixture(scope="module")
def made(results, tmp_path_factory):
    return report(results, tmp_path_factory.mktemp("report"))


def test_report_regenerates_the_same_bytes(made, results, tmp_path):
    first, second = made.page.parent, tmp_path
    report(results, second)
    names = sorted(path.name for path in first.iterdir())
    assert {"report.md", "table_I.tex", "studio_grid.jpg", "studio_shots.png", "anna_curves.png"} <= set(names)
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)


def test_page_shows_our_numbers_and_the_papers(made):
    page = made.page.read_text()
    assert "33.15" in page and "**23.50 ± 0.71**" in page and "61%" in page
    assert "![" in page and "no DINO file" in page and "no weights" in page and "dlib" in page


def test_paper_table_gives_a_number_or_a_reason():
    paper = paper_tables()
    for name in paper["tables"]:
        table = paper_table(name, paper, {"a": evaluation()}, {"b": ablation([("ours", 1, None)])})
        assert all(row[REASON] for row in table.rows)
        for row, printed in zip(table.rows, paper["tables"][name]["rows"], strict=True):
            assert row["PSNR (paper)"].startswith(f"{printed['psnr'][0]:.2f}")
    one = paper_table("I", paper, {"a": evaluation()}, {}).rows
    assert one[0]["PSNR (ours)"] == "22.50 ± 0.71" and one[1]["PSNR (ours)"] == "-"
    assert "not part of this repository" in one[1][REASON]


def test_papers_tables_are_complete():
    tables = paper_tables()["tables"]
    assert {name: len(table["rows"]) for name, table in tables.items()} == {
        "I": 9, "II": 6, "III": 3, "IV": 2, "V": 3, "VI": 4, "VII": 4, "VIII": 3,
    }  # fmt: skip
    for table in tables.values():
        for row in table["rows"]:
            assert ("match" in row) != ("absent" in row)
            assert all(len(row[key]) == 2 for key in PAPER) and 20 < row["psnr"][0] < 35 and row["lpips"][0] < 0.1


def test_best_numbers_are_bold_per_group_and_anchors_never(made):
    text = made.page.with_name("studio_pictures.tex").read_text()
    assert text.count(r"\textbf{23.50 $\pm$ 0.71}") == 6 and r"\textbf{20.50" not in text
    assert "**" not in made.tables["studio_pictures"].frame.to_string()


def test_latex_escapes_what_it_must():
    text = Table("t", [{"a_b": "50 % & more"}]).latex()
    assert r"a\_b" in text and r"50 \% \& more" in text


def test_number_shows_the_deviation_only_where_there_is_one():
    assert number({"mean": 1.0, "std": 0.25}, 1) == "1.0 ± 0.2" and number({"mean": 1.0, "std": None}, 2) == "1.00"
    assert number(None, 3) == "-"


def test_damaged_files_are_left_out(results, caplog):
    found = read_results(results)
    assert [path.name for path in found] == ["ablation.json", "anna.json", "studio.json"]
    assert "broken.json" in caplog.text


def test_folder_without_results_gets_a_sentence(tmp_path):
    with pytest.raises(RealheadError, match="realhead evaluate"):
        report(tmp_path, tmp_path / "out")


def test_grid_has_a_column_a_method(results):
    grid = picture_grid(evaluation(), results)
    middle = grid[-80, 80::160]
    assert grid.shape[1] == 160 * 5 and [int(p[0]) for p in middle] == [0, 40, 80, 120, 160]
    assert picture_grid(evaluation(), results / "elsewhere") is None


def test_long_grid_goes_on_in_another_block(results, monkeypatch):
    result = evaluation()
    height, width, _ = picture_grid(result, results).shape
    for entry in result["pictures"]:
        entry["files"] *= 3
    monkeypatch.setattr("realhead.report.figures.BLOCK_ROWS", 2)
    assert picture_grid(result, results).shape == (2 * (height - 22) + 22, 2 * width, 3)


def test_ablation_grid_has_a_column_a_row_of_the_table(results):
    record = ablation([("ours", 1, None), ("rgb", 1, None), ("dino", 0, "no DINO file")])
    for row in record["variants"].values():
        for result in row["results"]:
            result["file"] = "studio.json"
    assert ablation_grid(record, results).shape[1] == 160 * 3
    assert ablation_grid(ablation([("dino", 0, "no DINO file")]), results) is None


def test_curves_and_training_figures_draw_their_numbers(tmp_path):
    log = [{"step": s, "psnr": 10.0 + s, "photometric": 1.0 / s} for s in (1, 2, 3)]
    figure = training_figure(log)
    np.testing.assert_array_equal(figure.axes[1].lines[0].get_ydata(), [11, 12, 13])
    sides = {v: {"psnr": [1.0, 2.0], "lpips_alex": [0.3, 0.2]} for v in ("enrolled", "unseen")}
    figure = curves_figure({"steps": [0, 5], "stage2_from": 3, **sides})
    assert len(figure.axes[0].lines) == 3
    assert save(figure, tmp_path / "c.png").read_bytes()[:4] == b"\x89PNG"
