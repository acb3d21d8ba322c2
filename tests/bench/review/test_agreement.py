"""A run that departs from the recorded one is noticed, cell by cell; one that does not agrees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.cli.run import agreement_line
from bench.plan.loading import load_profile
from bench.records.folder import RunFolder
from bench.review.agreement import (
    COLUMNS,
    Agreement,
    agreement,
    noticed_alone,
    recorded_evaluations,
)

REFERENCE = Path(__file__).parents[3] / "results" / "reference" / "recorded"
IMAGES, PHOTOGRAPHS = 48, 12


def frame(noise: dict[tuple[str, float], float], images: int = IMAGES) -> pd.DataFrame:
    """Scores of some cells (defence, noise level): human scores and so much noise."""
    rows = []
    for (defense, sigma), amount in noise.items():
        draw = np.random.default_rng(7)
        for image in range(images):
            mos = (image * 29 % IMAGES) / IMAGES
            score = mos + amount * draw.standard_normal()
            photograph = f"p{image % PHOTOGRAPHS}"
            rows.append(
                ("set", "lpips", defense, sigma, f"i{image}", photograph, "ok", score, True, mos)
            )
    return pd.DataFrame(rows, columns=COLUMNS)


CELLS = {("ms", 0.1): 0.05, ("ms", 0.5): 0.1, ("dms", 0.1): 0.2, ("dms", 0.5): 0.3}


def found(ours: pd.DataFrame, recorded: pd.DataFrame) -> Agreement:
    result = agreement(ours, recorded)
    assert result is not None
    return result


def test_the_same_run_is_identical() -> None:
    same = found(frame(CELLS), frame(CELLS))
    assert same.within == len(same.changes) == 4
    line = "agrees with the recorded run within chance in 4 of 4 cells"
    assert str(same) == f"{line} (on 48 common images of 12 photographs; 4 identical)"


def test_one_broken_cell_of_four_is_noticed() -> None:
    broken = found(frame(CELLS | {("dms", 0.5): 30.0}), frame(CELLS))
    assert (broken.within, len(broken.changes)) == (3, 4)
    (changed,) = [change for change in broken.changes if not change.identical]
    assert changed.difference is not None
    told = "in 3 of 4 cells (on 48 common images of 12 photographs; largest difference "
    assert f"{told}{abs(changed.difference):.2f}; one cell that differs shows from " in str(broken)


def test_what_would_be_noticed_is_what_is_noticed() -> None:
    """One cell of four departs more and more: it is noticed from the size that the line says."""
    seen = []
    for amount in (0.31, 0.35, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 3.0, 30.0):
        one = found(frame(CELLS | {("dms", 0.5): amount}), frame(CELLS))
        (changed,) = [change for change in one.changes if not change.identical]
        tested = sum(change.p is not None for change in one.changes)
        assert changed.difference is not None
        enough = abs(changed.difference) >= noticed_alone(changed, cells=tested)
        assert enough == (one.within == 3)
        seen.append(enough)
    assert {*seen} == {False, True}


def test_what_cannot_be_tested_does_not_agree() -> None:
    """Scores that are all alike have no correlation, and one photograph no interval."""
    alike = found(frame(CELLS).assign(score=0.5), frame(CELLS))
    assert alike.within == 0 and "in 0 of 4 cells" in str(alike)
    assert str(alike).endswith("; 0 identical, 4 cannot be tested)")
    one = frame(CELLS).assign(group="p0")
    moved = one.assign(score=one["score"] + 0.1 * np.arange(len(one)) % 0.7)
    assert found(moved, one).within == 0
    both = frame(CELLS).assign(score=0.5)
    assert found(both, both).within == 4


def test_a_little_other_noise_is_chance() -> None:
    """Independent noise of the same size: at a level of 5 % none of four cells, here."""
    ours = frame(CELLS)
    ours["score"] += 0.02 * np.random.default_rng(1).standard_normal(len(ours))
    other = found(ours, frame(CELLS))
    assert other.within == 4
    assert not any(change.identical for change in other.changes)


def test_fewer_images_and_cells_compare_what_is_common() -> None:
    part = {("ms", 0.1): 0.05, ("mine", 0.1): 0.0}
    common = found(frame(part, images=24), frame(CELLS))
    assert [change.n for change in common.changes] == [24]


@pytest.mark.parametrize("column, value", [("dataset", "mine"), ("image", "another")])
def test_nothing_common_says_nothing(column: str, value: str) -> None:
    assert agreement(frame(CELLS).assign(**{column: value}), frame(CELLS)) is None


def test_the_package_brings_the_committed_run() -> None:
    """Of the tables' cells; to make it anew: write ``kept`` over the package's file."""
    committed = pd.read_parquet(REFERENCE / "evaluate.parquet")
    tables = load_profile("embedded")
    cells = committed["sigma"].isin(tables.sigmas) & committed["defense"].isin(tables.defenses)
    kept = committed.loc[cells, COLUMNS].reset_index(drop=True)
    pd.testing.assert_frame_equal(recorded_evaluations(), kept, check_exact=True)


def test_the_line_is_resampled_once_for_the_same_evaluations(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    made: list[int] = []

    def counted(ours: pd.DataFrame, recorded: pd.DataFrame) -> str:
        made.append(len(ours))
        return f"{len(ours)} beside {len(recorded)}"

    monkeypatch.setattr("bench.review.agreement.agreement", counted)
    folder = RunFolder(REFERENCE.parent / "default")
    first = agreement_line(folder)
    assert first == agreement_line(folder) and len(made) == 1
    whole = RunFolder.table

    def fewer(self: RunFolder, name: str, columns: list[str] | None = None) -> pd.DataFrame:
        return whole(self, name, columns).iloc[:-1]

    monkeypatch.setattr(RunFolder, "table", fewer)
    assert agreement_line(folder) != first and made == [made[0], made[0] - 1]
