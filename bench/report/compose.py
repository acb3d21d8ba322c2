"""Which parts a report has, and in which order.

This module knows the parts; it must not know how they are computed or rendered.  A part that the
run cannot fill becomes a sentence that says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

from bench.analysis.agreement import Agreement, agreements, certified_only
from bench.analysis.beside import Reported
from bench.analysis.frames import grouped, rows
from bench.analysis.matched import Matched, matched
from bench.analysis.names import PAPERS_DEFENSE, PAPERS_ORDER
from bench.analysis.published import published
from bench.analysis.source import FrameRun
from bench.analysis.widths import reference_radii
from bench.report.document import (
    Block,
    Bullets,
    Chapter,
    Document,
    Paragraph,
    Verdict,
    Verdicts,
    VerdictWord,
)
from bench.report.parts.attacks import attack_blocks
from bench.report.parts.audit import audit_tables, violations
from bench.report.parts.charts import equal_radius, pareto
from bench.report.parts.claims import is_papers_setting, verdicts
from bench.report.parts.cost import cost_frame, cost_table
from bench.report.parts.dots import model_dots
from bench.report.parts.figures import width_against_radius
from bench.report.parts.first import cards_here, decide, first_section, trust_lines
from bench.report.parts.glossary import glossary_section
from bench.report.parts.guarantee import (
    Guarantees,
    card_table,
    guarantees,
    native_table,
    own_width_table,
)
from bench.report.parts.leaders import listed
from bench.report.parts.matched import matched_section
from bench.report.parts.once import once
from bench.report.parts.proof import proof_section
from bench.report.parts.provenance import provenance_section
from bench.report.parts.ranking import ranking_table
from bench.report.parts.refusal import refusal, refusal_section, refused_models, without_models
from bench.report.parts.shipped import noted
from bench.report.parts.tables import lead_table, main_table, order_table
from bench.report.parts.worked import worked_section
from bench.report.titles import LETTER, called, in_own_words

TITLE = "Certified defences of image-quality models"
BANNERS = {
    "compact": "Compact edition: small networks trained by this project on a proxy-labelled "
    "embedded data set; trends only",
    "published": "Published edition: the authors' weights",
}
_NUMBER = {"NR": 1, "FR": 2}
_GUARANTEED = "What is guaranteed, and what attacks broke"


@in_own_words
def compose(run: FrameRun, *, reps: int = 1000, reported: Sequence[Reported] = ()) -> Document:
    """The whole document of a run, with the rows that others report on page 1."""
    refused = refused_models(run)
    run = without_models(run, refused).timed_as_certified()
    found = agreements(run, reps=reps)
    if found:
        sections, judged = _sections(run, found, reps=reps, reported=reported)
        sections = noted(once(sections), run)
    else:
        nothing = Paragraph("No image was evaluated in this run, so there is nothing to report.")
        empty = () if refused else (Chapter("accuracy", "Accuracy", (nothing,)),)
        sections, judged = (*empty, provenance_section(run)), []
    return Document(
        title=TITLE,
        subtitle=_subtitle(run),
        banner=_banner(run, refused),
        verdict=(*([refusal(refused)] if refused else []), *_verdict_box(run, found, judged)),
        complete=run.completeness.complete,
        sections=(*([refusal_section(refused)] if refused else []), *sections),
        facts=_facts(run),
    )


def _sections(
    run: FrameRun, found: Mapping[str, Agreement], *, reps: int, reported: Sequence[Reported]
) -> tuple[tuple[Chapter, ...], list[Verdict]]:
    """All chapters in order: what decides, the paper's form, then what stands behind it."""
    frame, family = run.table("evaluate"), run.profile.certificate.familywise
    data = {mode: guarantees(frame, mode=mode, familywise=family) for mode in found}
    judged = verdicts(run, found, published(), reps=reps)
    equal = _matched(run, found, reps=reps)
    first = decide(run, equal, reps=reps, reported=reported)
    chapters = (
        first_section(first, run) if first else None,
        _papers_form(run, found, judged, reps=reps),
        matched_section(equal, run.table("time")),
        proof_section(run, reps=reps),
        _guarantee(run, data),
        _cost(run, found, data),
        worked_section(run),
        _supplement(run, found, data),
        glossary_section(),
        provenance_section(run),
    )
    return tuple(chapter for chapter in chapters if chapter is not None), judged


def _matched(run: FrameRun, modes: Iterable[str], *, reps: int) -> dict[str, Matched]:
    """Every evaluated row at equal radius, those beside the tables included."""
    frame = run.everything().table("evaluate")
    found = {mode: matched(frame, mode, reps=reps, seed=run.profile.seed) for mode in modes}
    return {mode: data for mode, data in found.items() if data is not None}


def _subtitle(run: FrameRun) -> str:
    profile = run.profile
    parts = (
        (len(profile.models), "model"),
        (len(profile.defenses), "defence"),
        (len(profile.sigmas), "noise level"),
    )
    counted = ", ".join(f"{n} {word}{'' if n == 1 else 's'}" for n, word in parts)
    return f"Profile {profile.name}: {counted}"


def _sizes(run: FrameRun) -> dict[str, str]:
    """Height and width of the pictures of every data set whose pictures have one size."""
    pictures = run.table("evaluate").dropna(subset=["height", "width"])
    found = {}
    for (dataset,), part in grouped(pictures, ["dataset"]):
        sizes = part[["height", "width"]].drop_duplicates().to_numpy(dtype=int)
        if len(sizes) == 1:
            found[str(dataset)] = " at {}x{}".format(*sizes[0])
    return found


def _banner(run: FrameRun, refused: Sequence[str] = ()) -> str:
    """Edition, and whatever is not the authors' own: parts of models, data sets of others."""
    text = BANNERS[run.profile.edition]
    if refused:
        text = f"{refusal(refused)} Of the others: {text}"
        if set(refused) >= set(run.table("calibration")["model"]):
            return refusal(refused)
    if run.profile.edition == "compact":
        return text
    known = run.table("calibration").dropna(subset=["model_title"])
    other = sorted({str(title) for title in known["model_title"] if "(" in str(title)})
    sizes = _sizes(run)
    data = sorted(
        {
            f"{row['dataset_title']}{sizes.get(row['dataset'], '')}: {row['label_kind']}"
            for row in rows(known)
        }
    )
    if len(other) == known["model"].nunique():
        text = f"Published edition: {', '.join(other)}"
    elif other:
        text += f"; but {', '.join(other)}"
    return f"{text}. Data: {'; '.join(data)}" if data else text


def _facts(run: FrameRun) -> dict[str, str]:
    wanted = {"plan_sha256": "plan", "code_sha256": "code", "started": "started"}
    short = {"plan_sha256", "code_sha256"}
    return {
        title: str(run.provenance[key])[: 12 if key in short else None]
        for key, title in wanted.items()
        if run.provenance.get(key)
    }


# --- the box at the top ------------------------------------------------------------------------


def _verdict_box(
    run: FrameRun, found: Mapping[str, Agreement], judged: Sequence[Verdict]
) -> tuple[str, ...]:
    """How far the run got, how far it can be trusted, and what became of the paper's claims."""
    count = run.completeness
    lines = [", ".join(count.words), *count.remarks, *trust_lines(run, found)]
    words = [v.word for v in judged]
    counted = ", ".join(f"{words.count(w)} {w}" for w in get_args(VerdictWord) if w in words)
    if counted:
        setting = (
            ""
            if is_papers_setting(run.profile)
            else " (directions, not sizes: these are not the paper's networks, data and draws)"
        )
        lines.append(f"Claims of the paper: {counted}{setting}.")
    return (*lines, *count.notes)


# --- chapters ----------------------------------------------------------------------------------


def _papers_form(
    run: FrameRun, found: Mapping[str, Agreement], judged: Sequence[Verdict], *, reps: int
) -> Chapter:
    """Tables 1 and 2, Figures 3 and 4, and each claim."""
    frame, time = run.table("evaluate"), run.table("time")
    blocks: list[Block] = [
        main_table(
            agreement,
            time,
            published(),
            number=_NUMBER[mode],
            certified=certified_only(run, mode),
            compared=is_papers_setting(run.profile),
        )
        for mode, agreement in found.items()
    ]
    blocks += [
        width_against_radius(frame, mode=mode, number_=f"3{LETTER[mode]}")
        or Paragraph(f"Figure 3, {mode}: FS-IQA has no certificate in this run.")
        for mode in found
    ]
    absent = Paragraph("Figure 4: the attack stage was not run, so nothing is said about it.")
    attack, calibration = run.table("attack"), run.table("calibration")
    blocks += attack_blocks(attack, frame, calibration, reps=reps) or [absent]
    told = Paragraph(
        "Each claim is judged by a fixed rule, printed with the numbers. Scope `size` judges the "
        "number itself, `trend` its direction only."
    )
    blocks += [told, Verdicts(tuple(judged))]
    return Chapter("paper", "The paper's tables, figures and claims", tuple(blocks))


def _guarantee(run: FrameRun, data: Mapping[str, Guarantees]) -> Chapter:
    promised = card_table(
        cards_here(run), id="table-g1", title="Table G1. What each defence promises"
    )
    said = _too_few_draws(data)
    if not any(guarantee.order for guarantee in data.values()):
        return Chapter("guarantee", _GUARANTEED, said)
    blocks: list[Block] = [*said, promised or Paragraph("The run holds no guarantee cards.")]
    for mode, guarantee in data.items():
        if not guarantee.order:
            continue
        named = called("figure", "5", "Interval width at equal radius", mode)
        drawn = equal_radius(guarantee, **named)
        blocks.append(drawn or Paragraph(f"{mode}: no record holds bounds on a grid of radii."))
        named = called("table", "G2", "Each defence at its own radius", mode)
        blocks.append(native_table(guarantee, **named))
    blocks += _audit(run)
    return Chapter("guarantee", _GUARANTEED, tuple(blocks))


def _too_few_draws(data: Mapping[str, Guarantees]) -> tuple[Paragraph, ...]:
    """Who has no certificate for want of draws: one sentence for all modes where it is the same."""
    modes: dict[str, list[str]] = {}
    for mode, guarantee in data.items():
        modes.setdefault(guarantee.too_few_draws, []).append(mode)
    return tuple(Paragraph(f"{listed(m)}: {said}") for said, m in modes.items() if said)


def _supplement(
    run: FrameRun, found: Mapping[str, Agreement], data: Mapping[str, Guarantees]
) -> Chapter:
    """What stands behind the tables."""
    blocks: list[Block | None] = []
    for mode, agreement in found.items():
        index = _NUMBER[mode]
        title = f"Figure S{index}. SRCC of each model, {mode} models"
        ranking = called("table", "G3", "Certified ranking of images", mode)
        widths = called("table", "G4", "Width at equal radius, every noise level", mode)
        blocks += [
            model_dots(agreement, id=f"figure-s{index}", title=title),
            order_table(agreement, PAPERS_ORDER, number=f"O{index}"),
            lead_table(agreement, PAPERS_DEFENSE, number=f"S{index}"),
            ranking_table(data[mode], **ranking),
            own_width_table(data[mode], **widths),
            *_beside(run, mode),
        ]
    return Chapter("supplement", "Appendix: supplement", tuple(b for b in blocks if b is not None))


def _beside(run: FrameRun, mode: str) -> list[Block]:
    """Widths and abstentions of the rows beside the tables."""
    frame = run.extras().table("evaluate")
    if not (frame["mode"] == mode).any():
        return []
    data = guarantees(frame, mode=mode, familywise=run.profile.certificate.familywise)
    named = called("table", "G5", "Rows beside the tables at their own radius", mode)
    return [native_table(data, **named)] if data.order else []


def _audit(run: FrameRun) -> list[Block]:
    run = run.everything()
    frame, audit = run.table("evaluate"), run.table("audit")
    modes = {str(m): str(k) for m, k in zip(frame["model"], frame["mode"], strict=True)}
    tables = audit_tables(audit, modes)
    if not tables:
        return [Paragraph("The audit stage was not run: no certificate of this run was attacked.")]
    broken = violations(audit)
    if not broken:
        return [*tables]
    return [*tables, Paragraph("**Violated certificates, by photograph.**"), Bullets(broken)]


def _cost(run: FrameRun, found: Mapping[str, Agreement], data: Mapping[str, Guarantees]) -> Chapter:
    time = run.table("time")
    blocks: list[Block] = []
    for mode, agreement in found.items():
        table = cost_table(time, agreement, **called("table", "C", "Cost per image", mode))
        if table is None:
            blocks.append(Paragraph(f"{mode} models were not timed in this run."))
            continue
        grid = reference_radii(data[mode].grid)
        radius = grid[len(grid) // 2] if grid else None
        cost = cost_frame(time, agreement, data[mode], radius=radius)
        named = called("figure", "7", "Accuracy and width against time", mode)
        drawn = pareto(cost, mode=mode, radius=radius, **named)
        blocks += [table, drawn or Paragraph(f"{mode}: not every model was timed under a defence.")]
    return Chapter("cost", "Cost", tuple(blocks))
