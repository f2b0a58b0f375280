"""NeRSemble's own folders, and what `realhead import nersemble` makes of them for VHAP, have no mesh yet: calibration
and completeness are what can be checked.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import torch

from realhead.capture.camera import Camera
from realhead.doctor import Finding
from realhead.errors import CaptureError
from realhead.importing.colour import TERMS
from realhead.importing.nersemble import SERIALS, read_calibration, read_colours
from realhead.importing.nersemble_split import PARTICIPANT

AROUND = 0.5
"""Metres within which all optical axes should pass a common point."""


def check_nersemble(folder: Path) -> list[Finding]:
    """One line per topic over all participants."""
    people = sorted(p for p in folder.iterdir() if p.is_dir() and PARTICIPANT.fullmatch(p.name))
    prepared = (folder / "track.sh").is_file()
    sequences: Counter[str] = Counter()
    findings, broken = [], []
    for person in people:
        try:
            findings += _calibration(person)
        except CaptureError as error:
            broken.append(str(error))
        for sequence in sorted((person / "sequences").glob("*")):
            if sequence.name == "BACKGROUND":
                continue
            count = len({path.stem.split("_")[1] for path in sequence.glob("images*/cam_*")})
            sequences["good" if count == len(SERIALS) else "short"] += 1
            if count < len(SERIALS):
                broken.append(f"{sequence} has {count} of {len(SERIALS)} cameras")
    name = "NeRSemble v2, prepared for VHAP" if prepared else "NeRSemble v2"
    head = Finding("format", "ok", f"{name}: {len(people)} participants, {sequences.total()} sequences")
    findings = [head, *findings]
    if broken:
        shown = "; ".join(broken[:5]) + ("; ..." if len(broken) > 5 else "")
        findings.append(Finding("left out", "absent", shown, "download them with nersemble-data"))
    if not people or len(broken) >= len(people) + sequences.total():
        findings.append(Finding("participants", "problem", "none can be used", "see above"))
    first = f"{folder / 'track.sh'} in a clone of VHAP" if prepared else "realhead import nersemble, then VHAP"
    findings.append(Finding("next", "ok", f"{first}, then realhead import vhap"))
    return findings


def _calibration(person: Path) -> list[Finding]:
    cameras = read_calibration(person)
    colours = read_colours(person)
    findings = []
    centre, behind = meeting_point(list(cameras.values()))
    if behind > len(cameras) / 2:
        seen = f"{person.name}: the point that all cameras look at is behind them"
        findings.append(
            Finding("OpenCV/OpenGL mix-up", "problem", seen, "world_2_cam must have OpenCV axes: download it again")
        )
    first = next(iter(cameras.values()))
    cx, cy = float(first.K[0, 2]) / first.width, float(first.K[1, 2]) / first.height
    if not (0.3 < cx < 0.7 and 0.3 < cy < 0.7):
        seen = f"{person.name}: the principal point is at {cx:.0%}, {cy:.0%} of {first.width}x{first.height} pixels"
        findings.append(Finding("intrinsics", "problem", seen, "they must be of the full size, 3208x2200"))
    wrong = [s for s in cameras if s not in colours or colours[s].shape not in {(3, count) for count in TERMS}]
    if wrong:
        seen = f"{person.name}: no colour matrix of 3 rows for {', '.join(wrong[:3])}"
        findings.append(Finding("colours", "problem", seen, "download color_calibration.json again"))
    if len(cameras) < len(SERIALS):
        findings.append(Finding("cameras", "absent", f"{person.name}: {len(cameras)} of {len(SERIALS)} are calibrated"))
    return findings


def meeting_point(cameras: list[Camera]) -> tuple[torch.Tensor, int]:
    """The point nearest to all optical axes [3], and how many cameras have it behind them."""
    system, right = torch.zeros(3, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for camera in cameras:
        direction, centre = camera.forward.double(), camera.centre.double()
        across = torch.eye(3, dtype=torch.float64) - torch.outer(direction, direction)
        system += across
        right += across @ centre
    point = torch.linalg.lstsq(system, right[:, None]).solution[:, 0]
    depths = [float((point - camera.centre.double()) @ camera.forward.double()) for camera in cameras]
    return point.float(), sum(depth < 0 for depth in depths)
