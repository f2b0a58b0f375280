"""The table of the tracking benchmark, made of its JSON files."""

from __future__ import annotations

import json
from pathlib import Path

GROUPS = ("eyes", "brows", "nose", "outer lips", "inner lips", "irises", "jaw line", "all", "lips 90 %")


def tables(folder: Path) -> str:
    """results/tracking/tracking.md as a string; parts that were not measured are left out."""
    parts = {
        "truth": _truth,
        "photometric": _photometric,
        "real": _real,
        "jitter": _jitter,
        "speed": _speed,
        "driven": _driven,
    }
    text = ["# Tracking, measured", "", "Made by `python tests/benchmarks/bench_tracking.py`."]
    for name, write in parts.items():
        path = folder / f"{name}.json"
        if path.is_file():
            text += ["", *write(json.loads(path.read_text()))]
    return "\n".join(text) + "\n"


def _table(header: list[str], rows: list[list]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]


def _truth(result: dict) -> list[str]:
    named = list(next(iter(result["steps"].values()))["correlation"])
    rows = [
        [
            step,
            *(f"{row['correlation'][n]:.2f}" for n in named),
            f"{row['median_most_used']:.2f}",
            f"{row['rotation_degrees']:.1f} ({row['rotation_degrees_90']:.1f})",
            f"{row['rotation_moving_degrees']:.1f}",
            f"{row['mouth_corner_mm']:.1f} ({row['mouth_corner_mm_90']:.1f})",
            f"{row['mouth_corner_3d_mm']:.1f}",
        ]
        for step, row in result["steps"].items()
    ]
    header = [
        "after",
        *named,
        "median of twelve",
        "rotation, degrees",
        "without its mean",
        "corners, mm",
        "in space, mm",
    ]
    used = ", ".join(result["most_used"])
    return [
        "## Against the truth",
        "",
        f"{result['people']} synthetic people, {result['frames']} frames of {result['pixels']} pixels in wild light. "
        "Correlation of an action with the truth over a clip, mean over the people; its median over the twelve most "
        f"used ({used}). Error of the head's rotation: mean (90th percentile), and what is left of it without each "
        "person's own constant offset. Distance of the mouth's corners from the truth in the picture, and in space "
        "once eye corners and nose bridge lie on each other.",
        "",
        *_table(header, rows),
        "",
        "The actions' correlation over the frames of all clips together, each clip about its own mean, so that a clip "
        "in which an action hardly moves hardly counts:",
        "",
        *_table(["after", *named], [
            [step, *(f"{row['correlation_pooled'][n]:.2f}" for n in named)] for step, row in result["steps"].items()
        ]),
        "",
        "How much of an action is in what the engine says? A linear read-out of all its points and scores, learned "
        "from the truth of the other people, which no tracker has (correlation over a clip, mean over the people):",
        "",
        *_table(list(result["readout"]), [["-" if v is None else f"{v:.2f}" for v in result["readout"].values()]]),
    ]  # fmt: skip


def _photometric(result: dict) -> list[str]:
    rows = {name: row for name, row in result.items() if isinstance(row, dict)}
    measures = list(next(iter(rows.values())))
    return [
        "## A photometric refinement",
        "",
        f"An experiment on {result['frames']} frames of {result['people']} of the people: colours of the calmest "
        "frame, painted on the skin, compared with the picture through the differentiable rasterizer. Tracking has no "
        "such step.",
        "",
        *_table(["", *rows], [[m, *(row[m] for row in rows.values())] for m in measures]),
    ]


def _real(result: dict) -> list[str]:
    found = {name: row for name, row in result.items() if isinstance(row, dict) and "all" in row}
    rows = [[name, row["frames"], *(f"{row[g]:.2f}" for g in GROUPS)] for name, row in found.items()]
    return [
        "## Where landmarks land",
        "",
        "Median distance of the fitted head's landmarks from the found ones, per cent of the inter-ocular distance; "
        "last, the 90th percentile of the lips.",
        "",
        *_table(["", "frames", *GROUPS], rows),
    ]


def _jitter(result: dict) -> list[str]:
    rows = [
        [n, r["mean_mm"], r["largest_vertex_mm"], r["worst_frame_mm"]] for n, r in result.items() if isinstance(r, dict)
    ]
    return [
        "## A still face",
        "",
        f"A photograph, {result['frames']} times with fresh noise (standard deviation {result['noise_of_255']} of "
        "255). Millimetres that vertices move from frame to frame.",
        "",
        *_table(["", "mean", "vertex that moves most", "worst frame"], rows),
    ]  # fmt: skip


def _speed(result: dict) -> list[str]:
    width, height = result["pixels"]
    cpu, wall = (f"{result[f'{kind}_milliseconds']} ms" for kind in ("cpu", "wall"))
    rows = [
        ["processor time a frame (90th percentile)", f"{cpu} ({result['cpu_milliseconds_90']} ms)"],
        ["frames a second of one core", result["frames_a_second_of_one_core"]],
        ["wall time a frame", f"{wall} (load {result['load_average']} on {result['cores']} cores)"],
        ["delay, frames", result["delay_frames"]],
    ]
    return [
        "## A stream",
        "",
        f"`StreamTracker` with its mouth map, {width} x {height}, {result['frames']} frames of {result['source']}.",
        "",
        *_table(["", ""], rows),
    ]


def _driven(result: dict) -> list[str]:
    rows = []
    for clip, content in result.items():
        for method, row in content.items() if isinstance(content, dict) else ():
            if isinstance(row, dict):
                values = [f"{row['psnr']:.2f}", f"{row['ssim']:.3f}", f"{row['lpips']:.3f}", f"{row['id']:.3f}"]
                rows.append([clip, method, content["driven"], *values])
    return [
        "## A real person, driven",
        "",
        "Three frames of a clip's first half enrolled with the shipped prior, frames of its second half driven by "
        "themselves; inside the mask. The command writes `driven.jpg`, true frames above and the avatar below; it is "
        "not kept here since it shows a person.",
        "",
        *_table(["clip", "", "frames", "PSNR", "SSIM", "LPIPS", "ID"], rows),
    ]
