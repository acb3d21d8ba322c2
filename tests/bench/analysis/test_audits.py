"""What audit records say: planted controls, failed attacks and photographs are kept apart."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from bench.analysis.audits import displaced, genuine, power, share, verdict


def record(defense: str = "fs-iqa", group: str = "a", **changes: object) -> dict[str, object]:
    usual = {
        "dataset": "one",
        "image": f"{group}/1",
        "status": "ok",
        "rigor": "first-order",
        "violated": False,
        "displacement_ratio": 0.5,
    }
    return {"defense": defense, "group": group, **usual, **changes}


RECORDS = pd.DataFrame(
    [
        record(violated=True, displacement_ratio=3.0),
        record(group="b", displacement_ratio=1.5),
        record(group="b"),
        record("ms", "c", rigor="proved", displacement_ratio=None),
        # A proved radius of features may have displacements, but no linearisation to fail.
        record("fs-iqa-proved", "c", rigor="proved", displacement_ratio=1.2),
        record("ms", "d", status="failed", violated=None),
        record("ms", "e", status="skipped", violated=None),
    ]
)


def test_planted_controls_do_not_count() -> None:
    planted = RECORDS.assign(violated=True, planted="radius x1.5")
    both = pd.concat([RECORDS, planted], ignore_index=True)
    assert share(genuine(both)) == share(genuine(RECORDS))
    assert displaced(both) == displaced(RECORDS)
    assert len(genuine(RECORDS.assign(planted=False))) == len(RECORDS)
    assert genuine(RECORDS.assign(planted=True)).empty


def row(photograph: str, *, violated: bool | None, **other: Any) -> dict[str, Any]:
    return {
        "status": "ok" if violated is not None else "failed",
        "planted": "",
        "dataset": "set",
        "group": photograph,
        "image": f"{photograph}/1",
        "defense": "ms",
        "violated": violated,
        "displacement_ratio": None,
        **other,
    }


FOUND = pd.DataFrame(
    [
        # Nine cells on one photograph, two broken; one cell on another; an attack that failed.
        *(row("a", violated=index < 2, defense="fs-iqa", displacement_ratio=0.9 + 0.1 * index)
          for index in range(9)),
        row("b", violated=False),
        row("c", violated=None),
        *(row(name, violated=True, planted="radius x2") for name in "aab"),
        row("b", violated=False, planted="radius x2"),
        row("b", violated=False, planted="interval x0.7"),
    ]
)  # fmt: skip


def test_limits_count_photographs() -> None:
    found = share(genuine(FOUND))
    assert (found.found, found.claims, found.failed, found.wanted) == (2, 10, 1, 11)
    assert (found.photographs_found, found.photographs) == (1, 2)
    # One of two photographs, not two of ten cells (0.507): 1 - 0.05 ** ... of Beta(2, 1).
    assert found.upper == pytest.approx(0.95**0.5)
    assert found.limits == pytest.approx((0.0126, 0.9874), abs=1e-3)


def test_a_data_sets_photographs_are_its_own() -> None:
    two = pd.DataFrame([row("a", violated=False), row("a", violated=False, dataset="other")])
    assert share(two).photographs == 2


def test_planted_errors_are_counted_apart() -> None:
    found = power(FOUND)
    assert list(found) == ["interval x0.7", "radius x2"]
    twice = found["radius x2"]
    assert (twice.found, twice.claims, twice.photographs_found, twice.photographs) == (3, 4, 2, 2)
    assert found["interval x0.7"].value == 0.0


def test_verdict_says_who_broke_and_what_failed() -> None:
    assert verdict(FOUND) == (
        "2 of 10 certificates violated under attack (fs-iqa; on 2 images of 2 photographs), "
        "1 attacks failed"
    )
    assert verdict(FOUND[FOUND["planted"] != ""]) is None
    whole = FOUND[FOUND["group"] == "b"]
    none = "0 of 1 certificates violated under attack (on 1 images of 1 photographs)"
    assert verdict(whole) == none


def test_unbroken_proofs_stand_beside_what_was_found_of_errors_in_them() -> None:
    """Errors in first-order radii are easily found, and say nothing of proofs."""
    rigor = ["proved" if group == "b" else "first-order" for group in FOUND["group"]]
    told = str(verdict(FOUND.assign(rigor=rigor)))
    assert told.endswith(" planted in proved radii found: interval x0.7 0/1, radius x2 1/2")
    assert "planted" not in str(verdict(FOUND.assign(rigor="first-order")))


def test_three_failed_attacks_are_not_none_of_three_violated() -> None:
    failed = pd.DataFrame([row("a", violated=None)] * 3)
    assert verdict(failed) == "0 of 0 certificates violated under attack, 3 attacks failed"
    assert share(failed).upper == 1.0


def test_a_certificate_that_needs_no_noise_is_one_at_every_level() -> None:
    """Its bounds say so: certificates of drawn scores differ from level to level."""
    bounds = {"model": "lipsim", "radius": 0.5, "lower": 0.1, "upper": 0.4}

    def counted(**changed: float) -> tuple[int, int]:
        rows = [
            row("a", violated=found, sigma=sigma, planted=planted, **{**bounds, **shift})
            for sigma, shift in ((0.1, {}), (0.5, changed))
            for planted, found in (("", False), ("radius x2", True))
        ]
        whole = pd.DataFrame(rows)
        return share(genuine(whole)).claims, power(whole)["radius x2"].found

    assert counted() == (1, 1)
    assert counted(lower=0.11) == counted(radius=0.6) == (2, 2)
