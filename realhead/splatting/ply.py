"""Gaussians on disk: the `.ply` layout of 3D Gaussian splatting.

62 float32 properties a Gaussian: x y z, nx ny nz (zero), f_dc_0..2, f_rest_0..44, opacity, scale_0..2, rot_0..3. The
values are those before activation: opacity as a logit, scales as logarithms, rotation as quaternion w, x, y, z. f_rest
is channel-major: 15 red, 15 green, 15 blue. Many importers accept only full degree-3 files of 248 bytes a Gaussian, so
lower degrees are padded with zeros.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import torch

from realhead.errors import RealheadError
from realhead.note import SYNTHETIC
from realhead.splatting.gaussians import Gaussians

PROPERTIES = (
    ["x", "y", "z", "nx", "ny", "nz", *(f"f_dc_{i}" for i in range(3)), *(f"f_rest_{i}" for i in range(45)), "opacity"]
    + [f"scale_{i}" for i in range(3)]
    + [f"rot_{i}" for i in range(4)]
)
MAX_HEADER_BYTES = 65536
MIN_SCALE = 1e-9  # metres; a flat Gaussian has a zero scale, whose logarithm no reader takes


def save_ply(gaussians: Gaussians, path: str | Path) -> None:
    """Writes Gaussians as a binary little-endian degree-3 `.ply`; an existing file is replaced in one step.

    A comment in the header says that it is synthetic media.
    """
    from plyfile import PlyData, PlyElement

    quats, scales = gaussians.quats_scales()
    n, k = len(gaussians), gaussians.sh.shape[1]
    opacity = gaussians.opacities.detach().double().clamp(1e-6, 1 - 1e-6)
    rest = torch.zeros(n, 3, 15, dtype=torch.float64)
    rest[:, :, : k - 1] = gaussians.sh.detach()[:, 1:].transpose(1, 2).double().cpu()
    columns = [
        gaussians.means.detach().double().cpu(),
        torch.zeros(n, 3, dtype=torch.float64),
        gaussians.sh.detach()[:, 0].double().cpu(),
        rest.reshape(n, 45),
        torch.logit(opacity)[:, None].cpu(),
        scales.double().clamp_min(MIN_SCALE).log().cpu(),
        quats.double().cpu(),
    ]
    table = torch.cat(columns, 1).numpy().astype("<f4")
    rows = np.ascontiguousarray(table).view(np.dtype([(name, "<f4") for name in PROPERTIES]))[:, 0]
    path = Path(path)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, suffix=".part", delete=False) as part:
        try:
            vertex = PlyElement.describe(rows, "vertex")
            PlyData([vertex], text=False, byte_order="<", comments=[SYNTHETIC]).write(part)
            part.close()
            os.chmod(part.name, 0o644)
            os.replace(part.name, path)
        except BaseException:
            os.unlink(part.name)
            raise


def load_ply(path: str | Path) -> Gaussians:
    """Reads a 3DGS `.ply`, binary or text, degree 0 to 3; further scalar properties are ignored.

    Raises:
        RealheadError: The file is missing, damaged, or not a `.ply` of Gaussians.
    """
    from plyfile import PlyData, PlyParseError

    path = Path(path)
    _check_header(path)
    try:
        vertex = PlyData.read(str(path), mmap=False)["vertex"].data
    except (
        PlyParseError,
        ValueError,
        LookupError,
        EOFError,
        MemoryError,
        ArithmeticError,
        TypeError,
        OSError,
    ) as error:
        raise RealheadError(f"{path} cannot be read as a .ply file ({error}): export it again.") from error
    names = vertex.dtype.names
    num_rest = sum(name.startswith("f_rest_") for name in names)
    needed = [name for name in PROPERTIES if not name.startswith(("n", "f_rest_"))]
    needed += [f"f_rest_{i}" for i in range(num_rest)]
    missing = [name for name in needed if name not in names]
    if missing or num_rest not in (0, 9, 24, 45):
        what = f"it lacks {', '.join(missing[:4])}" if missing else f"{num_rest} f_rest, not 0, 9, 24 or 45"
        raise RealheadError(f"{path} is not a .ply of Gaussians ({what}): export it as a 3DGS .ply.")
    return _gaussians_from(path, {name: np.asarray(vertex[name], np.float64) for name in needed}, num_rest)


def _gaussians_from(path: Path, values: dict[str, np.ndarray], num_rest: int) -> Gaussians:
    def columns(*names: str) -> torch.Tensor:
        return torch.from_numpy(np.stack([values[name] for name in names], -1))

    bad = sum(int((~np.isfinite(column)).sum()) for column in values.values())
    if bad:
        raise RealheadError(f"{path} holds {bad} values that are NaN or infinite: clean the splat first.")
    quats, scales = columns("rot_0", "rot_1", "rot_2", "rot_3"), columns("scale_0", "scale_1", "scale_2")
    if bool((quats.norm(dim=-1) == 0).any()) or bool((scales > 30).any()):
        raise RealheadError(f"{path} holds a zero quaternion or a scale above e^30: clean the splat first.")
    rest = columns(*(f"f_rest_{i}" for i in range(num_rest))) if num_rest else torch.zeros(len(quats), 0).double()
    sh = torch.cat([columns("f_dc_0", "f_dc_1", "f_dc_2")[:, None], rest.reshape(len(quats), 3, num_rest // 3).mT], 1)
    from realhead.splatting.reference import covariances

    means, opacities = columns("x", "y", "z"), torch.sigmoid(columns("opacity")[:, 0])
    covars = covariances(quats, scales.exp())
    return Gaussians(means.float(), covars.float(), opacities.float(), sh.float().contiguous())


def _check_header(path: Path) -> None:
    """Reads the header by hand, so that a hostile file cannot make the parser allocate more than the file holds."""
    try:
        with open(path, "rb") as file:
            head = file.read(MAX_HEADER_BYTES)
        size = path.stat().st_size
    except OSError as error:
        raise RealheadError(f"{path} cannot be opened ({error.strerror}): check the path.") from error
    end = head.find(b"end_header")
    if not head.startswith(b"ply") or end < 0:
        raise RealheadError(f"{path} is not a .ply file (its header is absent or cut off): export it again.")
    lines = [line.split() for line in head[:end].decode("ascii", "replace").splitlines()]
    counts = [int(words[2]) for words in lines if len(words) == 3 and words[0] == "element" and words[2].isdigit()]
    properties = sum(bool(words) and words[0] == "property" for words in lines)
    lists = any(words[:2] == ["property", "list"] for words in lines)
    if len(counts) != 1 or lists:
        raise RealheadError(f"{path} is a .ply file, but not one of Gaussians (one element, no lists).")
    if counts[0] * properties > size:  # a value takes a byte at least
        raise RealheadError(f"{path} is cut off: {counts[0]} Gaussians do not fit {size} bytes; export it again.")
