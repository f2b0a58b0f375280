"""Commands that bring captures to disk and look at them."""

from __future__ import annotations

from typing import Annotated, Literal

from tyro.conf import arg

from realhead.commands.arguments import Out


def data(
    out: Out,
    size: Literal["mini", "laptop", "paper", "wild"] = "laptop",
    people: Annotated[int | None, arg(metavar="INT")] = None,
    tracking: Literal["exact", "studio", "wild"] | None = None,
    processes: int = 2,
    seed: int = 0,
) -> None:
    """Captures synthetic people with sixteen cameras (or one, in the wild), in VHAP's layout.

    Args:
        out: Folder of the data set; finished captures in it are kept.
        size: mini (minutes), laptop, paper (as many as NeRSemble), or wild (one camera, changing light).
        people: Another number of people than the size has.
        tracking: Noise of the stored parameters; studio, or wild for size wild, when not given.
        processes: Processes that render.
        seed: Seed of the people; no two seeds share any.
    """
    from realhead.capture.openheads.generate import generate

    print(generate(out, size, people=people, seed=seed, tracking=tracking, processes=processes))
