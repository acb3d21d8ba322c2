"""RS-Reg and Cert-Reg turned round: the deviation that holds at a given radius.

The native certificates give a radius for a tolerance. A comparison at equal radius needs the
smallest tolerance for a radius; the deviations from a fixed centre are certified like any score.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

from defenses.confidence import check_count, check_probability, ks_eta
from defenses.interval import checked_scores
from defenses.ranks import check_confidence, check_ratio, lower_rank, shift


def certified_deviation(
    sorted_deviations: npt.ArrayLike, *, r: float, required: float, confidence: float
) -> float | None:
    """Smallest tolerance whose valid share is still `required` anywhere within r sigmas.

    With ``required = probability`` it bounds one noisy output (RS-Reg's base model); with
    ``required_valid_probability(n, trimmed_count(n, trim), probability)`` a fresh trimmed mean.

    Args:
        sorted_deviations: (n,) increasing ``|score - center|``, the centre fixed beforehand.
        r: Radius divided by sigma, at least 0.
        required: Share of valid outputs needed, in (0, 1).
        confidence: Confidence in the sample, in (0.5, 1).

    Returns:
        The deviation in score units; None when n is too small for this r and share.

    Raises:
        ValueError: If the deviations are unsorted or not finite, or a number is out of range.

    >>> certified_deviation(np.arange(1.0, 2001.0), r=1.0, required=0.8, confidence=0.999)
    1959.0
    """
    deviations = checked_scores(sorted_deviations, None)
    check_ratio(r)
    check_confidence(confidence)
    check_probability("required", required)
    # The complement keeps its precision where the needed share is close to one.
    outside = shift(1.0 - required, -r)
    mirrored = lower_rank(deviations.size, probability=outside, alpha=1.0 - confidence)
    return float(deviations[-mirrored]) if mirrored >= 1 else None


def certified_mean_deviation(
    sorted_deviations: npt.ArrayLike,
    *,
    r: float,
    probability: float,
    confidence: float,
    worst: float,
    n_fresh: int | None = None,
    independent_center: bool = True,
) -> float:
    """Deviation that a fresh mean keeps to anywhere within r sigmas.

    The best threshold between valid and invalid is chosen among all observed deviations; a band
    for their whole law makes that choice valid.

    Args:
        sorted_deviations: (n,) increasing ``|score - center|``.
        r: Radius divided by sigma, at least 0.
        probability: Probability with which a fresh mean keeps to it, in (0, 1).
        confidence: Confidence in the sample, in (0.5, 1).
        worst: Largest deviation the score range allows, ``max(u - center, center - l)``.
        n_fresh: Size of the fresh sample; n by default.
        independent_center: Whether the centre was fixed before the scores were drawn; if not, the
            band must be twice as wide.

    Returns:
        The deviation in score units, at most `worst`.

    Raises:
        ValueError: If the deviations are unsorted, not finite or above `worst`, or a number is
            out of range.

    Source: Rekavandi et al. 2025 (RS-Reg), Proposition 1, inverted for a given radius.

    >>> certified_mean_deviation(np.full(2000, 0.01), r=1.0, probability=0.999, confidence=0.999,
    ...                          worst=0.6) < 0.2
    True
    """
    deviations = checked_scores(sorted_deviations, (0.0, worst))
    check_ratio(r)
    check_confidence(confidence)
    check_probability("probability", probability)
    size = deviations.size
    n = size if n_fresh is None else n_fresh
    check_count("n_fresh", n)
    eta = ks_eta(size, 1.0 - confidence) * (1.0 if independent_center else 2.0)
    share = np.maximum(np.arange(1, size + 1) / size - eta, 0.0)
    invalid = stats.binom.ppf(probability, n, 1.0 - shift(share, -r))
    return float(min(worst, np.min(deviations + invalid * (worst - deviations) / n)))
