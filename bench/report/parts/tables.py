"""Tables 1 and 2 and their supplements.

This module knows which number goes where; it must not know how a number is printed or drawn.
"""

# ruff: noqa: RUF001 - Greek letters are meant
from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from bench.analysis.agreement import METRICS, Agreement, Key, Metric, ModelMean
from bench.analysis.cost import model_seconds
from bench.analysis.names import UNDEFENDED, defense_order, defense_title, model_title
from bench.analysis.published import Published
from bench.analysis.statistics import ENOUGH, cluster_interval, sem
from bench.report.document import Column, Field, Table
from bench.report.numbers import CORRELATION, DIFFERENCE, SECONDS, Format
from bench.report.parts.leaders import leader_sentence, too_few

MODE_WORDS = {"NR": "no-reference models", "FR": "full-reference models"}
NAMES = {"srcc": "SRCC", "plcc": "PLCC"}


def share(done: int, wanted: int) -> Field:
    """``n/N``."""
    return Field(f"{done}/{wanted}")


def pair(group: str, form: Format) -> tuple[Column, Column]:
    """Columns with and without the certificate."""
    return Column("certified", form, group=group), Column("estimate only", form, group=group)


def main_table(agreement: Agreement, time: pd.DataFrame, paper: Published, *, number: int) -> Table:
    """Table 1 (NR) or 2 (FR): correlation and time per defence, beside the paper's values."""
    columns = (
        Column("Defence", kind="text"),
        Column("images", kind="text"),
        *(
            Column(f"σ = {s:g}", CORRELATION, group=NAMES[m], difference=DIFFERENCE)
            for m in METRICS
            for s in agreement.sigmas
        ),
        *pair("seconds", SECONDS),
    )
    rows = [_reference_row(agreement)]
    rows += [_main_row(d, agreement, time, paper) for d in agreement.defenses]
    return Table(
        id=f"table-{number}",
        title=f"Table {number}. Agreement with human scores and time, {MODE_WORDS[agreement.mode]}",
        caption=leader_sentence(agreement),
        columns=columns,
        rows=tuple(rows),
        notes=_main_notes(agreement, paper),
        rule_after=(0,),
    )


def _reference_row(agreement: Agreement) -> tuple[Field, ...]:
    means = {m: agreement.mean(m, UNDEFENDED, 0.0) for m in METRICS}
    cells = [
        _mean_cell(means[m]) if i == 0 else Field("″")
        for m in METRICS
        for i, _ in enumerate(agreement.sigmas)
    ]
    done = means["srcc"]
    return (Field(defense_title(UNDEFENDED)), share(done.n, done.wanted), *cells, Field(), Field())


def _main_row(
    defense: str, agreement: Agreement, time: pd.DataFrame, paper: Published
) -> tuple[Field, ...]:
    means = [agreement.mean("srcc", defense, s) for s in agreement.sigmas]
    cells = [
        _mean_cell(
            agreement.mean(metric, defense, sigma),
            group=agreement.groups(metric, sigma).get(defense, ""),
            published=paper.correlation(metric, agreement.mode, defense, sigma),
        )
        for metric in METRICS
        for sigma in agreement.sigmas
    ]
    seconds = [
        time_cell(
            time,
            agreement.models,
            defense,
            certified=certified,
            published=paper.seconds(agreement.mode, defense, certified=certified),
        )
        for certified in (True, False)
    ]
    return (
        Field(defense_title(defense)),
        share(sum(m.n for m in means), sum(m.wanted for m in means)),
        *cells,
        *seconds,
    )


def _mean_cell(mean: ModelMean, *, group: str = "", published: float | None = None) -> Field:
    mark = "" if mean.complete or mean.value is None else "*"
    return Field(mean.value, error=mean.sem, group=group, published=published, mark=mark)


def time_cell(
    time: pd.DataFrame,
    models: Iterable[str],
    defense: str,
    *,
    certified: bool,
    published: float | None = None,
) -> Field:
    """Mean ± SEM over models of the mean seconds per image."""
    values = list(model_seconds(time, models, defense, certified=certified).values())
    mean = sum(values) / len(values) if values else None
    return Field(mean, error=sem(values), published=published)


def _main_notes(agreement: Agreement, paper: Published) -> tuple[str, ...]:
    count = len(agreement.models)
    notes = [
        f"Mean ± standard error over {count} model{'s' if count != 1 else ''}"
        f" ({', '.join(model_title(m) for m in agreement.models)}). Second line: the paper's value"
        f" and, for correlations, the difference from it ({paper.source}).",
        "Correlations are signed so that higher is better. PLCC is Pearson's, without a logistic "
        "mapping. Seconds depend on the machine and the image size; their paper values are for "
        "384x512 pixels, N = 2000.",
        _letters(agreement) + " Images: scored of wanted, over models and noise levels.",
    ]
    unequal = [f"{s:g}" for s in agreement.sigmas if not agreement.rankable(s)]
    if unequal and len(agreement.defenses) > 1:
        notes.append(
            f"Unequal sets at σ = {', '.join(unequal)}: no letters there. "
            "* mean over fewer models or images than planned."
        )
    return tuple(notes)


def _letters(agreement: Agreement) -> str:
    if len(agreement.defenses) < 2:
        return "One defence alone is not ranked."
    if not agreement.enough:
        return (
            f"No letters of ties: {agreement.photographs} photographs are too few to rank "
            f"(at least {ENOUGH})."
        )
    return (
        "Letters: defences that share a letter are tied (the 95 % interval of the paired "
        f"difference to the group's best contains zero; {agreement.photographs} photographs; no "
        "correction for the number of comparisons)."
    )


def model_table(agreement: Agreement, metric: Metric, *, number: str) -> Table:
    """Supplement: one row per model and defence with a bootstrap interval."""
    columns = (
        Column("Model", kind="text"),
        Column("Defence", kind="text"),
        Column("images", kind="text"),
        *(Column(f"σ = {s:g}", CORRELATION, group=NAMES[metric]) for s in agreement.sigmas),
    )
    rows: list[tuple[Field, ...]] = []
    ends: list[int] = []
    for model in agreement.models:
        found = [
            d
            for d in (UNDEFENDED, *agreement.defenses)
            if any(k[:2] == (model, d) for k in agreement.scores)
        ]
        rows += [_model_row(agreement, metric, model, defense) for defense in found]
        ends.append(len(rows) - 1)
    return Table(
        id=f"table-{number.lower()}",
        title=f"Table {number}. {NAMES[metric]} per model, {MODE_WORDS[agreement.mode]}",
        caption="Each model alone, with the 95 % interval over "
        f"{agreement.photographs} photographs (Student's, standard error by bootstrap).",
        columns=columns,
        rows=tuple(rows),
        rule_after=tuple(ends[:-1]),
    )


def _model_row(agreement: Agreement, metric: Metric, model: str, defense: str) -> tuple[Field, ...]:
    sigmas = (0.0,) if defense == UNDEFENDED else agreement.sigmas
    cells, done, wanted = [], 0, 0
    for sigma in sigmas:
        key = (model, defense, sigma)
        scores = agreement.scores.get(key)
        if scores is None:
            cells.append(Field("no record"))
            continue
        done, wanted = done + scores.n, wanted + scores.wanted
        estimate = scores.estimate(metric)
        cells.append(
            Field(estimate.value, interval=agreement.interval(metric, key))
            if estimate.value is not None
            else Field(estimate.reason)
        )
    cells += [Field("″")] * (len(agreement.sigmas) - len(cells))
    return (Field(model_title(model)), Field(defense_title(defense)), share(done, wanted), *cells)


def difference_table(agreement: Agreement, *, number: str) -> Table | None:
    """Supplement: every defence minus the best of its column, with the paired interval."""
    columns = [(m, s) for m in METRICS for s in agreement.sigmas]
    if len(agreement.defenses) < 2 or not any(agreement.rankable(s) for s in agreement.sigmas):
        return None
    cells = [_differences(agreement, metric, sigma) for metric, sigma in columns]
    return Table(
        id=f"table-{number.lower()}",
        title=f"Table {number}. Difference from the best defence, {MODE_WORDS[agreement.mode]}",
        caption=_difference_caption(agreement, cells),
        columns=(
            Column("Defence", kind="text"),
            *(Column(f"σ = {s:g}", DIFFERENCE, group=NAMES[m]) for m, s in columns),
        ),
        rows=tuple(
            (Field(defense_title(d)), *(column.get(d, Field("unequal")) for column in cells))
            for d in agreement.defenses
        ),
        notes=(
            "Mean over models minus that of the column's best, with the 95 % interval over "
            f"{agreement.photographs} photographs (Student's, standard error by paired bootstrap). "
            "The models are taken as given.",
        ),
    )


def _differences(agreement: Agreement, metric: Metric, sigma: float) -> dict[str, Field]:
    """One column: difference from its best; empty where the sets are unequal."""
    if not agreement.rankable(sigma):
        return {}
    means = {d: agreement.mean(metric, d, sigma).value for d in agreement.defenses}
    known = {d: v for d, v in means.items() if v is not None}
    if len(known) < len(means):
        return {}
    best = max(defense_order(known), key=lambda d: known[d])
    cells = {}
    for defense in known:
        value, interval = agreement.difference(metric, defense, best, sigma)
        cells[defense] = Field(value, interval=interval)
    return {**cells, best: Field("best")}


def _difference_caption(agreement: Agreement, cells: list[dict[str, Field]]) -> str:
    found = [c for column in cells for c in column.values() if c.value != "best"]
    apart = sum(c.interval is not None and c.interval[1] < 0 for c in found)
    text = f"{apart} of {len(found)} differences have an interval below zero."
    return text if agreement.enough else f"{too_few(agreement)} {text}"


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
    if any(cell is None or cell.n < cell.wanted for cell in scores):
        return Field("unequal")
    values = [cell.estimate("srcc").value for cell in scores if cell is not None]
    if None in values:
        return Field("undefined")
    mine, his = (value for value in values if value is not None)
    samples = agreement.samples["srcc", leader] - agreement.samples["srcc", other]
    found = cluster_interval(mine - his, samples, groups=agreement.photographs)
    return Field(mine - his, interval=found)


def _lead_caption(agreement: Agreement, leader: str, rows: list[tuple[Field, ...]]) -> str:
    """How often the leader is ahead, and every place where it is not."""
    name = defense_title(leader)
    cells = {
        (str(model.value), str(other.value), sigma): cell
        for model, other, *found in rows
        for sigma, cell in zip(agreement.sigmas, found, strict=True)
    }
    known = {key: cell for key, cell in cells.items() if not isinstance(cell.value, str)}
    if len(known) < len(cells):
        return "Cells without equal sets of images are not compared."
    behind = [
        f"{model} {other} σ = {sigma:g}"
        for (model, other, sigma), cell in known.items()
        if float(cell.value or 0.0) <= 0.0
    ]
    sure = sum(cell.interval is not None and cell.interval[0] > 0 for cell in known.values())
    apart = f"{sure} of {len(known)} intervals lie above zero"
    if not behind:
        return (
            f"{name} is ahead of every other defence at every noise level of every model; {apart}."
        )
    return f"{name} is not ahead in {len(behind)} of {len(known)} ({'; '.join(behind)}); {apart}."
