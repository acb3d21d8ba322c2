"""The README's numbers come from committed reports: the block is made of them, word by word.

UPDATE_GOLDEN=1 pytest tests/test_readme.py      # after a new reference run
"""

from __future__ import annotations

import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
EMBEDDED = "reports/reference/embedded"
REAL = "reports/reference/real"
TIMING = "reports/reference/timing/cpu-published"
FIGURES = {
    "figure-5b": "Certified interval width at equal radius, full-reference models",
    "figure-4": "Attack gain against strength, undefended and FS-IQA",
}
LEADS = {"S1d": "DBCNN, 16 photographs", "S2d": "LPIPS (40 images) and DISTS (16)"}
BEGIN, END = "<!-- reference:begin -->\n", "<!-- reference:end -->"

INTRODUCTION = f"""\
From the recorded reference run of the compact edition (`results/reference/embedded/`; full report
in [Markdown]({EMBEDDED}/report.md), [PDF]({EMBEDDED}/report.pdf) and HTML beside them). Small
networks, proxy labels, 32 test images of four photographs: *trends only*. Mean ± standard error
over three models; below each measured value the paper's, for the published networks on KonIQ-10k
and KADID-10k, and the difference; letters mark ties. The denoisers of DMS and DMS-IQA are small and
train for under a minute here, so those two rows are weaker, against MS, than in the paper.
"""


def table(report: str, number: str) -> tuple[str, str]:
    """Caption and rows of a table of a report."""
    part = report.split(f"### Table {number}. ", 1)[1]
    caption, rows = part.split("\n\n")[1:3]
    return re.sub(r" \(\[CSV\].*", "", caption), rows


PUBLISHED = f"""\
**Published trunks**, on two CPU cores: LPIPS and DISTS as published, DBCNN with a head trained
here, on smaller pictures, few images and 16 draws (profile `real-cpu`; [report]({REAL}/report.md)).
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


def block() -> str:
    """What the README shows of the committed reports."""
    report, real = read(EMBEDDED), read(REAL)
    lines = [INTRODUCTION, attacked(report) + "\n"]
    for number, mode in (("1", "No-reference"), ("2", "Full-reference")):
        caption, rows = table(report, number)
        lines.append(f"**{mode} models.** {caption}\n\n{rows}\n")
    lines += [f"![{words}]({EMBEDDED}/figures/{name}.png)\n" for name, words in FIGURES.items()]
    leads = [f"- {mode}: {table(real, number)[0]}" for number, mode in LEADS.items()]
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
