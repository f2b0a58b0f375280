"""How large a data set is: people, sequences, timesteps, pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from realhead.capture.openheads.expressions import SCRIPTS
from realhead.errors import RealheadError

SIZE_NAMES = ("mini", "laptop", "paper", "wild")
SizeName = Literal["mini", "laptop", "paper", "wild"]
STUDIO = tuple(SCRIPTS)


@dataclass(frozen=True)
class Size:
    """A data set's extent.

    Attributes:
        people: People to train on.
        test_people: People held out (they get the seeds after the others).
        sequences: Sequences of each person.
        timesteps: Timesteps per sequence; None: all frames of the performance.
        width, height: Picture size in pixels.
        wild: One camera and varied light instead of the studio.
        frames: Length of a wild performance.
        strands: Factor on the number of hairs.
    """

    people: int
    test_people: int
    sequences: tuple[str, ...]
    timesteps: int | None
    width: int
    height: int
    wild: bool = False
    frames: int | None = None
    strands: float = 1.0

    @property
    def num_images(self) -> int:
        """Pictures (an estimate where the performance decides: six seconds a sequence)."""
        steps = self.timesteps or self.frames or 150
        return (self.people + self.test_people) * len(self.sequences) * steps * (1 if self.wild else 16)


SIZES: dict[str, Size] = {
    "mini": Size(1, 1, (STUDIO[0], STUDIO[5], STUDIO[2]), 4, 256, 256),
    "laptop": Size(200, 20, STUDIO, 3, 256, 256),
    "paper": Size(200, 20, STUDIO, None, 550, 802, strands=2.5),
    "wild": Size(0, 8, ("FREE",), None, 256, 256, wild=True, frames=1600),
}


def size_of(
    name: str, people: int | None = None, frames: int | None = None, timesteps: int | None = None,
    sequences: Sequence[str] | None = None,
) -> Size:  # fmt: skip
    """A named size, with another number of people (held-out ones stay in proportion), frames, timesteps or sequences.

    Raises:
        RealheadError: The name or a number is not possible.
    """
    if name not in SIZES:
        raise RealheadError(f"Unknown data size '{name}': use one of {', '.join(SIZES)}.")
    size = SIZES[name]
    for label, value in (("people", people), ("frames", frames), ("timesteps", timesteps)):
        if value is not None and value < 1:
            raise RealheadError(f"--{label} is {value}: it must be at least 1.")
    if sequences and size.wild:
        raise RealheadError("Size 'wild' has one performance a person: leave --sequences out.")
    if unknown := [s for s in sequences or () if s not in STUDIO]:
        raise RealheadError(f"There is no sequence '{unknown[0]}': use some of {', '.join(STUDIO)}.")
    if people is not None:
        held_out = people if size.wild else max(1 if people > 1 else 0, round(people / 11))
        size = replace(size, people=people - held_out, test_people=held_out)
    if frames is not None:
        size = replace(size, frames=frames)
    if timesteps is not None:
        size = replace(size, timesteps=timesteps)
    return replace(size, sequences=tuple(dict.fromkeys(sequences))) if sequences else size
