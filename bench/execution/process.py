"""What a process agrees with its system: SIGTERM means Ctrl-C, and freed memory is kept.

This module knows signals and glibc's allocator; it must not know what is interrupted or allocated.
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
