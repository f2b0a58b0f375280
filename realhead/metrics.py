"""Image metrics, each with one documented definition.

All take pictures [..., H, W, 3] in [0, 1] (sRGB values as stored) and return one number per picture, shape [...]; all
are differentiable in the prediction. A mask [..., H, W] in [0, 1] weighs pixels; a metric with a mask is an average
over the mask, so the background neither helps nor harms (a white background around a small head inflates PSNR and SSIM
strongly).

    psnr      -10 log10(MSE), over pixels and channels; the paper's column.
    ssim      11 x 11 Gaussian window, sigma 1.5, only windows that lie inside the picture (as scikit-image crops).
    lpips     version 0.1, AlexNet unless said; the [0, 1] input is shifted to [-1, 1] as the official code expects.
              (Scripts of the 3DGS family skip that shift and report lower numbers.)
    identity  cosine of dlib's 128-D face embeddings. The paper does not name its network; numbers are not comparable.
    t_lpips   four readings of "temporal LPIPS", as the paper does not define it: see the function.
"""

from __future__ import annotations

import functools
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from realhead.errors import RealheadError
from realhead.perceptual import Net, PerceptualNetwork, perceptual_network

__all__ = ["identity", "lpips", "perceptual_network", "psnr", "ssim", "ssim_map", "t_lpips"]

IDENTITY_NETWORK = "dlib face_recognition_resnet_model_v1"
"""Network behind `identity`; stands beside every ID number."""

TemporalVariant = Literal["tlp", "tlp_x100", "lpips_consecutive", "lpips_tdiff"]

_WINDOW, _SIGMA = 11, 1.5
_CHUNK = 8  # pictures per pass through a network: bounds the memory of long clips


def psnr(
    prediction: Float[Tensor, "*b h w 3"],
    target: Float[Tensor, "*b h w 3"],
    mask: Float[Tensor, "*b h w"] | None = None,
) -> Float[Tensor, "*b"]:
    """Peak signal-to-noise ratio in dB.

    Args:
        prediction: Pictures in [0, 1].
        target: Ground truth in [0, 1].
        mask: Pixel weights in [0, 1]; the error is averaged over them.

    Returns:
        PSNR per picture; infinite for equal pictures, NaN for an empty mask.

    Raises:
        RealheadError: Shapes or ranges do not fit.
    """
    prediction, target, mask = _checked(prediction, target, mask)
    error = (prediction - target).square().mean(-1)
    return -10 * torch.log10(_masked_mean(error, mask))


def ssim(
    prediction: Float[Tensor, "*b h w 3"],
    target: Float[Tensor, "*b h w 3"],
    mask: Float[Tensor, "*b h w"] | None = None,
) -> Float[Tensor, "*b"]:
    """Structural similarity (Wang et al. 2004), the mean over channels and windows.

    Args:
        prediction: Pictures in [0, 1].
        target: Ground truth in [0, 1].
        mask: Weights in [0, 1]: a window counts by the mask at its centre (it still sees 5 pixels around it).

    Returns:
        SSIM per picture, 1 for equal pictures.

    Raises:
        RealheadError: Shapes or ranges do not fit.
    """
    prediction, target, mask = _checked(prediction, target, mask)
    batch = prediction.shape[:-3]
    values = ssim_map(_networked(prediction), _networked(target)).mean(1)  # [b, h - 10, w - 10]
    border = _WINDOW // 2
    centres = None if mask is None else mask.reshape(-1, *mask.shape[-2:])[:, border:-border, border:-border]
    return _masked_mean(values, centres).reshape(batch)


def ssim_map(prediction: Float[Tensor, "b c h w"], target: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
    """SSIM of every window that lies inside the picture; the losses use this one too.

    Args:
        prediction: Pictures in [0, 1], at least 11 pixels a side.
        target: Ground truth in [0, 1].

    Returns:
        Local SSIM in [-1, 1], smaller by 10 pixels a side.
    """
    if min(prediction.shape[-2:]) < _WINDOW:
        raise RealheadError(f"SSIM needs pictures of at least {_WINDOW} pixels a side: use larger pictures or crops.")
    x, y = prediction, target
    mean_x, mean_y, xx, yy, xy = (_blur(maps) for maps in (x, y, x * x, y * y, x * y))
    c1, c2 = 0.01**2, 0.03**2
    covariance = xy - mean_x * mean_y
    spread = xx - mean_x.square() + yy - mean_y.square()
    luminance = (2 * mean_x * mean_y + c1) / (mean_x.square() + mean_y.square() + c1)
    return luminance * (2 * covariance + c2) / (spread + c2)


def lpips(
    prediction: Float[Tensor, "*b h w 3"],
    target: Float[Tensor, "*b h w 3"],
    mask: Float[Tensor, "*b h w"] | None = None,
    net: Net = "alex",
) -> Float[Tensor, "*b"]:
    """Learned perceptual distance, version 0.1 with the published weights.

    Args:
        prediction: Pictures in [0, 1].
        target: Ground truth in [0, 1].
        mask: Weights in [0, 1]. Outside it the prediction is replaced by the target, and each layer's distances are
            averaged with the mask, so a mask of ones gives the plain LPIPS.
        net: "alex" or "vgg".

    Returns:
        LPIPS per picture, 0 for equal pictures.

    Raises:
        RealheadError: Shapes or ranges do not fit, or the weights cannot be fetched.
    """
    prediction, target, mask = _checked(prediction, target, mask)
    batch = prediction.shape[:-3]
    network = perceptual_network(net, str(prediction.device))
    first, second, weight = _networked(prediction), _networked(target), None
    if mask is not None:
        weight = mask.reshape(-1, *mask.shape[-2:])[:, None]
        first = first * weight + second * (1 - weight)
    return _distances(network, first, second, weight).reshape(batch)


def identity(
    prediction: Float[Tensor, "*b h w 3"],
    target: Float[Tensor, "*b h w 3"],
    mask: Float[Tensor, "*b h w"] | None = None,
    points: Float[Tensor, "*b 5 2"] | None = None,
) -> Float[Tensor, "*b"]:
    """Identity similarity ID: cosine of the two embeddings of dlib's face ResNet (`IDENTITY_NETWORK`).

    Both pictures are cut to an upright chip by the same five points, found in the target: a prediction cannot gain by
    an alignment of its own.

    Args:
        prediction: Pictures in [0, 1].
        target: Ground truth in [0, 1].
        mask: Weights in [0, 1]; outside both pictures become white.
        points: Eye corners and base of the nose in pixels, in the order of `face_network.FIVE_POINTS`. Found by the
            face landmarker in the target when None.

    Returns:
        Cosine per picture, 1 for equal pictures. Different people lie near 0.8: the embedding is not centred.

    Raises:
        RealheadError: Shapes or ranges do not fit, the target shows no face, or weights cannot be fetched.
    """
    from realhead.face_network import face_chip, face_network

    prediction, target, mask = _checked(prediction, target, mask)
    if points is None:
        points = _five_points(target)
    if mask is not None:
        prediction, target = (mask[..., None] * x + 1 - mask[..., None] for x in (prediction, target))
    network = face_network(str(prediction.device))
    first, second, points = _networked(prediction), _networked(target), points.reshape(-1, 5, 2)
    similarities = []
    for i in range(0, len(first), _CHUNK):
        part = slice(i, i + _CHUNK)
        a, b = (network(face_chip(x[part], points[part])) for x in (first, second))
        similarities.append(F.cosine_similarity(a, b))
    return torch.cat(similarities).reshape(prediction.shape[:-3])


def t_lpips(
    frames: Float[Tensor, "t h w 3"],
    target: Float[Tensor, "t h w 3"] | None = None,
    variant: TemporalVariant = "tlp_x100",
    net: Net = "alex",
) -> Float[Tensor, ""]:
    """Temporal consistency of a clip; the paper does not say which definition it uses, so all candidates are here.

    Args:
        frames: Predicted frames in [0, 1], in order.
        target: True frames; not needed for "lpips_consecutive".
        variant: "tlp": mean |LPIPS(target[t], target[t+1]) - LPIPS(frames[t], frames[t+1])| (TecoGAN's tLP, over all
            pairs); "tlp_x100": the same times 100, as TecoGAN prints it; "lpips_consecutive": mean LPIPS(frames[t],
            frames[t+1]); "lpips_tdiff": mean LPIPS of the frame differences, (x[t+1] - x[t] + 1) / 2 against the same
            of the target.
        net: LPIPS backbone.

    Returns:
        One number, lower is steadier.

    Raises:
        RealheadError: Fewer than two frames, a missing target, an unknown variant, or bad shapes.
    """
    if variant not in get_args(TemporalVariant):
        raise RealheadError(
            f"t_lpips has no variant {variant!r}: choose one of {', '.join(get_args(TemporalVariant))}."
        )
    if frames.shape[0] < 2:
        raise RealheadError("t_lpips needs at least two frames: pass a clip [T, H, W, 3].")
    if variant == "lpips_consecutive":
        return lpips(frames[1:], frames[:-1], net=net).mean()
    if target is None:
        raise RealheadError(f"t_lpips variant {variant!r} compares with the true frames: pass target.")
    frames, target, _ = _checked(frames, target, None)
    if variant == "lpips_tdiff":
        first, second = ((x[1:] - x[:-1] + 1) / 2 for x in (frames, target))
        return lpips(first, second, net=net).mean()
    moved = lpips(frames[1:], frames[:-1], net=net)
    truth = lpips(target[1:], target[:-1], net=net)
    return (truth - moved).abs().mean() * (100 if variant == "tlp_x100" else 1)


def _checked(prediction: Tensor, target: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Checks shapes and ranges, once for all metrics; NumPy arrays are welcome."""
    prediction, target = torch.as_tensor(prediction), torch.as_tensor(target)
    if prediction.shape != target.shape or prediction.ndim < 3 or prediction.shape[-1] != 3:
        raise RealheadError(
            f"A metric got pictures of shapes {tuple(prediction.shape)} and {tuple(target.shape)}: pass two of the "
            "same shape [..., H, W, 3]."
        )
    for x in (prediction, target):
        if not x.is_floating_point() or x.detach().amax() > 1.5 or x.detach().amin() < -0.5:
            raise RealheadError("A metric got values far outside [0, 1]: pass float pictures, for bytes divide by 255.")
    if mask is not None:
        mask = torch.as_tensor(mask)
        if mask.shape != prediction.shape[:-1]:
            raise RealheadError(
                f"A metric got a mask of shape {tuple(mask.shape)} for pictures of shape {tuple(prediction.shape)}: "
                "pass [..., H, W]."
            )
        mask = mask.to(prediction)
    return prediction, target.to(prediction), mask


def _networked(images: Tensor) -> Tensor:
    """[..., H, W, 3] to [B, 3, H, W]."""
    return images.reshape(-1, *images.shape[-3:]).permute(0, 3, 1, 2)


def _masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return values.mean((-2, -1))
    return (values * mask).sum((-2, -1)) / mask.sum((-2, -1))


def _distances(network: PerceptualNetwork, first: Tensor, second: Tensor, weight: Tensor | None) -> Tensor:
    parts = []
    for i in range(0, len(first), _CHUNK):
        part = slice(i, i + _CHUNK)
        a, b = network.features(first[part]), network.features(second[part])
        parts.append(network.distance(a, b, None if weight is None else weight[part]))
    return torch.cat(parts)


def _blur(images: Tensor) -> Tensor:
    """Gaussian window, rows then columns, without padding."""
    kernel = _gaussian(images.dtype, images.device)
    count = images.shape[0] * images.shape[1]
    flat = images.reshape(1, count, *images.shape[-2:])  # every map a group: ten times faster than a batch of maps
    flat = F.conv2d(flat, kernel.view(1, 1, 1, -1).expand(count, 1, 1, -1), groups=count)
    flat = F.conv2d(flat, kernel.view(1, 1, -1, 1).expand(count, 1, -1, 1), groups=count)
    return flat.view(*images.shape[:2], *flat.shape[-2:])


@functools.cache
def _gaussian(dtype: torch.dtype, device: torch.device) -> Tensor:
    distance = torch.arange(_WINDOW, dtype=torch.float64) - _WINDOW // 2
    kernel = torch.exp(-0.5 * (distance / _SIGMA).square())
    return (kernel / kernel.sum()).to(device, dtype)


def _five_points(images: Tensor) -> Tensor:
    """The five points of each picture, by the face landmarker."""
    from realhead.face_network import FIVE_POINTS
    from realhead.tracking.landmarker import Landmarker

    landmarker = Landmarker()
    found = []
    for image in images.detach().reshape(-1, *images.shape[-3:]):
        bytes_ = (image.clamp(0, 1) * 255).round().byte().cpu().numpy()
        found.append(torch.from_numpy(landmarker.detect_one(bytes_).points[list(FIVE_POINTS), :2]))
    return torch.stack(found).to(images).reshape(*images.shape[:-3], 5, 2)
