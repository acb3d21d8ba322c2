"""The README's numbers come from committed reports: the block is made of them, word by word.

UPDATE_GOLDEN=1 pytest tests/test_readme.py      # after a new reference run
"""

# ruff: noqa: RUF001 - Greek letters are meant
from __future__ import annotations

import csv
import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
RECORDED = "reports/reference/recorded"
REAL = "reports/reference/real"
TIMING = "reports/reference/timing/cpu-published"
FIGURES = {
    "figure-8b": "Agreement with human scores at equal certified radius, full-reference models",
    "figure-4": "Attack gain against strength, undefended and FS-IQA",
}
LEADS = {
    "S1d": "DBCNN, 16 photographs",
    "S2d": "LPIPS (40 images) and DISTS (16), of the same 7 photographs",
}
SIGMAS = ("0.1", "0.25", "0.5")
BEGIN, END = "<!-- reference:begin -->\n", "<!-- reference:end -->"

INTRODUCTION = f"""\
From the recorded run of the compact edition (profile `recorded`, `results/reference/recorded/`;
report in [Markdown]({RECORDED}/report.md), [PDF]({RECORDED}/report.pdf) and HTML beside them).
Small networks, proxy labels, 32 test images of **four photographs**, 100 draws for image noise
and 2,000 for feature noise: *trends only*, and no ranking. SRCC with human scores, mean over three
models; intervals, the paper's values and seconds are in the report's Tables 1 and 2.
"""
PUBLISHED = f"""\
**Published trunks**, on two CPU cores: LPIPS and DISTS as published, DBCNN with a head trained
here, on smaller pictures and few images (profile `real-cpu`; [report]({REAL}/report.md)). Unequal
draws: 16 for image noise, 2,000 for FS-IQA, and equal noise is not equal radius.
"""
COST = f"""\
**Cost**, KonCept, LPIPS and DISTS as published, random weights, 384x512, N = 2000, two idle CPU
cores ([report]({TIMING}/report.md); all models and defences, compact: beside it):
"""


def read(folder: str) -> str:
    """A report in Markdown."""
    return (ROOT / folder / "report.md").read_text(encoding="utf-8")


def conclusions(report: str) -> str:
    """The bullets of a report's first box, without the count of measurements."""
    lines = [line[2:] for line in report.splitlines() if line.startswith("> - ")]
    return "\n".join(lines)


def attacked(report: str) -> str:
    """What page 1 of a report says that attacks on its certificates found."""
    return "\n".join(line[2:] for line in report.splitlines() if line.startswith("> - Audit"))


def correlations(number: str) -> dict[str, list[str]]:
    """SRCC of every defence at the noise levels, from a table's CSV; one number where all agree."""
    with (ROOT / RECORDED / "tables" / f"table-{number}.csv").open(encoding="utf-8") as file:
        return {
            row["Defence"]: [row[f"SRCC σ = {sigma}"] for sigma in SIGMAS]
            for row in csv.DictReader(file)
        }


def accuracy() -> str:
    """Both tables' correlations as one, a number a cell."""
    nr, fr = correlations("1"), correlations("2")
    head = [f"{mode} σ = {sigma}" for mode in ("NR", "FR") for sigma in SIGMAS]
    lines = [f"| | {' | '.join(head)} |", "|---|" + "---:|" * len(head)]
    lines += [f"| {name} | {' | '.join([*nr[name], *fr[name]])} |" for name in nr if name in fr]
    return "\n".join(lines) + "\n"


def caption(report: str, number: str) -> str:
    """Caption of a table of a report."""
    part = report.split(f"### Table {number}. ", 1)[1]
    return re.sub(r" \(\[CSV\].*", "", part.split("\n\n")[1])


def block() -> str:
    """What the README shows of the committed reports."""
    real = read(REAL)
    lines = [INTRODUCTION, accuracy(), conclusions(read(RECORDED)) + "\n"]
    lines += [f"![{words}]({RECORDED}/figures/{name}.png)\n" for name, words in FIGURES.items()]
    leads = [f"- {mode}: {caption(real, number)}" for number, mode in LEADS.items()]
    lines.append(PUBLISHED + "\n" + "\n".join(leads) + "\n")
    lines.append(COST + "\n" + conclusions(read(TIMING)) + "\n")
    return "\n".join(lines)


def test_the_block_is_what_the_reports_say() -> None:
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    shown, after = rest.split(END)
    if os.environ.get("UPDATE_GOLDEN"):
        shown = block()
        README.write_text(before + BEGIN + shown + END + after, encoding="utf-8")
    assert shown == block()


def test_every_figure_and_link_exists() -> None:
    text = README.read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!http)([^)#]+)", text)
    assert len(targets) >= 10
    assert [target for target in targets if not (ROOT / target).exists()] == []
