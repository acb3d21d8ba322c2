"""What was made a moment ago and is asked for again.

It must not know what it keeps, nor how that is made.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

MEMORY = 256 * 2**20
"""Bytes kept: all draws of a few small images, nothing worth the wait of large ones."""


@dataclass(slots=True)
class Recent:
    """Tensors by a key that decides every bit of them, the longest unused going first.

    What is handed out is a copy: a smoother or a model of somebody's may write into it.

    >>> import torch
    >>> recent, made = Recent(memory=8), []
    >>> def make() -> Tensor:
    ...     made.append(1)
    ...     return torch.ones(1)
    >>> _ = recent("a", make), recent("b", make), recent("a", make), recent("c", make)
    >>> len(made), list(recent.known)
    (3, ['a', 'c'])
    """

    memory: int = MEMORY
    known: OrderedDict[Hashable, tuple[Tensor, ...]] = field(default_factory=OrderedDict)
    size: int = 0

    def __call__(self, key: Hashable, make: Callable[[], Tensor]) -> Tensor:
        """What is kept under the key, else what ``make`` gives."""
        (found,) = self.several(key, lambda: (make(),))
        return found

    def several(self, key: Hashable, make: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """The same for tensors that are made together."""
        if key in self.known:
            self.known.move_to_end(key)
        else:
            self.known[key] = make()
            self.size += _bytes(self.known[key])
        found = tuple(tensor.clone() for tensor in self.known[key])
        while self.size > self.memory:
            _, oldest = self.known.popitem(last=False)
            self.size -= _bytes(oldest)
        return found


def content(values: NDArray[Any]) -> tuple[object, ...]:
    """A key that stands for what an array holds: shape, kind and Python's 64-bit hash of its bytes.

    With a few hundred tensors kept, a call is given another one's result with probability 1e-16;
    SHA-256 takes six times as long where a processor has no instruction for it, and the bytes
    themselves would stay in memory.
    """
    return values.shape, values.dtype.str, hash(values.tobytes())


def _bytes(tensors: tuple[Tensor, ...]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
