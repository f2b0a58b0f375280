"""Pictures of single people without writing captures: portraits, contact sheets, a person layer by layer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from realhead.capture.camera import Camera
from realhead.capture.openheads.expressions import FACES, HIDDEN, expand
from realhead.capture.openheads.lighting import Lighting
from realhead.capture.openheads.motion import NAMES, Clip
from realhead.capture.openheads.people import Person, make_person
from realhead.capture.openheads.performance import Performance
from realhead.capture.openheads.render import LitScene, Strands, render
from realhead.capture.openheads.rig import TARGET, VISIBLE
from realhead.head.model import Head

MOUTHS = ("jaw_wide", "laugh", "bare_teeth", "tongue_out", "grin", "shout", "funnel", "disgust_open", "tongue_left",
          "jaw_left", "happy", "pucker")  # fmt: skip
VIEWS = ((0.0, 0.0), (-40.0, 4.0), (75.0, 5.0), (20.0, 24.0))


def still(face: dict[str, float]) -> Clip:
    """A clip of one frame that shows a mixture of actions (names as in `expressions.FACES`), head straight."""
    values = expand(face, NAMES)[None].astype(np.float32)
    rest = np.zeros((1, 3), np.float32)
    return Clip(values[:, : -len(HIDDEN)], values[:, -len(HIDDEN) :], rest, rest, rest)


def lit(person: Person, face: dict[str, float] | None = None, light: Lighting | None = None) -> LitScene:
    """The lit scene of a person with a face."""
    return Performance(person, still(face or {}), light or person.light).scene(0)


def portrait(
    scene: LitScene, azimuth: float = 0.0, elevation: float = 0.0, size: int = 256,
    target: tuple[float, float, float] = TARGET, visible: float = VISIBLE,
) -> np.ndarray:  # fmt: skip
    """One picture, uint8 [size, size, 3].

    Args:
        scene: A lit scene.
        azimuth, elevation: Where the camera stands, degrees, azimuth to the person's left.
        size: Side of the picture in pixels.
        target: Point in the middle, metres.
        visible: Metres that the picture's side spans at the target.
    """
    camera = Camera.orbit(np.radians(azimuth), np.radians(elevation), target=target, fov=2 * np.arctan(visible / 2),
                          size=size)  # fmt: skip
    return render(scene, camera.K.numpy(), camera.cam_from_world.numpy(), size, size)[0]


def contact_sheet(head: Head, seeds: range, columns: int = 4, size: int = 150) -> np.ndarray:
    """People in four views each; every third one smiles."""
    rows = []
    for seed in seeds:
        scene = lit(make_person(head, seed), FACES["smile"] if seed % 3 == 1 else None)
        rows.append(np.concatenate([portrait(scene, *view, size=size) for view in VIEWS], 1))
    return tiled(rows, columns)


def mouth_sheet(head: Head, seeds: range, columns: int = 4, size: int = 220) -> np.ndarray:
    """Open mouths from near, another one for each person."""
    pictures = []
    for number, seed in enumerate(seeds):
        scene = lit(make_person(head, seed), FACES[MOUTHS[number % len(MOUTHS)]])
        pictures.append(portrait(scene, 12.0 * (number % 3 - 1), 0.0, size, (0.0, -0.045, 0.0), 0.115))
    return tiled(pictures, columns)


def layers(person: Person, size: int = 256, azimuth: float = 20.0) -> dict[str, np.ndarray]:
    """How a person is made: bare shape, painted skin, teeth and eyes and cloth, brows and lashes, all hair.

    Returns:
        Pictures by name, in this order.
    """
    scene = lit(person, FACES["happy"])
    hair = scene.strands
    on_skin = np.repeat(person.hair.root_face >= 0, np.diff(hair.starts))
    grey = person.surface.texture.copy()
    grey[..., :3], grey[..., 3:6], grey[..., 6] = 0.45, 0, 0.4
    plain = replace(person.surface, texture=grey)
    nothing = np.zeros(len(hair.points), bool)
    shown = {"shape": (plain, nothing), "skin, eyes, teeth, cloth": (person.surface, nothing),
             "brows, lashes, beard": (person.surface, on_skin), "hair": (person.surface, ~nothing)}  # fmt: skip
    return {name: portrait(_with(scene, surface, keep), azimuth, 2.0, size) for name, (surface, keep) in shown.items()}


def _with(scene: LitScene, surface, keep: np.ndarray) -> LitScene:
    """The scene with another surface and only the strand points `keep` [M]."""
    strands, lengths = scene.strands, np.diff(scene.strands.starts)
    whole = keep[strands.starts[:-1]] if len(lengths) else np.zeros(0, bool)
    starts = np.concatenate([[0], np.cumsum(lengths[whole])]).astype(np.int32)
    fewer = Strands(strands.points[keep], strands.colors[keep], strands.widths[keep], starts, strands.gloss[keep])
    return replace(
        scene, surface=surface, strands=fewer, strand_tangents=scene.strand_tangents[keep],
        strand_ambient=scene.strand_ambient[keep], strand_shadow=scene.strand_shadow[keep],
    )  # fmt: skip


def tiled(pictures: list[np.ndarray], columns: int) -> np.ndarray:
    """Pictures of one size in rows of `columns`; the last row is filled up with white."""
    rows = []
    for start in range(0, len(pictures), columns):
        row = pictures[start : start + columns]
        row += [np.full_like(pictures[0], 255)] * (columns - len(row))
        rows.append(np.concatenate(row, 1))
    return np.concatenate(rows, 0)
