"""Draws scores in passes that fit the memory at hand.

This module knows pass sizes, precision and devices; it must not know statistics or records.  Noise
comes in keyed chunks whatever the pass, but kernels round differently for different numbers of
rows (measured: the last bits differ between 1, 7 and 16 rows).  So on a CPU every pass of an image
size has the same number of rows, and a draw always stands in the same row of its pass: scores are
the same bits for every ``batch``, and a shorter stream is a prefix of a longer one.  Elsewhere the
number of rows follows from ``batch``, the number of draws and the memory that one pass took.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from defenses.base import Array, Smoother, Target
from defenses.noise import CHUNK, NoiseStream, batches
from defenses.precision import Precision, computing_in
from defenses.recent import Recent

GIB = 2**30
CPU_PIXELS = 3 * 2**18
"""Pixels of one pass on a CPU: 4 images of 384x512, 16 of 192x256.  More gains no speed there and
would let the widest denoiser leave 4 GiB."""
MOST_ROWS = 44
"""Rows of one pass of small images on a CPU: the fewest draws with which every defence certifies
r = 1, so that those are one pass without surplus."""

Key = tuple[Any, ...]


@dataclass(slots=True)
class Engine:
    """Remembers the pass size that fits.

    Attributes:
        batch: Noisy images per pass to begin with (a CPU's passes are fixed, see above).
        precision: What scores are computed in; Jacobians are never computed here.
        memory: Bytes that a pass may take on an accelerator; None keeps ``batch``.
        pinned: Keep a CPU's passes at their fixed size; False takes ``batch`` there too.
        compile: Run the smoother through ``torch.compile``.
        limits: Rows that fit, by model, smoother and image size.
        halvings: Limits set after memory ran out, in order.
        recent: Noise of a moment ago: the same for every model and defence.
        probe: Peak bytes of some work on a device, None where that cannot be measured.
    """

    batch: int
    precision: Precision = "float32"
    memory: int | None = 8 * GIB
    pinned: bool = True
    compile: bool = False
    limits: dict[Key, int] = field(default_factory=dict)
    halvings: list[int] = field(default_factory=list)
    recent: Recent = field(default_factory=Recent)
    probe: Callable[[Callable[[], object], torch.device], int | None] = field(
        default_factory=lambda: peak_bytes
    )
    _compiled: dict[str, Callable[..., Tensor]] = field(default_factory=dict)

    @torch.no_grad()
    def draw(
        self,
        smoother: Smoother,
        target: Target,
        image: Tensor,
        *,
        noise: NoiseStream,
        samples: int,
        first: int = 0,
    ) -> Array:
        """Scores ``(samples - first,)`` of ``image`` ``(1, 3, H, W)``, in the order of the stream.

        Args:
            smoother: Where the noise is added.
            target: What is smoothed.
            image: Pixels.
            noise: Which stream.
            samples: Draws of it, at least one more than ``first``.
            first: How many of them to leave out, from the first one on.

        Raises:
            torch.OutOfMemoryError: Not even one noisy image fits.
            ValueError: The smoother does not return one score for each draw.
        """
        target = replace(target, seed=noise.key)
        while True:
            try:
                with computing_in(self.precision, image.device):
                    return self._draw(smoother, target, image, noise, samples, first)
            except torch.OutOfMemoryError:
                if smoother.noise_kind == "features" or not self._halved(
                    _key(smoother, target, image)
                ):
                    raise

    def rows(self, smoother: Smoother, target: Target, image: Tensor, *, samples: int) -> int:
        """Rows of each pass over ``samples`` draws."""
        if smoother.noise_kind == "features":
            return samples  # a matrix product: all draws at once, one backbone pass
        if self.fixed(smoother, image):
            return cpu_rows(image.shape[-2], image.shape[-1])
        limit = self.limits.get(_key(smoother, target, image), self.batch)
        return balanced(samples, limit)

    def fixed(self, smoother: Smoother, image: Tensor) -> bool:
        """Whether a draw is the same bits however many there are."""
        return self.pinned and image.device.type == "cpu" and smoother.noise_kind != "features"

    def _draw(
        self,
        smoother: Smoother,
        target: Target,
        image: Tensor,
        noise: NoiseStream,
        samples: int,
        first: int,
    ) -> Array:
        image = _laid_out(image)
        self._fit(smoother, target, image)
        rows = self.rows(smoother, target, image, samples=samples)
        skipped = first // rows * rows  # whole passes here, too
        chunks = noise.chunks(
            smoother.noise_shape(target, image),
            kind=smoother.noise_kind,
            draws=-(-samples // rows) * rows,  # whole passes; the surplus is cut off below
            first=skipped,
            device=image.device,
            recent=self.recent,
        )
        sample = self._sampler(smoother)
        # Collected on the device: a copy after every pass would make the host wait for it.
        scores = [
            one_for_each(sample(target, image, _laid_out(part)), len(part), smoother.name).float()
            for part in batches(chunks, size=rows)
        ]
        return np.asarray(
            torch.cat(scores)[first - skipped : samples - skipped].cpu().numpy(), dtype=np.float64
        )

    def _sampler(self, smoother: Smoother) -> Callable[..., Tensor]:
        if not self.compile:
            return smoother.sample
        if smoother.name not in self._compiled:
            self._compiled[smoother.name] = torch.compile(smoother.sample, dynamic=False)
        return self._compiled[smoother.name]

    def _fit(self, smoother: Smoother, target: Target, image: Tensor) -> None:
        """Set the limit of a new kind of pass from the memory that a small one takes.

        The probe is always of the same size, so the limit is the same in every process and a
        resumed run makes the same passes.
        """
        key = _key(smoother, target, image)
        if self.memory is None or key in self.limits or smoother.noise_kind == "features":
            return
        noise = torch.zeros(CHUNK, *smoother.noise_shape(target, image), device=image.device)
        noise = _laid_out(noise)
        peak = self.probe(lambda: smoother.sample(target, image, noise), image.device)
        if peak is not None:
            self.limits[key] = fitting_rows(peak, probed=CHUNK, memory=self.memory)

    def _halved(self, key: Key) -> bool:
        """Halve a limit; False if a single row is too much already."""
        limit = self.limits.get(key, self.batch)
        if limit == 1:
            return False
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.limits[key] = limit // 2
        self.halvings.append(self.limits[key])
        return True


def one_for_each(scores: Tensor, draws: int, smoother: str) -> Tensor:
    """The scores ``(draws,)``, if there are as many as draws: ranks count on it.

    Raises:
        ValueError: There are fewer or more.
    """
    if scores.shape != (draws,):
        raise ValueError(
            f"smoother {smoother!r}: expected one score for each of {draws} draws, "
            f"found shape {tuple(scores.shape)}"
        )
    return scores


def cpu_rows(height: int, width: int) -> int:
    """Rows of every pass on a CPU: a power of two or ``MOST_ROWS``, by image size alone.

    >>> cpu_rows(384, 512), cpu_rows(192, 256), cpu_rows(96, 128), cpu_rows(4000, 4000)
    (4, 16, 44, 1)
    """
    fitting = max(1, CPU_PIXELS // (height * width))
    return min(MOST_ROWS, 1 << (fitting.bit_length() - 1))


def balanced(samples: int, limit: int) -> int:
    """Equal passes of at most ``limit`` rows with as little surplus as possible.

    >>> balanced(2000, 256), balanced(2000, 5000), balanced(100, 32)
    (250, 2000, 25)
    """
    passes = -(-samples // max(1, limit))
    return -(-samples // passes)


def fitting_rows(peak: int, *, probed: int, memory: int) -> int:
    """Rows whose pass takes at most ``memory`` bytes, given the peak of ``probed`` rows.

    Whole chunks where possible; a pass grows in proportion to its rows (weights are not counted,
    they are there before it).

    >>> fitting_rows(2 * GIB, probed=16, memory=8 * GIB), fitting_rows(GIB, probed=16, memory=GIB)
    (64, 16)
    >>> fitting_rows(16 * GIB, probed=16, memory=GIB)
    1
    """
    rows = int(memory * probed / max(1, peak))
    return rows // CHUNK * CHUNK if rows >= CHUNK else max(1, rows)


def peak_bytes(work: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that some work takes beyond what is allocated already; None off CUDA."""
    if device.type != "cuda":
        return None
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    work()
    return max(1, torch.cuda.max_memory_allocated(device) - before)


def _key(smoother: Smoother, target: Target, image: Tensor) -> Key:
    return target.model.card.name, target.model.model.edition, smoother.name, tuple(image.shape[1:])


def _laid_out(tensor: Tensor) -> Tensor:
    """Channels last on CUDA, where convolutions in reduced precision want it."""
    if tensor.device.type != "cuda" or tensor.ndim != 4:
        return tensor
    return tensor.contiguous(memory_format=torch.channels_last)
