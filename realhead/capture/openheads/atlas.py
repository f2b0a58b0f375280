"""The painter's map of a head: where texels lie on the template, and named soft regions on them.

Made once per head. The texture that the renderer reads is `SIZE` wide: the head's own UV square on top, and below it a
strip of tiles for what the head's UVs serve badly (eyes, teeth, cloth).
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch

from realhead.capture.openheads.anchors import painter_points
from realhead.capture.openheads.noise import noise
from realhead.head.model import Head

SIZE = 512
STRIP = 128
TILES = {"eye_left": (0, 0, 128, 128), "eye_right": (128, 0, 128, 128), "cloth": (256, 0, 120, 128),
         "teeth": (384, 0, 128, 64), "gum": (384, 72, 64, 40)}  # fmt: skip
"""x, y (below the square), width, height in texels."""


class Atlas:
    """Texel positions and soft regions of a head.

    Attributes:
        head: The head.
        template: Mean vertices, float32 [V, 3].
        faces: Triangles, int32 [F, 3].
        landmarks: The painter's 68 points on the template, metres [68, 3] (36-41 are the person's right eye).
        positions: Template position of each covered texel, float32 [N, 3].
    """

    def __init__(self, head: Head):
        """Reads what is needed out of the head."""
        self.head = head
        self.template = head.v_template.numpy().astype(np.float32)
        self.faces = head.faces.numpy().astype(np.int32)
        self.regions = {k: v.numpy() for k, v in head.regions.items()}
        self._uv = head.uv_map(SIZE)
        self.positions = self._uv.interpolate(head.v_template).numpy().astype(np.float32)
        self.landmarks = painter_points(self.template, self.faces[self.regions["skin"][self.faces].all(1)])
        self._fields: dict[str, np.ndarray] = {}

    @cached_property
    def corner_texels(self) -> np.ndarray:
        """Texture position of each corner of the head's triangles, float32 [F, 3, 2]."""
        uv = self.head.uv_coords.numpy()[self.head.uv_faces.numpy()]
        return np.stack([uv[..., 0] * SIZE, (1 - uv[..., 1]) * SIZE], -1).astype(np.float32)

    def lid_margin(self, side: float, upper: bool) -> np.ndarray:
        """Vertices where the lid's skin meets the eye socket, from the inner to the outer corner [K].

        Args:
            side: 1 for the person's left eye, -1 for the right.
            upper: Upper or lower lid.
        """
        margin = self.regions["skin"] & self.regions["socket"] & (self.template[:, 0] * side > 0)
        index = np.flatnonzero(margin)
        corners = self.landmarks[[42, 45]] if side > 0 else self.landmarks[[39, 36]]
        p = self.template[index]
        line = np.interp(p[:, 0] * side, corners[:, 0] * side, corners[:, 1])
        index = index[(p[:, 1] > line) == upper]
        return index[np.argsort(self.template[index, 0] * side)]

    @cached_property
    def adjacency(self):
        """Row-normalised sparse vertex adjacency [V, V]."""
        import scipy.sparse as sp

        edges = np.concatenate([self.faces[:, [0, 1]], self.faces[:, [1, 2]], self.faces[:, [2, 0]]])
        edges = np.concatenate([edges, edges[:, ::-1]])
        num = len(self.template)
        matrix = sp.coo_matrix((np.ones(len(edges), np.float32), edges.T), (num, num)).tocsr()
        matrix.data[:] = 1
        return sp.diags(1 / np.maximum(np.asarray(matrix.sum(1)).ravel(), 1)) @ matrix

    def vertex_field(self, region: str, blur: int = 2) -> np.ndarray:
        """A region as a soft field over the vertices, float32 [V]."""
        values = self.regions[region].astype(np.float32)
        for _ in range(blur):
            values = 0.5 * values + 0.5 * (self.adjacency @ values)
        return values

    def from_vertices(self, values: np.ndarray) -> np.ndarray:
        """Vertex values [V] at the covered texels [N]."""
        return self._uv.interpolate(torch.from_numpy(np.ascontiguousarray(values, np.float32))[:, None])[:, 0].numpy()

    def field(self, name: str) -> np.ndarray:
        """A soft region in [0, 1] at the covered texels, float32 [N]."""
        if name not in self._fields:
            self._fields[name] = self._make_field(name).astype(np.float32)
        return self._fields[name]

    def _make_field(self, name: str) -> np.ndarray:
        lm, p = self.landmarks, self.positions
        if name == "skin_part":
            return self._uv.region("skin").numpy()
        if name in ("mouth", "tongue"):
            return self._uv.region(name).numpy()
        if name == "lips":
            wobble = 0.12 * noise(p, 0.003, 77, 2)
            return np.clip((self.from_vertices(self.vertex_field("lips", 1)) + wobble - 0.36) / 0.3, 0, 1)
        if name == "lash_line":
            margins = [self.template[self.lid_margin(s, True)] + [0, 0.0006, 0.0015] for s in (1, -1)]
            lower = [self.template[self.lid_margin(s, False)] + [0, 0, 0.0015] for s in (1, -1)]
            dark = sum(_line(p, m, 0.0021) for m in margins) + 0.45 * sum(_line(p, m, 0.0014) for m in lower)
            return np.clip(dark, 0, 1)
        if name in ("beard", "ears", "neck", "face", "scalp", "brows"):
            return self.from_vertices(self.vertex_field(name, 4))
        left, right = lm[42:48], lm[36:42]
        up, out = np.array([0, 1, 0]), np.array([1, 0, 0])
        if name == "cheeks":
            return sum(_blob(p, (e.mean(0) + c) / 2 + s * out * 0.012, 0.019) for e, c, s in
                       ((left, lm[54], 1), (right, lm[48], -1)))  # fmt: skip
        if name == "lids":
            upper = _line(p, lm[36:40] + up * 0.0035, 0.0045) + _line(p, lm[42:46] + up * 0.0035, 0.0045)
            return np.clip(upper, 0, 1)
        if name == "under_eye":
            lower = [np.stack([lm[a], lm[b], lm[c], lm[d]]) - up * 0.0065 for a, b, c, d in
                     ((39, 40, 41, 36), (42, 47, 46, 45))]  # fmt: skip
            return np.clip(_line(p, lower[0], 0.005) + _line(p, lower[1], 0.005), 0, 1)
        blobs = {
            "nose_tip": (lm[30], 0.011),
            "nose_bridge": (lm[28], 0.014),
            "forehead": (lm[17:27].mean(0) + up * 0.035, 0.03),
            "chin": (lm[8] + up * 0.012, 0.013),
        }
        return _blob(p, *blobs[name])

    @cached_property
    def _neighbours(self) -> np.ndarray:
        """Covered-texel number of the right, left, upper and lower neighbour, or the texel itself [4, N]."""
        number = np.full((SIZE + 2, SIZE + 2), -1)
        mask = self._uv.mask.numpy()
        number[1:-1, 1:-1][mask] = np.arange(mask.sum())
        y, x = np.nonzero(mask)
        own = np.arange(len(y))
        rows = []
        for dy, dx in ((0, 1), (0, -1), (-1, 0), (1, 0)):
            other = number[y + 1 + dy, x + 1 + dx]
            far = np.linalg.norm(self.positions[other] - self.positions, axis=1) > 0.006
            rows.append(np.where((other < 0) | far, own, other))
        return np.stack(rows)

    def gradient(self, height: np.ndarray) -> np.ndarray:
        """Slope of a height field over the surface, as vectors in template axes [N, 3]."""
        right, left, upper, lower = self._neighbours
        frame, step = self._uv.frame.numpy(), np.maximum(self._uv.footprint.numpy(), 1e-5)
        along_u = (height[right] - height[left]) / (2 * step[:, 0])
        along_v = (height[upper] - height[lower]) / (2 * step[:, 1])
        slope = frame[:, :, 0] * along_u[:, None] + frame[:, :, 1] * along_v[:, None]
        return slope.clip(-0.8, 0.8)

    @cached_property
    def _nearest(self) -> np.ndarray:
        from scipy.ndimage import distance_transform_edt

        mask = self._uv.mask.numpy()
        rows, columns = distance_transform_edt(~mask, return_distances=False, return_indices=True)
        number = np.zeros((SIZE, SIZE), np.int64)
        number[mask] = np.arange(mask.sum())
        return number[rows, columns]

    def texture(self, values: np.ndarray) -> np.ndarray:
        """Lays texel values [N, C] out as a texture with its strip of empty tiles, [SIZE + STRIP, SIZE, C].

        Uncovered texels repeat their nearest neighbour, so that interpolation at island borders finds skin.
        """
        out = np.zeros((SIZE + STRIP, SIZE, values.shape[1]), np.float32)
        out[:SIZE] = values[self._nearest]
        out[SIZE:, :, 6] = 1
        return out

    def forehead_lines(self, coarse, fine):
        """Horizontal lines over the brows, [N]."""
        p, base = self.positions, self.landmarks[17:27, 1].mean()
        y = p[:, 1] - base + 0.003 * coarse + 18.0 * (p[:, 0] ** 2) * 0.2
        lines = sum(np.exp(-(((y - at) / 0.0013) ** 2)) for at in (0.020, 0.029, 0.037, 0.046))
        return lines * _blob(p, self.landmarks[17:27].mean(0) + [0, 0.033, 0], 0.026) * np.clip(1 + fine, 0.2, 1)

    def crow_lines(self, coarse, fine):
        """Rays at the outer corners of the eyes, [N]."""
        total = 0
        for corner, side in ((self.landmarks[45], 1), (self.landmarks[36], -1)):
            for slope in (0.55, 0.05, -0.45):
                start = corner + np.array([side * 0.005, slope * 0.004, -0.002])
                end = start + np.array([side * 0.015, slope * 0.014, -0.011])
                total = total + _line(self.positions + 0.0008 * coarse[:, None], np.stack([start, end]), 0.0011)
        return total

    def smile_lines(self, coarse, fine):
        """Folds from the wings of the nose past the corners of the mouth, [N]."""
        lm, total = self.landmarks, 0
        for wing, corner, side in ((lm[35], lm[54], 1), (lm[31], lm[48], -1)):
            line = np.stack([
                wing + [side * 0.008, 0.006, -0.006], (wing + corner) / 2 + [side * 0.012, 0.002, -0.002],
                corner + [side * 0.010, 0.004, -0.004],
            ])  # fmt: skip
            fade = np.clip((self.positions[:, 1] - corner[1]) / 0.014, 0, 1)  # shallower towards the mouth
            total = total + fade * _line(self.positions + 0.001 * coarse[:, None], line, 0.0019)
        return total

    def frown_lines(self, coarse, fine):
        """Two upright lines between the brows, [N]."""
        root = self.landmarks[27]
        return sum(
            _line(self.positions + 0.0008 * coarse[:, None],
                  np.stack([root + [s * 0.0055, 0.004, 0], root + [s * 0.0045, 0.017, 0]]), 0.0012) for s in (1, -1)
        )  # fmt: skip

    def bag_lines(self, coarse, fine):
        """The lower border of the bags under the eyes, [N]."""
        lm = self.landmarks
        return sum(
            _line(self.positions, np.stack([lm[a], lm[b], lm[c], lm[d]]) - [0, 0.010, 0], 0.0016)
            for a, b, c, d in ((39, 40, 41, 36), (42, 47, 46, 45))
        )


def _blob(points: np.ndarray, centre: np.ndarray, size: float) -> np.ndarray:
    return np.exp(-((points - centre) ** 2).sum(1) / (2 * size * size))


def _line(points: np.ndarray, polyline: np.ndarray, width: float) -> np.ndarray:
    """exp(-(distance to a polyline / width)^2), [N]."""
    nearest = np.full(len(points), np.inf)
    low, high = polyline.min(0) - 4 * width, polyline.max(0) + 4 * width
    near = np.flatnonzero(((points > low) & (points < high)).all(1))
    chosen = points[near]
    best = np.full(len(near), np.inf)
    for a, b in zip(polyline[:-1], polyline[1:], strict=True):
        edge = b - a
        t = np.clip(((chosen - a) @ edge) / (edge @ edge), 0, 1)
        best = np.minimum(best, ((chosen - a - t[:, None] * edge) ** 2).sum(1))
    nearest[near] = best
    return np.exp(-nearest / width**2)
