"""Running a kernel on several threads.

A kernel takes its pieces of work from a shared counter until there are none left (`kernels.jit.take`), so it may run on
any number of threads at once and each is busy to the end. Which thread does which piece never changes the result.

Numba's own parallel loops are not used: their OpenMP threads spin while they wait, against those of torch and of every
other program, and a step takes ten times longer as soon as a core is busy with something else. Ours sleep, and a helper
that does not wake up in time is not waited for.
"""

from __future__ import annotations

import os
import threading
from queue import SimpleQueue

import numpy as np
import torch

_tasks: SimpleQueue = SimpleQueue()
_helpers: list[threading.Thread] = []
_growing = threading.Lock()


def num_threads() -> int:
    """As many as torch uses."""
    return torch.get_num_threads()


def run(pieces: int, kernel, *args) -> None:
    """Runs `kernel(counter, *args)` on this thread and on helpers, until the work is done.

    Args:
        pieces: Of work that are worth a thread of their own; waking up a helper takes some 20 microseconds.
        kernel: Takes pieces by the counter.
        *args: Are passed on.
    """
    counter = np.zeros(1, np.int64)
    wanted = min(num_threads(), pieces) - 1
    if len(_helpers) < wanted:
        _grow(wanted)
    tasks = [_Task(kernel, counter, args) for _ in range(wanted)]
    for task in tasks:
        _tasks.put(task)
    try:
        kernel(counter, *args)
    finally:
        for task in tasks:
            task.finish()


class _Task:
    """One helper's share of a call: whoever takes `call` first owns it."""

    def __init__(self, kernel, counter, args):
        self.call = [(kernel, counter, args)]
        self.done = threading.Lock()
        self.done.acquire()
        self.error: BaseException | None = None

    def help(self) -> None:
        """Does the work, in a helper; or nothing, if it was called off."""
        try:
            kernel, counter, args = self.call.pop()  # taking from a list is atomic
        except IndexError:
            return
        try:
            kernel(counter, *args)
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
    global _tasks, _growing
    _tasks, _growing = SimpleQueue(), threading.Lock()
    _helpers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_helpers)
