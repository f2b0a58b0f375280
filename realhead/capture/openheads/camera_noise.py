"""What a webcam does to a picture: a background, white balance, a little blur, sensor noise, JPEG."""

from __future__ import annotations

import cv2
import numpy as np


def photograph(
    image: np.ndarray, mask: np.ndarray, background: np.ndarray, seed: int, timestep: int
) -> tuple[np.ndarray, np.ndarray]:
    """The picture as a cheap camera would have stored it, and the same with its background taken away.

    Args:
        image: On white, uint8 [H, W, 3].
        mask: Straight alpha, uint8 [H, W].
        background: What stands behind the person, uint8 [H, W, 3].
        seed: The camera's seed: white balance, blur and quality stay the same over a clip.
        timestep: Seed of the noise of this frame.

    Returns:
        The photograph and the person on white, both uint8 [H, W, 3]. The person keeps the camera's faults; the
        background is subtracted as a perfect matte would do it.
    """
    own = np.random.default_rng([seed, 21])
    balance, blur, quality = own.normal(1, 0.03, 3), own.uniform(0.0, 0.7), int(own.integers(70, 95))
    strength = own.uniform(1.0, 4.0)
    rng = np.random.default_rng([seed, 22, timestep])
    behind = 1 - (mask.astype(np.float32) / 255)[..., None]
    room = background * balance.astype(np.float32)
    picture = (image - 255 * behind) * balance.astype(np.float32) + room * behind
    if blur > 0.25:
        picture, behind = cv2.GaussianBlur(picture, (0, 0), blur), cv2.GaussianBlur(behind, (0, 0), blur)[..., None]
    shade = np.sqrt(np.clip(picture, 8, 255) / 128)
    picture = picture + rng.normal(0, strength, image.shape).astype(np.float32) * shade
    code = cv2.imencode(".jpg", picture.clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    picture = cv2.imdecode(code, cv2.IMREAD_COLOR)
    on_white = picture.astype(np.float32) + (255 - room) * behind
    on_white[mask == 0] = 255
    return picture, (on_white + 0.5).clip(0, 255).astype(np.uint8)
