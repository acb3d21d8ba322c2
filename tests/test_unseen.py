"""What ``results/reference/README.md`` says of photographs that were looked at once, recomputed.

UPDATE_GOLDEN=1 pytest tests/test_unseen.py      # after a new recorded run
"""

# ruff: noqa: RUF001 - Greek letters are meant
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from bench.analysis.agreement import Agreement, Key, agreement_of
from bench.analysis.names import UNDEFENDED
from bench.records.folder import RunFolder
from tests.generated import is_made_of

REFERENCE = Path(__file__).resolve().parents[1] / "results" / "reference"
REPS = 2000
PLAIN: Key = ("dbcnn", UNDEFENDED, 0.0)


def scores(name: str) -> pd.DataFrame:
    """Evaluation records of FS-IQA of a recorded run."""
    table = RunFolder(REFERENCE / name).table("evaluate")
    return table[table["defense"] == "fs-iqa"]


def lead(agreement: Agreement, sigma: float) -> str:
    """SRCC of FS-IQA minus that of the undefended model on the same images, with its interval."""
    found = agreement.lead("srcc", ("dbcnn", "fs-iqa", sigma), PLAIN)
    assert found is not None and found[1] is not None
    value, (low, high) = found
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def lines() -> Iterator[str]:
    """The table: photographs seen before and not, and all."""
    before, now = scores("real-nr-dbcnn"), scores("real-nr-dbcnn-refit")
    seen = now["image"].isin(before["image"])
    sigmas = sorted(now["sigma"].unique())
    yield "| photographs | undefended | " + " | ".join(f"σ = {s:g}" for s in sigmas) + " |"
    yield "|---|---:|" + "---:|" * len(sigmas)
    for which, part in (
        ("seen", now[seen]),
        ("not seen before", now[~seen]),
        ("all", now),
    ):
        agreement = agreement_of(part, "NR", reps=REPS, seed=0)
        plain = agreement.scores[PLAIN].estimate("srcc").value
        cells = " | ".join(lead(agreement, sigma) for sigma in sigmas)
        yield f"| {agreement.photographs} {which} | {plain:.3f} | {cells} |"


def test_the_table_is_what_the_records_say() -> None:
    made = "\n".join(lines()) + "\n"
    assert is_made_of(REFERENCE / "README.md", made, name="unseen")
