"""Native RS-Reg and Cert-Reg certificates: vectors, worst cases, planted mistakes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

from defenses import native
from defenses.ranks import trimmed_count

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "data" / "math_vectors.json").read_text()
)


@pytest.mark.parametrize("case", VECTORS["pstar"])
def test_required_share_vectors(case: dict[str, Any]) -> None:
    found = native.required_valid_probability(case["n"], case["k"], case["P"])
    assert found == pytest.approx(case["p"], rel=1e-12)
    assert stats.binom.cdf(case["k"], case["n"], 1 - found) == pytest.approx(case["P"])


def ratio(valid: float, required: float) -> float:
    return float(special.ndtri(valid) - special.ndtri(required))


def test_radius_formula_vectors() -> None:
    assert 0.25 * ratio(0.95, 0.8) == pytest.approx(0.2008081, abs=1e-7)
    assert 0.25 * ratio(0.999, 0.9676186547) == pytest.approx(0.3108349, abs=1e-7)
    for trim, expected in [(0.25, 2.322042), (0.1, 1.690769)]:
        required = native.required_valid_probability(2000, trimmed_count(2000, trim), 0.999)
        assert ratio(0.999, required) == pytest.approx(expected, abs=1e-6)


def test_base_model_needs_more_samples_at_high_probability() -> None:
    kwargs: dict[str, Any] = {"tolerance": 0.1, "confidence": 0.999}
    refused = native.certify(2000, 2000, required=0.999, probability=0.999, **kwargs)
    assert refused.radius is None and refused.reason is not None
    enough = int(refused.reason.split("n = ")[1].split()[0])
    assert native.certify(enough, enough, required=0.999, probability=0.999, **kwargs).radius
    assert (
        native.certify(enough - 1, enough - 1, required=0.999, probability=0.999, **kwargs).radius
        is None
    )
    found = native.certify(2000, 2000, required=0.8, probability=0.8, **kwargs).radius
    assert found == pytest.approx(1.860, abs=5e-4)


RANGE = (-15.0, 85.0)


def test_discounted_vectors() -> None:
    kwargs: dict[str, Any] = {"center": 20.0, "tolerance": 5.0, "score_range": RANGE}
    assert native.discounted_invalid(10, slack=10.0, **kwargs) == 1
    iqa = {"center": 0.6, "tolerance": 0.05, "score_range": (0.0, 1.0)}
    assert native.discounted_invalid(2000, slack=0.025, **iqa) == 90  # type: ignore[arg-type]
    # every output is valid: any number may be "invalid"
    wide = native.rs_reg(
        [0.5],
        center=0.5,
        tolerance=0.6,
        probability=0.9,
        discount=0.0,
        confidence=0.9,
        score_range=(0.0, 1.0),
    )
    assert wide.required_probability == 0.0
    assert wide.radius is None and "within the tolerance of 0.6" in str(wide.reason)


def worst_case_mean(allowed: int, rng: np.random.Generator) -> float:
    """Share of runs whose mean keeps to 15 around 20 where invalid outputs are as bad as can be."""
    valid = native.required_valid_probability(10, allowed, 0.8)
    invalid = rng.binomial(10, 1 - valid, 20000)
    mean = (invalid * 85.0 + (10 - invalid) * 25.0) / 10
    return float((mean <= 20.0 + 15.0 + 1e-9).mean())


def test_floor_keeps_the_probability_and_ceil_does_not() -> None:
    rng = np.random.default_rng(3)
    assert worst_case_mean(1, rng) == pytest.approx(0.8, abs=0.01)
    assert worst_case_mean(2, rng) == pytest.approx(0.517, abs=0.015)


def worst_case_trimmed(allowed: int, rng: np.random.Generator) -> float:
    valid = native.required_valid_probability(10, allowed, 0.8)
    cut = trimmed_count(10, 0.35)
    outputs = np.sort(np.where(rng.random((20000, 10)) < valid, 0.0, 1e6), axis=1)
    return float((outputs[:, cut : 10 - cut].mean(axis=1) <= 1.0).mean())


def test_trim_count_is_rounded_down() -> None:
    rng = np.random.default_rng(4)
    assert worst_case_trimmed(trimmed_count(10, 0.35), rng) == pytest.approx(0.8, abs=0.01)
    assert worst_case_trimmed(4, rng) == pytest.approx(0.575, abs=0.015)


def test_radius_is_monotone_in_the_valid_share() -> None:
    radii = [
        native.certify(k, 500, required=0.7, probability=0.9, tolerance=1.0, confidence=0.99).radius
        for k in range(0, 501, 10)
    ]
    known = [radius for radius in radii if radius is not None]
    assert radii[0] is None and known == sorted(known) and len(known) > 5


def test_cert_reg_and_rs_reg_count_the_same_scores() -> None:
    scores = np.sort(np.random.default_rng(5).normal(0.6, 0.04, 2000).clip(0, 1))
    kwargs: dict[str, Any] = {
        "center": 0.6,
        "tolerance": 0.1,
        "probability": 0.999,
        "confidence": 0.999,
    }
    one = native.rs_reg(scores, discount=0.5, score_range=(0.0, 1.0), **kwargs)
    two = native.cert_reg(scores, trim=0.25, **kwargs)
    assert one.valid_probability == two.valid_probability
    assert one.tolerance == pytest.approx(0.15) and two.tolerance == 0.1
    assert two.radius is not None and one.radius is not None and two.radius > one.radius > 0


@pytest.mark.parametrize(
    "call",
    [
        lambda: native.required_valid_probability(10, -1, 0.9),
        lambda: native.required_valid_probability(10, 1, 1.0),
        lambda: native.certify(5, 10, required=1.0, tolerance=1, probability=0.9, confidence=0.9),
        lambda: native.certify(5, 10, required=0.5, tolerance=0, probability=0.9, confidence=0.9),
        lambda: native.certify(5, 10, required=0.5, tolerance=1, probability=0.9, confidence=0.4),
        lambda: native.discounted_invalid(10, center=2.0, slack=1, tolerance=1, score_range=(0, 1)),
        lambda: native.rs_reg(
            [0.1, math.nan],
            center=0.1,
            tolerance=0.1,
            probability=0.9,
            discount=0,
            confidence=0.9,
            score_range=(0, 1),
        ),
        lambda: native.cert_reg(
            [0.1, 0.2], center=math.nan, tolerance=0.1, probability=0.9, trim=0.1, confidence=0.9
        ),
    ],
)
def test_bad_arguments_are_refused(call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"found|leaves"):
        call()
