"""Gains on made-up records whose every measure can be said beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from bench.analysis.attacks import (
    attack_summary,
    by_norm,
    clean_scores,
    clustered_error,
    measured,
    of_kind,
    strength_for_one_deviation,
    suppressions,
)
from bench.records.parquet import arrow_schema, read_rows
from bench.records.schema import AttackRecord

STRENGTHS = (0.001, 0.02, 0.1)
Changes = Mapping[tuple[str, str], Sequence[float]]


def attack(
    changes: Changes,
    *,
    direction: str = "up",
    norm: str = "linf",
    high: float = 10.0,
    before: Sequence[float] = (4.0, 5.0),
) -> pd.DataFrame:
    """Every image of a line moves by its line's changes, one for each strength."""
    sign = 1.0 if direction == "up" else -1.0
    return pd.DataFrame(
        [
            {
                "status": "ok",
                "dataset": "set",
                "model": "koncept",
                "defense": defense,
                "sigma": 0.25,
                "attack": kind,
                "norm": norm,
                "epsilon": epsilon,
                "direction": direction,
                "image": f"p{index}/a",
                "group": f"p{index}",
                "score_before": start,
                "score_after": start + sign * change,
                "range_low": 0.0,
                "range_high": high,
            }
            for (defense, kind), line in changes.items()
            for epsilon, change in zip(STRENGTHS, line, strict=True)
            for index, start in enumerate(before)
        ]
    )


def evaluate(scores: Sequence[float], *, plain: Sequence[float]) -> pd.DataFrame:
    """Clean scores at the attacked noise level, and others at another that must not be used."""
    pairs = list(zip(scores, plain, strict=True))
    return pd.DataFrame(
        [
            {
                "model": "koncept",
                "defense": "fs-iqa",
                "sigma": sigma,
                "image": f"i{index}",
                "score": score + shift,
                "undefended": own,
                "higher_is_better": True,
                "undefended_higher_is_better": True,
            }
            for sigma, shift in ((0.25, 0.0), (0.5, 100.0))
            for index, (score, own) in enumerate(pairs)
        ]
    )


TWO = attack({("undefended", "white-box"): (1, 4, 4), ("fs-iqa", "transfer"): (0.5, 1, 2)})
CLEAN = evaluate([1, 2, 3, 4, 5], plain=[2, 4, 6, 8, 10])


def line(frame: pd.DataFrame, defense: str, kind: str = "white-box") -> pd.DataFrame:
    return frame[(frame["defense"] == defense) & (frame["attack"] == kind)]


def test_every_measure_of_a_gain() -> None:
    rows = measured(TWO, CLEAN)
    first = line(rows, "fs-iqa", "transfer").set_index(["image", "epsilon"]).loc["p0/a", 0.1]
    assert first["change"] == 2 and first["gain"] == 0.2 and first["relative"] == 0.5
    # From 4 (three below, one equal) to 6 (all five below).
    assert first["percentile"] == pytest.approx(1.0 - 3.5 / 5)
    assert first["deviations"] == pytest.approx(2 / np.std([1, 2, 3, 4, 5], ddof=1))
    plain = line(rows, "undefended").set_index(["image", "epsilon"]).loc["p0/a", 0.1]
    assert plain["deviations"] == pytest.approx(4 / np.std([2, 4, 6, 8, 10], ddof=1))


def test_downwards_success_is_positive() -> None:
    frame = attack({("fs-iqa", "white-box"): (0.5, 1, 3)}, direction="down")
    rows = measured(frame, CLEAN)
    last = rows.set_index(["image", "epsilon"]).loc["p1/a", 0.1]
    assert last["score_after"] == 2 and last["gain"] == 0.3 and last["relative"] == 0.6
    assert last["percentile"] == pytest.approx(4.5 / 5 - 1.5 / 5)


def test_the_best_of_smaller_strengths_is_kept_image_by_image() -> None:
    frame = attack({("fs-iqa", "white-box"): (2, 1, 3)})
    other = frame["image"] == "p1/a"
    frame.loc[other, "score_after"] = [5.0, 9.0, 6.0]
    rows = measured(frame.sample(frac=1.0, random_state=1), CLEAN)
    kept = rows.sort_values(["image", "epsilon"])
    assert kept["change"].tolist() == [2, 2, 3, 0, 4, 4]
    assert kept["made"].tolist() == pytest.approx([0.2, 0.1, 0.3, 0, 0.4, 0.1])
    means = attack_summary(rows)
    assert (np.diff(means["gain"]) >= 0).all() and means["gain"].iloc[0] == pytest.approx(0.1)


def test_images_that_lack_a_strength_are_left_out_of_the_line() -> None:
    frame = attack({("fs-iqa", "white-box"): (1, 2, 3)})
    frame.loc[(frame["image"] == "p1/a") & (frame["epsilon"] == 0.02), "status"] = "failed"
    summary = attack_summary(measured(frame, CLEAN))
    assert summary["images"].tolist() == [1, 1, 1]
    assert summary["gain"].tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_clean_scores_are_of_the_same_defence_and_noise_level() -> None:
    found = clean_scores(TWO, CLEAN)
    assert found["koncept", "fs-iqa"].tolist() == [1, 2, 3, 4, 5]
    assert found["koncept", "undefended"].tolist() == [2, 4, 6, 8, 10]
    nothing = CLEAN.iloc[:0]
    assert clean_scores(TWO, nothing)["koncept", "fs-iqa"].tolist() == [4, 5]


def test_the_strength_for_one_deviation_lies_between_two() -> None:
    ramp = pd.DataFrame({"epsilon": [0.1, 0.02, 0.04], "deviations": [3.0, 0.2, 0.6]})
    assert strength_for_one_deviation(ramp) == pytest.approx(0.04 + (0.4 / 2.4) * 0.06)
    at_once = pd.DataFrame({"epsilon": [0.02, 0.1], "deviations": [4.0, 5.0]})
    assert strength_for_one_deviation(at_once) == pytest.approx(0.005)
    exactly = pd.DataFrame({"epsilon": [0.02, 0.1], "deviations": [0.5, 1.0]})
    assert strength_for_one_deviation(exactly) == pytest.approx(0.1)
    never = pd.DataFrame({"epsilon": [0.02, 0.1], "deviations": [0.5, 0.99]})
    assert strength_for_one_deviation(never) is None


def test_suppression_is_the_mean_over_the_papers_strengths() -> None:
    changes = {
        ("undefended", "white-box"): (1, 4, 4),
        ("fs-iqa", "transfer"): (1, 1, 2),
        ("fs-iqa", "white-box"): (1, 6, 8),
    }
    found = suppressions(measured(attack(changes), CLEAN), reps=200)
    # At 0.02 and 0.1: one minus 1/4 and 2/4; the smallest strength is not the paper's.
    (transfer,) = by_norm(found, attack="transfer", measure="gain").values()
    assert transfer.value == pytest.approx(1 - (0.25 + 0.5) / 2)
    assert transfer.interval == pytest.approx((transfer.value, transfer.value))
    (white,) = by_norm(found, attack="white-box", measure="gain").values()
    assert white.value == pytest.approx(1 - (1.5 + 2.0) / 2)
    assert [s.attack for s in found] == ["transfer"] * 3 + ["white-box"] * 3


def test_measures_differ_where_scales_do() -> None:
    """The same change is a smaller share of a score that starts higher."""
    plain = attack({("undefended", "white-box"): (2, 2, 2)}, before=(2.0, 2.0))
    higher = attack({("fs-iqa", "transfer"): (2, 2, 2)}, before=(8.0, 8.0), high=20.0)
    found = suppressions(measured(pd.concat([plain, higher]), CLEAN), reps=50)
    values = {s.measure: s.value for s in found}
    assert values["relative"] == pytest.approx(1 - 0.25 / 1.0)
    assert values["gain"] == pytest.approx(0.5)


def test_intervals_are_over_photographs() -> None:
    """Versions of ten photographs say no more than the photographs; as many more say more."""
    widths = []
    for groups in (10, 40):
        plain = attack({("undefended", "white-box"): (4, 4, 4)}, before=(4.0,) * 40)
        mixed = attack({("fs-iqa", "transfer"): (0, 0, 0)}, before=(4.0,) * 40)
        for frame in (plain, mixed):
            place = [int(name[1:-2]) % groups for name in frame["image"]]
            frame["group"] = [f"p{index}" for index in place]
        mixed["score_after"] += [4.0 * (int(group[1:]) % 2) for group in mixed["group"]]
        rows = measured(pd.concat([plain, mixed]), CLEAN)
        (found,) = (s for s in suppressions(rows, reps=2000) if s.measure == "gain")
        assert found.value == pytest.approx(0.5) and found.interval is not None
        low, high = found.interval
        expected = stats.t.ppf(0.975, groups - 1) * 0.5 / np.sqrt(groups - 1)
        # The bootstrap's own error is 1.6 % of it at 2,000 resamples: four of those.
        assert high - 0.5 == pytest.approx(expected, rel=0.065)
        assert high - 0.5 == pytest.approx(0.5 - low)
        widths.append(high - low)
    assert widths[1] < 0.5 * widths[0]


def test_directions_are_never_mixed() -> None:
    up = attack({("undefended", "white-box"): (4, 4, 4), ("fs-iqa", "transfer"): (1, 1, 1)})
    down = attack(
        {("undefended", "white-box"): (2, 2, 2), ("fs-iqa", "transfer"): (2, 2, 2)},
        direction="down",
    )
    found = suppressions(measured(pd.concat([down, up]), CLEAN), reps=20)
    shares = [(s.direction, s.value) for s in found if s.measure == "gain"]
    assert shares == [("up", pytest.approx(0.75)), ("down", pytest.approx(0.0))]


def distance(direction: str, plain: float, transfer: float, own: float) -> pd.DataFrame:
    """A model whose score is a distance on [0, 10], its FS-IQA on human scores of [0, 10].

    Changes of the scores themselves, whatever was wanted.
    """
    moved = {("undefended", "white-box"): plain, ("fs-iqa", "transfer"): transfer}
    made = [attack({key: (value,) * 3}) for key, value in moved.items()]
    made.append(attack({("fs-iqa", "white-box"): (own,) * 3}))
    return pd.concat(made).assign(direction=direction)


def test_up_is_better_quality_where_the_score_is_a_distance() -> None:
    """A larger distance and a smaller human score are the same success."""
    farther = distance("up", plain=4.0, transfer=-1.0, own=2.0)
    nearer = distance("down", plain=-2.0, transfer=1.5, own=-3.0)
    evaluated = CLEAN.assign(undefended_higher_is_better=False)
    rows = measured(pd.concat([farther, nearer]), evaluated)
    found = rows.groupby(["direction", "defense", "attack"])["gain"].mean().to_dict()
    assert found == {
        ("down", "undefended", "white-box"): pytest.approx(0.4),
        ("down", "fs-iqa", "transfer"): pytest.approx(0.1),
        ("up", "undefended", "white-box"): pytest.approx(0.2),
        ("up", "fs-iqa", "transfer"): pytest.approx(0.15),
        ("up", "fs-iqa", "white-box"): pytest.approx(0.2),
        ("down", "fs-iqa", "white-box"): pytest.approx(0.3),
    }
    values = {
        (s.direction, s.attack): s.value for s in suppressions(rows, reps=20) if s.measure == "gain"
    }
    assert values["down", "transfer"] == pytest.approx(0.75)
    assert values["up", "transfer"] == pytest.approx(0.25)
    assert values["down", "white-box"] == pytest.approx(0.25)
    down = line(rows[rows["direction"] == "down"], "undefended")
    assert (down["percentile"] > 0).all(), "past clean scores, in the direction wanted"


def test_no_undefended_gain_no_suppression() -> None:
    changes = {("undefended", "white-box"): (0, 0, 0), ("fs-iqa", "transfer"): (1, 1, 1)}
    assert suppressions(measured(attack(changes), CLEAN)) == []
    assert suppressions(measured(line(TWO, "fs-iqa", "transfer"), CLEAN)) == []
    assert measured(TWO.iloc[:0], CLEAN).empty


def test_a_standard_error_counts_photographs() -> None:
    values = np.array([1.0, 1.0, 1.0, 3.0, 3.0, 3.0])
    assert clustered_error(values, list("aaabbb")) == pytest.approx(1.0)
    alone = clustered_error(values, list("abcdef"))
    assert alone == pytest.approx(np.std(values, ddof=1) / np.sqrt(6))
    assert np.isnan(clustered_error(values, list("aaaaaa")))


def test_runs_from_before_transfer_are_white_box(tmp_path: Path) -> None:
    old = TWO.drop(columns="attack").assign(steps=10, reason=None)
    schema = arrow_schema(AttackRecord)
    before = schema.remove(schema.get_field_index("attack"))
    pq.write_table(
        pa.Table.from_pylist(old.to_dict("records"), schema=before), tmp_path / "attack.parquet"
    )
    rows = read_rows(tmp_path / "attack.parquet", AttackRecord)
    records = [AttackRecord.model_validate(row) for row in rows]
    assert {record.attack for record in records} == {"white-box"}
    frame = old.assign(attack=np.nan)
    assert len(of_kind(frame, "white-box")) == len(old) and of_kind(frame, "transfer").empty
    found = suppressions(measured(frame, CLEAN), reps=20)
    assert {s.attack for s in found} == {"white-box"}
