"""The networks that defences train: FTN + scorer, DnCNN and U-Net denoisers.

Plain modules that know shapes only; they must not know how they are trained or certified.  No
in-place operation and no batch statistics at inference, so forward-mode differentiation works and
an image's output does not depend on its batch.
"""

from __future__ import annotations

import abc
import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

IMAGE_STD = 0.25
"""Standard deviation of photographs around mid-grey, roughly; scales the denoisers."""
TRANSFORMED = 512
"""Size of the transformed features (FS-IQA, Section 3)."""
LOST_SLOPE = 0.05
"""A sigmoid counts as saturated where its slope is under this share of its largest."""


class FeatureScorer(nn.Module):
    """FS-IQA's trained half: B = FTN o backbone in [0, 1]^m, and the scorer behind the noise.

    The paper leaves the FTN's normalisation open; a sigmoid keeps features in [0, 1] for every
    input and is smooth, so the Jacobian exists wherever the backbone's does.
    """

    def __init__(self, *, feature_size: int, width: int, mos_range: tuple[float, float]) -> None:
        super().__init__()
        self.size = TRANSFORMED
        self.feature_mean: Tensor
        self.mos_range: Tensor
        self.register_buffer("feature_mean", torch.zeros(feature_size))
        self.register_buffer("mos_range", torch.tensor(mos_range, dtype=torch.float32))
        self.ftn = nn.Linear(feature_size, TRANSFORMED)
        self.scorer = nn.Sequential(nn.Linear(TRANSFORMED, width), nn.ReLU(), nn.Linear(width, 1))

    def transform(self, features: Tensor) -> Tensor:
        """FTN: features ``(B, D)`` -> ``(B, 512)`` in [0, 1]."""
        return torch.sigmoid(self.ftn(features - self.feature_mean))

    @torch.no_grad()
    def saturated_share(self, features: Tensor) -> float:
        """Share of outputs on features ``(n, D)`` where the sigmoid has lost its slope.

        Its slope B (1 - B) is 1/4 - (B - 1/2)^2: under ``LOST_SLOPE`` of its largest, 1/4, once B
        is that far from the middle.  Radii there are large because B has stopped to move, not
        because it moves slowly.
        """
        far = (self.transform(features) - 0.5).abs() > math.sqrt(1 - LOST_SLOPE) / 2
        return float(far.double().mean())

    def unit_score(self, transformed: Tensor) -> Tensor:
        """Scorer output ``(B,)`` on the unit scale, not clamped (training target)."""
        score: Tensor = self.scorer(transformed - 0.5).squeeze(-1)
        return score

    def score(self, transformed: Tensor) -> Tensor:
        """Score ``(B,)`` on the human scale, clamped to its range."""
        low, high = self.mos_range[0], self.mos_range[1]
        return low + (high - low) * self.unit_score(transformed).clamp(0.0, 1.0)


def with_noise_level(images: Tensor, sigma: float) -> Tensor:
    """Append the noise level as a fourth channel (FFDNet; Zhang et al. 2018)."""
    return torch.cat([images, torch.full_like(images[:, :1], sigma)], dim=1)


class Denoiser(nn.Module, abc.ABC):
    """D(y, sigma): images from noisy ones, told the noise level.

    The last layer sees, beside what the network makes of y, y itself and y shrunk as the best
    linear guess would (``IMAGE_STD`` around mid-grey): a filter of the pixels whose gain goes with
    the noise.  Nothing is added to its answer: a network that has to subtract the noise must carry
    all of it, ``3 s^2`` values at each place, and one of few channels cannot.  The last layer
    starts at zero: an untrained D is grey.

    ``stride`` s > 1 works on pixel-unshuffled images (as FFDNet does), which costs ``s^2`` times
    less for the same width.  The noise level is a further input channel.
    """

    def __init__(self, *, width: int, stride: int, multiple: int) -> None:
        super().__init__()
        self.stride, self.multiple = stride, multiple
        outer = 3 * stride**2
        self.last = nn.Conv2d(width + 2 * outer, outer, 3, padding=1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    @abc.abstractmethod
    def hidden(self, packed: Tensor) -> Tensor:
        """Maps ``(B, width, h, w)`` of packed input ``(B, 3 s^2 + 1, h, w)``."""

    def forward(self, noisy: Tensor, sigma: float) -> Tensor:
        """Denoised images ``(B, 3, H, W)``; values may leave [0, 1] slightly."""
        height, width = noisy.shape[-2:]
        total = math.hypot(sigma, IMAGE_STD) / IMAGE_STD
        unit = pad_to_multiple((noisy - 0.5) / IMAGE_STD, self.multiple)
        # A fifth off a U-Net's time on a CPU; what a GPU wants anyway.
        packed = functional.pixel_unshuffle(unit, self.stride).contiguous(
            memory_format=torch.channels_last
        )
        hidden = self.hidden(with_noise_level(packed / total, sigma))
        answer = self.last(torch.cat([hidden, packed, packed / total**2], dim=1))
        restored = functional.pixel_shuffle(answer, self.stride)[..., :height, :width]
        return 0.5 + IMAGE_STD * restored


class DnCNN(Denoiser):
    """Plain convolutions (after Zhang et al. 2017)."""

    def __init__(self, *, width: int, depth: int, stride: int = 1) -> None:
        super().__init__(width=width, stride=stride, multiple=stride)
        layers: list[nn.Module] = [nn.Conv2d(3 * stride**2 + 1, width, 3, padding=1), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
        self.body = nn.Sequential(*layers)

    def hidden(self, packed: Tensor) -> Tensor:
        """One pass through the stack."""
        maps: Tensor = self.body(packed)
        return maps


class UNet(Denoiser):
    """Small U-Net (DMS-IQA's denoiser type)."""

    def __init__(self, *, width: int, depth: int, stride: int = 1) -> None:
        super().__init__(width=width, stride=stride, multiple=stride * 2**depth)
        sizes = [width * 2**level for level in range(depth + 1)]
        self.first = _double(3 * stride**2 + 1, sizes[0])
        self.down = nn.ModuleList(
            nn.Sequential(nn.AvgPool2d(2), _double(a, b)) for a, b in pairwise(sizes)
        )
        self.up = nn.ModuleList(_double(a + b, a) for a, b in pairwise(sizes))

    def hidden(self, packed: Tensor) -> Tensor:
        """Down, up, with the maps of the way down joined in."""
        skips = [self.first(packed)]
        for down in self.down:
            skips.append(down(skips[-1]))
        hidden = skips.pop()
        for up in reversed(self.up):
            skip = skips.pop()
            grown = functional.interpolate(hidden, scale_factor=2.0, mode="nearest")
            hidden = up(torch.cat([skip, grown], dim=1))
        maps: Tensor = hidden
        return maps


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Replicate-pad right and bottom so that both sides are multiples of ``multiple``.

    >>> pad_to_multiple(torch.zeros(1, 3, 5, 8), 4).shape
    torch.Size([1, 3, 8, 8])
    """
    bottom, right = -images.shape[-2] % multiple, -images.shape[-1] % multiple
    if not bottom and not right:
        return images
    return functional.pad(images, (0, right, 0, bottom), mode="replicate")


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.ReLU(),
    )
