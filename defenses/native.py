"""The authors' own certificates of RS-Reg and Cert-Reg: how far until too many outputs go wrong.

An output is *valid* when it is within `tolerance` of a fixed centre (the noiseless score). From the
share of valid outputs at the image, the smallest share any perturbation within a radius can leave
is known exactly; each certificate says how large that share must be for what a deployed system
returns to stay within the tolerance with the wanted `probability`.

These speak about a fresh n-sample estimate, not about the smoothed model, and give one radius for
one tolerance. Both ask for a centre chosen independently of the scores. This module must not know
how scores were drawn, nor what else is recorded of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from defenses.confidence import FloatArray, check_count, check_probability, clopper_pearson_lower
from defenses.interval import Range, checked_scores
from defenses.ranks import check_confidence, trimmed_count


@dataclass(frozen=True, slots=True)
class NativeCertificate:
    """A radius within which an estimate stays near the centre, or why there is none.

    Attributes:
        radius: l2 radius, in units of sigma; None when abstained.
        tolerance: Deviation of the *returned estimate* that is certified, in score units.
        probability: Probability with which a single fresh estimate keeps to it.
        confidence: Confidence of the certificate in the sample it was made from.
        valid_probability: Lower confidence limit for the share of valid outputs.
        required_probability: Share of valid outputs needed at the attacked image.
        allowed_invalid: Invalid outputs that the estimate survives; None for a single output.
        reason: One sentence when abstained, else None.
    """

    radius: float | None
    tolerance: float
    probability: float
    confidence: float
    valid_probability: float
    required_probability: float
    allowed_invalid: int | None
    reason: str | None


def required_valid_probability(n: int, allowed_invalid: int, probability: float) -> float:
    """Share of valid outputs at which at most so many of n are invalid with that probability.

    Args:
        n: Outputs drawn, at least 1.
        allowed_invalid: Invalid outputs allowed, at least 0.
        probability: Wanted probability, in (0, 1).

    Returns:
        p with ``P(Bin(n, 1 - p) <= allowed_invalid) = probability``; 0 when all n may be invalid.

    Raises:
        ValueError: If an argument is out of range.

    >>> round(required_valid_probability(10, 1, 0.8), 7)
    0.9167401
    """
    check_count("n", n)
    check_count("allowed_invalid", allowed_invalid, 0)
    check_probability("probability", probability)
    if allowed_invalid >= n:
        return 0.0
    return float(special.betaincinv(n - allowed_invalid, allowed_invalid + 1, probability))


def certify(
    valid: int,
    samples: int,
    *,
    required: float,
    tolerance: float,
    probability: float,
    confidence: float,
    allowed_invalid: int | None = None,
) -> NativeCertificate:
    """Radius at which the share of valid outputs may have fallen to `required`.

    With ``required = probability`` this is RS-Reg's certificate of the base model (Theorem 1): one
    noisy output stays within the tolerance with that probability.

    Args:
        valid: Valid outputs seen at the clean image, 0..samples.
        samples: Outputs drawn at the clean image, at least 1.
        required: Share of valid outputs needed, in [0, 1).
        tolerance: Deviation certified, in score units.
        probability: Probability with which the estimate keeps to it, in (0, 1).
        confidence: Confidence of the limit for the valid share, in (0.5, 1).
        allowed_invalid: Recorded in the result.

    Returns:
        The certificate: ``radius = Phi^-1(valid share) - Phi^-1(required)``, in units of sigma.

    Raises:
        ValueError: If an argument is out of range.

    Source: Rekavandi et al. 2025 (RS-Reg), Theorem 1, with the exact Clopper-Pearson limit.

    >>> certificate = certify(2000, 2000, required=0.9676186547301102, tolerance=0.05,
    ...                       probability=0.999, confidence=0.999)
    >>> round(0.25 * certificate.radius, 7)
    0.2137351
    """
    check_confidence(confidence)
    check_probability("probability", probability)
    if not 0.0 <= required < 1.0 or not tolerance > 0.0:
        raise ValueError(
            "required must lie in [0, 1) and tolerance above 0, found "
            f"{required!r} and {tolerance!r}."
        )
    share = clopper_pearson_lower(valid, samples, alpha=1.0 - confidence)
    radius: float | None = None
    reason = None
    if required == 0.0:
        reason = (
            f"every score that is possible lies within the tolerance of {tolerance:g}, so no "
            "finite radius is the largest; a smaller tolerance would have one."
        )
    elif share > required:
        radius = float(special.ndtri(share) - special.ndtri(required))
    else:
        reason = _abstention(valid, samples, share, required, confidence)
    return NativeCertificate(
        radius,
        tolerance,
        probability,
        confidence,
        share,
        required,
        allowed_invalid,
        reason,
    )


def _abstention(valid: int, samples: int, share: float, required: float, confidence: float) -> str:
    found = f"{valid} of {samples} outputs are valid, which certifies a share of {share:.6g}"
    # Even if every output were valid, the limit would be (1 - confidence)^(1/n).
    enough = math.floor(math.log(1.0 - confidence) / math.log(required)) + 1
    advice = "" if enough <= samples else f"; n = {enough} would do if all were valid"
    return f"{found} where more than {required:.6g} is needed{advice}."


def _valid_count(scores: FloatArray, center: float, tolerance: float) -> int:
    if not math.isfinite(center):
        raise ValueError(f"center must be finite, found {center!r}.")
    return int(np.count_nonzero(np.abs(scores - center) <= tolerance))


def discounted_invalid(
    n: int, *, center: float, slack: float, tolerance: float, score_range: Range
) -> int:
    """Invalid outputs, out of n, that move a mean by at most `slack` beyond the valid ones.

    Args:
        n: Outputs averaged, at least 1.
        center: Centre of the valid band.
        slack: Extra deviation of the mean that is accepted, in score units, at least 0.
        tolerance: Half-width that valid outputs keep to, in score units.
        score_range: (l, u), the range the score cannot leave.

    Returns:
        ``floor(n * min over both sides of slack / (distance to the end - tolerance))``, at most n.
        Rounding up instead would be unsound.

    Raises:
        ValueError: If an argument is out of range.

    >>> discounted_invalid(10, center=20, slack=10, tolerance=5, score_range=(-15, 85))
    1
    """
    check_count("n", n)
    low, high = score_range
    if not low <= center <= high or slack < 0.0:
        raise ValueError(f"center {center!r} leaves the range [{low:g}, {high:g}] or slack < 0.")
    beyond = max(high - center, center - low) - tolerance
    return n if beyond <= 0.0 else min(n, math.floor(n * (slack / beyond)))


def rs_reg(
    sorted_scores: npt.ArrayLike,
    *,
    center: float,
    tolerance: float,
    probability: float,
    discount: float,
    confidence: float,
    score_range: Range,
) -> NativeCertificate:
    """RS-Reg's finite-sample, discounted certificate of a mean.

    Args:
        sorted_scores: (n,) increasing finite scores at the clean image, inside the range.
        center: The noiseless score, or any value fixed before the scores were drawn.
        tolerance: Half-width of the valid band, above 0; the mean keeps to (1 + discount) times it.
        probability: Probability with which a fresh mean keeps to it, in (0, 1).
        discount: Share of the tolerance given away, at least 0.
        confidence: Confidence of the valid share's limit, in (0.5, 1).
        score_range: (l, u), the range the score cannot leave.

    Returns:
        The certificate; an abstention where every possible score is valid, as no radius ends there.

    Raises:
        ValueError: If the scores are unsorted, not finite or outside the range, or a number is
            out of range.

    Source: Rekavandi et al. 2025 (RS-Reg, TMLR), Proposition 1.

    >>> certificate = rs_reg([0.6] * 2000, center=0.6, tolerance=0.05, probability=0.999,
    ...     discount=0.5, confidence=0.999, score_range=(0.0, 1.0))
    >>> certificate.allowed_invalid, round(0.25 * certificate.radius, 7)
    (90, 0.2137351)
    """
    scores = checked_scores(sorted_scores, score_range)
    n = scores.size
    allowed = discounted_invalid(
        n, center=center, slack=discount * tolerance, tolerance=tolerance, score_range=score_range
    )
    return certify(
        _valid_count(scores, center, tolerance),
        scores.size,
        required=required_valid_probability(n, allowed, probability),
        tolerance=(1.0 + discount) * tolerance,
        probability=probability,
        confidence=confidence,
        allowed_invalid=allowed,
    )


def cert_reg(
    sorted_scores: npt.ArrayLike,
    *,
    center: float,
    tolerance: float,
    probability: float,
    trim: float,
    confidence: float,
) -> NativeCertificate:
    """Cert-Reg's certificate of a trimmed mean; no output range, no discount.

    If at most floor(trim * n) outputs are invalid, each retained one lies between two valid ones.

    Arguments are those of `rs_reg`, for a fresh trimmed mean: it keeps to the very tolerance that
    is the valid band's half-width; `trim`, in [0, 0.5), is the fraction cut off at each end.

    Raises:
        ValueError: If the scores are unsorted or not finite, or a number is out of range.

    Source: Miri Rekavandi et al. 2024 (Cert-Reg, NeurIPS); the trimmed count is rounded down.

    >>> cert_reg([0.6] * 2000, center=0.6, tolerance=0.05, probability=0.999, trim=0.25,
    ...     confidence=0.999).allowed_invalid
    500
    """
    scores = checked_scores(sorted_scores, None)
    n = scores.size
    allowed = trimmed_count(n, trim)
    return certify(
        _valid_count(scores, center, tolerance),
        scores.size,
        required=required_valid_probability(n, allowed, probability),
        tolerance=tolerance,
        probability=probability,
        confidence=confidence,
        allowed_invalid=allowed,
    )
