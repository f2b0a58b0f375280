"""How fast is splatting on this machine, against the torch twin, a fixed piece of arithmetic, and what is possible?

    python tests/benchmarks/bench_splatting.py [--quick] [--threads N] [--out results/splatting]

Each workload is drawn in rounds, and before each round a fixed amount of arithmetic is timed (the yardstick: 50 million
multiply-adds on one thread), so that numbers compare across machines and across what else they are doing. `pairs` are
those of a Gaussian and a pixel that colour the picture; the limit is their number over the rate that the kernels reach
on tiles without an idle lane, plus the time that the memory takes for inputs and outputs. The twin takes minutes for
all workloads; --quick leaves it and half of the curves out.

Writes results/splatting/speed.json and speed.png.
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
    median_ms,
    milliseconds,
    needed_pairs,
    shortest_ms,
    yardstick,
)
from splatting_scenes import WORKLOADS, cameras, head_like

from realhead import __version__
from realhead.splatting import rasterization
from realhead.splatting.cpu import LANES
from realhead.view.palette import PALETTE

TWIN_PAIRS = 40_000_000  # that the twin may hold at once; larger pictures are drawn in strips of rows


def time_workload(name: str, rounds: int, limit: dict, twin: bool) -> dict:
    """All numbers of one workload."""
    count, width, height = WORKLOADS[name]
    given, views = head_like(count), cameras(width, height)
    step = Step(given, views)
    step.both()
    triples = [(yardstick(), milliseconds(step.forward), milliseconds(step.both)) for _ in range(rounds)]
    pairs = needed_pairs(given, views)
    forward, both = (statistics.median(row[i] for row in triples) for i in (1, 2))
    least = shortest_ms(limit, count, pairs, width * height)
    row = {
        "workload": name,
        "forward_ms": forward,
        "both_ms": both,
        "forward_yardsticks": statistics.median(f / y for y, f, _ in triples),
        "both_yardsticks": statistics.median(b / y for y, _, b in triples),
        "pairs": pairs,
        "pairs_per_s_forward": 1e3 * pairs / forward,
        "pairs_per_s_both": 2e3 * pairs / both,
        "share_of_limit_forward": least[0] / forward,
        "share_of_limit_both": least[1] / both,
        "extra_mb": extra_megabytes(step),
        "stages_ms": stages_ms(step, rounds),
    }
    plain = Step(given | {"colors": given["colors"][:, :1].detach().clone()}, views, 0)
    features = Step(given | {"colors": given["colors"][:, 0].detach().clone()}, views, None)
    row |= {"degree0_both_ms": median_ms(plain.both, rounds), "features3_both_ms": median_ms(features.both, rounds)}
    if twin:
        row |= {f"twin_{key}": value for key, value in time_twin(given, views).items()}
    return row


def time_twin(given: dict, views: dict) -> dict[str, float]:
    """Milliseconds of the torch twin, forward and both, drawn in strips where the whole would not fit into memory."""
    blocks = 3 * len(given["means"]) * 32 * 32  # a Gaussian touches about three blocks of the twin
    strips = max(1, round(blocks / TWIN_PAIRS))
    rows = -(-views["height"] // strips)
    forward = both = 0.0
    for top in range(0, views["height"], rows):
        Ks = views["Ks"].clone()
        Ks[:, 1, 2] -= top
        strip = Step(given, views | {"Ks": Ks, "height": min(rows, views["height"] - top)}, backend="torch")
        forward += milliseconds(strip.forward)
        both += milliseconds(strip.both)
    return {"forward_ms": forward, "both_ms": both}


def time_curves(rounds: int, threads: int, quick: bool) -> dict[str, dict]:
    """Forward and forward+backward milliseconds over Gaussians, pixels, cameras and threads."""
    counts = [2500, 10_000, 40_000] if quick else [2500, 5000, 10_000, 20_000, 40_000, 80_000, 160_000]
    sides = [128, 256, 512] if quick else [128, 192, 256, 384, 512, 768, 1024]
    curves = {
        "Gaussians": {n: Step(head_like(n), cameras(256, 256)) for n in counts},
        "pixels": {s * s: Step(head_like(40_000), cameras(s, s)) for s in sides},
        "cameras": {c: Step(head_like(10_000), cameras(256, 256, c)) for c in (1, 2, 4)},
    }
    timed = {
        axis: {x: (median_ms(step.forward, rounds), median_ms(step.both, rounds)) for x, step in steps.items()}
        for axis, steps in curves.items()
    }
    return timed | {"threads": time_threads(rounds, threads)}


def time_threads(rounds: int, threads: int) -> dict[str, dict]:
    """Speed-up of forward+backward by threads, and that of the yardstick: no kernel can do better than that."""
    found: dict[str, dict] = {"yardstick": {}}
    for number in range(1, threads + 1):
        speedups = [number * yardstick() / yardstick(number) for _ in range(rounds)]
        found["yardstick"][number] = statistics.median(speedups)
    for name in ("10k@256x256", "40k@512x512", "160k@550x800"):
        count, width, height = WORKLOADS[name]
        step = Step(head_like(count), cameras(width, height))
        times: dict[int, list[float]] = {number: [] for number in range(1, threads + 1)}
        for _ in range(rounds + 1):  # in turn, so that all meet the same neighbours
            for number, taken in times.items():
                torch.set_num_threads(number)
                taken.append(milliseconds(step.both))
        found[name] = {n: statistics.median(a / b for a, b in zip(times[1], t, strict=True)) for n, t in times.items()}
    torch.set_num_threads(threads)
    return found


def as_table(rows: list[dict]) -> str:
    """The table that is printed."""
    head = (
        "workload        forward  fwd+bwd   degree 0  3 feat.   yardsticks      pairs    G pairs/s    share of limit"
        "   extra    twin\n"
        "                     ms       ms   fwd+bwd ms          fwd  fwd+bwd             fwd  f+b     fwd    f+b    "
        "      MB    fwd, f+b"
    )
    lines = [head]
    for r in rows:
        twin = "-"
        if "twin_both_ms" in r:
            ratios = r["twin_forward_ms"] / r["forward_ms"], r["twin_both_ms"] / r["both_ms"]
            twin = f"{ratios[0]:.0f}x, {ratios[1]:.0f}x"
        extra = "-" if r["extra_mb"] is None else f"{r['extra_mb']:.0f}"
        lines.append(
            f"{r['workload']:14s} {r['forward_ms']:8.1f} {r['both_ms']:8.1f}   {r['degree0_both_ms']:8.1f} "
            f"{r['features3_both_ms']:8.1f}   {r['forward_yardsticks']:5.2f} {r['both_yardsticks']:6.2f} "
            f"{r['pairs']:10,d}   {r['pairs_per_s_forward'] / 1e9:5.2f} {r['pairs_per_s_both'] / 1e9:5.2f}   "
            f"{r['share_of_limit_forward']:5.0%}  {r['share_of_limit_both']:5.0%} {extra:>8s}    {twin}"
        )
    return "\n".join(lines)


def as_stages(row: dict) -> str:
    """Where the time of a workload goes, most first."""
    stages = sorted(row["stages_ms"].items(), key=lambda item: -item[1])
    shares = ", ".join(
        f"{name} {taken / row['both_ms']:.0%}" for name, taken in stages if taken > 0.01 * row["both_ms"]
    )
    return f"{row['workload']}, forward and backward: {shares}"


def draw_figure(curves: dict, path: Path) -> None:
    """Times over Gaussians and pixels in double logarithmic scale, with a linear slope to compare; threads."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    figure = Figure(figsize=(11, 3.4), dpi=110, layout="constrained")
    axes = figure.subplots(1, 4)
    for axis, name in zip(axes, ("Gaussians", "pixels", "cameras"), strict=False):
        xs = list(curves[name])
        for i, label in enumerate(("forward", "forward + backward")):
            axis.loglog(xs, [curves[name][x][i] for x in xs], "o-", ms=4, color=PALETTE[i], label=label)
        last = curves[name][xs[-1]][1]
        axis.loglog(xs, [last * x / xs[-1] for x in xs], ":", color=PALETTE[-1], label="linear")
        axis.set(xlabel=name, ylabel="ms" if name == "Gaussians" else None)
        axis.set_xticks([xs[0], xs[-1]], [f"{xs[0]:,}", f"{xs[-1]:,}"])
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.xaxis.set_minor_formatter(NullFormatter())
    axes[0].legend(frameon=False, fontsize=8)
    axes[0].set_title("at 256 x 256", fontsize=9)
    axes[1].set_title("40,000 Gaussians", fontsize=9)
    axes[2].set_title("10,000 at 256 x 256", fontsize=9)
    for i, (name, speedups) in enumerate(curves["threads"].items()):
        style = {"ls": ":", "color": PALETTE[-1]} if name == "yardstick" else {"color": PALETTE[i]}
        axes[3].plot(
            list(speedups), list(speedups.values()), "o-" if "ls" not in style else "o", ms=4, label=name, **style
        )
    axes[3].set(xlabel="threads", ylabel="times as fast", xticks=list(curves["threads"]["yardstick"]), ylim=(0, None))
    axes[3].legend(frameon=False, fontsize=8)
    figure.savefig(path)


def time_gsplat(rounds: int) -> dict | None:
    """Pictures a second at 160k@550x800 with gsplat and with the kernels; None without CUDA."""
    if not torch.cuda.is_available():
        return None
    count, width, height = WORKLOADS["160k@550x800"]
    given, views = head_like(count), cameras(width, height)
    moved = {k: t.cuda() if isinstance(t, torch.Tensor) else t for k, t in (given | views).items()}

    def on_gpu():
        rasterization(**moved, sh_degree=3)
        torch.cuda.synchronize()

    step = Step(given, views)
    return {"gsplat": 1e3 / median_ms(on_gpu, 10 * rounds), "cpu": 1e3 / median_ms(step.forward, rounds)}


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="without the twin, and with fewer points in the curves")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("results/splatting"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    yardstick(options.threads)  # compiles it
    limit = limits(options.threads, options.rounds)
    rows = [time_workload(name, options.rounds, limit, not options.quick) for name in WORKLOADS]
    print(as_table(rows))
    print(as_stages(rows[-1]))
    curves = time_curves(max(3, options.rounds // 2), options.threads, options.quick)
    print(
        "times as fast with all threads: "
        + ", ".join(f"{k} {list(v.values())[-1]:.2f}" for k, v in curves["threads"].items())
    )
    frames = time_gsplat(options.rounds)
    if frames:
        print("pictures a second at 160k@550x800: " + ", ".join(f"{k} {v:.0f}" for k, v in frames.items()))
    machine = {
        "processor": platform.processor() or platform.machine(),
        "lanes": len(LANES),
        "threads": options.threads,
        "torch": torch.__version__,
        "numba": numba.__version__,
        "realhead": __version__,
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "yardstick_ms": statistics.median(yardstick() for _ in range(options.rounds)),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    found = {"machine": machine, "limits": limit, "workloads": rows, "curves": curves, "pictures_per_s": frames}
    (options.out / "speed.json").write_text(json.dumps(found, indent=1) + "\n")
    draw_figure(curves, options.out / "speed.png")
    print(f"wrote {options.out / 'speed.json'} and {options.out / 'speed.png'}")


if __name__ == "__main__":
    main()
