"""Running a kernel on several threads.

Where torch computes with OpenMP (Linux, macOS), our kernels run on torch's own threads. After an operation these spin
for milliseconds, waiting for the next one, and threads of our own would have to share the cores with them. Which thread
does which piece of work never changes the result, see `kernels.parallel`. On a machine whose cores are all busy, a step
waits until each thread has had its turn, as every operation of torch does.

Elsewhere, in a forked process (which OpenMP does not survive) and under bounds checks (whose errors OpenMP loses),
helpers of ours do the work. They sleep, and one that does not wake up in time is not waited for.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import torch
from numba import config


def _find_team() -> int:
    """The address of the GOMP_parallel that torch calls; 0 where there is none."""
    library = Path(torch.__file__).parent / "lib" / f"libtorch_cpu.{'dylib' if sys.platform == 'darwin' else 'so'}"
    try:
        return ctypes.cast(ctypes.CDLL(str(library)).GOMP_parallel, ctypes.c_void_p).value or 0
    except (OSError, AttributeError):
        return 0


_team = 0 if config.BOUNDSCHECK else _find_team()
_tasks: SimpleQueue = SimpleQueue()
_helpers: list[threading.Thread] = []
_growing = threading.Lock()


def num_threads() -> int:
    """As many as torch uses."""
    return torch.get_num_threads()


def run(pieces: int, kernel, *args) -> None:
    """Runs a kernel on this thread and others, until the work is done.

    Args:
        pieces: Of work that are worth a thread of their own.
        kernel: Made by `kernels.parallel.parallel`.
        *args: Are passed on.
    """
    counter = np.zeros(1, np.int64)
    threads = min(num_threads(), pieces)
    if threads == 1 or not _team:
        _run_with_helpers(threads - 1, kernel, counter, *args)
    else:
        kernel(_team, threads, counter, *args)


def _run_with_helpers(wanted: int, kernel, *args) -> None:
    if len(_helpers) < wanted:
        _grow(wanted)
    tasks = [_Task(kernel, args) for _ in range(wanted)]
    for task in tasks:
        _tasks.put(task)
    try:
        kernel(0, 1, *args)
    finally:
        for task in tasks:
            task.finish()


class _Task:
    """One helper's share of a call: whoever takes `call` first owns it."""

    def __init__(self, kernel, args):
        self.call = [(kernel, args)]
        self.done = threading.Lock()
        self.done.acquire()
        self.error: BaseException | None = None

    def help(self) -> None:
        """Does the work, in a helper; or nothing, if it was called off."""
        try:
            kernel, args = self.call.pop()  # taking from a list is atomic
        except IndexError:
            return
        try:
            kernel(0, 1, *args)
        except BaseException as error:
            self.error = error
        finally:
            self.done.release()

    def finish(self) -> None:
        """Calls the help off if it has not begun, otherwise waits for its end."""
        try:
            self.call.pop()
        except IndexError:
            self.done.acquire()
        if self.error is not None:
            raise self.error


def _help_forever() -> None:
    while True:
        _tasks.get().help()


def _grow(wanted: int) -> None:
    with _growing:
        while len(_helpers) < wanted:
            helper = threading.Thread(target=_help_forever, name=f"splatting-{len(_helpers)}", daemon=True)
            helper.start()
            _helpers.append(helper)


def _forget_helpers() -> None:
    """After a fork the child has none of the threads, and whatever was queued is the parent's."""
    global _team, _tasks, _growing
    _team, _tasks, _growing = 0, SimpleQueue(), threading.Lock()
    _helpers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_helpers)
