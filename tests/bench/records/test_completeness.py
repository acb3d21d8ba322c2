"""The verdict names cells in which most images got no certificate."""

from __future__ import annotations

import pandas as pd
import pytest

from bench.plan.units import Cell
from bench.records.completeness import Completeness, mostly_abstained, weak

STILL = "||J||_2 = 1.00e-04 is below tau = 0.001, the features do not move"


def frame(*statuses: str, defense: str = "fs-iqa", reason: str = STILL) -> pd.DataFrame:
    rows = [
        ("set", "m", defense, 0.25, status, None if status == "ok" else reason)
        for status in statuses
    ]
    names = ["dataset", "model", "defense", "sigma", "status", "reason"]
    return pd.DataFrame(rows, columns=names)


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        (("abstained", "abstained", "ok"), "2 of 3 images abstained: "),
        (("abstained", "ok", "abstained", "ok", "abstained"), "3 of 5 images abstained: "),
        (("abstained", "ok"), None),
        (("failed", "failed", "abstained"), None),
        (("ok",), None),
    ],
)
def test_more_than_half_of_the_images(statuses: tuple[str, ...], said: str | None) -> None:
    found = mostly_abstained(pd.concat([frame("ok", defense="ms"), frame(*statuses)]))
    cell = Cell("set", "m", "fs-iqa", 0.25)
    assert set(found) == (set() if said is None else {cell})
    if said is not None:
        assert found[cell].startswith(said + STILL)
        assert "without rounding" in found[cell]
        verdict = Completeness((cell,), {}, {}, abstained=found)
        assert verdict.complete
        assert str(verdict).startswith(f"1/1 cells ok\nno certificate: {cell} ({said}")


def test_the_remedy_is_for_its_own_reason_only() -> None:
    (text,) = mostly_abstained(frame("abstained", reason="n = 16 scores are few")).values()
    assert text == "1 of 1 images abstained: n = 16 scores are few"
    assert mostly_abstained(frame()) == {}


def test_the_reason_of_most_images_is_named_whatever_its_numbers() -> None:
    moved = [frame("abstained", reason=f"moved by {x} sigma_f") for x in ("1.5e-3", "2")]
    (text,) = mostly_abstained(pd.concat([frame("abstained"), *moved])).values()
    assert text == "3 of 3 images abstained: moved by 1.5e-3 sigma_f"


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        ((), ()),
        (("a.png: gone",), ("left out of training: 1 image (a.png: gone)",)),
        (("b: torn", "a: gone"), ("left out of training: 2 images, the first (b: torn)",)),
    ],
)
def test_training_images_that_were_left_out_fail_no_cell(
    reasons: tuple[str, ...], said: tuple[str, ...]
) -> None:
    verdict = Completeness((Cell("set", "m", "ms", 0.25),), {}, {}, untrained=reasons)
    assert verdict.complete and verdict.notes == said


def test_denoisers_that_a_filter_equals_are_named() -> None:
    """One just below is not; an FTN has no such figure; of several noise levels the worst."""
    fit = pd.DataFrame(
        {
            "part": ["denoiser", "denoiser-iqa", "denoiser-iqa", "denoiser-iqa", "ftn"],
            "model": [None, "lpips", "dists", "dists", "lpips"],
            "filter_ratio": [1.0, 0.99, 2.5, 1.5, None],
        }
    )
    found = weak(fit)
    assert found == {"denoiser": 1.0, "denoiser-iqa of dists": 2.5}
    (said,) = Completeness((), {}, {}, weak=found).notes
    assert said.endswith(": denoiser-iqa of dists (2.5 times its error), denoiser (1)")
    assert weak(fit[4:]) == {}
