"""The paired test of one measure: its definition, its false alarms, where it is silent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.analysis.statistics import cluster_weights, plcc, srcc
from bench.review.paired import changes, weighted_medians


def frame(score: Any, mos: Any, groups: Any) -> pd.DataFrame:
    names = [f"image{i}" for i in range(len(score))]
    return pd.DataFrame(
        {
            "status": "ok",
            "score": score,
            "mos": mos,
            "group": groups,
            "lower": 0.0,
            "upper": np.abs(score),
            "higher_is_better": True,
        },
        index=pd.Index(names, name="image"),
    )


def test_against_the_definition() -> None:
    """Every resample written out: images repeated, correlations by the plain functions."""
    rng = np.random.default_rng(3)
    mos = rng.uniform(size=20)
    groups = [f"photo{i % 7}" for i in range(20)]
    a, b = (frame(mos + rng.normal(0, s, 20), mos, groups) for s in (0.1, 0.3))
    found = {c.metric: c for c in changes(a, b, reps=300, seed=9)}
    weights = cluster_weights(groups, reps=300, seed=9).astype(int)
    functions: dict[str, Any] = {
        "srcc": lambda f, i: srcc(f["score"].to_numpy()[i], mos[i]).value,
        "plcc": lambda f, i: plcc(f["score"].to_numpy()[i], mos[i]).value,
        "width": lambda f, i: float(np.median(f["upper"].to_numpy()[i])),
    }
    for metric, value in functions.items():
        picks = [np.repeat(np.arange(20), w) for w in weights]
        error = np.std([value(b, i) - value(a, i) for i in picks], ddof=1) * np.sqrt(7 / 6)
        whole = value(b, np.arange(20)) - value(a, np.arange(20))
        change = found[metric]
        assert change.photographs == 7 and change.difference == pytest.approx(whole, abs=1e-12)
        assert change.p == pytest.approx(2 * stats.t.sf(abs(whole) / error, 6), rel=1e-6)
        reach = stats.t.ppf(0.975, 6) * error
        assert (change.low, change.high) == pytest.approx((whole - reach, whole + reach))
    assert found["abstained"].identical


def test_false_alarms_of_one_test() -> None:
    """Two runs that differ by noise alone are told apart in about one of twenty cases."""
    rng = np.random.default_rng(4)
    alarms = 0
    for _ in range(100):
        mos = rng.uniform(size=40)
        groups = [f"photo{i % 20}" for i in range(40)]
        a, b = (frame(mos + rng.normal(0, 0.2, 40), mos, groups) for _ in range(2))
        p = next(iter(changes(a, b, reps=200, seed=1))).p
        alarms += p is not None and p <= 0.05
    assert alarms <= 11


def test_medians_of_resamples() -> None:
    rng = np.random.default_rng(6)
    values, weights = rng.normal(size=9), rng.integers(0, 4, size=(50, 9)).astype(float)
    weights[7] = 0
    found = weighted_medians(values, weights)
    for row, median in zip(weights, found, strict=True):
        wanted = np.repeat(values, row.astype(int))
        assert median == np.median(wanted) if len(wanted) else np.isnan(median)


def test_what_cannot_be_tested_says_why() -> None:
    mos = np.array([0.1, 0.2, 0.5, 0.9])
    one = ["photo"] * 4
    found = next(iter(changes(frame(mos, mos, one), frame(mos[::-1], mos, one), reps=9, seed=1)))
    assert found.difference == -2.0 and found.p is None
    assert found.reason == "fewer than 2 photographs"
    flat = frame(np.full(4, 0.5), mos, list("abcd"))
    found = next(iter(changes(frame(mos, mos, list("abcd")), flat, reps=9, seed=1)))
    assert found.b is None and found.reason == "undefined on the common images"
    assert found.significant  # the one run has a correlation, the other none


@pytest.mark.parametrize("photographs", [2, 4, 10])
def test_equal_counts_in_few_photographs_are_no_proof(photographs: int) -> None:
    """One more image abstains in each: no spread, and signs alone say no more than this."""
    mos = np.tile([0.1, 0.9], photographs)
    groups = [f"photo{i // 2}" for i in range(2 * photographs)]
    a, b = frame(mos, mos, groups), frame(mos, mos, groups)
    b.loc[b.index[::2], "status"] = "abstained"
    found = next(c for c in changes(a, b, reps=50, seed=1) if c.metric == "abstained")
    assert found.difference == 0.5 and found.p == 2.0 ** (1 - photographs)
