"""Measures tracking and writes results/tracking/*.json and the table results/tracking/tracking.md.

    python tests/benchmarks/bench_tracking.py [PART ...] [--real FOLDER] [--people 5] [--frames 300]

truth: OpenHeads' wild clips, every step of the fit against what is known. photometric: a step that is left out.
real: where landmarks land on photographs and clips. jitter: a still face. speed: a stream. driven: three frames of a
real clip enrolled, the others driven. The clips and all photographs but one are not kept here: `tracking_real.py` says
what to put into FOLDER; without it they are left out. Everything runs on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from tracking_driven import driven
from tracking_photometric import photometric
from tracking_real import jitter, reprojection, speed
from tracking_tables import tables
from tracking_truth import synthetic

from realhead import __version__
from realhead.capture.writer import write_json

PARTS = ("truth", "photometric", "real", "jitter", "speed", "driven")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--real", type=Path, help="folder of the public material")
    parser.add_argument("--prior", default="laptop", help="prior of the driven avatars")
    parser.add_argument("--people", type=int, default=5, help="synthetic people")
    parser.add_argument("--frames", type=int, default=300, help="frames of each of them")
    parser.add_argument("--out", type=Path, default=Path("results/tracking"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    measures = {
        "truth": lambda: synthetic(options.people, options.frames),
        "photometric": photometric,
        "real": lambda: reprojection(options.real),
        "jitter": jitter,
        "speed": lambda: speed(options.real),
        "driven": lambda: driven(options.real, options.out / "driven.jpg", options.prior),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    for part in options.parts or PARTS:
        if part not in measures:
            sys.exit(f"There is no part {part!r}: choose from {', '.join(PARTS)}.")
        begun = time.process_time()
        result = measures[part]()
        if not result:
            print(f"{part}: its material is absent")
            continue
        result |= {"version": __version__, "cpu_seconds": round(time.process_time() - begun, 1)}
        write_json(options.out / f"{part}.json", result)
        print(json.dumps(result, indent=1))
    (options.out / "tracking.md").write_text(tables(options.out))


if __name__ == "__main__":
    main()
