"""Which parts a report has, and in which order.

This module knows the parts; it must not know how they are computed or rendered.  A part that the
run cannot fill becomes a sentence that says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

import pandas as pd

from bench.analysis.agreement import METRICS, Agreement, agreements
from bench.analysis.frames import known, of_mode, rows
from bench.analysis.matched import Matched, matched
from bench.analysis.names import PAPERS_DEFENSE, defense_title, model_title
from bench.analysis.published import published
from bench.analysis.source import RunTables
from bench.analysis.widths import reference_radii
from bench.report.document import (
    Block,
    Bullets,
    Card,
    Chapter,
    Document,
    Paragraph,
    Verdict,
    Verdicts,
    VerdictWord,
)
from bench.report.numbers import number
from bench.report.parts.attacks import attack_blocks
from bench.report.parts.audit import audit_table, violations
from bench.report.parts.charts import equal_radius, pareto, rank_intervals
from bench.report.parts.claims import is_papers_setting, verdicts
from bench.report.parts.cost import cost_frame, cost_table
from bench.report.parts.figures import width_against_radius
from bench.report.parts.found import audit_lines, audited
from bench.report.parts.guarantee import (
    Guarantees,
    guarantees,
    native_table,
    own_width_table,
    width_table,
)
from bench.report.parts.leaders import leader_sentence
from bench.report.parts.matched import matched_section
from bench.report.parts.proof import proof_section
from bench.report.parts.provenance import provenance_section
from bench.report.parts.ranking import ranking_table
from bench.report.parts.refusal import refusal, refusal_section, refused_models, without_models
from bench.report.parts.tables import difference_table, lead_table, main_table, model_table
from bench.report.parts.worked import worked_section

TITLE = "Certified defences of image-quality models"
BANNERS = {
    "compact": "Compact edition: small networks trained by this project on a proxy-labelled "
    "embedded data set; trends only",
    "published": "Published edition: the authors' weights",
}
_NUMBER = {"NR": 1, "FR": 2}
_LETTER = {"NR": "a", "FR": "b"}
_CARD_FIELDS = (
    ("statement", "promise"),
    ("norm", "norm"),
    ("claim", "claim"),
    ("rigor", "rigor"),
    ("applies_to", "applies to"),
    ("assumptions", "assumes"),
    ("trained", "trained"),
    ("cost", "cost"),
    ("citation", "source"),
)


def compose(run: RunTables, *, reps: int = 1000) -> Document:
    """The whole document of a run.

    Args:
        run: Its tables and facts.
        reps: Bootstrap resamples.
    """
    refused = refused_models(run)
    run = without_models(run, refused)
    worked = worked_section(run)
    found = agreements(run, reps=reps)
    frame = run.table("evaluate")
    family = run.profile.certificate.familywise
    data = {mode: guarantees(frame, mode=mode, familywise=family) for mode in found}
    judged = verdicts(run, found, published())
    equal = matched_section(_matched(run, found, reps=reps), run.table("time"))
    proof = proof_section(run, reps=reps)
    sections = (
        *(_accuracy(run, found[mode]) for mode in found),
        _claims(judged),
        _figures(run, found, reps=reps),
        _guarantee(run, data),
        *([equal] if equal is not None else []),
        *([proof] if proof is not None else []),
        _ranks(found),
        _cost(run, found, data),
        *([worked] if worked is not None else []),
        provenance_section(run),
    )
    if not found:
        nothing = Paragraph("No image was evaluated in this run, so there is nothing to report.")
        empty = () if refused else (Chapter("accuracy", "Accuracy", (nothing,)),)
        sections = (*empty, provenance_section(run))
    if refused:
        sections = (refusal_section(refused), *sections)
    return Document(
        title=TITLE,
        subtitle=_subtitle(run),
        banner=_banner(run, refused),
        verdict=(*([refusal(refused)] if refused else []), *_verdict_box(run, found, judged)),
        complete=run.completeness.complete,
        sections=sections,
        facts=_facts(run),
    )


def _matched(run: RunTables, modes: Iterable[str], *, reps: int) -> dict[str, Matched]:
    """Every evaluated row at equal radius, those beside the tables included."""
    frame = run.everything().table("evaluate")
    found = {mode: matched(frame, mode, reps=reps, seed=run.profile.seed) for mode in modes}
    return {mode: data for mode, data in found.items() if data is not None}


def _subtitle(run: RunTables) -> str:
    profile = run.profile
    parts = (
        (len(profile.models), "model"),
        (len(profile.defenses), "defence"),
        (len(profile.sigmas), "noise level"),
    )
    counted = ", ".join(f"{n} {word}{'' if n == 1 else 's'}" for n, word in parts)
    return f"Profile {profile.name}: {counted}"


def _banner(run: RunTables, refused: Sequence[str] = ()) -> str:
    """Edition, and whatever is not the authors' own: parts of models, data sets of others."""
    text = BANNERS[run.profile.edition]
    if refused:
        text = f"{refusal(refused)} Of the others: {text}"
        if set(refused) >= set(run.profile.models):
            return refusal(refused)
    if run.profile.edition == "compact":
        return text
    known = run.table("calibration").dropna(subset=["model_title"])
    other = sorted({str(title) for title in known["model_title"] if "(" in str(title)})
    data = sorted({f"{row['dataset_title']}: {row['label_kind']}" for row in rows(known)})
    if other:
        text += f"; but {', '.join(other)}"
    return f"{text}. Data: {'; '.join(data)}" if data else text


def _facts(run: RunTables) -> dict[str, str]:
    wanted = {"plan_sha256": "plan", "code_sha256": "code", "started": "started"}
    short = {"plan_sha256", "code_sha256"}
    return {
        title: str(run.provenance[key])[: 12 if key in short else None]
        for key, title in wanted.items()
        if run.provenance.get(key)
    }


# --- the box at the top ------------------------------------------------------------------------


def _verdict_box(
    run: RunTables, found: Mapping[str, Agreement], judged: Sequence[Verdict]
) -> tuple[str, ...]:
    count = run.completeness
    lines = [*count.words, *count.remarks, *count.notes]
    lines += [f"{mode}: {leader_sentence(agreement)}" for mode, agreement in found.items()]
    lines += audit_lines(run.everything().table("audit"))
    words = [v.word for v in judged]
    counted = ", ".join(f"{words.count(w)} {w}" for w in get_args(VerdictWord) if w in words)
    lines.append(
        f"Claims of the paper: {counted}"
        + (
            "."
            if is_papers_setting(run.profile)
            else " (directions, not sizes: these are not the paper's networks, data and draws)."
        )
    )
    return tuple(lines)


# --- sections ----------------------------------------------------------------------------------


def _accuracy(run: RunTables, agreement: Agreement) -> Chapter:
    mode = agreement.mode
    index = _NUMBER[mode]
    blocks: list[Block] = [main_table(agreement, run.table("time"), published(), number=index)]
    blocks += [
        model_table(agreement, metric, number=f"S{index}{letter}")
        for letter, metric in zip("ab", METRICS, strict=True)
    ]
    compared = difference_table(agreement, number=f"S{index}c")
    leads = lead_table(agreement, PAPERS_DEFENSE, number=f"S{index}d")
    blocks += [table for table in (compared, leads) if table]
    return Chapter(f"accuracy-{mode.lower()}", f"Accuracy: {mode} models", tuple(blocks))


def _claims(judged: Sequence[Verdict]) -> Chapter:
    return Chapter(
        "claims",
        "The paper's claims",
        (
            Paragraph(
                "Each claim is judged by a fixed rule, printed with the numbers. Scope `size` "
                "judges the number itself, `trend` its direction only."
            ),
            Verdicts(tuple(judged)),
        ),
    )


def _figures(run: RunTables, found: Mapping[str, Agreement], *, reps: int) -> Chapter:
    frame = run.table("evaluate")
    blocks: list[Block] = [
        width_against_radius(frame, mode=mode, number_=f"3{_LETTER[mode]}")
        or Paragraph(f"Figure 3, {mode}: FS-IQA has no certificate in this run.")
        for mode in found
    ]
    absent = Paragraph("Figure 4: the attack stage was not run, so nothing is said about it.")
    blocks += attack_blocks(run.table("attack"), frame, reps=reps) or [absent]
    return Chapter("figures", "Figures 3 and 4", tuple(blocks))


def _guarantee(run: RunTables, data: Mapping[str, Guarantees]) -> Chapter:
    blocks: list[Block] = []
    for mode, guarantee in data.items():
        x = _LETTER[mode]
        drawn = equal_radius(
            guarantee,
            id=f"figure-5{x}",
            title=f"Figure 5{x.upper()}. Interval width at equal radius, {mode} models",
        )
        absent = Paragraph(f"{mode}: no record holds bounds on a grid of radii.")
        blocks.append(drawn or absent)
        tables = (
            width_table(
                guarantee,
                id=f"table-g1{x}",
                title=f"Table G1{x}. Width at equal radius, {mode} models",
            ),
            own_width_table(
                guarantee,
                id=f"table-g4{x}",
                title=f"Table G4{x}. Width at equal radius against own spread, {mode} models",
            ),
            native_table(
                guarantee,
                id=f"table-g2{x}",
                title=f"Table G2{x}. Each defence at its own radius, {mode} models",
            ),
            ranking_table(
                guarantee,
                id=f"table-g3{x}",
                title=f"Table G3{x}. Certified ranking of images, {mode} models",
            ),
        )
        blocks += [table for table in tables if table is not None]
        blocks += _beside(run, mode)
    blocks += _audit(run)
    attacked = run.everything().table("audit")
    cards = [_card(card, attacked) for card in run.cards]
    blocks += cards or [Paragraph("The run holds no guarantee cards.")]
    return Chapter("guarantee", "What is guaranteed", tuple(blocks))


def _beside(run: RunTables, mode: str) -> list[Block]:
    """Widths and abstentions of the rows beside the tables."""
    frame = of_mode(run.extras().table("evaluate"), mode)
    if frame.empty:
        return []
    family = run.profile.certificate.familywise
    x = _LETTER[mode]
    title = f"Table G5{x}. Rows beside the tables at their own radius, {mode} models"
    data = guarantees(frame, mode=mode, familywise=family)
    return [native_table(data, id=f"table-g5{x}", title=title)]


def _audit(run: RunTables) -> list[Block]:
    run = run.everything()
    frame, audit = run.table("evaluate"), run.table("audit")
    modes = {str(m): str(k) for m, k in zip(frame["model"], frame["mode"], strict=True)}
    table = audit_table(
        audit, modes, id="table-audit", title="Table A. Attacks inside the certified balls"
    )
    if table is None:
        return [Paragraph("The audit stage was not run: no certificate of this run was attacked.")]
    listed = violations(audit)
    if not listed:
        return [table]
    shown = tuple(
        f"{model_title(str(v['model']))}, {defense_title(str(v['defense']))}, σ = {v['sigma']:g}, "  # noqa: RUF001
        f"image `{v['image']}`: interval use {number(known(v['interval_use']))}"
        for v in listed[:20]
    )
    more = f" The first {len(shown)} of {len(listed)}:" if len(listed) > len(shown) else ""
    return [table, Paragraph(f"**Violated certificates.**{more}"), Bullets(shown)]


def _card(card: Mapping[str, Any], audit: pd.DataFrame) -> Card:
    def text(value: Any) -> str:
        return "; ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)

    fields = tuple((title, text(card[key])) for key, title in _CARD_FIELDS if card.get(key))
    name = str(card.get("name", ""))
    title = card.get("title") or defense_title(name)
    return Card(f"Guarantee card: {title}", (*fields, ("attacked", audited(audit, name))))


def _ranks(found: Mapping[str, Agreement]) -> Chapter:
    title = "Figure 6. Average ranks over models and noise levels"
    drawn = rank_intervals(found, id="figure-6", title=title)
    return Chapter(
        "ranks",
        "Ranks",
        (
            drawn
            or Paragraph(
                "Fewer than two complete blocks of (model, noise level), or fewer than "
                "two defences: ranks would say nothing."
            ),
        ),
    )


def _cost(
    run: RunTables, found: Mapping[str, Agreement], data: Mapping[str, Guarantees]
) -> Chapter:
    time = run.table("time")
    blocks: list[Block] = []
    for mode, agreement in found.items():
        x = _LETTER[mode]
        table = cost_table(
            time, agreement, id=f"table-c{x}", title=f"Table C{x}. Cost per image, {mode} models"
        )
        if table is None:
            blocks.append(Paragraph(f"{mode} models were not timed in this run."))
            continue
        grid = reference_radii(data[mode].grid)
        radius = grid[len(grid) // 2] if grid else None
        drawn = pareto(
            cost_frame(time, agreement, data[mode], radius=radius),
            mode=mode,
            radius=radius,
            id=f"figure-7{x}",
            title=f"Figure 7{x.upper()}. Accuracy and width against time, {mode} models",
        )
        blocks += [table, drawn or Paragraph(f"{mode}: not every model was timed under a defence.")]
    return Chapter("cost", "Cost", tuple(blocks))
