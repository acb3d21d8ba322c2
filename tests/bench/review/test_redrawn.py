"""Draws that both runs made are recognised, whatever number each made; others are not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bench.review.redrawn import COLUMNS, Redrawn, distance, redrawn

DRAWS = np.random.default_rng(3).normal(size=(4, 200))
"""Four sets, in the order of their noise."""


def frame(sets: np.ndarray, count: int, *, smoother: str = "input") -> pd.DataFrame:
    """The first draws of each set, sorted as records hold them."""
    rows = [
        ("ok", "set", "lpips", smoother, 0.5, f"i{place}", sorted(draws[:count]))
        for place, draws in enumerate(sets)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


@pytest.mark.parametrize("counts", [(44, 200), (200, 44), (200, 200), (1, 200)])
def test_a_shorter_stream_is_found_in_the_longer(counts: tuple[int, int]) -> None:
    (found,) = redrawn(frame(DRAWS, counts[0]), frame(DRAWS, counts[1]))
    assert found == Redrawn("input", sets=4, draws=4 * min(counts), furthest=0.0)


def test_rounding_is_told_as_a_share_of_the_spread() -> None:
    moved = DRAWS.copy()
    moved[2, 7] += 1e-6
    (found,) = redrawn(frame(moved, 44), frame(DRAWS, 200))
    assert found.furthest == pytest.approx(1e-6 / np.ptp(DRAWS[2]), rel=1e-6)


def test_other_draws_are_far_away() -> None:
    (found,) = redrawn(frame(DRAWS[::-1], 44), frame(DRAWS, 200))
    assert not found.near(1e-2)


def test_smoothers_stand_apart_and_only_common_sets_count() -> None:
    a = pd.concat([frame(DRAWS, 9), frame(DRAWS[:2], 9, smoother="features")])
    b = pd.concat([frame(DRAWS[:3], 5), frame(DRAWS + 1, 9, smoother="features")])
    found = {one.smoother: one for one in redrawn(a, b)}
    assert {name: (one.sets, one.draws) for name, one in found.items()} == {
        "features": (2, 18),
        "input": (3, 15),
    }
    assert found["input"].near(0.0) and not found["features"].near(1e-2)


def test_failed_and_empty_sets_are_left_out() -> None:
    a = frame(DRAWS, 9)
    a.loc[0, "status"] = "failed"
    a.at[1, "scores"] = []
    assert [one.sets for one in redrawn(a, frame(DRAWS, 9))] == [2]
    assert redrawn(a.iloc[:2], frame(DRAWS, 9)) == ()


def test_each_draw_has_a_partner_of_its_own() -> None:
    """A run that made one draw over and over finds it in the other run but once."""
    again = np.repeat(DRAWS[:, :1], 200, axis=1)
    (found,) = redrawn(frame(again, 44), frame(DRAWS, 200))
    assert not found.near(1e-2)
    (turned,) = redrawn(frame(DRAWS, 200), frame(again, 200))
    (back,) = redrawn(frame(again, 200), frame(DRAWS, 200))
    assert turned.furthest is None and back.furthest is not None and back.furthest > 1e-2


def test_without_a_spread_only_the_same_is_near() -> None:
    assert distance(np.zeros(2), np.zeros(3)) == 0.0
    assert distance(np.ones(2), np.zeros(3)) is None
    (found,) = redrawn(frame(DRAWS, 1), frame(DRAWS + 1, 1))
    assert found.furthest is None and not found.near(1.0)
    assert str(found) == "draws of input: 4 in 4 sets, elsewhere in a set without a spread"


def test_a_line_names_sets_draws_and_distance() -> None:
    line = str(Redrawn("input", sets=4, draws=176, furthest=3.6e-5))
    assert line == (
        "draws of input: 176 in 4 sets, each within 4e-05 of the set's spread of one in the "
        "other run"
    )
