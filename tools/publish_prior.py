"""Puts a trained prior where `load_prior` finds it, with a model card made from its runs and its evaluation.

    python tools/publish_prior.py runs/laptop --evaluation results/studio/laptop.json --name laptop

The card of a run tells the legs that it started from.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from realhead.config import TRAINING
from realhead.evaluation.summary import line_of
from realhead.model.checkpoint import SHIPPED, load_tensors, save_tensors, weights_hash
from realhead.run_folder import legs_of

TEMPLATE = """\
# Prior `{name}`

Two encoders, one Style U-Net decoder and a mean head, trained on synthetic people (OpenHeads) with the sources of this
repository. Load it with `realhead.load_prior("{name}")`. Licence: Apache-2.0.

## How it was trained

{legs}

The people of the last leg: `{data}`.
Weights: {size:.1f} MB as float16, hash `{hash}`. {parameters:,} parameters, {resolution} texels.
Perceptual loss: {perceptual}. Critic: {critic}.
The mean head, {mean:,} of the parameters, is ours; the paper does not mention one.

## How good it is

{numbers}

## Limits

- It has seen synthetic people only: {people} of them. Real photographs work as far as they resemble them.
- Hair is learned as an offset from the scalp; it comes out softer than it is, and without its finest strands.{limits}
- Light: studio light in all training pictures, so shadows of other lights are baked into the texture.
- The people vary in age, sex and origin as the generator does, which is not how people vary.
"""


def leg_line(index: int, card: dict) -> str:
    """One leg of the training as a line."""
    config, data = card["config"], card["data"]
    start = "from scratch" if index == 0 else "from the leg before"
    processes, batch = card.get("processes") or 1, config["batch_size"]
    program = "realhead" if processes == 1 else f"torchrun --nproc-per-node {processes} -m realhead"
    options = f"--iterations {config['iterations']}" + ("" if index == 0 else " --init <leg before>")
    if config["learning_rate"] != TRAINING[config["preset"]].learning_rate:
        options += f" --set learning_rate={config['learning_rate']}"
    if batch != TRAINING[config["preset"]].batch_size:
        options += f" --set batch_size={batch}"
    usual = TRAINING[config["preset"]].loss.scale
    if "mean_rate" in config and config["loss"]["scale"] != usual:
        options += f" --set loss.scale={config['loss']['scale']}"
    return (
        f"{index + 1}. `{program} train <data> --preset {config['preset']} {options}`, {start}: {card['step']} of "
        f"{config['iterations']} steps of batch {batch * processes}, learning rate {config['learning_rate']}, seed "
        f"{config['seed']}, {card['hours']:.2f} hours on a {card['device']}; {card['people']} people of "
        f"{data['generator']} {data['version']}; configuration `{card['config_hash']}`, torch {card['torch']}."
        + ("" if "mean_rate" in config else " Penalised: scales instead of scale offsets; the mean head at full rate.")
        + (f" Afterwards: {card['afterwards']}." if "afterwards" in card else "")
    )


def people_of(cards: list[dict]) -> int:
    """How many people of the last leg's generator the legs have shown; another seed means other people."""
    version = cards[-1]["data"]["version"]
    seen = {card["data"]["seed"]: card["people"] for card in cards if card["data"]["version"] == version}
    return sum(seen.values())


def numbers_table(evaluation: dict) -> str:
    """Unseen views of held-out people, per method and region."""
    lines = ["| unseen views | region | PSNR | SSIM | LPIPS (alex) |", "|---|---|---|---|---|"]
    for method in ("floor", "0-shot", "1-shot", "3-shot", "ceiling"):
        for region in ("picture", "mask", "mouth"):
            line = line_of(evaluation, method, "unseen", region)
            if "psnr" in line:
                psnr, ssim, lpips = (line[key]["mean"] for key in ("psnr", "ssim", "lpips_alex"))
                lines.append(f"| {method} | {region} | {psnr:.2f} | {ssim:.3f} | {lpips:.3f} |")
    people = max((line.get("psnr", {}).get("people", 0) for line in evaluation["summary"]), default=0)
    said = f"{people} people whom it never saw, protocol {evaluation['protocol']}."
    if steps := evaluation["config"]["ceiling_steps"]:
        said += f" The ceiling is the same network after {steps} steps on all pictures of a person"
        reached = [line_of(evaluation, method, "unseen", "mask")["psnr"]["mean"] for method in ("3-shot", "ceiling")]
        said += ", which are too few: three pictures reach more." if reached[0] > reached[1] else "."
    return "\n".join([said, "", *lines])


def limits_text(limits: dict) -> str:
    """Where the error lies, what the network reaches once it has seen everything, and what a whole moment tells
    (bench_limits.py)."""
    beside, face = (limits["methods"]["3-shot"][place] for place in ("beside the mesh", "face"))
    fitted = next(name for name in limits["methods"] if name.startswith("fitted"))
    rows = [limits["methods"][fitted], limits["3-shot, those fitted"]]
    (most, whole), (three, three_whole) = ((row["all"]["psnr"], row["picture"]["psnr"]) for row in rows)
    moment, count = limits["one moment"]["mean"], len(limits["one moment"]["people"])
    return (
        f" Of {len(limits['people'])} unseen people {beside['pixels']:.0%} of the pixels lie beside the tracked mesh, "
        f"hair and clothes, and hold {beside['squared_error']:.0%} of the squared error of 3-shot pictures: "
        f"{beside['psnr']:.1f} dB there, {face['psnr']:.1f} dB on the face. The network, {fitted}, the scored ones "
        f"included, reaches {most:.1f} dB inside the mask and {whole:.1f} dB over the whole picture on "
        f"{len(limits['fitted'])} of them; 3-shot has {three:.1f} and {three_whole:.1f} dB. Hair's detail is hard "
        f"to foresee: when the Gaussians of {count} people at one moment are fitted freely to twelve pictures of "
        f"it, the four others reach {moment['best']:.1f} dB at the best step (from {moment['before']:.1f} dB), and the "
        f"learned ones {moment['learned pictures, last step']:.1f} dB (results/studio/limits.json)."
    )


def main() -> None:
    """Writes <name>.safetensors and <name>.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--evaluation", type=Path)
    parser.add_argument("--limits", type=Path, help="what tests/benchmarks/bench_limits.py wrote")
    made = "realhead data --size laptop --out <data>"
    parser.add_argument("--data", default=made, help="the command that made the people")
    parser.add_argument("--name", default="laptop")
    parser.add_argument("--out", type=Path, default=SHIPPED)
    options = parser.parse_args()
    weights, metadata = load_tensors(options.run / "prior.safetensors")
    cards = legs_of(metadata["card"])
    path = options.out / f"{options.name}.safetensors"
    if not path.exists() or weights_hash(load_tensors(path)[0]) != weights_hash(weights):  # each version stays for ever
        save_tensors(path, weights, metadata)
    evaluation = json.loads(options.evaluation.read_text()) if options.evaluation else None
    text = TEMPLATE.format(
        name=options.name,
        legs="\n".join(leg_line(i, card) for i, card in enumerate(cards)),
        data=options.data,
        size=path.stat().st_size / 1e6,
        hash=weights_hash(weights),
        parameters=sum(w.numel() for w in weights.values()),
        mean=weights["mean"].numel(),
        resolution=metadata["config"]["resolution"],
        perceptual=cards[-1]["perceptual"],
        critic=cards[-1]["critic"] or "none",
        people=people_of(cards),
        limits=limits_text(json.loads(options.limits.read_text())) if options.limits else "",
        numbers=numbers_table(evaluation) if evaluation else "Not measured.",
    )
    (options.out / f"{options.name}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
