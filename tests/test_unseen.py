"""What ``results/reference/README.md`` says of photographs that were looked at once, recomputed.

UPDATE_GOLDEN=1 pytest tests/test_unseen.py      # after a new recorded run
"""

# ruff: noqa: RUF001 - Greek letters are meant
from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from bench.analysis.frames import numbers
from bench.analysis.statistics import bootstrap_srcc, cluster_interval, cluster_weights
from bench.records.folder import RunFolder

REFERENCE = Path(__file__).resolve().parents[1] / "results" / "reference"
BEGIN, END = "<!-- unseen:begin -->\n", "<!-- unseen:end -->"
REPS = 2000


def scores(name: str) -> pd.DataFrame:
    """Evaluation records of FS-IQA of a recorded run."""
    table = RunFolder(REFERENCE / name).table("evaluate")
    return table[table["defense"] == "fs-iqa"]


def difference(part: pd.DataFrame) -> str:
    """SRCC of FS-IQA minus that of the undefended model on the same images, with its interval."""
    weights = cluster_weights([*map(str, part["group"])], reps=REPS, seed=0)
    mos, plain, defended = (numbers(part, name) for name in ("mos", "undefended", "score"))
    once = np.ones((1, len(part)))
    value = float(bootstrap_srcc(defended, mos, once)[0] - bootstrap_srcc(plain, mos, once)[0])
    samples = bootstrap_srcc(defended, mos, weights) - bootstrap_srcc(plain, mos, weights)
    found = cluster_interval(value, samples, groups=part["group"].nunique())
    assert found is not None
    return f"{value:+.3f} [{found[0]:+.3f}, {found[1]:+.3f}]"


def lines() -> Iterator[str]:
    """The table: photographs seen before and not, and all."""
    before, now = scores("real-nr-dbcnn"), scores("real-nr-dbcnn-refit")
    seen = now["image"].isin(before["image"])
    sigmas = sorted(now["sigma"].unique())
    yield "| FS-IQA | photographs | undefended | " + " | ".join(f"σ = {s:g}" for s in sigmas) + " |"
    yield "|---|---|---:|" + "---:|" * len(sigmas)
    for how, which, part in (
        ("of 666", "seen", before),
        ("of 800", "seen", now[seen]),
        ("of 800", "not seen before", now[~seen]),
        ("of 800", "all", now),
    ):
        levels = [part[part["sigma"] == sigma] for sigma in sigmas]
        first = levels[0]
        once = np.ones((1, len(first)))
        plain = float(bootstrap_srcc(numbers(first, "undefended"), numbers(first, "mos"), once)[0])
        cells = " | ".join(difference(level) for level in levels)
        yield f"| {how} | {len(first)} {which} | {plain:.3f} | {cells} |"


def test_the_table_is_what_the_records_say() -> None:
    path = REFERENCE / "README.md"
    made = "\n".join(lines()) + "\n"
    before, rest = path.read_text(encoding="utf-8").split(BEGIN)
    shown, after = rest.split(END)
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(before + BEGIN + made + END + after, encoding="utf-8")
        shown = made
    assert shown == made
