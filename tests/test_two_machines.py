"""What ``results/reference/README.md`` says of a run on another kind of machine, recomputed, and
the same comparison with the machine that the tests run on.

UPDATE_GOLDEN=1 pytest tests/test_two_machines.py      # after a new recorded run
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.cli.app import main
from bench.cli.run import say_verdict
from bench.execution.options import Execution
from bench.records.folder import RunFolder
from bench.review.agreement import agreement, recorded_evaluations
from bench.review.redrawn import COLUMNS, Redrawn, redrawn
from tests.generated import is_made_of

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "results" / "reference"
TRAINED_IN_THE_RUN = {"features", "guarded-features"}
SAME = 2e-4
"""Share of the spread.  Other draws of as many would lie some hundredth of it away."""


def beside_recorded(run: RunFolder) -> dict[str, Redrawn]:
    """A run's draws beside the recorded ones, by smoother."""
    recorded = RunFolder(REFERENCE / "recorded")
    found = redrawn(run.table("draws", COLUMNS), recorded.table("draws", COLUMNS))
    return {one.smoother: one for one in found}


@pytest.fixture(scope="module")
def default() -> dict[str, Redrawn]:
    """The kept run of the other machine."""
    return beside_recorded(RunFolder(REFERENCE / "default"))


def lines(drawn: dict[str, Redrawn]) -> Iterator[str]:
    """The table, and the line that the run ended with."""
    yield "| noise added to | sets of draws | draws | furthest from a recorded one |"
    yield "|---|---:|---:|---:|"
    for name, one in drawn.items():
        trained = ", trained in each run" if name in TRAINED_IN_THE_RUN else ""
        yield f"| {name}{trained} | {one.sets:,} | {one.draws:,} | {one.words} |"
    yield ""
    evaluations = RunFolder(REFERENCE / "default").table("evaluate")
    yield f"SRCC: {agreement(evaluations, recorded_evaluations())}."


def test_the_table_is_what_the_records_say(default: dict[str, Redrawn]) -> None:
    made = "\n".join(lines(default)) + "\n"
    assert is_made_of(REFERENCE / "README.md", made, name="machines")


def test_the_readme_shows_how_that_run_ended(capsys: pytest.CaptureFixture[str]) -> None:
    """Line by line; remarks may be left out there."""
    run = RunFolder(REFERENCE / "default")
    plan = run.plan()
    report = Path("reports") / f"{plan.profile.name}-{plan.hash[:8]}" / "report.md"
    say_verdict(run.completeness(run.asked()), run, Execution(), report)
    said = capsys.readouterr().out.splitlines()
    (shown,) = (
        block.strip().splitlines()
        for block in (ROOT / "README.md").read_text(encoding="utf-8").split("```")[1::2]
        if "cells ok" in block
    )
    assert len(shown) == 3
    assert [line for line in said if line in shown] == shown


def test_the_other_machine_drew_the_recorded_scores(default: dict[str, Redrawn]) -> None:
    """All that needs no training in the run, each with all its draws."""
    assert {name for name, one in default.items() if one.near(SAME)} == {
        "input",
        "denoised",
        "denoised-iqa",
    }
    assert all(one.draws == 44 * one.sets for one in default.values())


@pytest.mark.usefixtures("no_report")
def test_this_machine_draws_the_recorded_scores(tmp_path: Path) -> None:
    """A part of the default run, with shipped denoisers, on whatever runs this."""
    chosen = "--models koncept,lpips --defenses ms,dms,dms-iqa --sigmas 0.25 --limit 2"
    stages = "--stages prepare,fit,evaluate --device cpu --jobs 1 --yes"
    assert main(["run", *chosen.split(), *stages.split(), "--results", str(tmp_path)]) == 0
    (folder,) = tmp_path.iterdir()
    found = beside_recorded(RunFolder(folder))
    assert {name: one.sets for name, one in found.items()} == {
        "input": 12,  # the two noise levels beside the tables too
        "denoised": 4,
        "denoised-iqa": 4,
    }
    assert all(one.draws == 44 * one.sets for one in found.values())
    assert all(one.near(SAME) for one in found.values())
