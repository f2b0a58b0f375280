"""What is measured on a set of pictures, and where: the whole picture, inside the mask, the mouth crop, and over time.

All predictions are rounded to 8 bits first, as a file would hold them. A white background flatters every metric of the
whole picture; the two other regions do not see it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from realhead import metrics
from realhead.capture.capture import View
from realhead.errors import RealheadError
from realhead.evaluation_views import ScoredView, camera_azimuth

REGIONS = ("picture", "mask", "mouth")
MOUTH_CROP = 96
"""Pixels along a side to which mouth crops are enlarged, since LPIPS and SSIM need some."""
MOUTH_MARGIN = 1.3
"""Side of the square mouth crop over the larger side of the projected lips."""
LARGEST_AZIMUTH = math.radians(50)
"""Mouth crops and ID are taken from cameras within this angle of the face's direction."""
DLIB_FIVE_OF_68 = (45, 42, 36, 39, 33)
TEMPORAL = ("tlp", "tlp_x100", "lpips_consecutive", "lpips_tdiff")

DEFINITIONS = {
    "psnr": "dB, -10 log10 of the mean squared error over pixels and channels, values in [0, 1] rounded to 8 bits",
    "ssim": "11x11 Gaussian window, sigma 1.5, windows inside the picture only",
    "lpips_alex": "version 0.1, AlexNet with the published weights, input in [-1, 1]",
    "lpips_vgg": "version 0.1, VGG16 with the published weights, input in [-1, 1]; the first unseen pictures only",
    "id": f"cosine of {metrics.IDENTITY_NETWORK} embeddings, chips aligned by the tracked landmarks of the target, "
    f"cameras within {math.degrees(LARGEST_AZIMUTH):.0f} degrees of the face's direction",
    "tlp": "mean |LPIPS(target[t], target[t+1]) - LPIPS(frame[t], frame[t+1])|, AlexNet",
    "tlp_x100": "tlp times 100",
    "lpips_consecutive": "mean LPIPS(frame[t], frame[t+1]) of the prediction alone",
    "lpips_tdiff": "mean LPIPS between the differences of neighbouring frames of prediction and target",
    "picture": "the whole picture, the head composited on white (the paper's way; white flatters)",
    "mask": "the average over the capture's foreground mask",
    "mouth": f"square around the projected lips, {MOUTH_MARGIN} times their larger side, enlarged to {MOUTH_CROP} "
    f"pixels; cameras within {math.degrees(LARGEST_AZIMUTH):.0f} degrees of the face's direction",
    "enrolled": "the pictures that the avatar was enrolled from (none: the picture behind its identity texture)",
    "unseen": "other timesteps of all sequences, several cameras; nothing of it was enrolled",
    "std": "standard deviation over people (n - 1)",
}

_log = logging.getLogger(__name__)

Numbers = dict[str, float | int | None]


def quantised(pictures: Tensor) -> Tensor:
    """Rounded to 8 bits, as a file holds them."""
    return (pictures.clamp(0, 1) * 255).round() / 255


def measure(
    prediction: Float[Tensor, "b h w 3"], views: Sequence[View], head, left_out: dict[str, str], vgg: int = 0
) -> dict[str, Numbers]:
    """Scores pictures in all regions.

    Args:
        prediction: Rendered pictures in [0, 1].
        views: Their true pictures.
        head: The head of the views' parameters; its lips and landmarks say where the mouth and the face are.
        left_out: Collects why a metric could not be measured (no weights, no face).
        vgg: On how many of the pictures LPIPS with VGG16 is measured too (it is slow).

    Returns:
        By region: `count` pictures, and the mean of each metric over them (None where there was none).
    """
    prediction = quantised(prediction)
    target = torch.stack([view.image() for view in views])
    mask = torch.stack([view.mask() for view in views])
    rows = {"picture": _scores(prediction, target, None, left_out), "mask": _scores(prediction, target, mask, left_out)}
    facing = [i for i, view in enumerate(views) if abs(camera_azimuth(view)) <= LARGEST_AZIMUTH]
    boxes = {i: box for i in facing if (box := mouth_box(views[i], head)) is not None}
    if boxes:
        crops = [torch.stack([crop(x[i], box) for i, box in boxes.items()]) for x in (prediction, target)]
        rows["mouth"] = _scores(*crops, None, left_out)
    if vgg:
        score = lambda: metrics.lpips(prediction[:vgg], target[:vgg], net="vgg")  # noqa: E731
        rows["picture"]["lpips_vgg"] = _mean(_attempt("lpips_vgg", score, left_out))
    if facing:
        score = lambda: _identity(prediction[facing], target[facing], [views[i] for i in facing], head)  # noqa: E731
        rows["picture"]["id"] = _mean(_attempt("id", score, left_out))
    return rows


def temporal(
    prediction: Float[Tensor, "t h w 3"], target: Float[Tensor, "t h w 3"], left_out: dict[str, str]
) -> Numbers:
    """All four readings of t-LPIPS of a clip."""
    prediction = quantised(prediction)
    row: Numbers = {"count": len(prediction)}
    for variant in ("tlp", "lpips_consecutive", "lpips_tdiff"):
        score = lambda variant=variant: metrics.t_lpips(prediction, target, variant=variant)  # noqa: E731
        row[variant] = _mean(_attempt("t-LPIPS", score, left_out))
    row["tlp_x100"] = None if row["tlp"] is None else 100 * row["tlp"]
    return row


def mouth_box(view: View, head) -> tuple[float, float, float] | None:
    """Square around the projected lips, x, y of its upper left corner and its side in pixels; None off the picture."""
    vertices = head(**view.frame.parameters())[0]
    xy, depth = view.camera.project(vertices[head.regions["lips"]])
    low, high = xy.amin(0), xy.amax(0)
    side = float((high - low).max()) * MOUTH_MARGIN
    left, top = ((low + high) / 2 - side / 2).tolist()
    inside = left >= 0 and top >= 0 and left + side <= view.camera.width and top + side <= view.camera.height
    return (left, top, side) if inside and bool((depth > 0).all()) and side >= 1 else None


def crop(image: Float[Tensor, "h w 3"], box: tuple[float, float, float]) -> Float[Tensor, "s s 3"]:
    """A square of a picture, sampled bilinearly at MOUTH_CROP pixels a side."""
    left, top, side = box
    height, width = image.shape[:2]
    steps = (torch.arange(MOUTH_CROP) + 0.5) / MOUTH_CROP * side
    x, y = (left + steps) / width * 2 - 1, (top + steps) / height * 2 - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)[None]
    pixels = F.grid_sample(image.permute(2, 0, 1)[None], grid, align_corners=False, padding_mode="border")
    return pixels[0].permute(1, 2, 0).clamp(0, 1)


def _scores(prediction: Tensor, target: Tensor, mask: Tensor | None, left_out: dict[str, str]) -> Numbers:
    distance = _attempt("lpips_alex", lambda: metrics.lpips(prediction, target, mask), left_out)
    return {
        "count": len(prediction),
        "psnr": _mean(metrics.psnr(prediction, target, mask).clamp(max=100)),  # equal pictures would be infinite
        "ssim": _mean(metrics.ssim(prediction, target, mask)),
        "lpips_alex": _mean(distance),
    }


def _attempt(name: str, score: Callable[[], Tensor], left_out: dict[str, str]) -> Tensor | None:
    """The score, or None with the reason noted (and logged once)."""
    try:
        return score()
    except RealheadError as error:
        if name not in left_out:
            _log.warning("%s is left out: %s", name, error)
        left_out[name] = str(error)
        return None


def _mean(values: Tensor | None) -> float | None:
    """Mean over pictures; a picture with an empty mask does not count."""
    return None if values is None or bool(values.isnan().all()) else float(values.nanmean())


def _identity(prediction: Tensor, target: Tensor, views: Sequence[View], head) -> Tensor:
    points = torch.stack([five_points(view, head) for view in views]) if "68" in head.landmarks else None
    return metrics.identity(prediction, target, points=points)


def five_points(view: View, head) -> Float[Tensor, "5 2"]:
    """Eye corners and base of the nose of the tracked mesh, in pixels, in dlib's order."""
    points = head.landmark_positions(head(**view.frame.parameters()))[0]
    return view.camera.project(points[list(DLIB_FIVE_OF_68)])[0]


def clip_target(clip: Sequence[ScoredView]) -> Float[Tensor, "t h w 3"]:
    """The true frames of a clip."""
    return torch.stack([scored.view.image() for scored in clip])
