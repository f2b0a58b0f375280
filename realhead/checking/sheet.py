"""The sheet: meshes and landmarks over pictures, as one PNG, or as an HTML page with the table of findings."""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from realhead.capture.frame import Frame
from realhead.checking.evidence import Exhibit, predict
from realhead.doctor import MARKS, Finding
from realhead.errors import RealheadError
from realhead.head.model import Head
from realhead.head.raster import rasterize_triangles

TILE = 256
MOST_TILES = 20
BLUE, GREEN, RED = (0.45, 0.65, 0.85), (0, 158, 115), (213, 94, 0)
STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse}td{padding:.3rem .7rem;border-bottom:1px solid #ddd;vertical-align:top}"
    ".problem td{background:#fdeee6}.absent td{color:#555}img{max-width:100%}"
)


def draw(exhibit: Exhibit, frame: Frame, head: Head) -> np.ndarray:
    """The shaded mesh over a picture, with detected landmarks in green and predicted ones in orange.

    Returns:
        uint8 [TILE, width, 3].
    """
    import cv2

    camera = exhibit.shot.camera
    scale = TILE / camera.height
    camera = camera.scaled(max(1, round(camera.width * scale)), TILE)
    picture = cv2.resize(exhibit.image, (camera.width, camera.height), interpolation=cv2.INTER_AREA) / 255
    xy, depth, marks = predict(head, frame, camera)
    points = np.concatenate([xy, depth[:, None]], 1).astype(np.float32)
    faces = head.faces.numpy()
    if np.median(depth) > 0:
        index, _, _ = rasterize_triangles(points, faces, camera.width, camera.height, perspective=True)
        seen = index >= 0
        picture[seen] = 0.45 * picture[seen] + 0.55 * _shade(head, frame, camera, faces)[index[seen]]
    canvas = np.ascontiguousarray((picture.clip(0, 1) * 255).astype(np.uint8))
    numbers = head.landmarks["mediapipe"][2].numpy()
    groups = [(marks, RED)] + ([] if exhibit.points is None else [(exhibit.points[numbers] * scale, GREEN)])
    for positions, colour in groups:
        for x, y in positions[np.abs(positions).max(1) < 4 * TILE]:
            cv2.circle(canvas, (round(x), round(y)), 1, colour, -1, cv2.LINE_AA)
    label = f"t {exhibit.shot.timestep}  cam {exhibit.shot.camera.name}"
    cv2.putText(canvas, label, (5, TILE - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (40, 40, 40), 1, cv2.LINE_AA)
    return canvas


@torch.no_grad()
def _shade(head: Head, frame: Frame, camera, faces: np.ndarray) -> np.ndarray:
    """Colour of each triangle, lit from the camera, [F, 3]."""
    vertices = head(**frame.parameters())[0]
    local = (vertices @ camera.cam_from_world[:3, :3].T + camera.cam_from_world[:3, 3]).numpy()
    a, b, c = (local[faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    facing = np.abs(normal[:, 2]) / np.maximum(np.linalg.norm(normal, axis=1), 1e-12)
    return np.array(BLUE) * (0.25 + 0.75 * facing)[:, None]


def overlays(exhibits: Sequence[Exhibit], frames: dict[int, Frame], head: Head) -> tuple[np.ndarray, ...]:
    """Up to twenty overlays, uint8 [TILE, width, 3] each."""
    chosen = list(exhibits)[:: max(1, -(-len(exhibits) // MOST_TILES))]
    return tuple(draw(exhibit, frames[exhibit.shot.timestep], head) for exhibit in chosen)


def grid(tiles: Sequence[np.ndarray]) -> np.ndarray:
    """Tiles side by side on white, uint8 [H, W, 3]."""
    width = max(tile.shape[1] for tile in tiles)
    columns = max(1, min(len(tiles), round((1.6 * len(tiles) * TILE / width) ** 0.5)))
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * TILE, columns * width, 3), 255, np.uint8)
    for k, tile in enumerate(tiles):
        top, left = k // columns * TILE, k % columns * width
        sheet[top : top + TILE, left : left + tile.shape[1]] = tile
    return sheet


def write_sheet(path: Path, title: str, findings: Sequence[Finding], sheet: np.ndarray | None) -> Path:
    """Writes the sheet: a .png of the overlays, or a .html page with the table as well.

    Raises:
        RealheadError: Another suffix, or there is no picture for a PNG.
    """
    if path.suffix not in (".html", ".png"):
        raise RealheadError(f"{path} must end in .html (table and pictures) or .png (pictures): rename it.")
    if path.suffix == ".png" and sheet is None:
        raise RealheadError(f"There is no overlay to write to {path}: name a file that ends in .html.")
    content = _png(sheet) if path.suffix == ".png" else _page(title, findings, sheet).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    os.replace(temporary, path)
    return path


def _png(sheet: np.ndarray) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(sheet).save(stream, "PNG")
    return stream.getvalue()


def _jpeg(sheet: np.ndarray) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(sheet).save(stream, "JPEG", quality=88)
    return stream.getvalue()


def _page(title: str, findings: Sequence[Finding], sheet: np.ndarray | None) -> str:
    rows = "".join(
        f'<tr class="{f.state}"><td>{MARKS[f.state]}</td><td>{html.escape(f.topic)}</td>'
        f"<td>{html.escape(f.found)}</td><td>{html.escape(f.advice)}</td></tr>"
        for f in findings
    )
    picture = "" if sheet is None else (
        '<p>The mesh over the pictures; detected landmarks in green, predicted ones in orange.</p><img alt="Mesh '
        f'overlays" src="data:image/jpeg;base64,{base64.b64encode(_jpeg(sheet)).decode()}">'
    )  # fmt: skip
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style></head>\n<body><h1>{html.escape(title)}</h1>\n<table>{rows}</table>\n{picture}</body>"
        "</html>\n"
    )
