"""The faults that `realhead check` knows, and the rules that name them.

Every rule looks at one thing and returns findings; a finding of state "problem" carries the fault's name, what was seen
and how to mend it. Rules that undo a mistake and look again are in `realhead.checking.hypotheses`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from realhead.capture.frame import Frame
from realhead.checking.evidence import Exhibit, mask_at, predict
from realhead.checking.hypotheses import AS_IS, Hypothesis, errors, known_hypotheses, rhythm
from realhead.doctor import Finding
from realhead.head.model import Head

FAULTS = (
    "flipped principal point", "OpenCV/OpenGL mix-up", "wrong FLAME edition", "mesh scale x4", "mesh scale x5",
    "degrees for radians", "6D for axis-angle", "out of step", "masks inverted", "cameras behind the head",
    "mirrored faces", "rows of offsets",
)  # fmt: skip

POOR = 0.08
"""Landmark error beyond which something may be wrong; exact parameters of synthetic people give 0.05 (ours)."""
MUCH_BETTER = 0.6
"""A mistake is named when undoing it leaves at most this share of the error."""
LIMITS = {"neck": 1.6, "jaw": 1.3, "left eye": 1.3, "right eye": 1.3}
"""Radians beyond which no joint goes."""
STEPS = (-3, -2, -1, 1, 2, 3)
FEWEST = 6
"""Pictures that must be comparable before a shift is believed."""


def rotations(frames: dict[int, Frame]) -> tuple[list[Finding], bool]:
    """Joint angles beyond what a neck, jaw or eye can do: degrees, or the first row of a matrix.

    Returns:
        Findings, and whether rotations are unusable as they are.
    """
    poses = np.stack([frame.pose.numpy() for frame in frames.values()])  # [T, 5, 3]
    angles = np.linalg.norm(poses, axis=2)
    jaw = poses[:, 2]
    if len(jaw) and (np.abs(angles[:, 2] - 1) < 1e-3).mean() > 0.9 and np.median(jaw[:, 0]) > 0.7:
        shown = "jaw_pose is a unit vector near (1, 0, 0) in nearly all frames: the first row of a matrix"
        return [_fault("6D for axis-angle", shown, "convert 6D rotations (two rows) to axis-angle first")], True
    names = ("neck", "jaw", "left eye", "right eye")
    beyond = {n: float(angles[:, k + 1].max()) for k, n in enumerate(names) if angles[:, k + 1].max() > LIMITS[n]}
    root = float(angles[:, 0].max())
    if root > math.pi * 1.5:
        beyond["root"] = root
    if not beyond:
        return [], False
    shown = ", ".join(f"{name} turns by up to {value:.1f}" for name, value in beyond.items())
    if max(beyond.values()) > 3:
        return [_fault("degrees for radians", shown, "multiply rotations by pi / 180")], True
    return [Finding("rotations", "problem", shown, "no joint goes that far: were these frames tracked well?")], False


def masks(exhibits: Sequence[Exhibit], frames: dict[int, Frame], head: Head) -> list[Finding]:
    """Masks that are dark where the face is and bright at the border of the picture."""
    inner, border = [], []
    for exhibit in exhibits:
        mask = exhibit.mask
        border.append(np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).mean() / 255)
        if exhibit.points is not None:
            inner.append(mask_at(mask, exhibit.points).mean())
        else:
            xy, depth, _ = predict(head, frames[exhibit.shot.timestep], exhibit.shot.camera)
            seen = xy[head.regions["face"].numpy() & (depth > 0)]
            if len(seen):
                inner.append(mask_at(mask, seen).mean())
    inner, border = (float(np.mean(values)) if len(values) else 1.0 for values in (inner, border))
    shown = f"{inner:.0%} of the face is inside the masks, {border:.0%} of the pictures' border"
    if inner < 0.35 and border > 0.5:
        return [_fault("masks inverted", shown, "store 255 - mask: white is the person")]
    if border > 0.95:
        return [Finding("masks", "absent", "there are none", "training wants masks; without them the room is learnt")]
    return [Finding("masks", "ok", shown)]


def overlay(
    exhibits: Sequence[Exhibit], frames: dict[int, Frame], head: Head, others: Sequence[Head] = ()
) -> tuple[list[Finding], Hypothesis]:
    """Which mistake, if any, explains the pictures far better than the data as they are.

    Args:
        exhibits: Pictures that were looked at.
        frames: Their parameters.
        head: The head that they are believed to belong to.
        others: Heads of other editions.

    Returns:
        Findings, and the explanation that was found (or `AS_IS`).
    """
    if not exhibits:
        return [Finding("overlay", "problem", "no picture could be looked at", "see the list of broken frames")], AS_IS
    with_face = [exhibit for exhibit in exhibits if exhibit.points is not None]
    used = with_face if len(with_face) >= 2 else list(exhibits)
    what = "landmark error" if len(with_face) >= 2 else "mask error"
    now = _typical(errors(used, frames, head, AS_IS))
    candidates = known_hypotheses() + [_edition(other, head) for other in others]
    scores = {h.name: _typical(errors(used, frames, head, h)) for h in candidates}
    best = min(candidates, key=lambda h: scores[h.name])
    shown = f"{what} {now:.3f} of the eyes' distance over {len(used)} pictures ({len(with_face)} with a face)"
    if now > POOR and scores[best.name] < MUCH_BETTER * now:
        seen = f"{best.says}: {what} {now:.2f} as it is, {scores[best.name]:.2f} with that undone"
        return [_fault(best.name, seen, best.mend)], best
    if now > 4 * POOR:
        return [Finding("overlay", "problem", shown, "the mesh does not fit and no known mistake explains it")], AS_IS
    return [Finding("overlay", "ok", shown)], AS_IS


def _typical(values: np.ndarray) -> float:
    return float(np.mean(np.minimum(values, np.quantile(values, 0.8))))


def _edition(other: Head, head: Head) -> Hypothesis:
    return Hypothesis(
        "wrong FLAME edition", f"FLAME {other.edition} fits better than {head.edition or head.name}",
        f"pass FLAME {other.edition} with --head: coefficients of one edition mean nothing to another", head=other,
    )  # fmt: skip


def steps(exhibits: Sequence[Exhibit], frames: dict[int, Frame], head: Head) -> list[Finding]:
    """Pictures and parameters that belong to different moments."""
    now, count = rhythm(exhibits, frames, head, 0)
    if count < FEWEST:
        return [Finding("in step", "absent", f"{count} comparable pictures: too few to tell", "")]
    shifted = {k: rhythm(exhibits, frames, head, k) for k in STEPS}
    shifted = {k: value for k, (value, pairs) in shifted.items() if pairs >= max(FEWEST, 0.5 * count)}
    best = min(shifted, key=shifted.get, default=0)
    if best and shifted[best] < 0.75 * now:
        seen = f"movement differs by {now:.3f} as it is and by {shifted[best]:.3f} with parameters {best:+d} frames on"
        return [_fault("out of step", seen, f"shift the parameters by {-best:+d} frames against the pictures")]
    return [Finding("in step", "ok", f"movement of pictures and parameters differs by {now:.3f}")]


def editions(head: Head, expected: str | None, stated: str | None) -> list[Finding]:
    """An edition that the format or the capture's own file contradicts."""
    if head.name == "open" and stated is None:
        return [Finding("head", "ok", f"the free head {head.hash}")]
    mine = head.edition or ("the free head" if head.name == "open" else "unknown")
    wanted = stated or expected
    if wanted is not None and mine not in (wanted, "unknown"):
        seen = f"the folder's parameters are FLAME {wanted}'s, the head is {mine}"
        return [_fault("wrong FLAME edition", seen, f"pass FLAME {wanted} with --head")]
    state = "absent" if mine == "unknown" else "ok"
    advice = "" if state == "ok" else "its file is not one of the official ones: be sure that it is the right edition"
    return [Finding("head", state, f"FLAME {mine} ({head.num_vertices} vertices with teeth and mouth)", advice)]


def offset_rows(rows: set[int], head: Head) -> list[Finding]:
    """Per-vertex offsets of another mesh than the head's."""
    from realhead.importing.vhap import OFFSET_ROWS

    if not rows:
        return []
    shown = f"static_offset has {', '.join(map(str, sorted(rows)))} rows"
    if rows <= set(OFFSET_ROWS) and len(rows) == 1 and head.name != "open":
        note = "VHAP's teeth are the last 120" if rows == {OFFSET_ROWS[1]} else "FLAME's vertices without VHAP's teeth"
        return [Finding("offsets", "ok", f"{shown}: {note}; the import takes them into the shape")]
    mend = "5023 rows are FLAME's, 5143 have VHAP's teeth: export all frames again with one setting, or without offsets"
    return [_fault("rows of offsets", f"{shown}, the head has {head.num_vertices} vertices", mend)]


def _fault(name: str, seen: str, mend: str) -> Finding:
    return Finding(name, "problem", seen, mend)
