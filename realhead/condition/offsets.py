"""Expression maps of a capture, made once and kept beside it: what training reads, one map a timestep.

Enrollment and driving look at a few frames and compute their maps, as `frame_expression_map` does for these files.

The maps are kept in single precision on the covered texels (171 kB a timestep at 128 texels): in half precision they
would be wrong by up to 20 micrometres where the jaw is wide open. The file is mapped into memory; to read a map takes
0.2 ms, to compute it 5 ms (128 texels, one thread of an EPYC, medians of `tests/benchmarks/bench_prior.py`).
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from realhead.capture.capture import Capture
from realhead.condition import expression
from realhead.condition.store import VERSION, keep, kept_file, key_of
from realhead.errors import CaptureError
from realhead.head.uv import UVMap

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExpressionMaps:
    """The expression maps of one capture.

    Attributes:
        uv_map: Their layout.
        timesteps: All usable timesteps of the capture.
        values: Offsets on the covered texels in centimetres, float32, [T, N, 3]; mapped from the file where there is
            one, so that many captures may be open at a time.
    """

    uv_map: UVMap
    timesteps: tuple[int, ...]
    values: Float[np.ndarray, "t n 3"]

    def at(self, timestep: int) -> Float[Tensor, "3 r r"]:
        """The map of a timestep.

        Raises:
            CaptureError: The capture has no such timestep.
        """
        if timestep not in self.timesteps:
            raise CaptureError(f"Timestep {timestep} has no expression map, since its parameters could not be read.")
        return self.uv_map.scatter(torch.from_numpy(np.array(self.values[self.timesteps.index(timestep)])))


def expression_maps(capture: Capture, uv_map: UVMap) -> ExpressionMaps:
    """Reads the expression maps of a capture, or makes them and keeps them in `<capture>/conditioning/`.

    The file's name holds a hash of all inputs, so a changed parameter file, result of SMIRK, head or layout makes a new
    one.

    Raises:
        RealheadError: SMIRK was run and the user's FLAME 2020 cannot serve, see `smirk_expression_map`.
    """
    timesteps = tuple(capture.timesteps)
    path = kept_file(capture, f"expression_{_key(capture, uv_map)}.npy")
    values = _read(path, (len(timesteps), len(uv_map), 3)) if path.exists() else None
    if values is None:
        values = _make(capture, uv_map)
        keep(path, lambda temporary: np.save(temporary, values))
    return ExpressionMaps(uv_map, timesteps, values)


def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The file mapped into memory; None where it is damaged."""
    try:
        values = np.lib.format.open_memmap(path, mode="r")
        if values.shape == shape and values.dtype == np.float32:
            return values
    except (OSError, ValueError, EOFError):
        pass
    _log.warning("%s is damaged and is made again", path)
    return None


@torch.no_grad()
def _make(capture: Capture, uv_map: UVMap) -> np.ndarray:
    maps = (expression.frame_expression_map(frame, capture.head, uv_map) for frame in capture.frames)
    return np.stack([uv_map.gather(made).numpy() for made in maps])


def _key(capture: Capture, uv_map: UVMap) -> str:
    """By the parameters, by what SMIRK saw and its head, and by the eyelids, which no hash of a head holds."""
    smirk = [path for path in map(capture.smirk_file, capture.timesteps) if path.is_file()]
    source = expression.smirk_head() if smirk and capture.head.edition is not None else None
    eyelids = capture.head.eyelids
    lids = "none" if eyelids is None else hashlib.sha256(eyelids.cpu().numpy().tobytes()).hexdigest()
    meaning = f"expression {VERSION} {source and source.hash} {lids} {capture.timesteps}"
    return key_of(meaning, capture, uv_map, [*(capture.parameter_files[t] for t in capture.timesteps), *smirk])
