"""What a recording consists of: cameras, frames, gaps, sizes, units; and what cannot be read."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import torch

from realhead.capture.capture import Capture
from realhead.capture.files import picture_size, read_npz
from realhead.doctor import Finding
from realhead.errors import CaptureError
from realhead.importing.recording import Recording, require_size

SIX_D = re.compile(r"6D rotations")
ROWS = re.compile(r"'static_offset' has (\d+) rows")
NEAR, FAR = 0.2, 4.0
"""Metres between a head and the cameras that take a portrait of it."""


def inventory(recording: Recording) -> list[Finding]:
    """One line per topic."""
    cameras = {shot.camera.name: shot.camera for shot in recording.shots}
    sizes = Counter((c.width, c.height) for c in cameras.values())
    shown = ", ".join(f"{w}x{h}" for w, h in sizes)
    findings = [Finding("format", "ok", f"{recording.kind}: person {recording.person}, sequence {recording.sequence}")]
    state = "ok" if len(sizes) == 1 else "problem"
    advice = "" if state == "ok" else "training wants one size: export all cameras at one scale"
    findings.append(Finding("cameras", state, f"{len(cameras)}, pictures of {shown}", advice))
    findings += [_frames(recording, len(cameras)), _distance(recording), _coefficients(recording)]
    findings += [Finding("note", "ok", note) for note in recording.notes]
    return findings


def _frames(recording: Recording, cameras: int) -> Finding:
    times = sorted(recording.frames)
    per_time = Counter(shot.timestep for shot in recording.shots)
    missing = sum(cameras - per_time.get(t, 0) for t in times)
    gaps = int(sum(b - a > 1 for a, b in zip(times, times[1:])))
    shown = f"{len(times)} timesteps ({times[0]} to {times[-1]}), {len(recording.shots)} pictures"
    parts = [f"{missing} pictures are missing"] if missing else []
    parts += [f"{gaps} gaps in time"] if gaps else []
    return Finding(
        "frames", "absent" if parts else "ok", "; ".join([shown, *parts]), "a gap does no harm" if gaps else ""
    )


def _distance(recording: Recording) -> Finding:
    """Head to camera, in what should be metres."""
    gaps = []
    for shot in recording.shots[:: max(1, len(recording.shots) // 200)]:
        frame = recording.frames.get(shot.timestep)
        if frame is not None:
            gaps.append(float(torch.linalg.norm(shot.camera.centre - frame.translation)))
    low, high = (min(gaps), max(gaps)) if gaps else (float("nan"),) * 2
    shown = f"the head is {low:.2f} to {high:.2f} m from the cameras"
    if NEAR <= low and high <= FAR:
        return Finding("units", "ok", shown)
    return Finding("units", "absent", shown, "that is unusual: see the overlays")


def _coefficients(recording: Recording) -> Finding:
    shapes = torch.stack([frame.shape for frame in recording.frames.values()])
    expressions = torch.stack([frame.expression for frame in recording.frames.values()])
    largest = float(shapes.abs().max()), float(expressions.abs().max())
    shown = f"shape within {largest[0]:.1f}, expression within {largest[1]:.1f} standard deviations"
    if max(largest) > 8:
        return Finding("coefficients", "absent", shown, "beyond 8 a face is rarely human: was the tracking stable?")
    return Finding("coefficients", "ok", shown)


def broken(sentences: list[str], total: int) -> list[Finding]:
    """Frames that will be left out, by name; faults that they reveal come first."""
    if not sentences:
        return []
    findings = []
    if any(SIX_D.search(sentence) for sentence in sentences):
        first = next(s for s in sentences if SIX_D.search(s))
        findings.append(Finding("6D for axis-angle", "problem", first, "convert them to axis-angle (3 numbers)"))
    named = "; ".join(sentences[:5]) + ("; ..." if len(sentences) > 5 else "")
    shown = f"{len(sentences)} of {total} cannot be used: {named}"
    return [*findings, Finding("left out", "absent", shown, "the others are used; restore these if you need them")]


def unreadable(recording: Recording) -> tuple[list[str], set[tuple[int, str]]]:
    """Pictures and masks that are absent, cut short or of another size; told by head and end of the files alone.

    Returns:
        A sentence for each, and (timestep, camera) of their shots.
    """
    sentences, shots = [], set()
    for shot in recording.shots:
        try:
            for path in (shot.image, shot.mask):
                if path is not None:
                    require_size(path, picture_size(path), shot.camera)
        except CaptureError as error:
            sentences.append(str(error))
            shots.add((shot.timestep, shot.camera.name))
    return sentences, shots


def offset_rows(capture: Capture) -> set[int]:
    """Rows of the static offsets in a VHAP export (looked up in a few files)."""
    files = list(capture.parameter_files.values())
    rows = set()
    for k in np.unique(np.linspace(0, len(files) - 1, 8).astype(int)):
        try:
            data = read_npz(files[k], only=("static_offset",))
        except CaptureError:
            continue
        rows |= {array.reshape(-1, 3).shape[0] if array.size % 3 == 0 else array.size for array in data.values()}
    return rows
