"""Tables 1 and 2 and their supplements.

This module knows which number goes where; it must not know how a number is printed or drawn.
"""

# ruff: noqa: RUF001 - Greek letters are meant
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

import pandas as pd

from bench.analysis.agreement import METRICS, Agreement, Key
from bench.analysis.cost import model_seconds, scaled_from
from bench.analysis.names import UNDEFENDED, defense_title, model_title
from bench.analysis.published import Published
from bench.analysis.statistics import sem
from bench.report.document import DITTO, Column, Field, Table
from bench.report.numbers import CORRELATION, DIFFERENCE, SECONDS, Format
from bench.report.parts.leaders import leader_sentence, listed

NOT_RUN = "not run"
"""A cell of a defence and noise level that the run does not have."""
SCALED = "≈"
"""Marks seconds that were timed with fewer draws."""
MODE_WORDS = {"NR": "no-reference models", "FR": "full-reference models"}


def share(done: int, wanted: int) -> Field:
    """``n/N``."""
    return Field(f"{done}/{wanted}")


def pair(group: str, form: Format) -> tuple[Column, Column]:
    """Columns with and without the certificate."""
    return Column("certified", form, group=group), Column("estimate only", form, group=group)


def main_table(
    agreement: Agreement,
    time: pd.DataFrame,
    paper: Published,
    *,
    number: int,
    certified: Agreement | None = None,
    compared: bool = False,
) -> Table:
    """Table 1 (NR) or 2 (FR) in the paper's form, its own cells below.

    Args:
        agreement: Correlations of all scores.
        time: Timing records.
        paper: What the paper prints.
        number: Of the table.
        certified: Correlations without the images that got no certificate.
        compared: Whether differences from the paper mean anything: its networks and data.
    """
    rows = [_reference_row(agreement)]
    for defense in agreement.defenses:
        rows.append(_main_row(defense, agreement, time, paper, compared=compared))
        if certified is not None and _abstained(certified, agreement, defense):
            rows.append(_certified_row(defense, certified))
    return Table(
        id=f"table-{number}",
        title=f"Table {number}. SRCC / PLCC and time, {MODE_WORDS[agreement.mode]}",
        caption=leader_sentence(agreement),
        columns=(
            Column("Defence", kind="text"),
            Column("images", kind="text"),
            *(
                Column(f"σ = {s:g}", CORRELATION, group="SRCC / PLCC", difference=DIFFERENCE)
                for s in agreement.sigmas
            ),
            *pair("seconds", SECONDS),
        ),
        rows=tuple(rows),
        notes=_main_notes(agreement, paper, time),
        rule_after=(0,),
    )


def _reference_row(agreement: Agreement) -> tuple[Field, ...]:
    done = agreement.mean("srcc", UNDEFENDED, 0.0)
    cells = [_cell(agreement, UNDEFENDED, 0.0), *([Field(DITTO)] * (len(agreement.sigmas) - 1))]
    return (Field(defense_title(UNDEFENDED)), share(done.n, done.wanted), *cells, Field(), Field())


def _main_row(
    defense: str, agreement: Agreement, time: pd.DataFrame, paper: Published, *, compared: bool
) -> tuple[Field, ...]:
    means = [agreement.mean("srcc", defense, s) for s in agreement.sigmas]
    cells = []
    for sigma in agreement.sigmas:
        cell = _cell(agreement, defense, sigma)
        theirs = [paper.correlation(m, agreement.mode, defense, sigma) for m in METRICS]
        ours = (cell.value, cell.second[0] if cell.second else None)
        apart = [
            float(mine) - his
            for mine, his in zip(ours, theirs, strict=True)
            if isinstance(mine, float) and his is not None
        ]
        cells.append(
            replace(
                cell,
                published=paper.pair(agreement.mode, defense, sigma),
                difference=tuple(apart) if compared and len(apart) == len(METRICS) else (),
            )
        )
    seconds = [
        time_cell(
            time,
            agreement.models,
            defense,
            certified=flag,
            published=paper.time(agreement.mode, defense, certified=flag),
        )
        for flag in (True, False)
    ]
    return (
        Field(defense_title(defense)),
        share(sum(m.n for m in means), sum(m.wanted for m in means)),
        *cells,
        *seconds,
    )


def _cell(agreement: Agreement, defense: str, sigma: float) -> Field:
    """SRCC / PLCC, each with its standard error over models."""
    srcc, plcc = (agreement.mean(metric, defense, sigma) for metric in METRICS)
    return Field(
        srcc.value,
        error=srcc.sem,
        second=(plcc.value, plcc.sem),
        group=agreement.groups("srcc", sigma).get(defense, "") if defense != UNDEFENDED else "",
        mark="" if srcc.complete or srcc.value is None else "*",
    )


def _abstained(certified: Agreement, agreement: Agreement, defense: str) -> bool:
    """Whether some images, but not all, got no certificate."""
    issued = [certified.mean("srcc", defense, s).n for s in agreement.sigmas]
    scored = [agreement.mean("srcc", defense, s).n for s in agreement.sigmas]
    return 0 < sum(issued) < sum(scored)


def _certified_row(defense: str, certified: Agreement) -> tuple[Field, ...]:
    """The same without abstained images: where the paper's algorithm returns no score."""
    means = [certified.mean("srcc", defense, s) for s in certified.sigmas]
    cells = [replace(_cell(certified, defense, s), group="", mark="") for s in certified.sigmas]
    return (
        Field(f"{defense_title(defense)}, certified only"),
        share(sum(m.n for m in means), sum(m.wanted for m in means)),
        *cells,
        Field(),
        Field(),
    )


def time_cell(
    time: pd.DataFrame,
    models: Iterable[str],
    defense: str,
    *,
    certified: bool,
    published: str = "",
) -> Field:
    """Mean ± SEM over models of the mean seconds per image."""
    values = list(model_seconds(time, models, defense, certified=certified).values())
    mean = sum(values) / len(values) if values else None
    mark = SCALED if values and scaled_from(time, models, [defense]) else ""
    return Field(mean, error=sem(values), published=published, mark=mark)


def scaled_note(draws: Iterable[int]) -> tuple[str, ...]:
    """What the mark of scaled seconds means; nothing where none are."""
    numbers = sorted(set(draws))
    if not numbers:
        return ()
    return (
        f"{SCALED} Timed with {listed(f'{n:,}' for n in numbers)} draws and scaled up in "
        "proportion: noise in the input costs one pass a draw.",
    )


def _main_notes(agreement: Agreement, paper: Published, time: pd.DataFrame) -> tuple[str, ...]:
    count = len(agreement.models)
    names = ", ".join(model_title(m) for m in agreement.models)
    mean = f"Mean ± standard error over {count} models ({names})." if count > 1 else f"{names}."
    notes = [
        f"{mean} Second line: the paper's mean as printed ({paper.source}; 384x512 pixels, N = "
        "2000); its standard errors are not at hand, so none is shown.",
        "Higher is better, whatever the sign of the score. PLCC is Pearson's, without a logistic "
        "mapping. An image without a certificate has a score all the same; `certified only` "
        "leaves it out. Images: scored of wanted, over models and noise levels. At an equal noise "
        "level the guaranteed radii are unequal; Table D compares at equal radius. "
        f"{_letters(agreement)}",
    ]
    unequal = [f"{s:g}" for s in agreement.sigmas if not agreement.rankable(s)]
    if unequal and len(agreement.defenses) > 1:
        notes.append(
            f"Unequal sets at σ = {', '.join(unequal)}: no letters there. "
            "* mean over fewer models or images than planned."
        )
    return (*notes, *scaled_note(scaled_from(time, agreement.models, agreement.defenses)))


def _letters(agreement: Agreement) -> str:
    if len(agreement.defenses) < 2:
        return "One defence alone is not ranked."
    if not agreement.enough:
        return f"{agreement.photographs} photographs: too few to say who is tied."
    return (
        "Defences that share a letter are tied in SRCC (the 95 % interval of the paired difference "
        f"to the group's best contains zero; {agreement.photographs} photographs; no correction "
        "for the number of comparisons)."
    )


def lead_table(agreement: Agreement, leader: str, *, number: str) -> Table | None:
    """Supplement: one defence minus each other, model by model, with the paired interval."""
    others = [name for name in agreement.defenses if name != leader]
    if leader not in agreement.defenses or not others:
        return None
    rows: list[tuple[Field, ...]] = []
    ends: list[int] = []
    for model in agreement.models:
        rows += [
            (
                Field(model_title(model)),
                Field(defense_title(other)),
                *(
                    _lead(agreement, (model, leader, s), (model, other, s))
                    for s in agreement.sigmas
                ),
            )
            for other in others
        ]
        ends.append(len(rows) - 1)
    return Table(
        id=f"table-{number.lower()}",
        title=f"Table {number}. Lead of {defense_title(leader)}, model by model, "
        f"{MODE_WORDS[agreement.mode]}",
        caption=_lead_caption(agreement, leader, rows),
        columns=(
            Column("Model", kind="text"),
            Column("over", kind="text"),
            *(Column(f"σ = {s:g}", DIFFERENCE, group="SRCC") for s in agreement.sigmas),
        ),
        rows=tuple(rows),
        notes=(
            f"SRCC of {defense_title(leader)} minus the other's on the same images, with the 95 % "
            f"paired interval over {agreement.photographs} photographs.",
        ),
        rule_after=tuple(ends[:-1]),
    )


def _lead(agreement: Agreement, leader: Key, other: Key) -> Field:
    scores = [agreement.scores.get(key) for key in (leader, other)]
    if any(cell is None for cell in scores):
        return Field(NOT_RUN)
    if any(cell is None or cell.n < cell.wanted for cell in scores):
        return Field("unequal")
    found = agreement.lead("srcc", leader, other)
    return Field("undefined") if found is None else Field(found[0], interval=found[1])


def _lead_caption(agreement: Agreement, leader: str, rows: list[tuple[Field, ...]]) -> str:
    """How often the leader is ahead, and every place where it is not."""
    name = defense_title(leader)
    cells = {
        (str(model.value), str(other.value), sigma): cell
        for model, other, *found in rows
        for sigma, cell in zip(agreement.sigmas, found, strict=True)
    }
    known = {key: cell for key, cell in cells.items() if not isinstance(cell.value, str)}
    behind = _named(key for key, cell in known.items() if float(cell.value or 0.0) <= 0.0)
    absent = _named(key for key, cell in cells.items() if cell.value == NOT_RUN)
    unequal = _named(key for key in cells if key not in known and cells[key].value != NOT_RUN)
    if not known:
        return "Cells without equal sets of images are not compared."
    apart = _apart(agreement, [*known.values()])
    if absent:
        apart += f"; not run: {'; '.join(absent)}"
    if unequal:
        apart += f"; not compared, for want of equal sets of images: {'; '.join(unequal)}"
    if not behind and (absent or unequal):
        return f"{name} is ahead wherever it is compared; {apart}."
    if not behind:
        levels = ", ".join(f"{sigma:g}" for sigma in agreement.sigmas)
        return f"{name} is ahead of every other defence of every model at σ = {levels}; {apart}."
    return f"{name} is not ahead in {len(behind)} of {len(known)} ({'; '.join(behind)}); {apart}."


def _named(cells: Iterable[tuple[str, str, float]]) -> list[str]:
    """Model, defence and noise level of some cells, in words."""
    return [f"{model} {other} σ = {sigma:g}" for model, other, sigma in cells]


def _apart(agreement: Agreement, cells: Sequence[Field]) -> str:
    """How many differences are sure, and whether photographs are enough to say so."""
    sure = sum(cell.interval is not None and cell.interval[0] > 0 for cell in cells)
    apart = f"{sure} of {len(cells)} intervals lie above zero"
    if agreement.enough:
        return apart
    return f"{apart} (from {agreement.photographs} photographs, too few to rank)"


def order_table(agreement: Agreement, order: Sequence[str], *, number: str) -> Table | None:
    """Supplement: each defence of an order minus the next one, mean over models.

    Args:
        agreement: Of one mode.
        order: Defences, the most accurate first; who was not run is passed over.
        number: Of the table.
    """
    steps = [*pairwise(name for name in order if name in agreement.defenses)]
    if not steps:
        return None
    cells = {step: [_step(agreement, step, sigma) for sigma in agreement.sigmas] for step in steps}
    known = [cell for row in cells.values() for cell in row if not isinstance(cell.value, str)]
    ahead = sum(float(cell.value or 0.0) > 0 for cell in known)
    return Table(
        id=f"table-{number.lower()}",
        title=f"Table {number}. The paper's order, {MODE_WORDS[agreement.mode]}",
        caption=f"{' > '.join(map(defense_title, order))} in the paper. Of {len(known)} "
        f"steps measured {ahead} go that way; {_apart(agreement, known)}.",
        columns=(
            Column("Defence", kind="text"),
            Column("over", kind="text"),
            *(Column(f"σ = {s:g}", DIFFERENCE, group="SRCC") for s in agreement.sigmas),
        ),
        rows=tuple(
            (Field(defense_title(one)), Field(defense_title(other)), *row)
            for (one, other), row in cells.items()
        ),
        notes=(
            "Mean SRCC over models minus the next one's, with the 95 % paired interval over "
            f"{agreement.photographs} photographs; models are taken as given.",
        ),
    )


def _step(agreement: Agreement, step: tuple[str, str], sigma: float) -> Field:
    means = [agreement.mean("srcc", name, sigma) for name in step]
    if not all(mean.complete for mean in means):
        return Field("unequal")
    value, found = agreement.difference("srcc", *step, sigma)
    return Field(value, interval=found)
