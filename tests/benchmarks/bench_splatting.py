"""How fast is splatting on this machine, against the torch twin, a fixed piece of arithmetic, and what is possible?

    python tests/benchmarks/bench_splatting.py [table] [twin] [curves] [threads] [gpu] [--rounds N]
        [--out results/splatting]

Without names all are measured (some minutes, most of them the twin's); what is not measured is kept from before. `gpu`
times gsplat on a CUDA device and compares our kernels with it.
Cells hold forward / forward and backward; degree 0 and 3 features the latter. `ms` is by the clock, with all threads.
All else is CPU time of one thread, so that what the machine does besides changes little (OpenMP's threads use time
while they wait for each other). The yardstick is 50 million multiply-adds on one thread, timed before each round:
ratios to it compare across machines. `pairs` are those of a
Gaussian and a pixel that colour the picture; the limit is their number over the rate that the kernels reach on tiles
without an idle lane, plus the time in which memory takes inputs and outputs.

Writes speed.json and speed.png.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numba
import torch
from splatting_measures import (
    Step,
    extra_megabytes,
    limits,
    median,
    median_time,
    needed_pairs,
    shortest_ms,
    stages_ms,
    timed,
    yardstick,
)
from splatting_scenes import WORKLOADS, cameras, head_like

from realhead import __version__
from realhead.splatting import rasterization
from realhead.splatting.cpu import LANES
from realhead.view.palette import PALETTE

TWIN_PAIRS = 40_000_000  # that the twin may hold at once; larger pictures are drawn in strips of rows
PARTS = ("table", "twin", "curves", "threads", "gpu")


def scene_of(name: str) -> tuple[dict, dict]:
    """Gaussians and camera of a workload."""
    count, width, height = WORKLOADS[name]
    return head_like(count), cameras(width, height)


def time_workload(name: str, rounds: int, limit: dict, threads: int) -> dict:
    """All numbers of one workload but the twin's, on one thread but those by the clock."""
    given, views = scene_of(name)
    step = Step(given, views)
    step.both()
    rows = [(yardstick(), timed(step.forward), timed(step.both)) for _ in range(rounds)]
    _, forward, both = (median(list(column)) for column in zip(*rows, strict=True))
    torch.set_num_threads(threads)
    forward_ms, both_ms = (median_time(function, 3 * rounds).wall for function in (step.forward, step.both))
    torch.set_num_threads(1)
    pairs = needed_pairs(given, views)
    least = shortest_ms(limit, len(given["means"]), pairs, views["width"] * views["height"])
    plain = Step(given | {"colors": given["colors"][:, :1].detach().clone()}, views, 0)
    features = Step(given | {"colors": given["colors"][:, 0].detach().clone()}, views, None)
    return {
        "forward_ms": forward_ms,
        "both_ms": both_ms,
        "forward_cpu_ms": forward.cpu,
        "both_cpu_ms": both.cpu,
        "degree0_cpu_ms": median_time(plain.both, rounds).cpu,
        "features3_cpu_ms": median_time(features.both, rounds).cpu,
        "forward_yardsticks": statistics.median(f.cpu / y.cpu for y, f, _ in rows),
        "both_yardsticks": statistics.median(b.cpu / y.cpu for y, _, b in rows),
        "pairs": pairs,
        "forward_pairs_per_cpu_s": 1e3 * pairs / forward.cpu,
        "both_pairs_per_cpu_s": 2e3 * pairs / both.cpu,
        "forward_share_of_limit": least[0] / forward.cpu,
        "both_share_of_limit": least[1] / both.cpu,
        "extra_mb": extra_megabytes(step),
        "stages_cpu_ms": stages_ms(step, rounds),
    }


def time_twin(name: str) -> dict[str, float]:
    """CPU milliseconds of the torch twin, in strips of rows where the whole picture would not fit into memory."""
    given, views = scene_of(name)
    blocks = 3 * len(given["means"]) * 32 * 32  # a Gaussian touches about three blocks of the twin
    rows = -(-views["height"] // max(1, round(blocks / TWIN_PAIRS)))
    forward = both = 0.0
    for top in range(0, views["height"], rows):
        Ks = views["Ks"].clone()
        Ks[:, 1, 2] -= top
        strip = Step(given, views | {"Ks": Ks, "height": min(rows, views["height"] - top)}, backend="torch")
        forward += timed(strip.forward).cpu
        both += timed(strip.both).cpu
    return {"forward_cpu_ms": forward, "both_cpu_ms": both}


def time_curves(rounds: int) -> dict[str, list]:
    """CPU milliseconds of one thread, forward and both, over Gaussians, pixels and cameras: rows of (x, forward, both).

    The shortest of all rounds: a slope needs its points undisturbed, and neighbours only ever add.
    """
    steps = {
        "Gaussians": {
            n: (head_like(n), cameras(256, 256)) for n in (2500, 5000, 10_000, 20_000, 40_000, 80_000, 160_000)
        },
        "pixels": {s * s: (head_like(40_000), cameras(s, s)) for s in (128, 192, 256, 384, 512, 768, 1024)},
        "cameras": {c: (head_like(10_000), cameras(256, 256, c)) for c in (1, 2, 4, 8)},
    }
    curves: dict[str, list] = {}
    for axis, scenes in steps.items():
        for x, scene in scenes.items():
            step = Step(*scene)
            times = [min(timed(f).cpu for _ in range(rounds + 1)) for f in (step.forward, step.both)]
            curves.setdefault(axis, []).append((x, *times))
    return curves


def time_threads(rounds: int, most: int) -> dict[str, list]:
    """How many times as fast by the clock with so many threads, best against best; rows of (threads, factor).

    The yardstick's own factor says what the machine has to give: two threads of one core share its arithmetic.
    """
    numbers = range(1, most + 1)
    steps = {name: Step(*scene_of(name)) for name in ("10k@256x256", "40k@512x512", "160k@550x800")}
    found = {}
    for name in ("yardstick", *steps):
        best = dict.fromkeys(numbers, float("inf"))
        for _ in range(3 * rounds):  # in turn, so that all meet the same neighbours
            for n in numbers:
                torch.set_num_threads(n)
                time = yardstick(n).wall / n if name == "yardstick" else timed(steps[name].both).wall
                best[n] = min(best[n], time)
        found[name] = [(n, best[1] / best[n]) for n in numbers]
    torch.set_num_threads(1)
    return found


def compare_gsplat(rounds: int) -> dict[str, dict] | None:
    """gsplat on the GPU: milliseconds, and how far our kernels' pictures and gradients are from its own.

    A gradient's distance is relative: the norm of the difference over the norm. None without CUDA.
    """
    if not torch.cuda.is_available():
        return None
    rows = {"device": {"name": torch.cuda.get_device_name()}}
    for name in WORKLOADS:
        given, views = scene_of(name)
        ours, theirs = Step(given, views), Step(on_gpu(given), on_gpu(views), backend="gsplat")
        theirs.cotangents = tuple(c.cuda() for c in ours.cotangents)
        pictures = [rasterization(**step.arguments)[0].detach().cpu() for step in (ours, theirs)]
        gradients = zip(ours.both(), theirs.both(), strict=True)
        rows[name] = {
            "forward_ms": median_time(lambda step=theirs: (step.forward(), torch.cuda.synchronize()), 10 * rounds).wall,
            "both_ms": median_time(lambda step=theirs: (step.both(), torch.cuda.synchronize()), 10 * rounds).wall,
            "largest_difference": float((pictures[0] - pictures[1]).abs().max()),
            "mean_difference": float((pictures[0] - pictures[1]).abs().mean()),
            "gradient_distance": {k: float((g.cpu() - o).norm() / o.norm()) for k, (o, g) in zip(given, gradients)},
        }
    return rows


def on_gpu(tensors: dict) -> dict:
    """The same scene with its tensors on the GPU."""
    return {k: v.detach().cuda() if isinstance(v, torch.Tensor) else v for k, v in tensors.items()}


def as_table(rows: dict[str, dict], twins: dict[str, dict]) -> str:
    """The tables that are printed, forward / both in each cell; and where the time of the last workload goes."""
    from tabulate import tabulate

    table = []
    for name, r in rows.items():
        twin = twins.get(name, {})

        def pair(key: str, form: str, scale: float = 1.0, row: dict = r) -> str:
            return " / ".join(format(scale * row[f"{side}_{key}"], form) for side in ("forward", "both"))

        ratio = " / ".join(f"{twin[key] / r[key]:.0f}" for key in ("forward_cpu_ms", "both_cpu_ms")) if twin else "-"
        table.append({
            "workload": name,
            "ms": pair("ms", ".1f"),
            "CPU ms": pair("cpu_ms", ".1f"),
            "degree 0": f"{r['degree0_cpu_ms']:.1f}",
            "3 features": f"{r['features3_cpu_ms']:.1f}",
            "yardsticks": pair("yardsticks", ".2f"),
            "M pairs / CPU s": pair("pairs_per_cpu_s", ".0f", 1e-6),
            "of the limit": pair("share_of_limit", ".0%"),
            "extra MB": "-" if r["extra_mb"] is None else f"{r['extra_mb']:.0f}",
            "twin, times": ratio,
        })  # fmt: skip
    stages = sorted(rows[name]["stages_cpu_ms"].items(), key=lambda item: -item[1])
    whole = sum(taken for _, taken in stages)
    shares = ", ".join(f"{stage} {taken / whole:.0%}" for stage, taken in stages if taken > 0.01 * whole)
    text = tabulate(table, headers="keys", disable_numparse=True, stralign="right")
    return f"{text}\n{name}, forward and backward: {shares}"


def draw_figure(found: dict, path: Path) -> None:
    """Times over Gaussians, pixels and cameras in double logarithmic scale, beside a linear slope; threads."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    figure = Figure(figsize=(11, 3.2), dpi=110, layout="constrained")
    axes = figure.subplots(1, 4)
    titles = {"Gaussians": "at 256 x 256", "pixels": "40,000 Gaussians", "cameras": "10,000 at 256 x 256"}
    for axis, (name, title) in zip(axes, titles.items(), strict=False):
        xs, *columns = zip(*found["curves"][name], strict=True)
        for i, (label, values) in enumerate(zip(("forward", "and backward"), columns, strict=True)):
            axis.loglog(xs, values, "o-", ms=4, color=PALETTE[i], label=label)
            axis.loglog(
                xs, [values[-1] * x / xs[-1] for x in xs], ":", color=PALETTE[-1], label="linear" if i else None
            )
        axis.set(xlabel=name, ylabel="CPU ms" if name == "Gaussians" else None)
        axis.set_xticks([xs[0], xs[-1]], [f"{xs[0]:,}", f"{xs[-1]:,}"])
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.set_title(title, fontsize=9)
    axes[0].legend(frameon=False, fontsize=8)
    for i, (name, rows) in enumerate(found["threads"].items()):
        style = {"ls": ":", "color": PALETTE[-1]} if name == "yardstick" else {"ls": "-", "color": PALETTE[i - 1]}
        axes[3].plot(*zip(*rows, strict=True), marker="o", ms=4, label=name, **style)
    axes[3].set(
        xlabel="threads", ylabel="times as fast", xticks=[n for n, _ in found["threads"]["yardstick"]], ylim=(0, None)
    )
    axes[3].legend(frameon=False, fontsize=8)
    figure.savefig(path)


def describe_machine(threads: int) -> dict:
    """What the numbers depend on."""
    return {
        "processor": platform.processor() or platform.machine(),
        "lanes": len(LANES),
        "threads": threads,
        "torch": torch.__version__,
        "numba": numba.__version__,
        "realhead": __version__,
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "yardstick_cpu_ms": statistics.median(yardstick().cpu for _ in range(5)),
    }


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=PARTS, default=PARTS, help="all of them without names")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("results/splatting"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    yardstick()  # compiles it
    path = options.out / "speed.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    found["machine"] = describe_machine(options.threads)
    if "twin" in options.parts:
        found["twin"] = {name: time_twin(name) for name in WORKLOADS}
    if "table" in options.parts:
        limit = found["limits"] = limits(options.rounds)
        found["workloads"] = {name: time_workload(name, options.rounds, limit, options.threads) for name in WORKLOADS}
        print(as_table(found["workloads"], found.get("twin", {})))
    if "gpu" in options.parts and (compared := compare_gsplat(options.rounds)):
        found["gpu"] = compared
        print(json.dumps(compared, indent=1))
    if "curves" in options.parts:
        found["curves"] = time_curves(options.rounds)
    if "threads" in options.parts:
        found["threads"] = time_threads(options.rounds, options.threads)
        print("times as fast: " + ", ".join(f"{k} {v[-1][1]:.2f}" for k, v in found["threads"].items()))
    options.out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")
    if "curves" in found and "threads" in found:
        draw_figure(found, options.out / "speed.png")
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
