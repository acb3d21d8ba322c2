"""What a process agrees with its system: SIGTERM means Ctrl-C, freed memory is kept, it may grow.

This module knows signals, glibc's allocator and joblib's worker loop; it must not know what is
interrupted, allocated or worked on.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Inside the block SIGTERM (kill, scancel, timeout) raises KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set a handler
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""Names of the settings in ``malloc.h``."""
LARGEST_KEPT_BLOCK = 2**30
MOST_KEPT = 2**31 - 1
"""Bytes that a process may hold unused at the end of its heap."""


def keep_freed_memory() -> bool:
    """Tell glibc's allocator; returns whether it did as asked (False where there is no glibc).

    Settings of the environment (``MALLOC_MMAP_THRESHOLD_``, ``MALLOC_TRIM_THRESHOLD_``) are the
    user's own choice and are left alone.
    """
    if any(name.startswith(("MALLOC_MMAP", "MALLOC_TRIM")) for name in os.environ):
        return False
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        return bool(
            mallopt(MMAP_THRESHOLD, LARGEST_KEPT_BLOCK) and mallopt(TRIM_THRESHOLD, MOST_KEPT)
        )
    return False


MOST_GROWTH = 2 * 2**30
"""Bytes by which a worker may grow: models, results kept and freed memory are no leak."""


def may_grow() -> None:
    """Tell loky, which replaces a worker that grew by 300 MB, to leave this one alone for longer.

    A new worker imports torch and loads its models again: measured, every twenty seconds.
    """
    from joblib.externals.loky import process_executor

    process_executor._MAX_MEMORY_LEAK_SIZE = MOST_GROWTH
