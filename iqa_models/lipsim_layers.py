"""Layers that never lengthen a difference: SDP-based Lipschitz layers and orthonormal transforms.

Araujo, Havens, Delattre, Allauzen, Hu: "A Unified Algebraic Perspective on Lipschitz Neural
Networks", ICLR 2023 (SLL layers).  Parameter names follow LipSim's published code.  This module
must not know images, scores or references.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SLLConv(nn.Module):
    """``x - 2 W^T T^-1 relu(W x + b)`` with W a convolution: 1-Lipschitz whatever its weights.

    T is diagonal, ``T_i = sum_j |W W^T|_ij q_j / q_i`` (their Theorem 3), so that ``W^T T^-1 W``
    has no eigenvalue above 1.  For a convolution the sum runs over all shifts; zeros at the border
    make ``W W^T`` a part of the unbounded one, which lowers no sum.  ReLU's slopes are in [0, 1].

    Args:
        channels: Of input and output.
        inner: Rows of W.
        kernel: Odd size of the filters.
    """

    def __init__(self, channels: int, inner: int, kernel: int = 3) -> None:
        """Draw filters that hardly change the input."""
        super().__init__()
        self.kernel = nn.Parameter(torch.empty(inner, channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(1, inner, 1, 1))
        self.q = nn.Parameter(torch.zeros(inner))
        nn.init.xavier_normal_(self.kernel)

    def inverse(self) -> Tensor:
        """``(inner,)``: the diagonal of T^-1."""
        shifts = self.kernel.shape[-1] - 1
        gram = F.conv2d(self.kernel, self.kernel, padding=shifts).abs().sum((2, 3))
        return _inverse(gram, self.q)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps ``(B, channels, H, W)`` of the same shape."""
        border = self.kernel.shape[-1] // 2
        found = F.relu(F.conv2d(maps, self.kernel, padding=border) + self.bias)
        found = self.inverse().view(1, -1, 1, 1) * found
        return maps - 2 * F.conv_transpose2d(found, self.kernel, padding=border)


class SLLLinear(nn.Module):
    """The same with W a matrix.

    Args:
        size: Of input and output.
        inner: Rows of W.
    """

    def __init__(self, size: int, inner: int) -> None:
        """Draw a matrix."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inner, size))
        self.bias = nn.Parameter(torch.zeros(1, inner))
        self.q = nn.Parameter(torch.zeros(inner))
        nn.init.xavier_normal_(self.weight)

    def inverse(self) -> Tensor:
        """``(inner,)``: the diagonal of T^-1."""
        return _inverse((self.weight @ self.weight.T).abs(), self.q)

    def forward(self, rows: Tensor) -> Tensor:
        """Rows ``(B, size)`` of the same shape."""
        found = self.inverse() * F.relu(F.linear(rows, self.weight) + self.bias)
        return rows - 2 * F.linear(found, self.weight.T)


def _inverse(gram: Tensor, q: Tensor) -> Tensor:
    """``1 / T_i`` of ``|W W^T|``, q being logarithms; 0 for rows of W that are zero."""
    sums = (gram * torch.exp(q[None] - q[:, None])).sum(1)
    return torch.where(sums > 0, 1 / sums.clamp_min(torch.finfo(sums.dtype).tiny), 0.0)


def cosines(size: int) -> Tensor:
    """Orthonormal discrete cosine transform ``(size, size)``, a frequency in every row.

    >>> m = cosines(8)
    >>> bool(torch.allclose(m @ m.T, torch.eye(8), atol=1e-6))
    True
    """
    places = (torch.arange(size, dtype=torch.float64) + 0.5) * torch.pi / size
    rows = torch.cos(torch.arange(size)[:, None] * places) * (2 / size) ** 0.5
    rows[0] /= 2**0.5
    basis: Tensor = rows.float()
    return basis


OPPONENT = (
    (3**-0.5, 3**-0.5, 3**-0.5),
    (2**-0.5, 0.0, -(2**-0.5)),
    (6**-0.5, -2 * 6**-0.5, 6**-0.5),
)
"""Orthonormal opponent colours: light, red against blue, green against both."""


class Bands(nn.Module):
    """Opponent colours, then the cosine transform of every block: an isometry.

    Args:
        block: Side of a block in pixels.
    """

    waves: Tensor

    def __init__(self, block: int) -> None:
        """Keep the constants as a buffer outside the state."""
        super().__init__()
        self.block = block
        rows, colours = cosines(block), torch.tensor(OPPONENT)
        waves = torch.einsum("oc,ui,vj->ouvcij", colours, rows, rows).flatten(0, 2)
        self.register_buffer("waves", waves, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Maps ``(B, 3 block^2, H', W')`` of images ``(B, 3, H, W)``, zeros added at the end."""
        height, width = images.shape[-2:]
        padded = F.pad(images, (0, -width % self.block, 0, -height % self.block))
        return F.conv2d(padded, self.waves, stride=self.block)
