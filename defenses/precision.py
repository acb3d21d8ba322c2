"""Arithmetic as a declared choice: what a forward pass is computed in, set and put back.

``float32`` means IEEE single precision: TensorFloat-32, which torch allows in convolutions unless
told otherwise, is switched off.  ``tf32`` allows it in convolutions and matrix products, ``bf16``
adds automatic casting to bfloat16.  Weights, noise and statistics are float32 or wider throughout.
This module must not know what is computed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal

import torch

Precision = Literal["float32", "tf32", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "tf32", "bf16")


@contextlib.contextmanager
def computing_in(precision: Precision, device: torch.device) -> Iterator[None]:
    """Compute in a precision inside the block; the switches stand as before afterwards.

    Args:
        precision: What to compute in.  ``tf32`` is ``float32`` on devices that have no such mode.
        device: Where the computation takes place.

    Raises:
        ValueError: The precision is unknown.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, found {precision!r}.")
    casting = torch.autocast(
        device.type, dtype=torch.bfloat16, enabled=precision == "bf16", cache_enabled=True
    )
    with _tensor_float(device, allowed=precision != "float32"), casting:
        yield


@contextlib.contextmanager
def _tensor_float(device: torch.device, *, allowed: bool) -> Iterator[None]:
    if device.type != "cuda":
        yield
        return
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = allowed
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before
