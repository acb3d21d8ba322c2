"""How far a mean over Gaussian image noise can move with the image: a bound without smoothness.

Pure mathematics of bounded feature vectors; it must not know images, models or files.

With b(x) = E B(x + s e), e ~ N(0, I), and w the density of N(x + u, s^2 I) over that of
N(x, s^2 I): <v, b(x + u) - b(x)> = E <v, B - E B> (w - 1) <= sd(<v, B>) sd(w) for every unit
vector v, and E (w - 1)^2 = exp(||u||^2 / s^2) - 1, so that

    ||b(x + u) - b(x)||_2 <= sqrt(lambda_max(Cov B(x + s e)) (exp(||u||^2 / s^2) - 1)).

Neither B need be smooth nor its Jacobian known (Cauchy-Schwarz; the chi-square divergence of two
Gaussians).  What is left is to bound the covariance and the error of the mean from n draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import linalg, optimize

from defenses.confidence import FloatArray, check_count, check_probability

ROUNDING = 1e-5
"""Share by which float32 features may leave the ball that holds them."""


@dataclass(frozen=True, slots=True)
class DisplacementBound:
    """What n draws say about ||b_hat(x) - b(x + u)||, for every u at once.

    Attributes:
        spread: Upper bound of the features' standard deviation in any direction, feature units.
        error: Upper bound of ||b_hat(x) - b(x)||, feature units.
        sigma: Standard deviation s of the image noise.
        delta: Probability that one of the two does not hold.
    """

    spread: float
    error: float
    sigma: float
    delta: float

    def at(self, radius: float) -> float:
        """Largest distance of ``b_hat(x)`` to ``b(x + u)`` over ``||u||_2 <= radius``.

        >>> bound = DisplacementBound(spread=2.0, error=0.5, sigma=0.1, delta=1e-3)
        >>> bound.at(0.0), round(bound.at(0.1 * math.sqrt(math.log(2.0))), 12)
        (0.5, 2.5)
        """
        exponent = (radius / self.sigma) ** 2
        if exponent > 700.0:  # beyond float64; no noise unit is as long as that
            return math.inf
        return self.error + self.spread * math.sqrt(math.expm1(exponent))

    def radius(self, distance: float) -> float | None:
        """Largest l2 radius within which the distance is not exceeded; None if there is none.

        >>> bound = DisplacementBound(spread=2.0, error=0.5, sigma=0.1, delta=1e-3)
        >>> round(bound.radius(2.5), 6), bound.radius(0.5)
        (0.083255, None)
        """
        if distance <= self.error:
            return None
        return self.sigma * math.sqrt(math.log1p(((distance - self.error) / self.spread) ** 2))


def bound_displacement(
    features: FloatArray, *, centre: FloatArray, limit: float, sigma: float, alpha: float
) -> DisplacementBound:
    """The bound from independent draws of B(x + s e).

    The second moment around any fixed point dominates the covariance, and an eigenvalue needs no
    matrix inequality: with v the top eigenvector of the *true* second moment, which is not random,
    the mean of <v, X_i>^2 is one of n independent numbers in [0, 1], and the sample's top
    eigenvalue is at least that mean.  The error of the mean is Bousquet's (2002) inequality for the
    supremum over unit vectors.

    Args:
        features: Draws ``(n, m)``.  The mean that is used may be theirs or another n draws'.
        centre: A point ``(m,)`` fixed before the draws; the closer to their mean the better.
        limit: ||B - centre||_2 never exceeds it, whatever the image; fixed before the draws.
        sigma: Standard deviation s of the image noise.
        alpha: Failure probability, divided equally over the three limits behind the bound.

    Raises:
        ValueError: An argument is out of range, or a draw is further away than ``limit``.
    """
    check_count("the number of draws", len(features))
    check_probability("alpha", alpha)
    centred = np.asarray(features, dtype=np.float64) - centre
    lengths = np.linalg.norm(centred, axis=1)
    if not lengths.max() <= limit * (1.0 + ROUNDING):
        raise ValueError(
            f"features must lie within {limit:g} of their centre, found {lengths.max():g}."
        )
    n, share = len(centred), alpha / 3.0
    squares = np.minimum(lengths / limit, 1.0) ** 2
    moment = kl_upper(min(top_moment(centred / limit), 1.0), n, alpha=share)
    trace = kl_upper(float(squares.mean()), n, alpha=share)
    return DisplacementBound(
        spread=limit * math.sqrt(moment),
        error=limit * mean_error(moment, trace, n, alpha=share),
        sigma=sigma,
        delta=alpha,
    )


def top_moment(rows: FloatArray) -> float:
    """Largest eigenvalue of the mean of x x^T over rows ``(n, m)``.

    >>> top_moment(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    0.6666666666666666
    """
    n, m = rows.shape
    gram = rows.T @ rows if m <= n else rows @ rows.T
    last = len(gram) - 1
    values = linalg.eigvalsh(gram, subset_by_index=(last, last))
    return float(max(values[0], 0.0) / n)


def kl_upper(mean: float, n: int, *, alpha: float) -> float:
    """Upper limit for the expectation of n independent numbers in [0, 1] with this mean.

    The largest q with ``n kl(mean, q) <= ln(1 / alpha)`` (Chernoff; Hoeffding 1963, Theorem 1).

    >>> round(kl_upper(0.0, 100, alpha=1e-3), 6) == round(1 - 1e-3 ** 0.01, 6)
    True
    """
    check_count("n", n)
    check_probability("alpha", alpha)
    if not 0.0 <= mean <= 1.0:
        raise ValueError(f"the mean must lie in [0, 1], found {mean!r}.")
    budget = math.log(1.0 / alpha) / n
    if mean == 1.0:
        return 1.0
    if mean == 0.0:
        return -math.expm1(-budget)

    def excess(q: float) -> float:
        return mean * math.log(mean / q) + (1 - mean) * math.log((1 - mean) / (1 - q)) - budget

    last = 1.0 - 2.0**-53
    if excess(last) <= 0.0:
        return 1.0
    root = float(optimize.brentq(excess, mean, last, xtol=1e-15, rtol=1e-12))
    return min(1.0, root * (1.0 + 1e-9) + 1e-14)  # to the safe side of the root


def mean_error(moment: float, trace: float, n: int, *, alpha: float) -> float:
    """Limit of ||mean - expectation|| of n vectors in the unit ball around a fixed centre.

    Bousquet (2002): Z = sup over unit v of sum <v, X_i - E X> exceeds
    ``E Z + sqrt(2 t (n V + 2 b E Z)) + b t / 3`` with probability at most exp(-t), where V is the
    largest variance of a direction and b bounds <v, X_i - E X>: here 1 + ||E X|| <= 1 + sqrt(V').

    Args:
        moment: At least the largest second moment V' of any direction (so of its variance).
        trace: At least E ||X||^2, so that E Z / n <= sqrt(trace / n).
        n: Number of vectors.
        alpha: Failure probability.

    >>> round(mean_error(0.0, 0.0, 100, alpha=math.exp(-3.0)), 6)
    0.01
    """
    check_count("n", n)
    check_probability("alpha", alpha)
    budget = math.log(1.0 / alpha)
    expected = math.sqrt(trace / n)
    largest = 1.0 + math.sqrt(moment)
    deviation = math.sqrt(2.0 * budget * (moment + 2.0 * largest * expected) / n)
    return expected + deviation + largest * budget / (3.0 * n)
