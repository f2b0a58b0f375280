"""What a Gaussian has: numbers per Gaussian for colouring, histograms and the inspector.

A Gaussian of an avatar belongs to one texel of the UV map, hence to one triangle and one region of the head; `Surface`
holds that, together with the point of the mesh from which the Gaussian was moved away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from realhead.view.palette import categorical, ramp
from realhead.view.splats import baked_colour, base_colour, numpy, seen_colour

if TYPE_CHECKING:
    from realhead.avatar import Avatar
    from realhead.capture import Frame
    from realhead.splatting.gaussians import Gaussians

# A face belongs to many regions; the last one in this list that holds it gives it its name.
REGION_ORDER = (
    "skin", "neck", "scalp", "face", "ears", "beard", "brows", "socket", "lips",
    "mouth", "tongue", "teeth_lower", "teeth_upper", "eye_left", "eye_right", "lashes",
)  # fmt: skip
COLOURINGS = (
    "colour",
    "degree 0",
    "colour from here",
    "opacity",
    "largest scale",
    "smallest scale",
    "region",
    "offset",
    "depth",
    "normal",
    "view dependence",
)


@dataclass(frozen=True)
class Surface:
    """Where the N Gaussians sit on the head.

    Attributes:
        points: Posed mesh point of each Gaussian in metres, [N, 3].
        texel: Row and column in the UV map, [N, 2].
        face: Triangle index, [N].
        barycentric: Place inside the triangle, [N, 3].
        region: Index into `region_names`, [N].
        region_names: One name per region; the first is "elsewhere".
    """

    points: np.ndarray
    texel: np.ndarray
    face: np.ndarray
    barycentric: np.ndarray
    region: np.ndarray
    region_names: tuple[str, ...]

    @classmethod
    def of(cls, avatar: Avatar, frame: Frame) -> Surface:
        """The surface under the Gaussians of `avatar.gaussians(frame)`."""
        uv, vertices = avatar.uv_map, posed_vertices(avatar, frame)
        index = numpy(uv.index).astype(np.int64)
        faces = numpy(avatar.head.faces).astype(np.int64)
        face, barycentric = numpy(uv.face).astype(np.int64), numpy(uv.barycentric)
        points = (vertices[faces[face]] * barycentric[..., None]).sum(1)
        texel = np.stack([index // uv.resolution, index % uv.resolution], 1)
        region, names = regions(avatar)
        return cls(points, texel, face, barycentric, region, names)


def posed_vertices(avatar: Avatar, frame: Frame) -> np.ndarray:
    """The head's vertices in this frame, [V, 3] metres."""
    import torch

    with torch.no_grad():
        return numpy(avatar.head(**frame.parameters())[0])


def regions(avatar: Avatar) -> tuple[np.ndarray, tuple[str, ...]]:
    """One region per Gaussian: (index [N] into names, names); index 0 is "elsewhere"."""
    known = list(avatar.head.regions)
    order = [name for name in REGION_ORDER if name in known] + [n for n in known if n not in REGION_ORDER]
    label = np.zeros(len(avatar.uv_map.index), dtype=np.int64)
    for number, name in enumerate(order, start=1):
        label[numpy(avatar.uv_map.region(name)) > 0] = number
    return label, ("elsewhere", *order)


@dataclass(frozen=True)
class Attribute:
    """One number per Gaussian."""

    values: np.ndarray
    unit: str = ""
    logarithmic: bool = False
    bounds: tuple[float, float] | None = None

    def limits(self) -> tuple[float, float]:
        """The natural bounds, or a range that outliers do not stretch: the 1st and 99th percentile."""
        if self.bounds is not None:
            return self.bounds
        finite = self.values[np.isfinite(self.values)]
        if not len(finite):
            return 0.0, 1.0
        low, high = (float(value) for value in np.percentile(finite, [1, 99]))
        spare = max(0.05 * abs(low + high) / 2 - (high - low) / 2, 0.0) + 1e-6  # all alike: the range still has a width
        return low - spare, high + spare


def scales(gaussians: Gaussians) -> np.ndarray:
    """Standard deviations along the three axes in metres, ascending, [N, 3]."""
    return np.sqrt(np.clip(np.linalg.eigvalsh(numpy(gaussians.covars).astype(np.float64)), 0.0, None))


def normals(gaussians: Gaussians) -> np.ndarray:
    """The thinnest axis of each Gaussian, turned away from the head's middle, [N, 3]."""
    _, axes = np.linalg.eigh(numpy(gaussians.covars).astype(np.float64))
    thinnest, means = axes[..., 0], numpy(gaussians.means)
    outward = (thinnest * (means - np.median(means, 0))).sum(1)
    return thinnest * np.where(outward < 0, -1.0, 1.0)[:, None]


def attributes(
    gaussians: Gaussians, surface: Surface | None = None, viewpoint: np.ndarray | None = None
) -> dict[str, Attribute]:
    """All scalar attributes by name.

    Args:
        gaussians: N Gaussians.
        surface: adds "offset", the distance between a Gaussian and its point on the mesh in mm.
        viewpoint: adds "depth", the distance from this point in metres.
    """
    sigma = scales(gaussians) * 1000
    found = {
        "opacity": Attribute(numpy(gaussians.opacities), bounds=(0.0, 1.0)),
        "largest scale": Attribute(sigma[:, 2], "mm", logarithmic=True),
        "smallest scale": Attribute(sigma[:, 0], "mm", logarithmic=True),
        "view dependence": Attribute(np.linalg.norm(numpy(gaussians.sh[:, 1:]).reshape(len(sigma), -1), axis=1)),
    }
    means = numpy(gaussians.means)
    if surface is not None and len(surface.points) == len(means):
        found["offset"] = Attribute(np.linalg.norm(means - surface.points, axis=1) * 1000, "mm")
    if viewpoint is not None:
        found["depth"] = Attribute(np.linalg.norm(means - viewpoint, axis=1), "m")
    return found


@dataclass(frozen=True)
class Colouring:
    """Colours [N, 3] and the sentence that explains them."""

    rgbs: np.ndarray
    legend: str


def colour_by(
    name: str, gaussians: Gaussians, surface: Surface | None = None, viewpoint: np.ndarray | None = None
) -> Colouring:
    """Colour Gaussians by one of `COLOURINGS`; what cannot be said (no surface, no viewpoint) falls back to colour."""
    if name == "colour from here" and viewpoint is not None:
        return Colouring(seen_colour(gaussians, viewpoint), "all SH degrees, seen from where the camera stands now")
    if name == "normal":
        return Colouring(((normals(gaussians) + 1) / 2).astype(np.float32), "thinnest axis: x red, y green, z blue")
    if name == "region" and surface is not None and len(surface.region) == len(gaussians.means):
        return _by_region(surface)
    if name == "degree 0":
        return Colouring(base_colour(gaussians), "SH degree 0: the mean over all directions, also those never seen")
    attribute = attributes(gaussians, surface, viewpoint).get(name)
    if attribute is None:
        return Colouring(baked_colour(gaussians), "as seen from the front; round the head, from the side")
    low, high = attribute.limits()
    values = attribute.values
    if attribute.logarithmic:
        values, (a, b) = np.log(np.maximum(values, 1e-6)), np.log(np.maximum([low, high], 1e-6))
        rgbs = ramp(values, a, b)
    else:
        rgbs = ramp(values, low, high)
    scale = ", logarithmic" if attribute.logarithmic else ""
    return Colouring(rgbs, f"{name}: dark {low:.3g} {attribute.unit} to yellow {high:.3g} {attribute.unit}{scale}")


def _by_region(surface: Surface) -> Colouring:
    colours = categorical(len(surface.region_names))
    present = np.unique(surface.region)
    swatches = (
        f'<span style="color:#{"".join(f"{int(255 * c):02x}" for c in colours[i])}">■</span> {surface.region_names[i]}'
        for i in present
    )
    return Colouring(colours[surface.region], ", ".join(swatches))
