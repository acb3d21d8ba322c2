"""Spectral norm of a Jacobian, with an upper bound that is exact or fails with known probability.

Power iteration is not offered: its value is a lower bound and no affordable number of steps turns
it into an upper one. Both methods start from the small side, the features: with m features,
`exact` takes m backward passes, `lanczos` k backward and k forward products (k = 20 is usual).

The bound is for the Jacobian at one point. It says nothing of the function's change over a ball;
this module must not know what the function is, nor what its norm is used for.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from defenses.confidence import FloatArray, check_count, check_probability
from defenses.jacobian import Function, JvpMode, Linearization
from defenses.lanczos import aposteriori_bound, apriori_factor
from defenses.precision import computing_in

Method = Literal["exact", "lanczos"]

ROUNDING_UNITS = 256
"""Upper bounds are enlarged by so many machine epsilons of the products' type."""

GRAM_COLUMNS = 2**16
"""Pixels whose float64 copy is held at once by `exact`."""

BREAKDOWN = 1e-14
"""Residuals below this share of the largest Ritz value end a run: the space is invariant."""


@dataclass(frozen=True, slots=True)
class SpectralNorm:
    """Largest singular value of each image's Jacobian.

    Attributes:
        estimate: (B,) float64; exact, or the Ritz value, which is never above the true norm.
        upper: (B,) float64; at least the true norm, except with probability `delta` per image.
        method: `exact` or `lanczos`.
        delta: Failure probability of `upper` for each image; 0 for `exact`.
        products: Jacobian products (VJPs and JVPs) spent on the image that took most.
        steps: (B,) Lanczos steps that entered the result; the feature size for `exact`.
        jvp: How forward products were computed; None when there were none.
        right_vector: (B, C, H, W) unit right singular vectors (a zero Jacobian gives zeros), if
            asked for.
        connected: Whether autograd finds any way from the images to the features.
    """

    estimate: Tensor
    upper: Tensor
    method: Method
    delta: float
    products: int
    steps: Tensor
    jvp: str | None
    right_vector: Tensor | None
    connected: bool = True

    def products_of(self, image: int) -> int:
        """Products spent on one image, the same whatever its neighbours took."""
        steps = int(self.steps[image])
        return steps if self.method == "exact" else 2 * steps


def spectral_norm(
    function: Function,
    x: Tensor,
    *,
    method: Method = "lanczos",
    steps: int = 20,
    delta: float = 1e-3,
    tolerance: float | None = None,
    chunk: int = 32,
    seed: int | Sequence[int] = 0,
    jvp: JvpMode = "auto",
    vector: bool = False,
) -> SpectralNorm:
    """Spectral norm of d function / d x for each image of a batch.

    Args:
        function: Maps images (B, C, H, W) to features (B, m), each image on its own; deterministic.
            ReLU and max-pooling are welcome: the Jacobian is the one autograd gives at x.
        x: (B, C, H, W) floating-point images, B at least 1.
        method: ``exact`` (m VJPs and a float64 eigenvalue; holds B * m * C * H * W numbers) or
            ``lanczos``.
        steps: Most Lanczos steps, at least 1; no more than m are taken.
        delta: Failure probability of the Lanczos bound per image, in (0, 1).
        tolerance: Stop an image once its bound is within this share of its estimate; None takes
            all the steps.
        chunk: VJPs computed at once by ``exact``, at least 1.
        seed: Seed of the random starts. One integer is joined with each image's content, so that
            an image's start does not depend on its neighbours; or one integer per image.
        jvp: ``double_vjp``, ``forward`` (forward-mode AD), or ``auto`` for the first that works.
        vector: Whether to return the right singular vectors too.

    Returns:
        Norms and bounds.

    Raises:
        ValueError: If an argument is out of range, the function does not return (B, m) features,
            or its Jacobian is not finite.

    Source: Lanczos with full reorthogonalisation on J J^T (Golub & Kahan 1965); bounds after
    Kuczynski & Wozniakowski 1992 and van Dorsselaer, Hochstenbach & van der Vorst 2000.

    >>> images = torch.rand(2, 3, 4, 4)
    >>> norm = spectral_norm(lambda x: 2.0 * x.flatten(1)[:, :5], images, method="exact")
    >>> [round(value, 6) for value in norm.estimate.tolist()]
    [2.0, 2.0]
    """
    if x.ndim < 2 or x.shape[0] == 0 or not x.is_floating_point():
        raise ValueError(f"x must be a floating-point batch, found {x.dtype} {tuple(x.shape)}.")
    if tolerance is not None and not tolerance >= 0.0:
        raise ValueError(f"tolerance must be at least 0, found {tolerance!r}.")
    if method not in ("exact", "lanczos"):
        raise ValueError(f"method must be exact or lanczos, found {method!r}.")
    check_count("chunk", chunk)
    check_count("steps", steps)
    check_probability("delta", delta)
    # A certificate's Jacobian is never computed below float32, whatever the scores are.
    with computing_in("float32", x.device):
        if method == "exact":
            # No forward products are needed: the graph is torch's own.
            return _exact(Linearization(function, x, jvp="forward"), chunk, vector)
        run = _LanczosRun(Linearization(function, x, jvp=jvp), _keys(seed, x), delta, tolerance)
        while run.steps_taken < steps and run.active.any():
            run.step()
        return run.result(vector)


def top_singular_vector(function: Function, x: Tensor, *, steps: int = 20, seed: int = 0) -> Tensor:
    """Direction in which the features move most, estimated by Lanczos: a start for attacks.

    (B, C, H, W) vectors of unit l2 norm, of arbitrary sign; arguments and errors are those of
    `spectral_norm`.

    >>> x = torch.zeros(1, 1, 1, 2)
    >>> vector = top_singular_vector(lambda x: x.flatten(1) * torch.tensor([3.0, 1.0]), x)
    >>> [round(value, 6) for value in vector.abs().flatten().tolist()]
    [1.0, 0.0]
    """
    vector = spectral_norm(function, x, steps=steps, seed=seed, vector=True).right_vector
    assert vector is not None  # noqa: S101 (asked for one line above)
    return vector


def _margin(dtype: torch.dtype) -> float:
    return 1.0 + ROUNDING_UNITS * torch.finfo(dtype).eps


def _unit(v: Tensor) -> Tensor:
    norms = v.flatten(1).double().norm(dim=1).clamp_min(1e-300)
    scaled: Tensor = v.double() / norms.view(-1, *[1] * (v.ndim - 1))
    return scaled.to(v.dtype)


def _require_finite(values: Tensor) -> None:
    if not torch.isfinite(values).all():
        raise ValueError("the Jacobian must be finite, found NaN or infinity.")


def _exact(jacobian: Linearization, chunk: int, vector: bool) -> SpectralNorm:
    batch, m = jacobian.outputs.shape
    basis = torch.eye(m, dtype=jacobian.outputs.dtype, device=jacobian.outputs.device)
    blocks = [
        jacobian.vjp_many(rows.unsqueeze(1).expand(-1, batch, -1))
        for rows in torch.split(basis, chunk)
    ]
    rows = torch.cat(blocks).transpose(0, 1)  # (B, m, ...)
    _require_finite(rows)
    grams = torch.stack([_gram(row) for row in rows.flatten(2)]).cpu()
    values, vectors = torch.linalg.eigh(grams)
    norms = values[:, -1].clamp_min(0.0).sqrt()
    right = _unit(jacobian.vjp(vectors[:, :, -1].to(rows.device))) if vector else None
    return SpectralNorm(
        norms,
        norms * _margin(rows.dtype),
        "exact",
        0.0,
        m + int(vector),
        torch.full((batch,), m),
        None,
        right,
        jacobian.connected,
    )


def _gram(rows: Tensor) -> Tensor:
    """Gram matrix in float64, a block of columns at a time: a whole copy would double memory."""
    blocks = (block.double() for block in rows.split(GRAM_COLUMNS, dim=1))
    gram = torch.zeros(len(rows), len(rows), dtype=torch.float64, device=rows.device)
    for block in blocks:
        gram.addmm_(block, block.T)
    return gram


def _keys(seed: int | Sequence[int], x: Tensor) -> list[list[int]]:
    """One key per image, the same whatever other images are in the batch."""
    if isinstance(seed, int):
        contents = x.detach().cpu().contiguous().to(torch.float64).numpy()
        digests = [hashlib.sha256(image.tobytes()).digest() for image in contents]
        return [[abs(seed), *np.frombuffer(digest, dtype=np.uint32).tolist()] for digest in digests]
    if len(seed) != x.shape[0]:
        raise ValueError(f"need one seed per image, found {len(seed)} for {x.shape[0]} images.")
    return [[abs(int(key))] for key in seed]


def _start(key: list[int], m: int) -> Tensor:
    draw = np.random.default_rng(key).standard_normal(m)
    return torch.from_numpy(draw / np.linalg.norm(draw))


class _LanczosRun:
    """Lanczos on A = J J^T for a batch; images that are done stay in it with zero vectors."""

    def __init__(
        self, jacobian: Linearization, keys: list[list[int]], delta: float, tolerance: float | None
    ) -> None:
        self.jacobian = jacobian
        self.delta, self.tolerance = delta, tolerance
        batch, self.m = jacobian.outputs.shape
        starts = torch.stack([_start(key, self.m) for key in keys])
        self.basis = [starts.to(jacobian.outputs.device)]  # float64 (B, m), orthonormal per image
        self.alphas: list[FloatArray] = []
        self.betas: list[FloatArray] = []
        self.lengths = np.zeros(batch, dtype=np.int64)
        self.active = np.ones(batch, dtype=bool)
        self.largest = np.zeros(batch)

    @property
    def steps_taken(self) -> int:
        return len(self.alphas)

    def step(self) -> None:
        current = self.basis[-1]
        pulled = self.jacobian.vjp(current)
        _require_finite(pulled)
        # Of unit length, because J J^T underflows in float32 where J alone does not.
        length = pulled.flatten(1).double().norm(dim=1, keepdim=True)
        direction = _unit(pulled)
        pushed = length * self.jacobian.jvp(direction, adjoint=(current, pulled)).double()
        _require_finite(pushed)
        alpha = (current * pushed).sum(1)
        residual = self._orthogonalized(pushed)
        beta = residual.norm(dim=1)
        self.alphas.append(alpha.cpu().numpy())
        self.betas.append(beta.cpu().numpy())
        self.lengths += self.active
        self._retire()
        alive = torch.from_numpy(self.active).to(beta.device)
        self.basis.append(residual / beta.clamp_min(1e-300).unsqueeze(1) * alive.unsqueeze(1))

    def _orthogonalized(self, vectors: Tensor) -> Tensor:
        previous = torch.stack(self.basis, dim=1)  # (B, k, m)
        for _ in range(2):  # twice is enough (Parlett 1980)
            shares = torch.einsum("bkm,bm->bk", previous, vectors)
            vectors = vectors - torch.einsum("bkm,bk->bm", previous, shares)
        return vectors

    def _retire(self) -> None:
        """Ends the run of images whose space is invariant, full, or that are precise enough."""
        alpha, beta = self.alphas[-1], self.betas[-1]
        self.largest = np.maximum(self.largest, np.abs(alpha))
        self.active &= (beta > BREAKDOWN * self.largest) & (self.steps_taken < self.m)
        if self.tolerance is not None:
            for image in np.flatnonzero(self.active):
                theta, upper, _ = self._bounds(int(image))
                self.active[image] = upper > theta * (1.0 + self.tolerance)

    def _bounds(self, image: int) -> tuple[float, float, FloatArray]:
        """Singular-value estimate, its upper bound, and the Ritz vector's coordinates."""
        length = int(self.lengths[image])
        alphas = np.array([alpha[image] for alpha in self.alphas[:length]])
        betas = np.array([beta[image] for beta in self.betas[:length]])
        tridiagonal = np.diag(alphas) + np.diag(betas[:-1], 1) + np.diag(betas[:-1], -1)
        values, vectors = np.linalg.eigh(tridiagonal)
        theta = max(float(values[-1]), 0.0)
        if length == self.m or betas[-1] <= BREAKDOWN * np.abs(alphas).max():
            upper = theta  # nothing is left outside the space that the start can see
        else:
            apriori = theta * apriori_factor(self.m, length, self.delta) ** 2
            upper = min(apriori, aposteriori_bound(values, betas, delta=self.delta, m=self.m))
        return math.sqrt(theta), math.sqrt(upper), vectors[:, -1]

    def result(self, vector: bool) -> SpectralNorm:
        batch = len(self.lengths)
        found = [self._bounds(image) for image in range(batch)]
        estimate = torch.tensor([theta for theta, _, _ in found], dtype=torch.float64)
        bound = torch.tensor([upper for _, upper, _ in found], dtype=torch.float64)
        right = self._right_vectors([weights for _, _, weights in found]) if vector else None
        return SpectralNorm(
            estimate,
            bound * _margin(self.jacobian.outputs.dtype),
            "lanczos",
            self.delta,
            2 * self.steps_taken + int(vector),
            torch.from_numpy(self.lengths.copy()),
            self.jacobian.jvp_mode,
            right,
            self.jacobian.connected,
        )

    def _right_vectors(self, weights: list[FloatArray]) -> Tensor:
        left = torch.zeros_like(self.basis[0])
        for image, weight in enumerate(weights):
            for share, column in zip(weight, self.basis, strict=False):
                left[image] += float(share) * column[image]
        return _unit(self.jacobian.vjp(left))
