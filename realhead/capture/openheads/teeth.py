"""Teeth and gums as geometry of their own: fourteen teeth a row, each with its place, turn, size and shade.

The head's own teeth are two plain bands that a tracker may know; what the pictures show are these, set along the same
arches, rigid to skull and jaw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from realhead.capture.openheads.atlas import SIZE, TILES
from realhead.capture.openheads.parts import Part

NECK, JAW = 1, 2
# From the middle outwards: central and lateral incisor, canine, two premolars, two molars (mm, textbook means).
UPPER_WIDTHS, LOWER_WIDTHS = (8.6, 6.7, 7.7, 7.0, 6.7, 9.8, 9.4), (5.4, 5.9, 6.9, 7.0, 7.1, 10.6, 10.2)
UPPER_HEIGHTS, LOWER_HEIGHTS = (10.6, 9.2, 10.2, 8.4, 7.6, 7.2, 7.0), (8.8, 9.2, 10.4, 8.6, 7.8, 7.4, 7.0)
THICKNESS = (5.2, 4.8, 6.2, 7.4, 7.8, 9.2, 9.2)
EDGE = (0.22, 0.24, 0.42, 0.75, 0.8, 0.88, 0.88)
AROUND, ALONG = 12, 6


@dataclass(frozen=True)
class TeethTraits:
    """One person's teeth.

    shade: linear colour of the enamel; size: factor on widths; gap: share of a tooth's width that stays free;
    diastema: extra gap between the upper front teeth in metres; crooked: 0 to 1; show: how far the upper row hangs
    below the head's own teeth, metres; overbite: how far the lower row stands behind the upper one, metres; wear: 0 to
    1.
    """

    shade: tuple[float, float, float]
    size: float
    gap: float
    diastema: float
    crooked: float
    show: float
    overbite: float
    wear: float
    gum: tuple[float, float, float]
    seed: int


def sample_teeth(rng: np.random.Generator, age: float, darkness: float) -> TeethTraits:
    """Draws teeth; they yellow and wear with age, gums darken with the skin."""
    yellow = float(np.clip(rng.normal(0.3 + 0.35 * age, 0.2), 0, 1))
    white = float(rng.uniform(0.68, 0.85) - 0.1 * yellow)
    shade = (white, white * (0.96 - 0.09 * yellow), white * (0.88 - 0.30 * yellow))
    gum = np.array([0.50, 0.17, 0.17]) * (1 - 0.45 * darkness * rng.uniform(0.3, 1))
    return TeethTraits(
        shade, float(rng.uniform(0.92, 1.06)), float(max(0, rng.normal(0.0, 0.05))),
        float(max(0, rng.normal(-0.001, 0.0013))), float(rng.beta(1.2, 2.5)), float(rng.uniform(0.0015, 0.0040)),
        float(rng.uniform(0.0012, 0.0030)), float(np.clip(age + rng.normal(0, 0.2), 0, 1)), tuple(gum),
        int(rng.integers(1 << 30)),
    )  # fmt: skip


class _Arch:
    """A dental arch in the person's neutral head: positions by arc length from the middle, positive to the left."""

    def __init__(self, vertices: np.ndarray, upper: bool):
        height = vertices[:, 1]
        tip = height.min() if upper else height.max()
        band = np.abs(height - tip) < 0.011
        points = vertices[band]
        centre = np.array([points[:, 0].mean(), 0.0, np.quantile(points[:, 2], 0.1)])
        angle = np.arctan2(points[:, 0] - centre[0], points[:, 2] - centre[2])
        radius = np.hypot(points[:, 0] - centre[0], points[:, 2] - centre[2])
        design = np.cos(np.outer(angle, np.arange(0, 9, 2)))
        outer = np.ones(len(points), bool)
        for _ in range(3):  # the tongue side of the band lies further in: keep the outermost points
            fit = np.linalg.lstsq(design[outer], radius[outer], rcond=None)[0]
            outer = radius > design @ fit - 0.0008
        dense = np.linspace(-1.45, 1.45, 400)
        r = np.cos(np.outer(dense, np.arange(0, 9, 2))) @ fit
        self.curve = np.stack([centre[0] + r * np.sin(dense), centre[2] + r * np.cos(dense)], 1)
        step = np.linalg.norm(np.diff(self.curve, axis=0), axis=1)
        self.length = np.concatenate([[0], np.cumsum(step)])
        self.length -= np.interp(0.0, dense, self.length)
        front = np.abs(points[:, 0]) < 0.012
        self.tip_front = float(np.median(np.sort(points[front, 1])[:: 1 if upper else -1][:3]))
        # The tips rise towards the back: a straight line over arc length is close enough.
        back = points[np.abs(points[:, 0]) > 0.026]
        tip_back = float(np.quantile(back[:, 1], 0.1 if upper else 0.9))
        self.slope = (tip_back - self.tip_front) / 0.05

    def at(self, s: np.ndarray, inset: float):
        """Point (x, z), unit tangent and outward normal at arc length s; `inset` moves the arch inwards."""
        x, z = np.interp(s, self.length, self.curve[:, 0]), np.interp(s, self.length, self.curve[:, 1])
        e = 2e-3
        s = s.clip(self.length[0] + e, self.length[-1] - e)  # a narrow jaw's last teeth keep the direction of its end
        tangent = np.stack([
            np.interp(s + e, self.length, self.curve[:, 0]) - np.interp(s - e, self.length, self.curve[:, 0]),
            np.interp(s + e, self.length, self.curve[:, 1]) - np.interp(s - e, self.length, self.curve[:, 1]),
        ], -1)  # fmt: skip
        tangent /= np.linalg.norm(tangent, axis=-1, keepdims=True)
        normal = np.stack([-tangent[..., 1], tangent[..., 0]], -1)
        return np.stack([x, z], -1) - normal * inset, tangent, normal


def build_teeth(traits: TeethTraits, upper_band: np.ndarray, lower_band: np.ndarray) -> list[Part]:
    """Both rows with gums.

    Args:
        traits: The person's teeth.
        upper_band, lower_band: Neutral vertices of the head's own teeth [K, 3].

    Returns:
        Parts with materials "tooth" and "gum".
    """
    rng = np.random.default_rng(traits.seed)
    parts = []
    for upper, band in ((True, upper_band), (False, lower_band)):
        arch, down = _Arch(band, upper), -1.0 if upper else 1.0
        inset = 0.0 if upper else traits.overbite
        widths = np.array(UPPER_WIDTHS if upper else LOWER_WIDTHS) * 1e-3 * traits.size
        # The anatomical widths are stretched so that fourteen teeth fill the person's arch.
        widths *= np.clip(2 * 0.052 / (2 * widths.sum()) * 1.02, 0.85, 1.15)
        spots = _places(widths, traits, upper)
        base = arch.tip_front + (-traits.show if upper else -0.0006)
        for number, (s, side) in enumerate(spots):
            kind = abs(side) - 1
            parts.append(_tooth(arch, s, widths[kind] * (1 - traits.gap), kind, base, down, inset, traits, rng,
                                number + (0 if upper else 14), upper))  # fmt: skip
        parts.append(_gum(arch, spots, base, down, inset, upper))
    return parts


def _places(widths, traits, upper):
    """(arc length of the middle, signed position 1..7) of the teeth of a row."""
    gap = traits.diastema if upper else 0.0
    edges = np.concatenate([[0], np.cumsum(widths)]) + gap / 2
    middles = (edges[:-1] + edges[1:]) / 2
    return [(s * m, s * (k + 1)) for s in (-1, 1) for k, m in enumerate(middles)]


def _tooth(arch, s, width, kind, base, down, inset, traits, rng, number, upper) -> Part:
    height = (UPPER_HEIGHTS if upper else LOWER_HEIGHTS)[kind] * 1e-3 * (1 - 0.12 * traits.wear)
    thick = THICKNESS[kind] * 1e-3 * (1.0 if upper else 0.9)
    c = traits.crooked
    turn, lean = rng.normal(0, 0.16) * c, rng.normal(0, 0.10) * c
    out, drop = rng.normal(0, 0.0007) * c, rng.normal(0, 0.0005) * (c + 0.25)
    drop -= 0.0008 if kind == 1 and upper else 0.0
    angle = np.linspace(0, 2 * np.pi, AROUND, endpoint=False)
    cosine, sine = np.cos(angle), np.sin(angle)
    across = np.sign(cosine) * np.abs(cosine) ** 0.65
    depth = np.sign(sine) * np.abs(sine) ** 0.75
    b = np.array([0.0, 0.25, 0.5, 0.75, 0.92, 1.0])[:, None]
    broad = np.interp(b, [0, 0.6, 0.9, 1], [0.74, 1.0, 0.97, 0.86])
    flat = np.interp(b, [0, 0.35, 0.9, 1], [0.95, 1.0, 0.25 + 0.75 * EDGE[kind], 0.75 * EDGE[kind]])
    x = width / 2 * broad * across
    z = thick / 2 * (flat * depth) + (thick / 2) * (0.55 * (1 - flat))  # the front stays, the back slopes to the edge
    y = height * b * np.ones_like(across)
    if kind == 2:
        y = y * (1 - 0.11 * np.abs(across) * b)
    corner = np.abs(across) ** 4 * (b > 0.9) * 0.05 * height
    y = y - corner
    top = np.array([[0.0, y[-1].max() if kind != 2 else height, float(z[-1].mean())]])
    local = np.concatenate([np.stack([x, y, z], -1).reshape(-1, 3), top])
    local[:, 1] -= height  # origin at the biting edge
    spin = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    tilt = np.array([[np.cos(lean), -np.sin(lean), 0], [np.sin(lean), np.cos(lean), 0], [0, 0, 1]])
    local = local @ (spin @ tilt).T
    place, tangent, normal = arch.at(np.array(s), inset)
    outward = local[:, 2] - thick * 0.5 + out
    world = np.empty_like(local)
    world[:, 0] = place[0] + tangent[0] * local[:, 0] + normal[0] * outward
    world[:, 2] = place[1] + tangent[1] * local[:, 0] + normal[1] * outward
    world[:, 1] = base + arch.slope * abs(s) + down * (local[:, 1] + drop)
    tx, ty, _, th = TILES["teeth"]
    texels = np.empty((len(world), 2), np.float32)
    texels[:, 0] = tx + number * 4 + 2
    texels[:-1, 1] = SIZE + ty + np.repeat(b[:, 0], AROUND) * (th - 8) + 2
    texels[-1, 1] = SIZE + ty + th - 4
    return Part(world, _lathe_faces(down > 0), texels, "tooth", NECK if upper else JAW)


def _lathe_faces(flip: bool) -> np.ndarray:
    rows = []
    for k in range(ALONG - 1):
        for i in range(AROUND):
            a, b = k * AROUND + i, k * AROUND + (i + 1) % AROUND
            rows += [[a, b, b + AROUND], [a, b + AROUND, a + AROUND]]
    last, top = (ALONG - 1) * AROUND, ALONG * AROUND
    rows += [[last + i, last + (i + 1) % AROUND, top] for i in range(AROUND)]
    faces = np.array(rows)
    return faces[:, ::-1] if flip else faces


def _gum(arch, spots, base, down, inset, upper) -> Part:
    heights = UPPER_HEIGHTS if upper else LOWER_HEIGHTS
    middles = np.array(sorted(s for s, _ in spots))
    kinds = [abs(side) - 1 for _, side in sorted(spots)]
    crown = np.array([heights[k] * 1e-3 for k in kinds]) * 0.86
    edges = (middles[:-1] + middles[1:]) / 2
    s = np.sort(np.concatenate([middles, edges, middles - 0.0015, middles + 0.0015]))
    to_middle = np.abs(s[:, None] - middles).min(1)
    to_edge = np.abs(s[:, None] - edges).min(1)
    share = to_middle / np.maximum(to_middle + to_edge, 1e-6)  # 0 at a tooth's middle, 1 between two teeth
    margin = np.interp(s, middles, crown) * (1 - 0.42 * share**2)
    # Rows: under the margin, the margin, and up the gum to where the lips hide it.
    rise = np.array([0.0, 0.0, 0.0025, 0.007, 0.012])[:, None]
    bulge = np.array([-0.0022, 0.0001, 0.0007, 0.0005, -0.001])[:, None] - 0.0006 * share
    place, _, normal = arch.at(s, inset)
    x = place[:, 0] + normal[:, 0] * bulge
    z = place[:, 1] + normal[:, 1] * bulge
    y = base + arch.slope * np.abs(s) - down * (margin + rise)
    vertices = np.stack([x, y * np.ones_like(x), z], -1)
    rows, columns = vertices.shape[:2]
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    gx, gy, gw, gh = TILES["gum"]
    texels = np.stack(np.broadcast_arrays(
        gx + 3 + (gw - 6) * (np.arange(columns) / columns)[None],
        SIZE + gy + 3 + (gh - 6) * np.arange(rows)[:, None] / rows,
    ), -1)  # fmt: skip
    return Part(vertices.reshape(-1, 3), faces if upper else faces[:, ::-1], texels.reshape(-1, 2).astype(np.float32),
                "gum", NECK if upper else JAW)  # fmt: skip


def paint_teeth(traits: TeethTraits) -> tuple[np.ndarray, np.ndarray]:
    """Tiles of teeth and gums, linear albedo, zero bump, specular strength one: [64, 128, 7] and [40, 64, 7]."""
    rng = np.random.default_rng(traits.seed + 1)
    _, _, width, height = TILES["teeth"]
    t = np.linspace(0, 1, height)[:, None, None]
    shade = np.asarray(traits.shade)
    neck = shade * np.array([0.86, 0.78, 0.62])
    tip = shade * np.array([0.93, 0.97, 1.04])  # enamel is thinner and bluer at the edge
    color = np.where(t < 0.4, neck + (shade - neck) * (t / 0.4), shade + (tip - shade) * np.clip((t - 0.6) / 0.4, 0, 1))
    own = 1 + rng.normal(0, 0.035, 28)
    own[[2, 9, 16, 23]] *= 0.93  # canines are darker
    color = color * np.repeat(own, 4)[None, :, None] if width == 112 else color * _pad(np.repeat(own, 4), width)
    teeth = np.zeros((height, width, 7), np.float32)
    teeth[..., :3], teeth[..., 6] = color.clip(0.02, 0.85), 1
    _, _, width, height = TILES["gum"]
    gum = np.zeros((height, width, 7), np.float32)
    gum[..., :3] = np.asarray(traits.gum) * (1 + rng.normal(0, 0.05, (height, width, 1)))
    gum[..., 6] = 1
    return teeth, gum


def _pad(values: np.ndarray, width: int) -> np.ndarray:
    return np.pad(values, (0, width - len(values)), constant_values=1)[None, :, None]
