"""One trunk learns to see distortions; the six compact models start from it.

It must not know which model starts from it.

As DBCNN's S-CNN was, the trunk is trained to name the distortion and its level, here from the
image alone and from the difference to the reference, and to predict the opinion both ways.  One
pass through it serves all four questions, which six trainings from scratch could not afford.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from iqa_models import koncept, lpips
from iqa_models.lpips import normalize_channels


def cosine_filters(*, count: int, size: int) -> Tensor:
    """First filters of a two-dimensional cosine basis, three in four on luminance.

    Returns:
        ``(count, 3, size, size)`` with unit norm: a stem that starts by seeing frequencies.
    """
    grid = (torch.arange(size) + 0.5) * torch.pi / size
    order = sorted(((u, v) for u in range(size) for v in range(size)), key=lambda p: (sum(p), p))
    colours = torch.tensor([[0.3, 0.6, 0.1], [0.7, -0.7, 0.0], [0.4, 0.4, -0.8]])
    luminance = count * 3 // 4
    plan = [(0, frequency) for frequency in order[:luminance]]
    plan += [(1 + k % 2, order[k // 2]) for k in range(count - luminance)]
    filters = torch.stack(
        [
            colours[c, :, None, None] * torch.outer(torch.cos(u * grid), torch.cos(v * grid))
            for c, (u, v) in plan
        ]
    )
    lengths: Tensor = filters.flatten(1).norm(dim=1)
    return filters / lengths[:, None, None, None]


class Curriculum(nn.Module):
    """The trunk of the compact LPIPS under four heads."""

    def __init__(self) -> None:
        """Build both compact models and the naming heads; the caller adds normalisation."""
        super().__init__()
        self.pairwise = lpips.compact().requires_grad_(True)
        self.alone = koncept.compact().fc.requires_grad_(True)
        stem = self.pairwise.get_parameter("net.slice1.0.weight")
        stem.data = cosine_filters(count=stem.shape[0], size=stem.shape[-1])
        self.name_pair = nn.Linear(sum(w.numel() for w in self.pairwise.weights), 30)
        self.name_alone = nn.Linear(self.name_pair.in_features, 30)

    def forward(
        self, references: Tensor, distorted: Tensor, place: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Distance, quality (0..100), and both answers to which distortion and level."""
        pixels = self.pairwise.standardize(torch.cat([distorted, references]))
        maps = self.pairwise.net(pixels)
        count = len(distorted)
        encoded = [normalize_channels(part) for part in maps]
        theirs = tuple(part[count:][place] for part in encoded)
        difference = self.pairwise.compare(tuple(part[:count] for part in encoded), theirs)
        pooled = [part[:count].mean((2, 3)) for part in maps]
        return (
            self.pairwise.head(difference),
            self.alone(pooled[-1]).squeeze(1),
            self.name_pair(whiten(torch.log(difference + 1e-4))),
            self.name_alone(whiten(torch.cat(pooled, dim=1))),
        )


def whiten(features: Tensor) -> Tensor:
    """Zero mean and unit variance in every row of ``(B, D)``."""
    return nn.functional.layer_norm(features, features.shape[1:])


def naming_loss(answers: Tensor, cells: Tensor) -> Tensor:
    """Cross entropy of the type (25) and of the level (5) of cells 0..124."""
    entropy = nn.functional.cross_entropy
    return entropy(answers[:, :25], cells // 5) + entropy(answers[:, 25:], cells % 5)
