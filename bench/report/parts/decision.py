# ruff: noqa: RUF001, RUF002 - Greek letters are meant
"""Page 1: one table, one picture, and what to choose.

This module knows which number goes where; it must not know how a leader is found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from bench.analysis.beside import Reported
from bench.analysis.decision import Broken, Cost, page_radii
from bench.analysis.frames import known, rows
from bench.analysis.matched import Matched
from bench.analysis.names import UNDEFENDED, defense_order, defense_title
from bench.analysis.widths import PROVED
from bench.report import drawing
from bench.report.document import DITTO, Column, Field, Figure, Table
from bench.report.numbers import SECONDS, Format, number
from bench.report.parts.cost import busy_note
from bench.report.parts.guarantee import UNPROVED_NOTE, titled
from bench.report.parts.leaders import listed
from bench.report.parts.tables import SCALED, scaled_note
from bench.report.theme import by_rigor, defense_looks

WIDTH = Format(significant=2, unit=" %", scale=100, rounding="up")
REPORTED = "‡"
UNTRAINED = "nothing"
"""What the card of a defence says that trains nothing."""
_FIGURE = {
    "mode": Column("mode", kind="text"),
    "radius": Column("ρ", Format(significant=3)),
    "title": Column("defence", kind="text"),
    "rigor": Column("radius", kind="text"),
    "sigma": Column("σ", Format(significant=3)),
    "srcc": Column("SRCC"),
    "low": Column("SRCC low"),
    "high": Column("SRCC high"),
    "own": Column("median width / own spread", WIDTH),
}


@dataclass(frozen=True)
class Decision:
    """What page 1 shows.

    Attributes:
        data: The comparison at equal radius, by mode.
        costs: Seconds by mode and defence.
        draws: The draws at which seconds are given.
        broken: What attacks broke, by defence.
        broken_in: The same of one mode each.
        papers: Names of the defences of the run's own tables; the others stand below a line.
        reported: Rows of others that nobody here computed again.
        busy: Factors by which repeats of one setting differ, where they do: no order of seconds.
        trained: What of each defence is trained, as its guarantee card says.
        smoothers: What makes each defence's passes: the same for those whose draws are the same.
        labels: What SRCC is agreement with.
    """

    data: Mapping[str, Matched]
    costs: Mapping[str, Mapping[str, Cost]]
    draws: int | None
    broken: Mapping[str, Broken]
    papers: Sequence[str]
    reported: Sequence[Reported] = ()
    busy: Mapping[str, float] = field(default_factory=dict)
    trained: Mapping[str, str] = field(default_factory=dict)
    smoothers: Mapping[str, str] = field(default_factory=dict)
    broken_in: Mapping[str, Mapping[str, Broken]] = field(default_factory=dict)
    labels: str = "human scores"

    @property
    def rigor(self) -> dict[str, str]:
        """How far each radius is proved."""
        return {d: word for one in self.data.values() for d, word in one.rigor.items()}

    @property
    def order(self) -> list[str]:
        """Defences of the tables, then those beside them."""
        return sorted(defense_order(self.rigor), key=lambda d: d not in self.papers)

    @property
    def radii(self) -> tuple[float, ...]:
        """Radii that all modes have."""
        common = set.intersection(*({*one.radii} for one in self.data.values()))
        return page_radii(tuple(sorted(common))) if common else ()

    def cell(self, mode: str, defense: str, radius: float) -> dict[str, float] | None:
        """The best noise level of a defence at a radius; None where none certifies enough."""
        best = self.data[mode].best
        chosen = best[(best["radius"] == radius) & (best["defense"] == defense)]
        row = next(iter(rows(chosen)), None)
        return None if row is None or known(row["srcc"]) is None else row


# --- the table -----------------------------------------------------------------------------------


def decision_table(decision: Decision, *, id: str, title: str) -> Table:
    """A row for each defence: SRCC and width at equal radius, seconds, what attacks broke."""
    modes, radii = tuple(decision.data), decision.radii
    columns = (
        Column("Defence", kind="text"),
        Column("radius", kind="text"),
        Column("images broken", kind="text"),
        *(
            column
            for radius in radii
            for mode in modes
            for column in (
                Column(f"SRCC {mode}", group=f"ρ = {radius:g}", interval="below"),
                Column(f"width {mode}", WIDTH, group=f"ρ = {radius:g}"),
            )
        ),
        *(
            Column(
                name,
                SECONDS,
                group=f"seconds, N = {decision.draws:,}" if decision.draws else "seconds",
            )
            for name in ("certified", "estimate")
        ),
    )
    own = [d for d in decision.order if d in decision.papers]
    body = [
        _undefended(decision),
        *(_row(decision, d) for d in decision.order),
        *(_reported(row, modes, radii) for row in decision.reported),
    ]
    ends = {0, len(own), len(decision.order)} - {len(body) - 1}
    return Table(
        id=id,
        title=title,
        caption=_caption(decision.labels),
        columns=columns,
        rows=tuple(body),
        notes=_notes(decision),
        rule_after=tuple(sorted(ends)),
    )


def _undefended(decision: Decision) -> tuple[Field, ...]:
    cells: list[Field] = []
    for place, _ in enumerate(decision.radii):
        for data in decision.data.values():
            limits = data.agreement.mean_interval("srcc", UNDEFENDED, 0.0)
            cells += [Field(DITTO) if place else Field(data.undefended, interval=limits), Field()]
    return (Field(defense_title(UNDEFENDED)), Field("–"), Field("–"), *cells, Field(), Field())


def _row(decision: Decision, defense: str) -> tuple[Field, ...]:
    rigor = decision.rigor[defense]
    cells = [
        field
        for radius in decision.radii
        for mode in decision.data
        for field in _pair(decision.cell(mode, defense, radius))
    ]
    found = Field(attacked({mode: of.get(defense) for mode, of in decision.broken_in.items()}))
    return (titled(defense, rigor), Field(rigor), found, *cells, *_seconds(decision, defense))


def _pair(row: Mapping[str, float] | None) -> tuple[Field, Field]:
    if row is None:
        return Field("none fits"), Field()
    limits = None if known(row["low"]) is None else (row["low"], row["high"])
    return Field(row["srcc"], interval=limits, mark="" if row["complete"] else "*"), Field(
        row["own"]
    )


def _seconds(decision: Decision, defense: str) -> tuple[Field, Field]:
    """Means over modes: a person who chooses has both kinds of models or reads Tables C."""
    found = [of_mode[defense] for of_mode in decision.costs.values() if defense in of_mode]
    whole = len(found) == len(decision.data)
    mark = SCALED if any(cost.scaled for cost in found) else ""
    certified, plain = (
        [value for value in values if value is not None]
        for values in ([c.certified for c in found], [c.plain for c in found])
    )
    fields = [
        Field(sum(values) / len(values), mark=mark)
        if whole and len(values) == len(found)
        else Field()
        for values in (certified, plain)
    ]
    return fields[0], fields[1]


def attacked(found: Mapping[str, Broken | None]) -> str:
    """Images with a broken certificate, of those attacked, by mode; a dash where none was.

    >>> from bench.analysis.audits import Share
    >>> whole, broken = (Broken(Share(n, 12, n, 4, images_found=n, images=4)) for n in (0, 1))
    >>> attacked({"NR": None}), attacked({"NR": whole}), attacked({"NR": whole, "FR": broken})
    ('–', '0/4', 'NR 0/4, FR 1/4')
    """
    told = {
        mode: f"{one.share.images_found}/{one.share.images}"
        for mode, one in found.items()
        if one is not None and one.share.claims
    }
    if len(found) == 1:
        return next(iter(told.values()), "–")
    return ", ".join(f"{mode} {share}" for mode, share in told.items()) or "–"


def _reported(row: Reported, modes: Sequence[str], radii: Sequence[float]) -> tuple[Field, ...]:
    cells = [
        field
        for radius in radii
        for mode in modes
        for value in [row.at.get((mode, radius))]
        for field in (
            (Field(value.srcc, interval=value.interval), Field(value.width))
            if value is not None
            else (Field(), Field())
        )
    ]
    return (
        Field(row.name, mark=REPORTED),
        Field(row.rigor or "–"),
        Field("–"),
        *cells,
        Field(row.certified),
        Field(row.plain),
    )


def _caption(labels: str) -> str:
    return (
        "Each defence at the noise level of its highest SRCC, of those that certify 90 % of the "
        f"images at an l2 radius ρ. SRCC: agreement with {labels}, with its 95 % interval over "
        "photographs. Width: median length of the interval over the spread of the defence's own "
        "scores; from 100 % it says nothing."
    )


def _notes(decision: Decision) -> tuple[str, ...]:
    costs = [cost for of_mode in decision.costs.values() for cost in of_mode.values()]
    notes = [*scaled_note(cost.scaled for cost in costs if cost.scaled)]
    if any(word != PROVED for word in decision.rigor.values()):
        notes.append(UNPROVED_NOTE)
    if decision.reported:
        sources = listed(dict.fromkeys(f"{row.name}: {row.source}" for row in decision.reported))
        notes.append(f"{REPORTED} As reported by others, not computed again here: {sources}.")
    sigmas = sorted({sigma for one in decision.broken.values() for sigma in one.sigmas})
    at = f" at σ = {listed(f'{sigma:g}' for sigma in sigmas)}" if sigmas else ""
    notes.append(
        "Where no noise level fits, none certifies 90 % of the images. Images broken: by an attack "
        f"inside the certified ball{at}, of those attacked; a dash where none was."
    )
    notes.append(_menus_note(decision))
    notes += _trained_note(decision)
    absent = dict.fromkeys(name for data in decision.data.values() for name in data.absent)
    if absent:
        names = listed(defense_title(name) for name in absent)
        notes.append(f"In no comparison at equal radius: {names}, not run with every model.")
    return (*notes, *busy_note(decision.busy))


def _menus_note(decision: Decision) -> str:
    """Between which noise levels each defence could choose."""
    menus: dict[tuple[float, ...], list[str]] = {}
    for defense in decision.order:
        keys = (key for data in decision.data.values() for key in data.agreement.scores)
        levels = tuple(sorted({sigma for _, name, sigma in keys if name == defense}))
        menus.setdefault(levels, []).append(defense_title(defense))
    told = [
        f"{listed(names)} {', '.join(f'{sigma:g}' for sigma in levels)}"
        for levels, names in menus.items()
    ]
    unequal = " Smaller ones help where ρ is small." if len(menus) > 1 else ""
    return f"Noise levels to choose from: {'; '.join(told)}.{unequal}"


def _trained_note(decision: Decision) -> Iterator[str]:
    """Who was given something to learn from: a lead over the undefended model may come of that."""
    by_part: dict[str, list[str]] = {}
    for defense in decision.order:
        part = decision.trained.get(defense, UNTRAINED)
        if part != UNTRAINED:
            by_part.setdefault(part, []).append(defense_title(defense))
    if by_part:
        told = "; ".join(f"{listed(names)} ({part})" for part, names in by_part.items())
        yield (
            f"Trained here: {told}. The others take the model as it is, so who learns from "
            f"{decision.labels} may lie above the undefended model."
        )


# --- the picture ---------------------------------------------------------------------------------


def decision_figure(decision: Decision, *, id: str, title: str) -> Figure | None:
    """SRCC against width at equal radius: a mark for each defence, hollow where not proved."""
    points = _points(decision)
    if points.empty:
        return None
    looks = by_rigor(defense_looks(points["defense"]), decision.rigor)
    panes = [(mode, radius) for mode in decision.data for radius in decision.radii]
    low, high = points["percent"].min() / 1.6, max(points["percent"].max() * 1.6, 130.0)
    with drawing.style():
        canvas, axes = drawing.panels(len(panes), height=1.95)
        spots: list[drawing.Spot] = []
        for ax, (mode, radius) in zip(axes, panes, strict=True):
            part = points[(points["mode"] == mode) & (points["radius"] == radius)]
            undefended = decision.data[mode].undefended
            if undefended is not None:
                ax.axhline(undefended, color="#7a7a7a", lw=0.9, ls=":")
            ax.axvspan(100.0, high, color="#eeeeee", lw=0)
            drawing.marks(ax, part, x="percent", y="srcc", by="defense", looks=looks)
            ax.margins(y=0.15)
            spots += drawing.spots(ax, part, x="percent", y="srcc", words=_words)
            ax.set(xlim=(low, high), title=f"{mode}, ρ = {radius:g}", ylabel="")
            ax.set_xlabel("width (% of own spread)")
            drawing.log_axis(ax, x=True)
        axes[0].set_ylabel("SRCC")
        drawing.legend_below(canvas, drawing.without_lines(looks), columns=8)
        return drawing.finish(
            canvas,
            id=id,
            title=title,
            points=spots,
            data=Table.behind(id, _FIGURE, rows(points)),
            caption="Up and to the left is better. Hollow: radius not proved. Dotted: undefended. "
            "Grey: as wide as the spread of all scores. A defence is missing where none fits.",
            alt="SRCC against interval width at two equal radii, one mark for each defence.",
        )


def _points(decision: Decision) -> pd.DataFrame:
    found = list(_found(decision))
    return pd.DataFrame(found, columns=[*_FIGURE, "defense", "percent"])


def _found(decision: Decision) -> Iterator[dict[str, object]]:
    for mode in decision.data:
        for radius in decision.radii:
            for defense in decision.order:
                row = decision.cell(mode, defense, radius)
                if row is not None and known(row["own"]) and row["own"] < float("inf"):
                    yield {
                        **row,
                        "mode": mode,
                        "title": defense_title(defense),
                        "percent": 100 * row["own"],
                    }


def _words(row: dict[str, object]) -> str:
    return (
        f"{row['title']} ({row['rigor']}), {row['mode']}, ρ = {row['radius']:g}, σ = "
        f"{row['sigma']:g}: SRCC {number(known(row['srcc']))}, width "
        f"{number(known(row['own']), WIDTH)} of own spread"
    )
