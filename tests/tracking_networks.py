"""Whether the tracking networks lie on disk, and the mark of the tests that need them."""

import pytest

from realhead.assets import asset
from realhead.errors import AssetError

try:
    PRESENT = all(asset(name, fetch=False) for name in ("face_landmarker.task", "selfie_segmentation.tflite"))
except AssetError:
    PRESENT = False
needs_networks = pytest.mark.skipif(not PRESENT, reason="the tracking networks are not fetched")
