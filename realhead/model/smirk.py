"""SMIRK's three encoders, rebuilt on timm so that its published checkpoint loads key by key.

Retsinas et al., "3D Facial Expressions through Analysis-by-Neural-Synthesis", CVPR 2024; code MIT, weights by its
authors, FLAME 2020. A picture of 224 x 224 pixels goes through three MobileNetV3: pose and camera, identity, expression
with eyelids and jaw. The networks are written from their published description.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from realhead.errors import AssetError, RealheadError
from realhead.unpickling import read_torch

FILE = "SMIRK_em1.pt"
SIZE = 224
CROP_SCALE = 1.4
"""Side of the crop relative to the landmarks' box, as in its demo."""
MAX_BYTES = 512 * 2**20
PREFIX = "smirk_encoder."
NUM_SHAPE, NUM_EXPRESSION = 300, 50
JAW_SIDEWAYS = 0.2
SMALL, LARGE = "tf_mobilenetv3_small_minimal_100", "tf_mobilenetv3_large_minimal_100"


@dataclass(frozen=True)
class SmirkFace:
    """What SMIRK sees in a batch of crops; coefficients of FLAME 2020.

    Attributes:
        rotation: Root, axis-angle, [B, 3].
        camera: Scale, x and y of an orthographic camera, [B, 3].
        shape: [B, 300].
        expression: [B, 50].
        eyelids: Closing of left and right eyelid in [0, 1], [B, 2].
        jaw: Axis-angle, [B, 3].
    """

    rotation: Float[Tensor, "b 3"]
    camera: Float[Tensor, "b 3"]
    shape: Float[Tensor, "b 300"]
    expression: Float[Tensor, "b 50"]
    eyelids: Float[Tensor, "b 2"]
    jaw: Float[Tensor, "b 3"]


class _Branch(nn.Module):
    """A MobileNetV3 whose last map is averaged and read by one linear layer, named as in the checkpoint."""

    def __init__(self, backbone: str, layers: str, outputs: int):
        super().__init__()
        import timm

        self.encoder = timm.create_model(backbone, pretrained=False, features_only=True)
        channels = self.encoder.feature_info[-1]["num_chs"]
        self._layers = layers
        self.add_module(layers, nn.Sequential(nn.Linear(channels, outputs)))

    def forward(self, pictures: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b _"]:
        features = self.encoder(pictures)[-1]
        return getattr(self, self._layers)(features.mean((2, 3)))


class SmirkEncoder(nn.Module):
    """The three branches."""

    def __init__(self):
        """Random weights; `load_smirk` reads the published ones."""
        super().__init__()
        self.pose_encoder = _Branch(SMALL, "pose_cam_layers", 6)
        self.shape_encoder = _Branch(LARGE, "shape_layers", NUM_SHAPE)
        self.expression_encoder = _Branch(LARGE, "expression_layers", NUM_EXPRESSION + 5)

    def forward(self, pictures: Float[Tensor, "b 3 224 224"]) -> SmirkFace:
        """Reads crops.

        Args:
            pictures: RGB in [0, 1], not normalised further.
        """
        pose, values = self.pose_encoder(pictures), self.expression_encoder(pictures)
        expression, eyelids, jaw = values.split([NUM_EXPRESSION, 2, 3], -1)
        jaw = torch.cat([jaw[:, :1].relu(), jaw[:, 1:].clamp(-JAW_SIDEWAYS, JAW_SIDEWAYS)], -1)
        return SmirkFace(pose[:, :3], pose[:, 3:], self.shape_encoder(pictures), expression, eyelids.clamp(0, 1), jaw)


def find_smirk() -> Path | None:
    """The user's SMIRK_em1.pt in REALHEAD_ASSETS, or None."""
    folder = os.environ.get("REALHEAD_ASSETS")
    path = Path(folder).expanduser() / FILE if folder else None
    return path if path is not None and path.is_file() else None


def load_smirk(path: Path) -> SmirkEncoder:
    """The encoders with the weights of a checkpoint; no pickled code is run.

    Args:
        path: `SMIRK_em1.pt`; keys of SMIRK's generator are passed over.

    Raises:
        AssetError: The file is absent, damaged, or not SMIRK's.
    """
    if not path.is_file():
        raise AssetError(
            f"{path} not found: get {FILE} as SMIRK's README says and pass its path, or put it into REALHEAD_ASSETS."
        )
    if path.stat().st_size > MAX_BYTES:
        raise AssetError(f"{path} is larger than {MAX_BYTES >> 20} MiB, which SMIRK's weights are not: not opened.")
    try:
        content = read_torch(path, MAX_BYTES)
    except RealheadError as error:
        raise AssetError(f"{path} cannot be read as weights ({error}): download it again.") from None
    if not isinstance(content, dict) or not all(isinstance(v, np.ndarray) for v in content.values()):
        raise AssetError(f"{path} holds no plain table of weights: download {FILE} again.")
    weights = {str(k).removeprefix(PREFIX): v for k, v in content.items() if str(k).startswith(PREFIX)}
    with torch.device("meta"):  # no time is spent on random weights
        network = SmirkEncoder()
    wanted = network.state_dict()
    wrong = [k for k, v in wanted.items() if k not in weights or weights[k].shape != tuple(v.shape)]
    if wrong or len(weights) != len(wanted):
        first = wrong[0] if wrong else next(k for k in weights if k not in wanted)
        raise AssetError(
            f"{path} is not SMIRK's: {len(wrong)} of {len(wanted)} weights are absent or of another shape, first "
            f"{PREFIX}{first}; download {FILE} again."
        )
    network.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()}, assign=True)
    return network.eval()


def smirk_crop(image: np.ndarray, points: np.ndarray, scale: float = CROP_SCALE) -> np.ndarray:
    """The square around the face that SMIRK was trained on.

    Args:
        image: RGB, uint8 [H, W, 3].
        points: MediaPipe's 478 points in pixels, [478, 2] or [478, 3].
        scale: Side of the square over the mean side of the points' box.

    Returns:
        float32 [224, 224, 3] in [0, 1]; black outside of the picture.
    """
    import cv2

    low, high = points[:, :2].min(0), points[:, :2].max(0)
    side, centre = int((high - low).mean() * scale), (low + high) / 2
    # The first and last pixel centre of the crop lie on the square's sides.
    factor = (SIZE - 1) / side
    shift = -factor * (centre - side / 2)
    warp = np.array([[factor, 0, shift[0]], [0, factor, shift[1]]])
    return cv2.warpAffine(image, warp, (SIZE, SIZE), flags=cv2.INTER_LINEAR).astype(np.float32) / 255
