"""Makes the README's picture from a finished demo.

python tools/readme_picture.py results/demo results/readme.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

PANEL = 256


def panel(picture: Image.Image, row: int, column: int) -> Image.Image:
    """One panel of a picture made of square panels."""
    x, y = column * PANEL, row * PANEL
    return picture.crop((x, y, x + PANEL, y + PANEL))


def main() -> None:
    """Above: a real photograph and its avatar; below: a synthetic stranger and theirs, from three pictures."""
    demo, out = Path(sys.argv[1]), Path(sys.argv[2])
    photograph = Image.open(demo / "pictures" / "photo.jpg")
    stranger = Image.open(sorted((demo / "pictures").glob("enroll_*.jpg"))[0])
    picture = Image.new("RGB", (4 * PANEL, 2 * PANEL), "white")
    for column in range(4):
        picture.paste(panel(photograph, 0, column), (column * PANEL, 0))
    shown = [panel(stranger, 0, 0)] + [panel(stranger, 3, column) for column in range(3)]
    for column, image in enumerate(shown):
        picture.paste(image, (column * PANEL, PANEL))
    out.parent.mkdir(parents=True, exist_ok=True)
    picture.save(out, quality=88)


if __name__ == "__main__":
    main()
