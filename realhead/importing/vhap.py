"""VHAP's exports: single and union folders, multi-view and monocular.

The layout is the one that captures have; `realhead.capture.layout` undoes its traps (flipped cy, OpenGL axes). What is
left: which FLAME edition it is (VHAP's is 2023), names of person and sequence, pictures that lie in sibling folders
(unions), and offsets that the paper does not use.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch

from realhead.capture.capture import Capture
from realhead.capture.files import read_npz
from realhead.errors import CaptureError
from realhead.head.model import Head
from realhead.importing.recording import Recording, Shot

EDITION = "2023"
OFFSET_ROWS = (5023, 5143)
"""FLAME's vertices, and with VHAP's teeth."""
SETTING = re.compile(r"v\d+|DS[\d.x-]+|(white|black|w|b)Bg|staticOffset|maskBelowLine|(lmk|teeth|offset)\w*|SMOOTH")
"""Parts of a folder's name, between underscores, that say how it was exported."""


def exports(source: Path) -> list[Path]:
    """Export folders at or directly below a folder.

    Raises:
        CaptureError: There is none; the sentence says what is there instead.
    """
    if (source / "transforms.json").is_file():
        return [source]
    found = sorted(path.parent for path in source.glob("*/transforms.json"))
    if not found:
        raise CaptureError(_what_is_it(source))
    return without_unions(found)


def without_unions(found: list[Path]) -> list[Path]:
    """Exports without unions, as long as others are there: a union only points at its single exports."""
    single = [path for path in found if not path.name.startswith("UNION")]
    return single or found


def _what_is_it(source: Path) -> str:
    if any(source.glob("tracked_flame_params*.npz")) or any(source.glob("*/tracked_flame_params*.npz")):
        return (
            f"{source} is VHAP's tracking output: run its vhap/export_as_nerf_dataset.py first, and import the export."
        )
    if (source / "metadata_sequences.csv").is_file() or any(source.glob("*/calibration/camera_params.json")):
        return f"{source} is NeRSemble itself: run `realhead import nersemble`, then VHAP, then import VHAP's export."
    return (
        f"{source} is no VHAP export: neither it nor a folder in it has a transforms.json; name the folder that VHAP's "
        "export_as_nerf_dataset.py wrote."
    )


def read_vhap(folder: Path, head: Head) -> Recording:
    """Reads one export.

    Args:
        folder: The folder with transforms.json.
        head: The FLAME that the export was tracked with.

    Raises:
        CaptureError: Nothing in it can be used.
    """
    capture = Capture.open(folder, head)
    person, sequence = names(folder, capture.info)
    frames = {t: capture.frame(t) for t in capture.timesteps}
    shots = [
        Shot(timestep, entry.camera, entry.image, entry.mask)
        for (timestep, _), entry in sorted(capture.entries.items())
        if timestep in frames
    ]
    recording = Recording("VHAP export", folder, person, sequence, head, frames, shots, broken=list(capture.broken))
    if capture.splits:
        recording.splits = {
            split: {(t, int(name)) for t, name in capture.keys(split)} for split in ("train", "val", "test")
        }
    _fold_offsets(recording, capture)
    return recording


def names(folder: Path, info: dict) -> tuple[str, str]:
    """Person and sequence: as realhead.json says, else from VHAP's naming of folders."""
    if {"person", "sequence"} <= info.keys():
        return safe_name(str(info["person"])), safe_name(str(info["sequence"]))
    words = folder.resolve().name.split("_")
    if words[0].startswith("UNION"):
        words = words[1:]
    settings = [k for k, word in enumerate(words) if SETTING.fullmatch(word)]
    words = words[: settings[0]] if settings and settings[0] else words
    numbered = len(words) > 1 and words[0].isdigit()  # monocular clips have no sequence, and names like nf_01
    return (safe_name(words[0]), safe_name("_".join(words[1:]))) if numbered else (safe_name("_".join(words)), "video")


def safe_name(name: str) -> str:
    return re.sub(r"[^\w+.-]", "_", name).strip(".") or "unnamed"


def _fold_offsets(recording: Recording, capture: Capture) -> None:
    """Explains per-vertex offsets by identity as far as that goes, and says what is lost."""
    from dataclasses import replace

    solved: dict[bytes, tuple[torch.Tensor, float, float]] = {}
    rows = None
    for timestep, frame in list(recording.frames.items()):
        data = read_npz(capture.parameter_files[timestep], only=("static_offset", "dynamic_offset"))
        if "dynamic_offset" in data and not any("dynamic" in note for note in recording.notes):
            recording.notes.append("dynamic_offset is left out: no basis explains it.")
        if "static_offset" not in data:
            continue
        offset = data["static_offset"].reshape(-1, 3).astype(np.float32)
        rows = len(offset)
        key = offset.tobytes()
        if key not in solved:
            try:
                solved[key] = fold(recording.head, offset, capture.parameter_files[timestep])
            except CaptureError as error:
                recording.notes.append(f"{error} They are left out.")
                return
        recording.frames[timestep] = replace(frame, shape=frame.shape + solved[key][0])
    if solved:
        before, after = (1000 * float(np.mean([values[k] for values in solved.values()])) for k in (1, 2))
        recording.source["static_offset"] = {"rows": rows, "rms_mm": round(before, 3), "left_mm": round(after, 3)}
        recording.notes.append(
            f"static_offset ({rows} rows, {before:.2f} mm) is taken into the shape coefficients, {after:.2f} mm of it "
            "cannot be: the paper tracks without it (VHAP's flag --model.no_use_static_offset)."
        )


def fold(head: Head, offset: np.ndarray, path: Path) -> tuple[torch.Tensor, float, float]:
    """Identity coefficients that come closest to an offset of the vertices.

    Args:
        head: FLAME; its teeth, if it has any, follow the shape.
        offset: Metres, [5023 or 5143, 3].
        path: Named in errors.

    Returns:
        Change of the coefficients [S], RMS length of the offset, RMS length of what is left, both in metres.

    Raises:
        CaptureError: Another number of rows.
    """
    if len(offset) not in OFFSET_ROWS or head.name == "open":
        raise CaptureError(
            f"{path}: 'static_offset' has {len(offset)} rows for a head of {head.num_vertices} vertices; FLAME has "
            f"{OFFSET_ROWS[0]}, with VHAP's teeth {OFFSET_ROWS[1]}: export again without static offsets."
        )
    wanted = torch.from_numpy(offset[: OFFSET_ROWS[0]]).reshape(-1)
    basis = head.shapedirs[: OFFSET_ROWS[0]].reshape(-1, head.num_shape)
    gram = basis.T @ basis
    gram += torch.eye(len(gram)) * 1e-6 * gram.diagonal().mean()
    change = torch.linalg.solve(gram, basis.T @ wanted)
    left = (wanted - basis @ change).reshape(-1, 3)
    rms = [float(values.reshape(-1, 3).square().sum(1).mean().sqrt()) for values in (wanted, left)]
    return change, rms[0], rms[1]
