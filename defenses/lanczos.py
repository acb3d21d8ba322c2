"""Closed-form high-probability bounds for the Lanczos method with a random start.

The largest Ritz value of k steps never exceeds the largest eigenvalue, so on its own it certifies
nothing. But a start drawn uniformly from the unit sphere of R^m overlaps the top eigenvector by
less than a quantile q of Beta(1/2, (m-1)/2) only with probability delta; outside that one event
both bounds below hold together, for every k at once, so that stopping early costs nothing. In all
functions m and k are at least 1, and delta lies in (0, 1).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from defenses.confidence import check_count, check_probability


def start_quantile(m: int, delta: float) -> float:
    """Squared overlap that a random unit start has with any fixed direction, except with delta.

    It is the delta quantile of Beta(1/2, (m-1)/2); 1 in one dimension.

    Raises:
        ValueError: If an argument is out of range.

    >>> f"{start_quantile(512, 1e-3):.6e}"
    '3.076976e-09'
    """
    check_count("m", m)
    check_probability("delta", delta)
    return 1.0 if m == 1 else float(special.betaincinv(0.5, (m - 1) / 2, delta))


def apriori_factor(m: int, k: int, delta: float) -> float:
    """Factor on a singular value's Ritz estimate that makes it an upper bound for any spectrum.

    It is ``cosh(arccosh(q^-1/2) / (2k - 1))`` with q of `start_quantile`, at least 1.

    Raises:
        ValueError: If an argument is out of range.

    Source: the extremal-polynomial argument of Kuczynski & Wozniakowski 1992 carried out with the
    exact law of the start; always below their bound.

    >>> round(apriori_factor(512, 20, 1e-3), 6)
    1.036412
    """
    check_count("k", k)
    return math.cosh(math.acosh(start_quantile(m, delta) ** -0.5) / (2 * k - 1))


def aposteriori_bound(
    ritz_values: npt.ArrayLike, betas: npt.ArrayLike, *, delta: float, m: int
) -> float:
    """Upper bound for the largest eigenvalue from what the Lanczos run itself has found.

    Args:
        ritz_values: (k,) Ritz values, the eigenvalues of the tridiagonal matrix, in any order.
        betas: (k,) norms of the residuals of steps 1..k, the last one included; all >= 0.
        delta: Failure probability.
        m: Dimension of the start.

    Returns:
        The t above all Ritz values at which the Lanczos polynomial reaches q^-1/2; the largest Ritz
        value itself when a residual vanishes (the space is then invariant).

    Raises:
        ValueError: If the arrays do not fit together or an argument is out of range.

    Source: van Dorsselaer, Hochstenbach & van der Vorst 2000.

    >>> aposteriori_bound([1.0, 4.0], [2.0, 0.0], delta=1e-3, m=10)
    4.0
    """
    theta = np.asarray(ritz_values, dtype=np.float64)
    beta = np.asarray(betas, dtype=np.float64)
    if theta.ndim != 1 or theta.shape != beta.shape or theta.size == 0 or not (beta >= 0).all():
        raise ValueError(
            f"need k Ritz values and k residual norms >= 0, found {theta.shape} and {beta.shape}."
        )
    quantile = start_quantile(m, delta)
    top = float(theta.max())
    if (beta == 0.0).any():
        return top
    target = float(np.log(beta).sum()) - 0.5 * math.log(quantile)
    gaps = top - np.delete(theta, int(theta.argmax()))

    def excess(log_step: float) -> float:
        step = math.exp(log_step)
        return log_step + float(np.log(step + gaps).sum()) - target

    high = target / theta.size  # the root if all Ritz values coincided: no gap can enlarge it
    low = max(target - float(np.log(math.exp(high) + gaps).sum()), -700.0)
    if low >= high or excess(low) >= 0.0:
        return top + math.exp(max(low, high) if low >= high else low)
    return top + math.exp(float(optimize.brentq(excess, low, high + 1e-9, xtol=1e-12)))
