"""Which parts a report has, and in which order.

This module knows the parts; it must not know how they are computed or rendered.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.report.agreement import METRICS, Agreement, agreements
from bench.report.document import Block, Document, Paragraph, Section
from bench.report.figures import attack_gain, present, width_against_radius
from bench.report.published import published
from bench.report.source import RunTables
from bench.report.tables import main_table, model_table

TITLE = "Certified defences of image-quality models"
BANNERS = {
    "compact": "Compact edition: small networks trained by this project on a proxy-labelled "
    "embedded data set; trends only",
    "published": "Published edition: the authors' weights",
}
_NUMBERS = {"NR": 1, "FR": 2}


def compose(run: RunTables, *, reps: int = 1000) -> Document:
    """The whole document of a run.

    Args:
        run: Its tables and facts.
        reps: Bootstrap resamples.
    """
    found = agreements(run, reps=reps)
    profile = run.profile
    count = run.completeness
    return Document(
        title=TITLE,
        subtitle=f"Profile `{profile.name}`: {len(profile.models)} models, "
        f"{len(profile.defenses)} defences, {len(profile.sigmas)} noise levels".replace("`", ""),
        banner=BANNERS[profile.edition],
        verdict=(f"{count.ok}/{count.expected} cells ok", *count.remarks),
        complete=count.complete,
        sections=(
            *(_accuracy(run, found[mode]) for mode in found),
            _figures(run),
        ),
    )


def _accuracy(run: RunTables, agreement: Agreement) -> Section:
    mode = agreement.mode
    number = _NUMBERS[mode]
    blocks: list[Block] = [main_table(agreement, run.table("time"), published(), number=number)]
    blocks += [model_table(agreement, metric, number=f"S{number}{'ab'[i]}")
               for i, metric in enumerate(METRICS)]  # fmt: skip
    return Section(f"accuracy-{mode.lower()}", f"Accuracy: {mode} models", tuple(blocks))


def _figures(run: RunTables) -> Section:
    frame = run.table("evaluate")
    drawn = present([
        *(width_against_radius(frame, mode=m, number_=f"3{'ab'[i]}")
          for i, m in enumerate(("NR", "FR"))),
        attack_gain(run.table("attack")),
    ])  # fmt: skip
    return Section("figures", "Figures 3 and 4", drawn or (Paragraph("Not in this run."),))


def guarded(part: Callable[[], Block | None], sentence: str) -> Block:
    """A part, or the sentence that says why it is not there."""
    made = part()
    return Paragraph(sentence) if made is None else made
