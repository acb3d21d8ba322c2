"""Names of devices, and one process per GPU: a worker claims a device and keeps it while it lives.

This module knows torch's devices; it must not know what is computed on them.
A claim is a file lock in the machine's temporary folder, so two workers never share a device,
whether they belong to one run or to two, and a killed worker's device is free at once.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from bench.base.errors import BenchError


def gpus() -> int:
    """CUDA devices that this process sees."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def resolve_device(name: str) -> str:
    """``auto`` to what the machine has.

    >>> resolve_device("cpu")
    'cpu'

    Raises:
        BenchError: The name is no device, or the machine has no such device.
    """
    if name == "cpu":
        return name
    if name != "auto" and not re.fullmatch(r"cuda(:\d+)?", name):
        raise BenchError(f"--device: expected auto, cpu, cuda or cuda:1, found {name!r}.")
    count = gpus()
    if name == "auto":
        return "cuda" if count else "cpu"
    if int(name.partition(":")[2] or 0) >= count:
        raise BenchError(f"--device: expected one of {count} CUDA devices, found {name!r}.")
    return name


def device_name(device: str) -> str:
    """Product name of a device, without anything that names the machine.

    >>> device_name("cpu")
    'cpu'
    """
    if device == "cpu":
        return device
    import torch

    return str(torch.cuda.get_device_name(device))


def device_keys(count: int, visible: str | None) -> tuple[str, ...]:
    """Names of the devices ``cuda:0 ... cuda:count-1`` that all processes agree on.

    Args:
        count: Devices that this process sees.
        visible: ``CUDA_VISIBLE_DEVICES``, which renumbers devices for one process.

    >>> device_keys(2, None), device_keys(2, "3,GPU-5a")
    (('0', '1'), ('3', 'GPU-5a'))
    """
    if not visible:
        return tuple(str(index) for index in range(count))
    return tuple(part.strip() for part in visible.split(",")[:count])


class DeviceClaim:
    """A device that nobody else works on while this object is open."""

    def __init__(self, index: int, lock: object) -> None:
        self.index = index
        self._lock = lock

    def release(self) -> None:
        """Let others have it; also happens when the process ends."""
        self._lock.release()  # type: ignore[attr-defined]


def claim(keys: Sequence[str], *, folder: Path) -> DeviceClaim:
    """The first device that is free.

    Args:
        keys: Names of the devices; the index in this list is the device's number.
        folder: Where the machine's locks lie.

    Raises:
        BenchError: All devices are taken.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    for index, key in enumerate(keys):
        lock = FileLock(folder / f"cuda-{key}.lock", thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        return DeviceClaim(index, lock)
    raise BenchError(
        f"expected a free CUDA device, found all {len(keys)} of this machine in use by other "
        "workers; start fewer workers, or wait."
    )


def own_device() -> str:
    """The device of this process, the same for as long as it lives."""
    return f"cuda:{_own_claim().index}"


@cache
def _own_claim() -> DeviceClaim:
    # Remembered, because a lock that is garbage-collected is released.
    import torch

    keys = device_keys(torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    return claim(keys, folder=lock_folder())


def lock_folder() -> Path:
    """The machine's folder of device locks; one for each user, who alone may write it."""
    user = getattr(os, "getuid", lambda: 0)()
    return Path(tempfile.gettempdir()) / f"certified-iqa-bench-{user}"
