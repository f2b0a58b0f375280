"""Puts hair on a neutral head: scalp in the person's style, brows, lashes, beard."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from realhead.capture.openheads.atlas import Atlas
from realhead.capture.openheads.hair import Hair, Roots, from_grid, join, sample_roots
from realhead.capture.openheads.hair_growth import Style, clump_and_curl, grow, push_out, radius_map
from realhead.capture.openheads.hair_styles import STYLES, HairTraits, scalp_density


def build_hair(atlas: Atlas, traits: HairTraits, neutral: np.ndarray, normals: np.ndarray, amount: float = 1.0) -> Hair:
    """All strands of a person.

    Args:
        atlas: The painter's map.
        traits: What grows.
        neutral, normals: The person's neutral head and its unit normals [V, 3].
        amount: Factor on the number of strands (their width makes up for it).
    """
    rng = np.random.default_rng(traits.seed)
    parts = [_scalp(atlas, traits, neutral, normals, rng, amount)]
    parts.append(_brows(atlas, traits, neutral, normals, rng))
    parts.append(_lashes(atlas, traits, neutral, rng))
    if traits.beard_length > 0:
        parts.append(_beard(atlas, traits, neutral, normals, rng, amount))
    return join(parts)


def _skin_faces(atlas: Atlas, without: tuple[str, ...] = ("ears", "lips")) -> np.ndarray:
    inside = atlas.regions["skin"].copy()
    for name in without:
        inside &= ~atlas.regions[name]
    return np.flatnonzero(inside[atlas.faces].all(1))


def _scalp(atlas, traits, neutral, normals, rng, amount) -> Hair:
    style = STYLES[traits.style]
    faces = _skin_faces(atlas)
    count = int(style.num_strands * amount)
    roots = sample_roots(
        rng, neutral, normals, atlas.template, atlas.faces, faces, lambda p: scalp_density(p, traits), count
    )
    shift = neutral[atlas.regions["scalp"]].mean(0) - atlas.template[atlas.regions["scalp"]].mean(0)
    strands = _grown(style, traits, roots, neutral, atlas, shift, rng)
    kept = _clear_of_face(style, strands, atlas, shift, rng)
    roots, strands = roots[kept], strands[kept]
    colors = _strand_colors(rng, strands, traits.color, traits.grey, dark_root=0.75)
    taper = np.linspace(1.0, 0.45, style.num_points)
    widths = style.width / np.sqrt(amount) * taper * rng.uniform(0.75, 1.25, (len(roots), 1))
    hair = from_grid(strands, colors, widths, np.full(len(roots), -1), traits.gloss)
    if style.tied:
        return join([hair, _tail(traits, neutral, atlas, shift, rng, amount)])
    return hair


def _anchors(neutral: np.ndarray, atlas: Atlas, shift: np.ndarray, traits: HairTraits) -> np.ndarray:
    centre = np.array([0.0, 0.02, -0.045]) + shift
    crown = np.array([0.008, 0.150, -0.085]) + shift
    knot = np.array([0.0, 0.055, -0.185]) + shift
    part = np.array([traits.part, 0.14, 0.0]) + shift
    return np.stack([centre, crown, knot, part]).astype(np.float32)


def _grown(style: Style, traits: HairTraits, roots: Roots, neutral, atlas, shift, rng) -> np.ndarray:
    num = len(roots)
    x, y, z = roots.template.T
    weights = np.stack([np.clip((y - 0.075) / 0.03, 0, 1) * np.clip((z + 0.03) / 0.04, 0, 1),
                        np.clip((y - 0.07) / 0.04, 0, 1), np.clip((-z - 0.045) / 0.03, 0, 1)])  # fmt: skip
    front, top, back = weights
    length = style.side * (1 - back) + style.back * back
    length = length * (1 - top) + style.top * top
    length = length * (1 - front) + style.front * front
    length = length * traits.length * rng.uniform(0.82, 1.08, num)
    if style.top < 0.09:  # cut shorter towards the nape
        length = length * np.clip((y + 0.06) / 0.06, 0.12, 1)
    skin = atlas.regions["skin"] & ~atlas.regions["ears"]
    anchors = _anchors(neutral, atlas, shift, traits)
    corners = neutral[atlas.faces[skin[atlas.faces].all(1)]]
    surface = np.concatenate([corners.mean(1), *(corners[:, k] * 0.7 + corners[:, k - 1] * 0.3 for k in range(3))])
    grid = radius_map(surface, anchors[0].astype(np.float64))
    # Strands lie in layers: an outer one comes from further up.
    layers = style.layer * traits.volume * (0.15 + rng.random(num)) * (0.35 + 0.65 * np.clip((y - 0.0) / 0.1, 0, 1))
    table = np.array([style.outward, style.down, style.from_crown, style.backward, style.to_knot, style.from_part])
    eyes = atlas.landmarks[36:48].mean(0) + shift
    face_box = np.array([0.058, eyes[2] - 0.02, eyes[1] + (0.05 if style.name != "fringe" else -0.005)], np.float32)
    jitter = rng.normal(0, 0.16 if style.top < 0.09 and not style.tied else 0.06, (num, 3))
    num_guides = min(style.num_guides, num)
    strands = grow(
        roots.position.astype(np.float32), roots.normal.astype(np.float32), length.astype(np.float32),
        layers.astype(np.float32), table, anchors, grid, face_box, style.stiffness, jitter.astype(np.float32),
        style.num_points, num_guides,
    )  # fmt: skip
    # Hair on one side of the parting never joins a clump on the other.
    sided = np.column_stack([roots.position, 0.1 * np.sign(roots.position[:, 0] - anchors[3, 0])])
    guide = cKDTree(sided[:num_guides]).query(sided)[1]
    phases = (rng.uniform(0, 2 * np.pi, num_guides)[guide] + rng.normal(0, 0.6, num)).astype(np.float32)
    clump_and_curl(
        strands, guide.astype(np.int64), (style.clump * rng.uniform(0.3, 1.2, num)).clip(0, 0.95).astype(np.float32),
        (style.curl_radius * rng.uniform(0.6, 1.3, num_guides)[guide] * traits.volume).astype(np.float32),
        (max(style.curl_length, 1e-3) * rng.uniform(0.8, 1.25, num_guides)[guide]).astype(np.float32), phases,
        np.float32(style.frizz), rng.normal(0, 1, strands.shape).astype(np.float32),
    )  # fmt: skip
    push_out(strands, anchors[0], grid, np.float32(0.0008))
    return strands


def _clear_of_face(style: Style, strands, atlas, shift, rng) -> np.ndarray:
    """Which strands stay: nearly all that hang before eyes, nose and mouth go, and those that stand up in loops."""
    points = strands - shift
    lowest = atlas.landmarks[17:27, 1].max() + (0.004 if style.name != "fringe" else -0.012)
    before = (np.abs(points[..., 0]) < 0.058) & (points[..., 1] < lowest) & (points[..., 2] > 0.012)
    # Hanging hair that first climbs would stand over the parting as a loop.
    loops = (style.down[1] >= 1) & (strands[..., 1].max(1) - strands[:, 0, 1] > 0.009)
    return ~(before.any(1) | loops) | (rng.random(len(strands)) < 0.002)


def _tail(traits, neutral, atlas, shift, rng, amount) -> Hair:
    """The part of tied hair beyond the knot: a tail that falls, or a bun."""
    knot = _anchors(neutral, atlas, shift, traits)[2]
    num, count = int(1500 * amount), 14
    t = np.linspace(0, 1, count)[None, :, None]
    spread = rng.normal(0, 1, (num, 1, 3))
    if rng.random() < 0.5:
        angle = rng.uniform(0, 2 * np.pi, (num, 1)) + np.linspace(0, 5.5, count)
        tilt = rng.normal(0, 0.6, (num, 1))
        radius = 0.026 * rng.uniform(0.75, 1.1, (num, 1)) * traits.volume
        ball = np.stack([np.cos(angle) * radius, np.sin(angle) * np.cos(tilt) * radius,
                         np.sin(angle) * np.sin(tilt) * radius], -1)  # fmt: skip
        strands = knot + np.array([0, 0, -0.012]) + ball
    else:
        path = np.concatenate([0 * t, -0.17 * t**1.6 * traits.length, -0.045 * np.sin(t * 2.2)], -1)
        strands = knot + path + spread * (0.004 + 0.010 * np.sin(np.pi * t**0.8)) + [0, 0.006, -0.004]
    strands = strands + rng.normal(0, 0.0006, strands.shape)
    colors = _strand_colors(rng, strands, traits.color, traits.grey, dark_root=0.9)
    widths = 0.0009 / np.sqrt(amount) * np.ones((num, count))
    return from_grid(strands, colors, widths, np.full(num, -1), traits.gloss)


def _strand_colors(rng, strands, color, grey, dark_root) -> np.ndarray:
    """Colours [S, P, 3]: strands differ, roots are darker, some are white."""
    num, count = strands.shape[:2]
    base = np.asarray(color) * np.exp(rng.normal(0, 0.22, (num, 1)))
    # Grey hair is a mixture of coloured and white hairs; a ribbon stands for several of them.
    white = np.clip(rng.normal(grey, 0.22, (num, 1)), 0, 1) if grey > 0 else np.zeros((num, 1))
    base = base * (1 - white) + np.array([0.40, 0.39, 0.37]) * rng.uniform(0.7, 1.1, (num, 1)) * white
    along = np.linspace(dark_root, 1.1, count)[None, :, None]
    return base[:, None] * along


def _brows(atlas, traits, neutral, normals, rng) -> Hair:
    lm = atlas.landmarks
    sides = (lm[22:27], 1.0), (lm[17:22][::-1], -1.0)
    lift = np.array([0, traits.brow_lift, 0])
    thick = 0.0036 * traits.brow_thickness

    def density(p):
        total = 0
        for line, _ in sides:
            along, distance = _along(p, line + lift)
            half = thick * np.interp(along, [0, 0.12, 0.55, 1.0], [0.75, 1.05, 0.9, 0.30])
            total = total + np.clip(1.6 - 1.6 * distance / half, 0, 1) * np.interp(along, [0, 0.1, 1], [0.55, 1, 0.85])
        return np.clip(total, 0, 1)

    near = np.abs(atlas.template[atlas.faces].mean(1)[:, None] - lm[17:27][None]).max(-1).min(1) < 0.02
    faces = np.flatnonzero(near & atlas.regions["skin"][atlas.faces].all(1))
    roots = sample_roots(rng, neutral, normals, atlas.template, atlas.faces, faces, density,
                         int(620 * traits.brow_density * traits.brow_thickness))  # fmt: skip
    out = np.zeros((len(roots), 3))
    for line, side in sides:
        mine = roots.template[:, 0] * side > 0
        along, _ = _along(roots.template, line + lift)
        course = line[-1] - line[0]
        course = course / np.linalg.norm(course)
        rise = np.interp(along, [0, 0.3, 0.7, 1], [1.3, 0.7, 0.1, -0.25])[:, None] * np.array([0, 1, 0])
        out[mine] = (course + rise)[mine]
    return _lying(rng, roots, out, 0.0075 * np.sqrt(traits.brow_thickness), traits.brow_color, 0.0, 0.00042, 0.22)


def _lying(rng, roots, direction, length, color, grey, width, lift, droop=0.0, count=4) -> Hair:
    """Short strands that lie close to the skin along `direction` [S, 3]."""
    direction = direction - (direction * roots.normal).sum(1, keepdims=True) * roots.normal
    direction /= np.linalg.norm(direction, axis=1, keepdims=True) + 1e-9
    direction = direction + rng.normal(0, 0.16, direction.shape)
    t = np.linspace(0, 1, count)[None, :, None]
    own = length * rng.uniform(0.7, 1.15, (len(roots), 1, 1))
    bend = lift * (t - 0.45 * t**2)
    strands = roots.position[:, None] + own * (direction[:, None] * t + roots.normal[:, None] * bend)
    strands = strands + own * droop * np.array([0, -1.0, 0]) * t**2 + roots.normal[:, None] * 0.0002
    colors = _strand_colors(rng, strands, color, grey, dark_root=0.95)
    widths = width * np.linspace(1, 0.4, count) * rng.uniform(0.8, 1.2, (len(roots), 1))
    return from_grid(strands, colors, widths, roots.face)


def _lashes(atlas, traits, neutral, rng) -> Hair:
    """Lashes on the lids' margins; each follows the triangle nearest to its root, so a blink takes them along."""
    hairs = []
    skin = _skin_faces(atlas)
    tree = cKDTree(atlas.template[atlas.faces[skin]].mean(1))
    rows = [(side, upper) for upper in (True, False) for side in (1, -1)]
    for side, upper in rows:
        count, length = (60, 1.0) if upper else (28, 0.45)
        margin = atlas.lid_margin(side, upper)
        s = rng.uniform(0.08 if upper else 0.3, 0.98, count) * (len(margin) - 1)
        low = np.floor(s).astype(int).clip(0, len(margin) - 2)
        share = (s - low)[:, None]
        root = neutral[margin[low]] * (1 - share) + neutral[margin[low + 1]] * share
        place = atlas.template[margin[low]] * (1 - share) + atlas.template[margin[low + 1]] * share
        up = 1.0 if upper else -1.0
        fan = (place[:, 0] * side - 0.030) / 0.014 * side
        direction = np.stack([fan * 0.5, np.full(count, 0.1 * up), np.full(count, 0.9)], 1)
        direction += rng.normal(0, 0.07, direction.shape)
        t = np.linspace(0, 1, 4)[None, :, None]
        own = traits.lash_length * length * rng.uniform(0.75, 1.1, (count, 1, 1))
        own = own * (0.65 + 0.35 * np.clip((place[:, 0] * side - 0.021) / 0.018, 0, 1))[:, None, None]
        root = root + np.array([0, 0.0006 * up, 0.0026])  # the lid's edge lies in front of its inner margin
        strands = root[:, None] + own * (direction[:, None] * t + np.array([0, 0.55 * up, -0.25]) * t**2)
        color = np.tile(np.array([0.012, 0.010, 0.009]), (count, 4, 1))
        widths = 0.00032 * np.linspace(1, 0.4, 4) * np.ones((count, 1))
        hairs.append(from_grid(strands, color, widths, skin[tree.query(place)[1]]))
    return join(hairs)


def _beard(atlas, traits, neutral, normals, rng, amount) -> Hair:
    lm = atlas.landmarks
    field = atlas.vertex_field("beard", 2)
    tree = cKDTree(atlas.template)
    mouth = lm[48:60].mean(0)

    def density(p):
        distance, nearest = tree.query(p, k=3)
        weight = 1 / (distance + 1e-4)
        base = (field[nearest] * weight).sum(1) / weight.sum(1)
        # The upper edge runs from the sideburn to the corner of the mouth; over the lip grows the moustache.
        cheek = np.interp(np.abs(p[:, 0]), [0.0, 0.028, 0.045, 0.065], [lm[33, 1] - 0.004, lm[48, 1] + 0.012,
                          lm[48, 1] + 0.018, 0.0])  # fmt: skip
        base = base * np.clip((cheek - p[:, 1]) / 0.006, 0, 1)
        lip = np.clip((np.linalg.norm((p - mouth) / [0.029, 0.0125, 0.06], axis=1) - 1) / 0.18, 0, 1)
        over = (p[:, 1] > mouth[1]) & (np.abs(p[:, 0]) < 0.034)
        if traits.beard == "moustache":
            base = base * over
        elif traits.beard == "goatee":
            base = base * (np.abs(p[:, 0]) < 0.030)
        return np.clip(base * 1.5, 0, 1) * lip

    short = traits.beard_length < 0.004
    count = int((9000 if short else 11000) * amount * {"moustache": 0.25, "goatee": 0.45}.get(traits.beard, 1.0))
    roots = sample_roots(rng, neutral, normals, atlas.template, atlas.faces, _skin_faces(atlas), density, count)
    x, y, _ = roots.template.T
    outwards = np.stack([x * 9, np.full(len(x), -1.0), np.zeros(len(x))], 1)
    over = (y > mouth[1]) & (np.abs(x) < 0.034)
    outwards[over] = np.stack([np.sign(x[over]) * (0.3 + np.abs(x[over]) * 30), np.full(over.sum(), -0.9),
                               np.zeros(over.sum())], 1)  # fmt: skip
    length = traits.beard_length * np.where(over, 0.55, 1.0)[:, None, None]
    width = 0.00034 if short else 0.00042
    return _lying(rng, roots, outwards, length, traits.beard_color, traits.grey, width / np.sqrt(amount),
                  0.9 if short else 0.5, 0.25)  # fmt: skip


def _along(points: np.ndarray, polyline: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest place on a polyline as share of its length, and the distance to it."""
    lengths = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(polyline, axis=0), axis=1))])
    best, share = np.full(len(points), np.inf), np.zeros(len(points))
    for k in range(len(polyline) - 1):
        edge = polyline[k + 1] - polyline[k]
        t = np.clip(((points - polyline[k]) @ edge) / (edge @ edge), 0, 1)
        distance = np.linalg.norm(points - polyline[k] - t[:, None] * edge, axis=1)
        closer = distance < best
        best = np.where(closer, distance, best)
        share = np.where(closer, (lengths[k] + t * (lengths[k + 1] - lengths[k])) / lengths[-1], share)
    return share, best
