"""What a webcam does to a picture: white balance, sensor noise, a little blur, JPEG."""

from __future__ import annotations

import cv2
import numpy as np


def photograph(image: np.ndarray, mask: np.ndarray, seed: int, timestep: int) -> np.ndarray:
    """The picture as a cheap camera would have stored it; the white background stays white.

    Args:
        image: uint8 [H, W, 3] on white.
        mask: uint8 [H, W].
        seed: The camera's seed: white balance, blur and quality stay the same over a clip.
        timestep: Seed of the noise of this frame.
    """
    own = np.random.default_rng([seed, 21])
    balance, blur, quality = own.normal(1, 0.03, 3), own.uniform(0.0, 0.7), int(own.integers(70, 95))
    strength = own.uniform(1.0, 4.0)
    rng = np.random.default_rng([seed, 22, timestep])
    picture = image.astype(np.float32) * balance.astype(np.float32)
    if blur > 0.25:
        picture = cv2.GaussianBlur(picture, (0, 0), blur)
    shade = np.sqrt(np.clip(picture, 8, 255) / 128)
    picture = picture + rng.normal(0, strength, image.shape).astype(np.float32) * shade
    code = cv2.imencode(".jpg", picture.clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    picture = cv2.imdecode(code, cv2.IMREAD_COLOR).astype(np.float32)
    alpha = (mask.astype(np.float32) / 255)[..., None]
    # Outside the mask nothing of the camera remains: the background has been taken away.
    soft = np.where(alpha > 0, picture, 255.0)
    return (soft + 0.5).astype(np.uint8)
