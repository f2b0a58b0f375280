"""What is measured on a set of pictures, and where: the whole picture, inside the mask, the mouth crop, and over time.

All predictions are rounded to 8 bits first, as a file would hold them. A white background flatters every metric of the
whole picture; the two other regions do not see it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from realhead import metrics
from realhead.errors import RealheadError
from realhead.evaluation.targets import LARGEST_AZIMUTH, MOUTH_CROP, MOUTH_MARGIN, Targets, lpips_to

REGIONS = ("picture", "mask", "mouth")

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
    "enrolled": "the neutral pictures that all enrolled avatars were given (of 1-shot and 3-shot: the frontal one)",
    "unseen": "other timesteps of all sequences, several cameras; nothing of it was enrolled",
    "std": "standard deviation over people (n - 1)",
}

_log = logging.getLogger(__name__)

Numbers = dict[str, float | int | None]


def quantised(pictures: Tensor) -> Tensor:
    """Rounded to 8 bits, as a file holds them."""
    return (pictures.clamp(0, 1) * 255).round() / 255


def measure(
    prediction: Float[Tensor, "b h w 3"], targets: Targets, left_out: dict[str, str], vgg: int = 0
) -> dict[str, Numbers]:
    """Scores pictures in all regions.

    Args:
        prediction: Rendered pictures in [0, 1].
        targets: The true pictures.
        left_out: Collects why a metric could not be measured (no weights, no face).
        vgg: On how many of the pictures LPIPS with VGG16 is measured too (it is slow).

    Returns:
        By region: `count` pictures, and the mean of each metric over them (None where there was none).
    """
    prediction = quantised(prediction)
    images, masks, facing = targets.images, targets.masks, targets.facing
    inside = prediction * masks[..., None] + images * (1 - masks[..., None])

    def attempt(name: str, score: Callable[[], Tensor]) -> float | None:
        return _attempt(name, score, left_out)

    rows = {"picture": _scores(prediction, images), "mask": _scores(prediction, images, masks)}
    rows["picture"]["lpips_alex"] = attempt("lpips_alex", lambda: lpips_to(prediction, targets.features))
    rows["mask"]["lpips_alex"] = attempt("lpips_alex", lambda: lpips_to(inside, targets.features, masks))
    if targets.boxes:
        mouths = targets.crops(prediction)
        rows["mouth"] = _scores(mouths, targets.mouths)
        rows["mouth"]["lpips_alex"] = attempt("lpips_alex", lambda: lpips_to(mouths, targets.mouth_features))
    if vgg:
        score = lambda: metrics.lpips(prediction[:vgg], images[:vgg], net="vgg")  # noqa: E731
        rows["picture"]["lpips_vgg"] = attempt("lpips_vgg", score)
    if facing:
        score = lambda: metrics.identity(prediction[facing], images[facing], points=targets.points)  # noqa: E731
        rows["picture"]["id"] = attempt("id", score)
    return rows


def temporal(prediction: Float[Tensor, "t h w 3"], targets: Targets, left_out: dict[str, str]) -> Numbers:
    """All four readings of t-LPIPS of a clip, as `realhead.metrics.t_lpips` defines them."""
    prediction, truth = quantised(prediction), targets.images

    def motion(pictures: Tensor) -> Tensor:
        return metrics.lpips(pictures[1:], pictures[:-1])

    row: Numbers = {"count": len(prediction)}
    try:
        moved = motion(prediction)
        row["tlp"] = float((motion(truth) - moved).abs().mean())
        row["tlp_x100"] = 100 * row["tlp"]
        row["lpips_consecutive"] = float(moved.mean())
        row["lpips_tdiff"] = float(metrics.t_lpips(prediction, truth, variant="lpips_tdiff"))
    except RealheadError as error:
        left_out["t-LPIPS"] = str(error)
    return row


def _scores(prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> Numbers:
    return {
        "count": len(prediction),
        "psnr": _mean(metrics.psnr(prediction, target, mask).clamp(max=100)),  # equal pictures would be infinite
        "ssim": _mean(metrics.ssim(prediction, target, mask)),
    }


def _attempt(name: str, score: Callable[[], Tensor], left_out: dict[str, str]) -> float | None:
    """The mean score, or None with the reason noted (and logged once)."""
    try:
        return _mean(score())
    except RealheadError as error:
        if name not in left_out:
            _log.warning("%s is left out: %s", name, error)
        left_out[name] = str(error)
        return None


def _mean(values: Tensor) -> float | None:
    """Mean over pictures; a picture with an empty mask does not count."""
    return None if bool(values.isnan().all()) else float(values.nanmean())
