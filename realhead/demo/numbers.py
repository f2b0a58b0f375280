"""The numbers that the demo prints, and the ranges in which to expect them."""

from __future__ import annotations

from pathlib import Path

from realhead.capture.files import read_json
from realhead.capture.writer import write_json
from realhead.evaluation.summary import line_of
from realhead.report.tables import Table

EXPECTED = Path(__file__).resolve().parents[2] / "data" / "demo_expected.json"
"""Ranges of the numbers, taken from a run on the machine that it names."""


def demo_numbers(path: Path) -> dict[str, float]:
    """The numbers that the demo prints, out of its evaluation; empty if there is none."""
    if not path.is_file():
        return {}
    result, numbers = read_json(path), {}
    wanted = [("enrolled", "mask", "psnr"), ("unseen", "picture", "psnr"), ("unseen", "mask", "psnr")]
    wanted += [("unseen", "mouth", "psnr"), ("unseen", "picture", "ssim"), ("unseen", "picture", "lpips_alex")]
    wanted += [("unseen", "picture", "id")]
    methods = [line["method"] for line in result["summary"]]
    for method in dict.fromkeys(m for m in methods if m.endswith("-shot")):
        for views, region, metric in wanted:
            value = line_of(result, method, views, region).get(metric)
            if value:
                numbers[f"{method}, {views}, {region}: {metric}"] = round(value["mean"], 4)
    return numbers


def comparison(numbers: dict[str, float], expected: dict) -> Table:
    """Obtained numbers beside the expected ranges."""
    rows = []
    for name, value in numbers.items():
        low, high = expected.get("numbers", {}).get(name, (None, None))
        verdict = "no expectation" if low is None else "as expected" if low <= value <= high else "OUTSIDE"
        span = "-" if low is None else f"{low:g} to {high:g}"
        rows.append({"number": name, "obtained": f"{value:g}", "expected": span, "": verdict})
    source = expected.get("source")
    return Table("Expected and obtained numbers", rows, notes=(f"Expected: {source}.",) if source else ())


def read_expected() -> dict:
    """The expected ranges; empty if the file is not there."""
    return read_json(EXPECTED) if EXPECTED.is_file() else {}


def write_expected(demo_folder: str | Path, source: str, path: Path = EXPECTED) -> None:
    """Makes the expected ranges from a finished demo: what it obtained, and as much to both sides as machines differ.

    Args:
        demo_folder: The finished demo.
        source: On which machine and when, in words.
        path: The file to write.
    """
    width = {"psnr": 0.6, "ssim": 0.01, "lpips_alex": 0.01, "id": 0.01}
    ranges = {}
    for name, value in demo_numbers(Path(demo_folder) / "evaluation.json").items():
        margin = width[name.rsplit(" ", 1)[1]]
        ranges[name] = [round(value - margin, 3), round(value + margin, 3)]
    write_json(path, {"source": source, "numbers": ranges})
