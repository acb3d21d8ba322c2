"""Checks of the statistic: coverage, tightness, ranks, abstention, on laws that are known exactly.

All take scores from laws X = h(z), whose worst case h(z + r) is attained, so the claimed confidence
is met with little to spare and a rank that is off by one is seen in a few thousand repetitions.
These checks must not know where noise is added.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import special, stats

from defenses.base import Array, NativeSettings
from defenses.bounds import Bounds
from defenses.conformance.report import LEVEL, Candidate, NotApplicable, failure_limit, require
from defenses.native import NativeCertificate
from defenses.reference_models import CONSTANT, HALF_SPACE, HALF_SPAN, LAWS, LINEAR, UNIT, Law

Setting = tuple[int, float, float]
REPETITIONS = 1000
SETTINGS: tuple[Setting, ...] = ((14, 1.0, 0.9), (60, 0.5, 0.9), (400, 0.5, 0.9))
"""(n, r, confidence) of the coverage tests.  At n = 14 the median's exact ranks are (1, 14), with a
failure probability of 0.089 per side; ranks (2, 13) fail with probability 0.324."""
TIGHTNESS = 2.5
"""Largest certified width, in widths of the exact interval, at n = 2000, r = 1, confidence 0.999:
exact ranks give 1.11, the trimmed mean 1.19, the mean 1.8; Hoeffding's inequality gives 9."""
DEPLOYED_LAWS = (LINEAR, HALF_SPACE)
NATIVE_N, NATIVE_PROBABILITY = 30, 0.8


def _bounds(candidate: Candidate, scores: Array, r: float, confidence: float) -> Bounds:
    return candidate.defense.statistic.bounds(scores, r=r, confidence=confidence, scale=UNIT)


@dataclass
class Tally:
    """Failures of both sides over many samples, and the case that came nearest to its limit."""

    cases: int = 0
    nearest: float = -1.0
    worst: str = ""

    def judge(self, law: Law, setting: Setting, missed: Iterable[tuple[bool, bool]]) -> None:
        """Count the failures of one case, and refuse more than its claim allows."""
        n, r, confidence = setting
        failures = np.array(list(missed)).sum(axis=0)
        limit = failure_limit(REPETITIONS, 1.0 - confidence)
        for side, count in zip(("lower", "upper"), failures.tolist(), strict=True):
            text = (
                f"{side} bound fails in {count} of {REPETITIONS} samples where {1 - confidence:.3g}"
                f" is claimed (n = {n}, r = {r:g}, {law.name} law; limit {limit})"
            )
            require(count <= limit, text)
            self.cases += 1
            if count / limit > self.nearest:
                self.worst, self.nearest = text, count / limit

    def __str__(self) -> str:
        return f"worst of {self.cases}: {self.worst}"


def coverage(candidate: Candidate) -> str:
    """The interval holds the population statistic of the worst shift as often as it claims to."""
    candidate.require_draws()
    tally = Tally()
    for law, setting in product(LAWS, SETTINGS):
        tally.judge(law, setting, _population_misses(candidate, law, setting))
    return str(tally)


def _population_misses(
    candidate: Candidate, law: Law, setting: Setting
) -> Iterator[tuple[bool, bool]]:
    n, r, confidence = setting
    rng = candidate.rng("coverage", law.name, n)
    statistic = candidate.defense.statistic
    values = (law.population(statistic, shift=-r), law.population(statistic, shift=r))
    for _ in range(REPETITIONS):
        yield _missed(_bounds(candidate, law.draws(rng, n), r, confidence), values)


def deployed_coverage(candidate: Candidate) -> str:
    """The deployed interval holds a fresh estimate at the worst shift as often as it claims to."""
    candidate.require_draws()
    tally = Tally()
    for law, setting in product(DEPLOYED_LAWS, SETTINGS[1:]):
        tally.judge(law, setting, _deployed_misses(candidate, law, setting))
    return str(tally)


def _deployed_misses(
    candidate: Candidate, law: Law, setting: Setting
) -> Iterator[tuple[bool, bool]]:
    n, r, confidence = setting
    rng = candidate.rng("deployed", law.name, n)
    statistic = candidate.defense.statistic
    for _ in range(REPETITIONS):
        found = statistic.deployed_bounds(law.draws(rng, n), r=r, confidence=confidence, scale=UNIT)
        if found is None:
            raise NotApplicable("no deployed interval is offered")
        low, high = (law.draws(rng, n, shift=shift) for shift in (-r, r))
        yield _missed(found, (statistic.estimate(low), statistic.estimate(high)))


def _missed(found: Bounds, values: tuple[float, float]) -> tuple[bool, bool]:
    """Whether each bound is on the wrong side of its worst case; a missing one claims nothing."""
    slack = 1e-9
    return (
        found.lower is not None and found.lower > values[0] + slack,
        found.upper is not None and found.upper < values[1] - slack,
    )


def tightness(candidate: Candidate) -> str:
    """The certified width is a small multiple of the exact one."""
    candidate.require_draws()
    draws = LINEAR.draws(candidate.rng("tightness"), 2000)
    found = _bounds(candidate, draws, 1.0, 0.999)
    require(found.width is not None, f"no bound at n = 2000, r = 1: {found.reason}")
    ratio = (found.width or 0.0) * HALF_SPAN
    text = f"certified width / exact width = {ratio:.3f} at n = 2000, r = 1, confidence 0.999"
    require(1.0 < ratio <= TIGHTNESS, f"{text}, expected at most {TIGHTNESS}")
    return text


def shape(candidate: Candidate) -> str:
    """Bounds widen with r, enclose the estimate, keep to the scale, and do not move when fixed."""
    ratios = (0.0, 0.1, 0.5, 1.0, 2.0, 4.0)
    for law in (*LAWS, CONSTANT):
        draws = law.draws(candidate.rng("shape", law.name), 300)
        before = draws.copy()
        estimate = candidate.defense.statistic.estimate(draws)
        low, high = estimate, estimate
        for r in ratios:
            found = _bounds(candidate, draws, r, 0.99)
            where = f"at r = {r:g} on the {law.name} law"
            lower = UNIT.low if found.lower is None else found.lower
            upper = UNIT.high if found.upper is None else found.upper
            require(
                lower <= low + 1e-9 and upper >= high - 1e-9,
                f"[{lower:g}, {upper:g}] {where} does not contain [{low:g}, {high:g}], "
                "its estimate and its narrower intervals",
            )
            require(
                UNIT.low - 1e-9 <= lower <= upper <= UNIT.high + 1e-9,
                f"[{lower:g}, {upper:g}] {where} leaves the scale [0, 1]",
            )
            again = _bounds(candidate, draws, r, 0.99)
            require(
                (again.lower, again.upper) == (found.lower, found.upper)
                and np.array_equal(draws, before),
                f"bounds {where} change when asked twice, or change the scores they are given",
            )
            low, high = lower, upper
    return f"monotone and enclosing at r = {', '.join(f'{r:g}' for r in ratios)} on 5 laws"


def order_statistics(candidate: Candidate) -> str:
    """A statistic that returns an observed score is bounded by observed scores, with true ranks."""
    candidate.require_draws()
    statistic = candidate.defense.statistic
    rng = candidate.rng("order")
    if not all(
        statistic.estimate(draws) in draws for draws in (LINEAR.draws(rng, 101) for _ in range(5))
    ):
        raise NotApplicable("the estimate is an average of scores, not one of them")
    checked = 0
    for n, r, confidence in ((101, 0.3, 0.9), (101, 1.0, 0.9), (333, 1.0, 0.99), (30, 0.5, 0.9)):
        for _ in range(20):
            draws = LINEAR.draws(rng, n)
            found = _bounds(candidate, draws, r, confidence)
            for bound, rank, end in (
                (found.lower, found.lower_rank, UNIT.low),
                (found.upper, found.upper_rank, UNIT.high),
            ):
                if bound is None or bound == end:
                    continue
                require(
                    bool((draws == bound).any()),
                    f"bound {bound!r} (n = {n}, r = {r:g}) is none of the scores: it is an "
                    "interpolated quantile, for which no exact confidence is known",
                )
                require(
                    rank is not None and 1 <= rank <= n and draws[rank - 1] == bound,
                    f"bound {bound!r} is not the score of its stated rank {rank} (1-indexed)",
                )
                checked += 1
    return f"{checked} bounds are observed scores of their stated rank"


def small_samples(candidate: Candidate) -> str:
    """Where the draws cannot carry a bound there is none, or the scale's end, and a reason."""
    candidate.require_draws()
    draws = LINEAR.draws(candidate.rng("small"), 4)
    found = _bounds(candidate, draws, 2.0, 0.999)
    ends = (found.lower in (None, UNIT.low), found.upper in (None, UNIT.high))
    if any(ends):
        require(
            found.at_ceiling and bool(found.reason),
            f"4 scores at r = 2 give no bound, without at_ceiling and reason: {found}",
        )
        return f"4 scores at r = 2: {found.reason}"
    # Averages may lean on the score range; no score of four is a bound by itself.
    lower, upper = found.lower or 0.0, found.upper or 0.0
    require(
        lower < draws[0] and upper > draws[-1],
        f"4 scores from {draws[0]:.4g} to {draws[-1]:.4g} give [{lower:.4g}, {upper:.4g}] at r = 2 "
        "with confidence 0.999, which no 4 scores can carry",
    )
    return f"4 scores at r = 2: [{lower:.4g}, {upper:.4g}], by help of the score range"


# --- native certificates -----------------------------------------------------------------------


def _native(
    candidate: Candidate, scores: Array, *, tolerance: float, discount: float
) -> NativeCertificate:
    found = candidate.defense.statistic.native(
        scores,
        center=0.5,
        confidence=0.9,
        scale=UNIT,
        settings=NativeSettings(tolerance, NATIVE_PROBABILITY, discount),
    )
    if found is None:
        raise NotApplicable("no certificate in another form is offered")
    return found


def native_share(candidate: Candidate) -> str:
    """The native certificate's limit for the share of valid draws holds as often as it claims."""
    share = 0.9
    tolerance = float(special.ndtri((1 + share) / 2)) / (2 * HALF_SPAN)
    rng = candidate.rng("native share")
    count = sum(
        _native(
            candidate, LINEAR.draws(rng, NATIVE_N), tolerance=tolerance, discount=1.0
        ).valid_probability
        > share
        for _ in range(REPETITIONS)
    )
    limit = failure_limit(REPETITIONS, 0.1)
    text = f"limit of the valid share fails in {count} of {REPETITIONS} samples, claimed: 0.1"
    require(count <= limit, f"{text} (limit {limit})")
    return f"{text} (limit {limit})"


def native_radius(candidate: Candidate) -> str:
    """At the native radius a fresh estimate keeps to the tolerance with the wanted probability.

    Worst case: a half-space of valid outputs, all at the edge of the tolerance, and invalid ones
    at the end of the scale; only the count of invalid draws is random.
    """
    certificate = _native(candidate, np.full(NATIVE_N, 0.5), tolerance=0.05, discount=2.0)
    radius = certificate.radius
    require(radius is not None, f"all {NATIVE_N} draws valid, and yet: {certificate.reason}")
    share = stats.norm.cdf(special.ndtri(certificate.valid_probability) - (radius or 0.0))
    invalid = candidate.rng("native radius").binomial(NATIVE_N, 1 - share, size=4000)
    successes = sum(
        int(times) * _keeps(candidate, int(k), certificate.tolerance)
        for k, times in zip(*np.unique(invalid, return_counts=True), strict=True)
    )
    least = int(stats.binom.ppf(LEVEL, 4000, certificate.probability))
    text = (
        f"at r = {radius:.3f} a fresh estimate keeps to tolerance in {successes} of 4000 trials "
        f"where {certificate.probability:g} is claimed (limit {least})"
    )
    require(successes >= least, text)
    return text


def _keeps(candidate: Candidate, invalid: int, tolerance: float) -> bool:
    scores = np.full(NATIVE_N, 0.55)
    scores[NATIVE_N - invalid :] = 1.0
    return abs(candidate.defense.statistic.estimate(scores) - 0.5) <= tolerance + 1e-9
