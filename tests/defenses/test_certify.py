"""The final call: it certifies, abstains with a reason, or refuses what a plugin returned."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, dataclass, replace

import numpy as np
import pytest

from defenses import cert_reg, ms, rs_reg
from defenses.base import Array, Defense, Geometry, ScoreScale
from defenses.bounds import Bounds
from defenses.certify import CertificateError, Curve, certify, is_vacuous, sorted_draws, width_curve
from defenses.statistics import Median

SCALE = ScoreScale(0.0, 1.0, higher_is_better=True)
GEOMETRY = Geometry(coefficient=4.0)
TABLE = Geometry(radii=(0.1, 0.2, 0.4), ratios=(0.5, 1.0, 3.0))
SCORES = np.sort(np.random.default_rng(0).normal(0.5, 0.04, 2000))


USUAL = Bounds(0.4, 0.6, None, None, False, None)


@dataclass(frozen=True, slots=True)
class Returns(Median):
    """A plugin that returns what it likes."""

    score: float = 0.5
    found: Bounds = USUAL

    def estimate(self, scores: Array) -> float:
        return self.score

    def bounds(self, scores: Array, *, r: float, confidence: float, scale: ScoreScale) -> Bounds:
        return self.found


def plugin(score: float = 0.5, **changes: object) -> Defense:
    found = replace(USUAL, **changes)  # type: ignore[arg-type]
    return replace(ms.DEFENSE, name="mine", statistic=Returns(score=score, found=found))


def test_a_median_certificate() -> None:
    found = certify(ms.DEFENSE, SCORES, GEOMETRY, scale=SCALE, confidence=0.999)
    assert (found.lower_rank, found.upper_rank) == (268, 1733)
    assert (found.lower, found.upper) == (SCORES[267], SCORES[1732])
    assert found.score == SCORES[999]
    assert (found.radius, found.r, found.reason, found.at_ceiling) == (0.25, 1.0, None, False)


@pytest.mark.parametrize("defense", [rs_reg.DEFENSE, cert_reg.DEFENSE, ms.DEFENSE])
def test_curve_starts_with_sampling_error_and_ends_at_the_range(defense: Defense) -> None:
    found = width_curve(
        defense, SCORES, GEOMETRY, scale=SCALE, confidence=0.999, radii=[1e-9, 0.1, 0.25, 5.0]
    )
    widths = np.subtract(found.upper, found.lower)
    assert (np.diff(widths) > 0).all()
    assert 0 < widths[0] < 0.03
    assert (found.lower[-1], found.upper[-1], found.at_ceiling[-1]) == (0.0, 1.0, True)


def test_abstains_for_the_geometry() -> None:
    stopped = Geometry(reason="the features do not move")
    found = certify(ms.DEFENSE, SCORES, stopped, scale=SCALE, confidence=0.999)
    assert found.score is not None
    assert (found.lower, found.radius, found.reason) == (None, None, "the features do not move")
    curve = width_curve(ms.DEFENSE, SCORES, stopped, scale=SCALE, confidence=0.999, radii=[0.1])
    assert curve == Curve()


def test_abstains_where_n_is_too_small_and_says_which_would_do() -> None:
    found = certify(ms.DEFENSE, SCORES[:30], GEOMETRY, scale=SCALE, confidence=0.999)
    assert found.lower is None and found.at_ceiling
    assert "the smallest n that would do is 40" in str(found.reason)
    enough = np.sort(np.random.default_rng(1).normal(0.5, 0.04, 40))
    assert certify(ms.DEFENSE, enough, GEOMETRY, scale=SCALE, confidence=0.999).reason is None


def test_tabulated_radius_is_never_interpolated() -> None:
    found = certify(ms.DEFENSE, SCORES, TABLE, scale=SCALE, confidence=0.999)
    assert found.radius == 0.2
    curve = width_curve(
        ms.DEFENSE, SCORES, TABLE, scale=SCALE, confidence=0.999, radii=[0.15, 0.2, 0.21, 0.5]
    )
    assert curve.lower[0] == curve.lower[1]
    assert curve.at_ceiling == (False, False, True, True)
    assert curve.lower[3] == 0.0, "beyond the table there is no bound"
    assert TABLE.ratio(0.41) == math.inf
    small = Geometry(radii=(0.1,), ratios=(2.0,))
    found = certify(ms.DEFENSE, SCORES, small, scale=SCALE, confidence=0.999)
    assert found.reason == "no radius spans 1 noise units or less"


@pytest.mark.parametrize("high", [0.1, 1.1, 4.9])
def test_float32_rounding_at_the_end_of_the_range_is_no_error(high: float) -> None:
    """A float32 clamp at 4.9 gives 4.900000095: still a score of a range that ends at 4.9."""
    scores = np.full(100, np.float32(high), dtype=np.float64)
    assert scores[0] > high
    scale = ScoreScale(0.0, high, higher_is_better=True)
    found = certify(ms.DEFENSE, scores, GEOMETRY, scale=scale, confidence=0.99)
    assert (found.lower, found.upper) == (high, high)
    with pytest.raises(ValueError, match=r"expected one in|outside the stated"):
        certify(ms.DEFENSE, scores + 1e-5, GEOMETRY, scale=scale, confidence=0.99)


def test_constant_scores_have_a_certificate_of_no_width() -> None:
    scores = np.full(500, 0.25)
    for defense in (cert_reg.DEFENSE, ms.DEFENSE):
        found = certify(defense, scores, Geometry(coefficient=2.0), scale=SCALE, confidence=0.99)
        assert found.lower == pytest.approx(0.25) and found.upper == pytest.approx(0.25)


@pytest.mark.parametrize("score", [-0.1, 1.1, math.nan, math.inf])
def test_refuses_a_score_outside_its_scale(score: float) -> None:
    with pytest.raises(CertificateError, match=r"mine returned score .* in \[0.0, 1.0\]"):
        certify(plugin(score), SCORES, GEOMETRY, scale=SCALE, confidence=0.999)


@pytest.mark.parametrize(
    "changes",
    [
        {"lower": 0.51},
        {"upper": 0.49},
        {"lower": 0.6, "upper": 0.4},
        {"lower": -0.2},
        {"upper": 1.2},
        {"lower": math.nan},
        {"upper": math.inf},
    ],
)
def test_refuses_bounds_that_contradict_themselves(changes: dict[str, float]) -> None:
    with pytest.raises(CertificateError, match="do not enclose"):
        certify(plugin(**changes), SCORES, GEOMETRY, scale=SCALE, confidence=0.999)
    with pytest.raises(CertificateError, match="do not enclose"):
        width_curve(plugin(**changes), SCORES, GEOMETRY, scale=SCALE, confidence=0.999, radii=[0.1])


def test_rounding_to_the_edge_of_the_slack_is_accepted_and_no_more() -> None:
    """A millionth of the span, at all four ends."""
    scale = ScoreScale(0.0, 100.0, higher_is_better=True)
    slack = 1e-6 * scale.span

    def made(score: float, lower: float, upper: float) -> tuple[float | None, float | None]:
        defense = plugin(score, lower=lower, upper=upper)
        found = certify(defense, SCORES, GEOMETRY, scale=scale, confidence=0.999)
        return found.lower, found.upper

    for score, lower, upper in [
        (-slack, -slack, 50.0),
        (100.0 + slack, 50.0, 100.0 + slack),
        (50.0, 50.0 + slack, 60.0),
        (50.0, 40.0, 50.0 - slack),
    ]:
        assert made(score, lower, upper) == (lower, upper)
    for score, lower, upper in [
        (-2 * slack, 0.0, 50.0),
        (100.0 + 2 * slack, 50.0, 100.0),
        (50.0, -2 * slack, 60.0),
        (50.0, 40.0, 100.0 + 2 * slack),
        (50.0, 50.0 + 2 * slack, 60.0),
        (50.0, 40.0, 50.0 - 2 * slack),
    ]:
        with pytest.raises(CertificateError):
            made(score, lower, upper)


def test_an_abstention_keeps_its_score_and_says_what_limited_it() -> None:
    for at_ceiling in (False, True):
        silent = plugin(lower=None, reason="why", at_ceiling=at_ceiling)
        found = certify(silent, SCORES, GEOMETRY, scale=SCALE, confidence=0.9)
        assert (found.score, found.at_ceiling, found.reason) == (0.5, at_ceiling, "why")
        assert (found.lower, found.upper, found.radius, found.r) == (None, None, None, None)


def test_every_column_of_a_certificate_is_the_plugins() -> None:
    mine = plugin(lower_rank=3, upper_rank=7, at_ceiling=True)
    found = certify(mine, SCORES, GEOMETRY, scale=SCALE, confidence=0.9, ratio=2.0)
    assert (found.lower_rank, found.upper_rank, found.at_ceiling) == (3, 7, True)
    assert (found.radius, found.r, found.lower, found.upper) == (0.5, 2.0, 0.4, 0.6)


def test_what_was_certified_is_not_changed_afterwards() -> None:
    found = certify(ms.DEFENSE, SCORES, GEOMETRY, scale=SCALE, confidence=0.999)
    with pytest.raises(FrozenInstanceError):
        found.lower = 0.0  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        Curve().radius = (0.1,)  # type: ignore[misc]
    assert found in {found} and Curve() in {Curve()}, "a value, known by its content"


def test_an_interval_that_is_the_whole_range_is_an_abstention_with_a_reason() -> None:
    for reason, words in ((None, "at r = 1 is the whole score range"), ("few draws", "few draws")):
        whole = plugin(lower=0.0, upper=1.0, at_ceiling=True, reason=reason)
        found = certify(whole, SCORES, GEOMETRY, scale=SCALE, confidence=0.9)
        assert (found.lower, found.upper, found.at_ceiling) == (None, None, True)
        assert found.reason is not None and words in found.reason


@pytest.mark.parametrize("missing", [{"lower": None}, {"upper": None}])
def test_a_side_that_is_missing_takes_the_other_with_it(missing: dict[str, None]) -> None:
    """Half an interval bounds nothing: no certificate, and on a curve the output bound."""
    half = plugin(**missing, reason="half", at_ceiling=False)
    found = certify(half, SCORES, GEOMETRY, scale=SCALE, confidence=0.9)
    assert (found.lower, found.upper, found.reason) == (None, None, "half")
    curve = width_curve(half, SCORES, GEOMETRY, scale=SCALE, confidence=0.9, radii=[0.1, 0.2])
    assert curve == Curve((0.1, 0.2), (0.0, 0.0), (1.0, 1.0), (True, True))


def test_refuses_silence() -> None:
    with pytest.raises(CertificateError, match="no bound and no reason"):
        certify(plugin(lower=None), SCORES, GEOMETRY, scale=SCALE, confidence=0.999)
    silent = plugin(lower=None, reason="why")
    found = certify(silent, SCORES, GEOMETRY, scale=SCALE, confidence=0.9)
    assert found.reason == "why"


@pytest.mark.parametrize("bad", [[], [0.1, math.nan], [math.inf], [-math.inf, 0.0]])
def test_unusable_draws(bad: list[float]) -> None:
    with pytest.raises(CertificateError, match="not finite"):
        sorted_draws(bad)


def test_draws_are_sorted_copies() -> None:
    given = np.array([3.0, 1.0, 2.0], dtype=np.float32)
    assert sorted_draws(given).tolist() == [1.0, 2.0, 3.0]
    assert given.tolist() == [3.0, 1.0, 2.0]
    for numbers in (given, [3, 1, 2]):
        assert sorted_draws(numbers).dtype == np.float64, "of whatever numbers they are"


def test_only_the_whole_range_is_vacuous() -> None:
    assert is_vacuous(Bounds(0.0, 1.0, None, None, True, "x"), SCALE)
    assert not is_vacuous(Bounds(0.0, 0.9, None, None, True, "x"), SCALE)
    assert not is_vacuous(Bounds(0.0, 1.0, 3, 4, False, None), SCALE), (
        "scores really reach the ends"
    )
