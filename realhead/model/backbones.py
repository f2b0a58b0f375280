"""Frozen feature extractors of the critic and of Table III: DINO ViT-S/16, or AlexNet where its weights are absent.

DINO's weights come from the user's own file, `dino_vits16.safetensors` or `.pth` in the folder REALHEAD_ASSETS; the
names under which Meta and timm publish that file are found too. Without it the AlexNet of LPIPS stands in: other
features, and already seen by the training loss, so every result must name the backbone that made it (`Backbone.name`).

Both give five grids of features, from local to global. Their weights are buffers outside of the state dictionary:
gradients pass through to the pictures, and a checkpoint holds nothing that can be had elsewhere.
"""

from __future__ import annotations

import copy
import logging
import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from realhead.errors import AssetError, RealheadError
from realhead.unpickling import read_torch

log = logging.getLogger(__name__)

DINO_FILES = (
    "dino_vits16.safetensors",
    "dino_vits16.pth",
    "dino_deitsmall16_pretrain.pth",  # Meta's name
    "vit_small_patch16_224.dino.safetensors",  # timm's
)
MAX_BYTES = 512 * 2**20
"""DINO's file has 86 MB."""
DINO_BLOCKS = (2, 5, 8, 11)  # tapped besides the embedding (facts sheet, f.2)
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Backbone(nn.Module):
    """A frozen network that turns pictures into five grids of features."""

    name: str
    channels: tuple[int, ...]
    """Channels of the five grids."""
    head_width: int
    """Most channels inside a head of the critic."""

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ gh gw"]]:
        """Five grids of one size, early features first.

        Args:
            images: Pictures in [0, 1]; sides are multiples of 16.
        """
        raise NotImplementedError

    def patches(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c gh gw"]:
        """The last features alone, one cell per 16 x 16 pixels.

        Args:
            images: Pictures in [0, 1]; sides are multiples of 16.
        """
        raise NotImplementedError


class DinoBackbone(Backbone):
    """A vision transformer of timm: tokens after the embedding and after four blocks, the class token added to each."""

    name = "DINO ViT-S/16"
    head_width = 384

    def __init__(self, transformer: nn.Module):
        """Freezes the transformer.

        Args:
            transformer: A timm `VisionTransformer` built with `dynamic_img_size=True`.
        """
        super().__init__()
        self.transformer = freeze(transformer.eval())
        self.channels = (transformer.embed_dim,) * (1 + len(DINO_BLOCKS))
        mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in _IMAGENET)
        self.register_buffer("_mean", mean, persistent=False)
        self.register_buffer("_deviation", deviation, persistent=False)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ gh gw"]]:
        """See `Backbone.forward`."""
        return [_grid(tokens[:, 1:] + tokens[:, :1], images) for tokens in self._tokens(images)]

    def patches(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c gh gw"]:
        """See `Backbone.patches`; after the final normalisation, without the class token."""
        return _grid(self.transformer.norm(self._tokens(images)[-1])[:, 1:], images)

    def _tokens(self, images: Tensor) -> list[Tensor]:
        """Class and patch tokens [b, 1 + gh gw, c] at the five depths."""
        vit = self.transformer
        tokens = vit._pos_embed(vit.patch_embed((images - self._mean) / self._deviation))
        taps = [tokens]
        for i, block in enumerate(vit.blocks):
            tokens = block(tokens)
            if i in DINO_BLOCKS:
                taps.append(tokens)
        return taps


class AlexBackbone(Backbone):
    """The stand-in: the five rectified layers of LPIPS' AlexNet, each pixel's features scaled to length one."""

    name = "AlexNet (stand-in for DINO ViT-S/16)"
    channels = (64, 192, 384, 256, 256)
    head_width = 128  # at 384 the heads would cost more than AlexNet itself

    def __init__(self, network: nn.Module):
        """Freezes the network.

        Args:
            network: A `realhead.perceptual.PerceptualNetwork` of AlexNet, whose weights are buffers already.
        """
        super().__init__()
        self.network = network

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ gh gw"]]:
        """See `Backbone.forward`; early layers are averaged down to the cells of the last ones."""
        taps = self.network.features(images)
        return [F.adaptive_avg_pool2d(tap, taps[-1].shape[-2:]) for tap in taps]

    def patches(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c gh gw"]:
        """See `Backbone.patches`."""
        # AlexNet does not pad before pooling; with 8 pixels more all around its cells tile the picture as DINO's do.
        return self.network.features(F.pad(images, (8, 8, 8, 8), mode="replicate"))[-1]


def freeze(module: nn.Module) -> nn.Module:
    """Turns all parameters and buffers into constants outside of the state dictionary; in place.

    Returns:
        The module, which still moves between devices and passes gradients to its input.
    """
    for part in module.modules():
        constants = part._parameters | part._buffers
        part._parameters.clear()
        part._buffers.clear()
        for name, value in constants.items():
            part.register_buffer(name, None if value is None else value.detach(), persistent=False)
    return module


def find_dino() -> Path | None:
    """The user's file of DINO weights in REALHEAD_ASSETS, or None."""
    folder = os.environ.get("REALHEAD_ASSETS")
    candidates = [Path(folder).expanduser() / name for name in DINO_FILES] if folder else []
    return next((path for path in candidates if path.is_file()), None)


def load_dino(path: str | Path, **architecture) -> DinoBackbone:
    """DINO ViT-S/16 with the weights of a file; no pickled code is run.

    Args:
        path: safetensors, or a .pth that holds a state dictionary of plain tensors.
        **architecture: Passed to timm, for transformers of other sizes.

    Raises:
        AssetError: The file cannot be read, or holds another network.
    """
    import timm

    weights = _read_weights(Path(path))
    transformer = timm.create_model(
        "vit_small_patch16_224.dino", pretrained=False, num_classes=0, dynamic_img_size=True, **architecture
    )
    wanted = transformer.state_dict()
    wrong = [name for name, value in wanted.items() if name not in weights or weights[name].shape != value.shape]
    if wrong:
        raise AssetError(
            f"{path} is not DINO ViT-S/16 ({len(wrong)} of {len(wanted)} tensors are absent or of another shape, first "
            f"{wrong[0]}): take the backbone-only file of DINO (version 1) ViT-S/16, or remove it to use the stand-in."
        )
    transformer.load_state_dict({name: weights[name] for name in wanted})
    return DinoBackbone(transformer)


def _read_weights(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = read_torch(path, MAX_BYTES)
    except Exception as error:  # damaged safetensors raise many kinds
        reason = error if isinstance(error, RealheadError) else type(error).__name__
        raise AssetError(
            f"{path} cannot be read as weights ({reason}): download the file again, as safetensors or as "
            "a .pth of plain tensors."
        ) from error
    if not isinstance(content, dict) or not all(isinstance(value, np.ndarray) for value in content.values()):
        raise AssetError(
            f"{path} does not hold a plain state dictionary: take the backbone-only file of DINO ViT-S/16."
        )
    return {name: torch.from_numpy(value) for name, value in content.items()}


def load_backbone() -> Backbone:
    """DINO where the user has its file, else the named stand-in; a new one each time, on the CPU.

    Raises:
        AssetError: DINO's file is damaged, or the stand-in's weights are absent and cannot be fetched.
    """
    path = find_dino()
    if path:
        return load_dino(path)
    from realhead.perceptual import perceptual_network

    log.info("no DINO weights in REALHEAD_ASSETS: %s is used", AlexBackbone.name)
    return AlexBackbone(copy.deepcopy(perceptual_network("alex")))  # a copy, as the caller may move it to a GPU


def _grid(tokens: Tensor, images: Tensor) -> Tensor:
    """[b, gh gw, c] to [b, c, gh, gw]."""
    return tokens.transpose(1, 2).unflatten(2, (images.shape[-2] // 16, images.shape[-1] // 16))
