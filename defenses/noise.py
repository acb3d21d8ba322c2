"""Keyed noise streams: the same draw for the same key, whatever the batch, order or worker.

This module knows hashing and generators; it must not know models, defences or files.  Noise is cut
into chunks of a fixed number of draws, each chunk with its own seed from SHA-256 of its key, so
resuming, re-batching or re-ordering a run never changes one bit of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from defenses.recent import Recent

Purpose = Literal["certify", "train", "attack", "audit", "repeat", "time"]
CHUNK = 16
"""Draws per keyed chunk; part of the stream's definition, so it is never tuned to memory."""

FEATURE_CHUNK = 256
"""The same for feature noise, whose draws are small: each chunk costs a generator and a launch."""


def key_seed(*parts: str | int | float) -> int:
    """Derive a 64-bit seed from the parts by SHA-256; order and type of the parts matter.

    >>> key_seed("embedded", 1) == key_seed("embedded", 1)
    True
    >>> key_seed("embedded", 1) == key_seed("embedded", "1")
    False
    """
    text = "\x1f".join(f"{type(part).__name__}:{part!r}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


@dataclass(frozen=True, slots=True)
class NoiseStream:
    """A stream of standard normal draws named by what it is for.

    Attributes:
        seed: The run's seed.
        purpose: Certification, training, attack and audit noise are different streams.
        dataset: Data set name.
        image: Image identifier.
        sigma: Noise level the draws will be scaled by (part of the key, not applied here).
        repeat: Counts independent repetitions of the same measurement.
    """

    seed: int
    purpose: Purpose
    dataset: str
    image: str
    sigma: float
    repeat: int = 0

    @property
    def key(self) -> int:
        """Seed of further noise that belongs to this stream; equal for equal streams alone."""
        return key_seed("inner", *astuple(self))

    def chunks(
        self,
        shape: tuple[int, ...],
        *,
        kind: str,
        draws: int,
        first: int = 0,
        device: torch.device | None = None,
        recent: Recent | None = None,
    ) -> Iterator[Tensor]:
        """Yield standard normal chunks of :func:`chunk_size` rows, the last one cut to ``draws``.

        Args:
            shape: Shape of one draw, e.g. ``(3, H, W)`` or ``(512,)``.
            kind: What is perturbed, ``"input"`` or ``"features"``.
            draws: Total number of draws, at least 1.
            first: How many of them to leave out, from the first one on.
            device: Where the draws are generated; the stream is defined per device type.
            recent: Chunks of a moment ago; on a CPU, what is among them is not drawn again.

        Raises:
            ValueError: ``draws`` is not positive.
        """
        if draws < 1:
            raise ValueError(f"a noise stream needs at least 1 draw, found {draws}.")
        where = device or torch.device("cpu")
        size = chunk_size(kind)
        for index in range(first // size, -(-draws // size)):
            seed = key_seed(
                self.seed,
                self.purpose,
                self.dataset,
                self.image,
                kind,
                float(self.sigma),
                self.repeat,
                index,
            )
            rows = min(size, draws - index * size)
            # NumPy fills row by row, so fewer rows are a prefix; elsewhere whole chunks make it so.
            drawn = (rows if where.type == "cpu" else size, *shape)
            make = partial(standard_normal, seed, drawn, where)
            if recent is not None and where.type == "cpu":
                noise = recent((seed, drawn), make)
            else:
                noise = make()
            yield noise[max(0, first - index * size) : rows]

    def draw(
        self,
        shape: tuple[int, ...],
        *,
        kind: str,
        draws: int,
        device: torch.device | None = None,
        recent: Recent | None = None,
    ) -> Tensor:
        """All draws at once, ``(draws, *shape)``; see :meth:`chunks`.

        >>> stream = NoiseStream(0, "certify", "set", "image", 0.1)
        >>> a = stream.draw((2,), kind="input", draws=40)
        >>> bool((a[:20] == stream.draw((2,), kind="input", draws=20)).all())
        True
        """
        found = self.chunks(shape, kind=kind, draws=draws, device=device, recent=recent)
        return torch.cat(list(found))


def standard_normal(seed: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Standard normal float32 draws that every bit of a 64-bit seed decides.

    PyTorch's generator on a CPU looks at the lower 32 bits of a seed alone: among the 100,000
    chunks of a run two would be the same more often than not.  NumPy's Philox takes all.

    >>> cpu = torch.device("cpu")
    >>> one, other = (standard_normal(seed, (2,), cpu) for seed in (1, 1 + 2**40))
    >>> bool((one == other).any())
    False
    """
    if device.type == "cpu":
        generator = np.random.Generator(np.random.Philox(key=seed))
        return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))
    there = torch.Generator(device=device).manual_seed(seed)
    return torch.randn(shape, generator=there, device=device)


MT_WORDS, MT_OFFSET = 624, 24
"""How many words PyTorch's generator on a CPU (MT19937) holds, and at which byte of its state."""


def wide_generator(seed: int) -> torch.Generator:
    """A CPU generator that all 64 bits of a seed decide, for whatever PyTorch draws.

    ``manual_seed`` fills the generator's state from 32 of them; here Philox does from all.

    >>> one, other = (torch.rand(2, generator=wide_generator(seed)) for seed in (1, 1 + 2**40))
    >>> bool((one == other).any())
    False
    """
    generator = torch.Generator()
    state = generator.manual_seed(0).get_state()
    words = np.random.Philox(key=seed).random_raw(MT_WORDS) >> np.uint64(32)
    state[MT_OFFSET : MT_OFFSET + 8 * MT_WORDS] = torch.from_numpy(words.view(np.uint8))
    return generator.set_state(state)


@contextmanager
def keyed_weights(*parts: str | int | float) -> Iterator[None]:
    """Let modules built inside take their weights from the parts' seed, and nobody else."""
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(wide_generator(key_seed(*parts)).get_state())
        yield


def chunk_size(kind: str) -> int:
    """Draws of one keyed chunk of a kind of noise.

    >>> chunk_size("input"), chunk_size("features")
    (16, 256)
    """
    return FEATURE_CHUNK if kind == "features" else CHUNK


def batches(chunks: Iterator[Tensor], *, size: int) -> Iterator[Tensor]:
    """Re-cut a stream of chunks into batches of ``size`` rows without changing any value.

    >>> [len(b) for b in batches(iter([torch.zeros(16, 1), torch.zeros(4, 1)]), size=7)]
    [7, 7, 6]
    """
    waiting: list[Tensor] = []
    count = 0
    for chunk in chunks:
        waiting.append(chunk)
        count += len(chunk)
        while count >= size:
            joined = torch.cat(waiting) if len(waiting) > 1 else waiting[0]
            yield joined[:size]
            waiting, count = ([joined[size:]], count - size) if count > size else ([], 0)
    if count:
        yield torch.cat(waiting)
