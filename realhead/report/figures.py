"""Figures of results: grids of pictures (Fig. 3), metric against shots (Fig. 18), enrollment and training curves."""

from __future__ import annotations

import io
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from realhead.capture.files import read_json
from realhead.view.palette import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TILE = 160
"""Pixels along a side of a picture in a grid."""
BLOCK_ROWS = 21
"""Rows of a grid before it goes on in another block to the right; a person has three."""
LABEL = 22
"""Height of the line of column names in pixels."""
GRID_LABELS = {"truth": "truth", "floor": "mean head", "0-shot": "no fine-tuning", "ceiling": "ceiling"}
SHOT_METRICS = (("psnr", "PSNR (dB)"), ("ssim", "SSIM"), ("lpips_alex", "LPIPS (AlexNet)"))


def all_figures(found: dict[Path, dict], out: Path) -> dict[str, Path]:
    """Draws what the results allow; figures by name."""
    figures = {}
    for path, result in found.items():
        stem, grid = path.stem, None
        if result["kind"] == "curves":
            figures[f"{stem}_curves"] = save(curves_figure(result), out / f"{stem}_curves.png")
        elif result["kind"] == "ablation":
            grid = ablation_grid(result, path.parent)
        elif result["protocol"] != "ablation":  # the rows of an ablation are shown together
            grid = picture_grid(result, path.parent)
            if len(_shots(result)) > 1:
                figures[f"{stem}_shots"] = save(shots_figure(result), out / f"{stem}_shots.png")
        if grid is not None:
            figures[f"{stem}_grid"] = _save_picture(grid, out / f"{stem}_grid.jpg")
    return figures


def caption(name: str) -> str:
    """What a figure shows, for the page and for readers who do not see it."""
    stem, kind = name.rsplit("_", 1)
    texts = {
        "grid": "people whom the prior never saw, one row a picture: the enrolled one, the widest open mouth from the "
        "front, the same from the side; columns as named (as the paper's Figures 3, 6 and 11)",
        "shots": "metrics against the number of enrolled pictures, for enrolled and unseen views, inside the mask (as "
        "the paper's Figure 18)",
        "curves": "enrolled and unseen views while the enrollment runs; the dotted line is where stage 2 begins",
        "training": "loss terms and PSNR of a training run",
    }
    return f"{stem}: {texts[kind]}."


def picture_grid(result: dict, folder: Path) -> np.ndarray | None:
    """The kept pictures of an evaluation as one uint8 picture, a column a method; None if there are none.

    Args:
        result: An evaluation.
        folder: Where its file lies.
    """
    return _grid({GRID_LABELS.get(name, name): files for name, files in _kept(result, folder).items()})


def ablation_grid(record: dict, folder: Path) -> np.ndarray | None:
    """The same pictures by every row of an ablation (as the paper's Figures 6, 7 and 16); None if there are none."""
    columns: dict[str, list[Path]] = {}
    for row in record["variants"].values():
        path = folder / row["results"][0]["file"] if row["results"] else None
        if path is None or not path.is_file():
            continue
        kept = _kept(read_json(path), folder)
        if kept:
            columns.setdefault("truth", kept.pop("truth"))
            columns[row["label"]] = list(kept.values())[-1]
    return _grid(columns)


def _kept(result: dict, folder: Path) -> dict[str, list[Path]]:
    """Kept pictures by method, those of all people in one list."""
    files: dict[str, list[Path]] = {}
    for entry in result.get("pictures", []):
        files.setdefault(entry["method"], []).extend(folder / name for name in entry["files"])
    return files


def _grid(columns: dict[str, list[Path]]) -> np.ndarray | None:
    from PIL import Image

    rows = []
    for paths in zip(*columns.values()):
        if all(path.is_file() for path in paths):
            tiles = [Image.open(path).convert("RGB").resize((TILE, TILE), Image.Resampling.LANCZOS) for path in paths]
            rows.append(np.concatenate([np.asarray(tile) for tile in tiles], 1))
    if not rows:
        return None
    height = min(len(rows), BLOCK_ROWS)
    blocks = math.ceil(len(rows) / height)
    rows += [np.full_like(rows[0], 255)] * (blocks * height - len(rows))
    header = _header(list(columns))
    return np.concatenate([np.concatenate([header, *rows[i * height : (i + 1) * height]]) for i in range(blocks)], 1)


def _header(labels: list[str]) -> np.ndarray:
    from PIL import Image, ImageDraw

    strip = Image.new("RGB", (TILE * len(labels), LABEL), "white")
    draw = ImageDraw.Draw(strip)
    for i, label in enumerate(labels):
        draw.text((TILE * (i + 0.5), LABEL / 2), label, fill="black", anchor="mm")
    return np.asarray(strip)


def shots_figure(result: dict, region: str = "mask") -> Figure:
    """Metrics against the number of enrolled pictures (Fig. 18); the floor as a grey line."""
    figure, axes = _panels(len(SHOT_METRICS))
    shots = _shots(result)
    lines = {(s["method"], s["views"]): s for s in result["summary"] if s["region"] == region}
    for axis, (key, label) in zip(axes, SHOT_METRICS):
        for colour, marker, views in zip(PALETTE, "os", ("enrolled", "unseen")):
            points = [(n, lines[f"{n}-shot", views].get(key)) for n in shots if (f"{n}-shot", views) in lines]
            points = [(n, value) for n, value in points if value]
            spread = [value["std"] or 0.0 for _, value in points]
            means = [value["mean"] for _, value in points]
            axis.errorbar([n for n, _ in points], means, spread, color=colour, marker=marker, capsize=3, label=views)
        floor = lines.get(("floor", "unseen"), {}).get(key)
        if floor:
            axis.axhline(floor["mean"], color="#999999", linestyle=":", label="floor, unseen")
        axis.set(xlabel="enrolled pictures", ylabel=label, xticks=shots)
    axes[0].legend(fontsize=8)
    return figure


def curves_figure(result: dict) -> Figure:
    """Enrolled and unseen views over the steps of an enrollment; left PSNR inside the mask, right LPIPS."""
    figure, axes = _panels(2)
    for axis, key, label in zip(axes, ("psnr", "lpips_alex"), ("PSNR inside the mask (dB)", "LPIPS (AlexNet)")):
        for colour, style, views in zip(PALETTE, ("-", "--"), ("enrolled", "unseen")):
            values = result[views][key]
            axis.plot(result["steps"][: len(values)], values, style, color=colour, label=f"{views} views")
        axis.axvline(result["stage2_from"], color="#999999", linestyle=":")
        axis.set(xlabel="step", ylabel=label)
    axes[0].legend(fontsize=8)
    return figure


def training_figure(log: list[dict]) -> Figure:
    """Loss terms and PSNR of a training log (the lines of log.jsonl)."""
    figure, axes = _panels(2)
    steps = [line["step"] for line in log]
    terms = [k for k in ("photometric", "perceptual", "ssim", "position", "scale", "adversarial") if k in log[-1]]
    for colour, term in zip(PALETTE, terms):
        axes[0].plot(steps, [line.get(term, np.nan) for line in log], color=colour, label=term)
    axes[1].plot(steps, [line["psnr"] for line in log], color=PALETTE[0])
    axes[0].set(xlabel="step", ylabel="weighted loss", yscale="log")
    axes[1].set(xlabel="step", ylabel="PSNR inside the mask (dB)")
    axes[0].legend(fontsize=8)
    return figure


def _panels(count: int) -> tuple[Figure, np.ndarray]:
    from matplotlib.figure import Figure  # not pyplot: no window, no list of open figures

    figure = Figure(figsize=(9, 2.8), layout="constrained")
    return figure, figure.subplots(1, count)


def save(figure: Figure, path: Path) -> Path:
    """Writes a PNG without date or version, so that equal numbers give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90, metadata={"Software": None})
    return _write(path, buffer.getvalue())


def _save_picture(pixels: np.ndarray, path: Path) -> Path:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=88)
    return _write(path, buffer.getvalue())


def _write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}{path.name}")
    temporary.write_bytes(content)
    os.replace(temporary, path)
    return path


def _shots(result: dict) -> list[int]:
    return sorted(
        {int(line["method"][: -len("-shot")]) for line in result["summary"] if line["method"].endswith("-shot")}
    )
