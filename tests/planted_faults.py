"""Known mistakes, planted in good data: each function spoils a folder. Keys are the names that `check` gives."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from format_examples import edit_json, edit_npz
from PIL import Image

TURN = np.diag([-1.0, 1.0, -1.0, 1.0])
"""Half a turn about the vertical axis."""
CUT = 40
"""Rows that a cropped clip lost."""
SIX_D = np.array([[1.0, 0, 0, 0, 1, 0]], np.float32)


def every_frame(folder: Path, change: Callable[[dict], None]) -> None:
    for path in folder.glob("transforms*.json"):
        edit_json(path, lambda content: [change(frame) for frame in content["frames"]])


def every_parameter(folder: Path, change) -> None:
    for path in sorted((folder / "flame_param").glob("*.npz")):
        edit_npz(path, change)


def every_picture(folder: Path, names: tuple[str, ...], change) -> None:
    for name in names:
        for path in (folder / name).glob("*.[pj][np]g"):
            Image.fromarray(change(np.asarray(Image.open(path)))).save(path, quality=98)


def matrix(frame: dict, change: Callable[[np.ndarray], np.ndarray]) -> None:
    frame["transform_matrix"] = change(np.array(frame["transform_matrix"])).tolist()


def flip_principal_point(folder: Path) -> None:
    every_frame(folder, lambda f: f.update(cy=f["h"] - f["cy"]))


def crop_and_flip(folder: Path) -> None:
    """A clip whose lower rows were cut off, which moves its principal point out of the middle; then cy is flipped."""
    every_picture(folder, ("images", "fg_masks"), lambda pixels: pixels[:-CUT])
    every_frame(folder, lambda f: f.update(h=f["h"] - CUT, cy=f["h"] - f["cy"]))  # stored unflipped: cy itself


def swap_axes(folder: Path) -> None:
    every_frame(folder, lambda f: matrix(f, lambda m: m * np.array([1, -1, -1, 1])))


def claim_edition(folder: Path) -> None:
    """Whoever made the capture says FLAME 2020, but the head is another."""
    path = folder / "realhead.json"
    content = json.loads(path.read_text()) if path.exists() else {"head": {"name": "open"}}
    content["head"]["edition"] = "2020"
    path.write_text(json.dumps(content))


def scale_world(scale: float) -> Callable[[Path], None]:
    def plant(folder: Path) -> None:
        def grow(m: np.ndarray) -> np.ndarray:
            m[:3, 3] *= scale
            return m

        every_frame(folder, lambda f: matrix(f, grow))
        every_parameter(folder, lambda a: a | {"translation": a["translation"] * scale})

    return plant


def to_degrees(folder: Path) -> None:
    keys = ("rotation", "neck_pose", "jaw_pose", "eyes_pose")
    every_parameter(folder, lambda a: a | {k: np.degrees(a[k]) for k in keys})


def to_six_d(folder: Path) -> None:
    every_parameter(folder, lambda a: a | {"jaw_pose": SIX_D, "neck_pose": SIX_D})


def to_first_row(folder: Path) -> None:
    every_parameter(folder, lambda a: a | {"jaw_pose": SIX_D[:, :3]})


def shift_parameters(folder: Path) -> None:
    """Every picture gets the parameters of the timestep after it (the last one those of the first)."""
    paths = sorted((folder / "flame_param").glob("*.npz"))
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, contents[1:] + contents[:1], strict=True):
        path.write_bytes(content)


def invert_masks(folder: Path) -> None:
    every_picture(folder, ("fg_masks",), lambda pixels: 255 - pixels)


def turn_world(folder: Path) -> None:
    every_frame(folder, lambda f: matrix(f, lambda m: TURN @ m))


def mirror_pictures(folder: Path) -> None:
    every_picture(folder, ("images", "fg_masks"), lambda pixels: pixels[:, ::-1].copy())


def mixed_offsets(folder: Path) -> None:
    """Some frames were exported with VHAP's teeth, some without."""
    for k, path in enumerate(sorted((folder / "flame_param").glob("*.npz"))):
        rows = 5023 if k % 2 else 5143
        edit_npz(path, lambda a, rows=rows: a | {"static_offset": np.zeros((1, rows, 3), np.float32)})


PLANTED: dict[str, Callable[[Path], None]] = {
    "flipped principal point": flip_principal_point,
    "OpenCV/OpenGL mix-up": swap_axes,
    "wrong FLAME edition": claim_edition,
    "mesh scale x4": scale_world(4),
    "mesh scale x5": scale_world(5),
    "degrees for radians": to_degrees,
    "6D for axis-angle": to_six_d,
    "out of step": shift_parameters,
    "masks inverted": invert_masks,
    "cameras behind the head": turn_world,
    "mirrored faces": mirror_pictures,
    "rows of offsets": mixed_offsets,
}
"""In captures and VHAP exports."""


# INSTA's and FlashAvatar's folders: pictures, and .frame files elsewhere.


def every_tracked(checkpoints: Path, change: Callable[[dict], None]) -> None:
    for path in checkpoints.glob("*.frame"):
        content = torch.load(path, weights_only=False)  # ours
        change(content)
        torch.save(content, path)


def insta_principal_point(folder: Path, checkpoints: Path) -> None:
    """As `crop_and_flip`."""
    every_picture(folder, ("images", "seg_mask", "imgs", "alpha", "parsing"), lambda pixels: pixels[:-CUT])

    def change(content: dict) -> None:
        content["img_size"] = content["img_size"] - np.array([CUT, 0])
        content["opencv"]["K"][0, 1, 2] = content["img_size"][0] - content["opencv"]["K"][0, 1, 2]

    every_tracked(checkpoints, change)


def insta_axes(folder: Path, checkpoints: Path) -> None:
    """OpenGL where the tracker writes OpenCV."""

    def change(content: dict) -> None:
        flip = np.diag([1.0, -1.0, -1.0]).astype(np.float32)
        content["opencv"]["R"] = flip @ content["opencv"]["R"]
        content["opencv"]["t"] = content["opencv"]["t"] * np.array([1, -1, -1], np.float32)

    every_tracked(checkpoints, change)


def insta_scale(scale: float) -> Callable[[Path, Path], None]:
    def plant(folder: Path, checkpoints: Path) -> None:
        every_tracked(checkpoints, lambda c: c["opencv"].update(t=c["opencv"]["t"] * scale))

    return plant


def insta_axis_angle(folder: Path, checkpoints: Path) -> None:
    every_tracked(checkpoints, lambda c: c["flame"].update(jaw=np.zeros((1, 3), np.float32)))


def insta_step(folder: Path, checkpoints: Path) -> None:
    """Pictures named one too high: in INSTA's folder as the video counts, in FlashAvatar's one more than that."""
    for name in ("images", "imgs", "alpha"):
        paths = sorted((folder / name).glob("*.*"))
        contents = [path.read_bytes() for path in paths]
        for path, content in zip(paths[1:], contents[:-1], strict=bool(paths)):
            path.write_bytes(content)


def insta_masks(folder: Path, checkpoints: Path) -> None:
    def invert(pixels: np.ndarray) -> np.ndarray:
        return np.concatenate([pixels[..., :3], 255 - pixels[..., 3:]], 2) if pixels.ndim == 3 else 255 - pixels

    every_picture(folder, ("images", "alpha"), invert)


def insta_turn(folder: Path, checkpoints: Path) -> None:
    """The world turned by half a turn: the tracker's cameras stand behind the head."""
    turn = TURN[:3, :3].astype(np.float32)
    every_tracked(checkpoints, lambda c: c["opencv"].update(R=c["opencv"]["R"] @ turn))


def insta_mirror(folder: Path, checkpoints: Path) -> None:
    every_picture(folder, ("images", "imgs", "alpha"), lambda pixels: pixels[:, ::-1].copy())


PLANTED_INSTA: dict[str, Callable[[Path, Path], None]] = {
    "flipped principal point": insta_principal_point,
    "OpenCV/OpenGL mix-up": insta_axes,
    "mesh scale x4": insta_scale(4),
    "mesh scale x5": insta_scale(5),
    "6D for axis-angle": insta_axis_angle,
    "out of step": insta_step,
    "masks inverted": insta_masks,
    "cameras behind the head": insta_turn,
    "mirrored faces": insta_mirror,
}
"""In INSTA's and FlashAvatar's folders. A FLAME file of another edition is passed to `check`, not planted."""


def nersemble_axes(folder: Path) -> None:
    flip = np.diag([1.0, -1.0, -1.0, 1.0])
    for path in folder.glob("*/calibration/camera_params.json"):
        edit_json(path, lambda c: c.update(world_2_cam={s: (flip @ m).tolist() for s, m in c["world_2_cam"].items()}))


class RememberingLandmarker:
    """Looks at each picture once: most faults leave the pictures alone."""

    def __init__(self):
        from realhead.tracking.landmarker import Landmarker

        self.landmarker, self.known = Landmarker(), {}

    def detect(self, image: np.ndarray) -> list:
        key = hashlib.sha256(np.ascontiguousarray(image)).digest()
        if key not in self.known:
            self.known[key] = self.landmarker.detect(image)
        return self.known[key]
