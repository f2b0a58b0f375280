"""Curves and pictures of a training run for TensorBoard, which is an option: the log is log.jsonl."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from realhead.errors import RealheadError

if TYPE_CHECKING:
    from realhead.training import Monitor


def tensorboard_monitor(folder: str | Path) -> Monitor:
    """A monitor for `realhead.training.train` that writes into `folder`/tensorboard.

    Raises:
        RealheadError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise RealheadError(
            "TensorBoard is not installed: `pip install tensorboard`, or leave --tensorboard out and read log.jsonl."
        ) from error
    writer = SummaryWriter(Path(folder) / "tensorboard")

    def write(step, numbers, pictures, targets) -> None:
        for name, value in numbers.items():
            writer.add_scalar(name, value, step)
        writer.add_images("rendered", pictures.detach().clamp(0, 1), step)
        writer.add_images("target", targets, step)
        writer.flush()

    return write
