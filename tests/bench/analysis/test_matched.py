"""Equal radius: the noise level is the best that fits, and never better than it is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bench.analysis.explore import ALL, levels, seen
from bench.analysis.matched import Matched, matched
from bench.analysis.widths import curves

PHOTOGRAPHS, IMAGES = 12, 3
RADII = (0.01, 0.1, 0.5)
QUALITY = np.random.default_rng(3).permutation(PHOTOGRAPHS * IMAGES) / 10


def cell(
    defense: str,
    sigma: float,
    *,
    noise: float,
    widths: tuple[float, ...],
    model: str = "dbcnn",
    rigor: str = "proved",
    scale: float = 1.0,
    abstained: int = 0,
) -> pd.DataFrame:
    """Scores in [0, 10] with noise of their own and intervals of given widths on the grid."""
    rng = np.random.default_rng([int(1000 * sigma), len(defense), len(model)])
    count = len(QUALITY)
    score = 5 + scale * (QUALITY - QUALITY.mean() + noise * rng.normal(size=count))
    rows = []
    for i in range(count):
        gone = i < abstained
        bounds = {
            "curve_radius": [] if gone else list(RADII),
            "curve_lower": [] if gone else [0.0] * len(RADII),
            "curve_upper": [] if gone else list(widths),
            "curve_at_ceiling": [] if gone else [False] * len(RADII),
        }
        rows.append(
            {
                "status": "abstained" if gone else "ok",
                "dataset": "embedded",
                "model": model,
                "mode": "NR",
                "defense": defense,
                "sigma": sigma,
                "image": f"i{i:02d}",
                "group": f"p{i // IMAGES:02d}",
                "mos": QUALITY[i],
                "score": score[i],
                "higher_is_better": True,
                "undefended": QUALITY[i],
                "undefended_higher_is_better": True,
                "range_low": 0.0,
                "range_high": 10.0,
                "rigor": rigor,
                **bounds,
            }
        )
    return pd.DataFrame(rows)


def compared(*cells: pd.DataFrame) -> Matched:
    found = matched(pd.concat(cells, ignore_index=True), "NR", reps=200, seed=1)
    assert found is not None
    return found


def row(table: pd.DataFrame, defense: str, radius: float) -> pd.Series:
    return table[(table["defense"] == defense) & (table["radius"] == radius)].iloc[0]


SMALL = cell("ms", 0.1, noise=0.2, widths=(0.2, 1.0, 10.0))
LARGE = cell("ms", 0.5, noise=2.0, widths=(0.1, 0.2, 5.0))


def test_each_radius_takes_its_own_noise_level() -> None:
    found = compared(SMALL, LARGE)
    assert [row(found.best, "ms", r)["sigma"] for r in RADII] == [0.1, 0.1, 0.5]
    levels = {s: found.agreement.mean("srcc", "ms", s).value for s in (0.1, 0.5)}
    assert levels[0.1] > levels[0.5] + 0.1
    values = [row(found.best, "ms", r)["srcc"] for r in RADII]
    assert values == pytest.approx([levels[0.1], levels[0.1], levels[0.5]])
    first = row(found.best, "ms", 0.01)
    assert first["low"] < first["srcc"] < first["high"]
    assert (first["kept"], first["photographs"], first["images"]) == (12, 12, 36)
    assert found.undefended == pytest.approx(1.0)


def test_a_level_needs_enough_certified_images() -> None:
    few = cell("ms", 0.1, noise=0.2, widths=(0.2, 1.0, 10.0), abstained=4)
    found = compared(few, LARGE)
    assert row(found.best, "ms", 0.01)["sigma"] == 0.5  # 32 of 36 are fewer than nine tenths
    alone = row(compared(few).best, "ms", 0.01)
    assert np.isnan(alone["srcc"]) and alone["certified"] == pytest.approx(32 / 36)
    three = cell("ms", 0.1, noise=0.2, widths=(0.2, 1.0, 10.0), abstained=3)
    assert row(compared(three, LARGE).best, "ms", 0.01)["sigma"] == 0.1


def test_the_frontier_does_not_reward_alike_scores() -> None:
    wide = cell("ms", 0.1, noise=0.0, widths=(0.2, 0.4, 10.0))
    shrunk = cell("ms", 0.5, noise=0.0, widths=(0.02, 0.04, 0.06), scale=0.01)
    found = compared(wide, shrunk)
    low, high = np.quantile(wide["score"], [0.05, 0.95])
    assert row(found.best, "ms", 0.01)["own"] != row(found.best, "ms", 0.1)["own"]
    frontier = row(found.frontier, "ms", 0.01)
    assert frontier["sigma"] == 0.1 and frontier["own"] == pytest.approx(0.2 / (high - low))
    # At the largest radius only the collapsed scores have an interval, and it is not narrow.
    assert row(found.best, "ms", 0.5)["sigma"] == 0.5
    assert np.isnan(row(found.frontier, "ms", 0.5)["srcc"])
    assert row(found.best, "ms", 0.5)["narrow"] == 0.0


def test_only_proved_radii_are_ranked() -> None:
    rival = cell("dms", 0.1, noise=3.0, widths=(0.2, 1.0, 10.0))
    first = cell("fs-iqa", 0.1, noise=0.0, widths=(0.2, 1.0, 2.0), rigor="first-order")
    found = compared(SMALL, rival, first)
    assert found.rigor == {"ms": "proved", "dms": "proved", "fs-iqa": "first-order"}
    assert found.letters(0.01) == {"ms": "a", "dms": "b"}
    assert found.letters(0.5) == {}
    few = pd.concat([SMALL, rival])
    assert compared(few[few["group"] < "p09"]).letters(0.01) == {}


def test_extra_levels_of_some_models_are_compared_on_these_models() -> None:
    other = cell("ms", 0.5, noise=0.1, widths=(0.1, 0.2, 5.0), model="koncept")
    found = compared(SMALL, LARGE, other)
    assert found.agreement.models == ("dbcnn",)
    assert matched(SMALL, "FR", reps=5, seed=1) is None


def test_a_defence_on_some_models_does_not_shrink_the_others_comparison() -> None:
    both = [
        cell("ms", sigma, noise=0.2, widths=(0.1, 0.2, 5.0), model=model)
        for model in ("dbcnn", "koncept")
        for sigma in (0.1, 0.5)
    ]
    alone = cell("dms", 0.1, noise=0.0, widths=(0.1, 0.2, 5.0))
    found = compared(*both, alone)
    assert found.agreement.models == ("dbcnn", "koncept")
    assert (found.agreement.defenses, found.absent) == (("ms",), ("dms",))
    assert set(found.best["defense"]) == {"ms"}
    assert compared(SMALL, LARGE).absent == ()


def test_widths_of_one_radius_are_those_of_all_curves_at_once() -> None:
    wide = cell("ms", 0.1, noise=0.2, widths=(0.4, 2.0, 10.0), model="koncept", scale=0.5)
    tight = cell("ms", 0.5, noise=0.2, widths=(0.1, 0.2, 5.0), model="koncept", abstained=2)
    other = SMALL.assign(mode="FR", curve_upper=[[9.0] * 3] * len(SMALL))
    frame = pd.concat([SMALL, LARGE, wide, tight], ignore_index=True)
    found = compared(frame, other)
    whole = curves(frame, RADII)
    for (defense, sigma, radius), part in whole.groupby(["defense", "sigma", "radius"]):
        bounds = found.bounds(str(defense), float(sigma), float(radius))
        pd.testing.assert_frame_equal(bounds, part.reset_index(drop=True))
        level = found.levels[(found.levels["sigma"] == sigma) & (found.levels["radius"] == radius)]
        assert level["own"].tolist() == [part["own"].median()]
        for model, own in part.groupby("model")["own"]:
            single = next(x for x in levels(found) if (x.model, x.sigma) == (model, sigma))
            assert single.own[RADII.index(radius)] == own.median()
    assert len([x for x in levels(found) if x.model == ALL]) == 2


def test_images_are_seen_at_the_best_level_and_upwards() -> None:
    falling = LARGE.assign(model="koncept", higher_is_better=False)
    pair = pd.concat([SMALL, LARGE, falling, SMALL.assign(model="koncept")], ignore_index=True)
    pair["higher_is_better"] = pair["model"] == "dbcnn"
    found = compared(pair)
    points = {(p.model, p.image, p.radius): p for p in seen(found)}
    assert len(points) == 2 * len(QUALITY) * len(RADII)
    score = float(LARGE["score"][7])
    up, down = (points[model, "i07", 0.5] for model in ("dbcnn", "koncept"))  # large fits alone
    assert (up.score, up.lower, up.upper) == (round(100 * score), 0, 500)
    assert (down.score, down.lower, down.upper) == (round(1000 - 100 * score), 500, 1000)
    assert points["dbcnn", "i07", 0.01].upper < points["dbcnn", "i07", 0.1].upper < up.upper
