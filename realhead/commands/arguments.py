"""Types that the commands share, so that the same argument looks the same in every --help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

Out = Annotated[Path, arg(metavar="PATH")]
OptionalPath = Annotated[Path | None, arg(metavar="PATH")]
CapturePath = Annotated[Positional[Path], arg(metavar="CAPTURE")]
AvatarPath = Annotated[Positional[Path], arg(metavar="AVATAR")]
DataPath = Annotated[Positional[Path], arg(metavar="DATA")]
PriorName = Annotated[str, arg(metavar="NAME|PATH")]
