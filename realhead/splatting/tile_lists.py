"""The depth-ordered lists of Gaussians that compositing walks through, one for each tile."""

from __future__ import annotations

import numpy as np

from realhead.splatting.kernels import tiles
from realhead.splatting.project_function import Drawn, Settings
from realhead.splatting.scene import refuse
from realhead.splatting.threads import num_threads, run

MAX_PAIRS = 1 << 27  # (Gaussian, tile) pairs of one camera: their gradient rows take 8 GB
WORTH_SPLITTING = 5_000  # Gaussians; fewer are sorted sooner by one thread


class TileLists:
    """Lists of one camera, and where its gradient rows lie.

    Attributes:
        ids: Gaussians, tile by tile, each tile near to far, equal depths in the order of their numbers, int32 [pairs].
        offsets: Where each tile begins in `ids`, int64 [tiles + 1].
        jobs: The tiles, longest list first: started early, it does not keep the others waiting at the end.
        shared: Gaussians in several tiles, chunk by chunk.
        totals: Sums of each chunk (see `kernels.project.project`).
        num_extra: Gradient rows that these need besides their own.
        bases: The first of them, for each chunk.
    """

    def __init__(self, settings: Settings, drawn: Drawn):
        number, self.num_extra = int(drawn.totals[:, 1].sum()), int(drawn.totals[:, 2].sum())
        pairs = number + self.num_extra
        if pairs > MAX_PAIRS:
            refuse(f"{number} Gaussians cover {pairs} tiles of 64x32 pixels; make them or the image smaller.")
        pieces = num_threads() if number > WORTH_SPLITTING else 1
        tiles_x, tiles_y = settings.tiles
        starts = np.empty((pieces, tiles_x * tiles_y), np.int32)
        run(pieces, tiles.count_tiles, drawn.spans, tiles_x, starts)
        tiles.to_starts(starts)
        self.offsets = np.append(starts[0], pairs).astype(np.int64)
        self.jobs = np.argsort(self.offsets[:-1] - self.offsets[1:], kind="stable")
        entries, spare, self.ids = np.empty(pairs, np.int64), np.empty(pairs, np.int64), np.empty(pairs, np.int32)
        run(pieces, tiles.fill_tiles, drawn.spans, drawn.depths, tiles_x, starts, entries)
        run(pieces, tiles.sort_tiles, self.offsets, self.jobs, entries, spare, self.ids)
        self.bases = np.cumsum(drawn.totals[:, 2]) - drawn.totals[:, 2]
        self.shared, self.totals = drawn.shared, drawn.totals
