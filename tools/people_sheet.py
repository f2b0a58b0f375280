"""Makes the sheet of the people of an evaluation, one row a picture, one column a method.

python tools/people_sheet.py results/studio/laptop.json results/studio/laptop_people.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from realhead.capture.files import read_json
from realhead.report.figures import picture_grid


def main() -> None:
    """Reads the evaluation and the pictures that it kept beside itself."""
    evaluation, out = Path(sys.argv[1]), Path(sys.argv[2])
    sheet = picture_grid(read_json(evaluation), evaluation.parent)
    if sheet is None:
        sys.exit(f"{evaluation} kept no pictures: evaluate again with --set pictured_people=20.")
    Image.fromarray(sheet).save(out, quality=75)


if __name__ == "__main__":
    main()
