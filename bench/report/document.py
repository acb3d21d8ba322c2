"""The report as frozen values: sections of paragraphs, tables, figures and verdicts.

Numbers are carried as values; ``Table.printed`` is the one place where they become characters, so
that Markdown, PDF, HTML, CSV and LaTeX cannot disagree.  This module knows the shape of a document;
it must not know records, drawing or any output format.

Texts may hold two marks, ``**strong**`` and backticks for code, and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from bench.report.numbers import PLAIN, Format, number

VerdictWord = Literal[
    "reproduced", "not reproduced", "same direction", "opposite", "undecided", "cannot be said"
]
"""``reproduced`` is about a size; where only a direction is judged, it is the same or opposite."""
DITTO = "″"
"""In place of a number: the same as to the left."""
SUPERSCRIPTS: Mapping[str, str] = dict(
    zip("abcdefghijklmnoprstuvwxyz", "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ", strict=True)
)


@dataclass(frozen=True, slots=True)
class Column:
    """One column: heading, second heading line, and how its numbers are printed."""

    name: str
    form: Format = PLAIN
    kind: Literal["number", "text", "prose"] = "number"
    """``prose`` columns share the width that is left and wrap."""
    group: str = ""
    """Heading above this and its neighbours of the same group."""
    difference: Format | None = None
    """How differences from the published values are printed; None hides them."""
    interval: Literal["beside", "below"] = "beside"
    """Where a cell's interval stands."""

    @property
    def same_as(self) -> str:
        """What a ditto mark in this column refers to: the last column of the same kind."""
        return self.name if self.group.startswith("ρ") else self.group  # noqa: RUF001

    @property
    def label(self) -> str:
        """Group and name in one line, for formats with one heading row."""
        return f"{self.group} {self.name}".strip()


@dataclass(frozen=True, slots=True)
class Field:
    """One place of a table: a value with what belongs to it.

    Attributes:
        value: Number, words, or None where there is none.
        error: Standard error, printed after ``±`` in the same format.
        second: Another value with its error, printed after a slash.
        interval: Printed in brackets after the value, or below it.
        published: The paper's cell as it is printed there, quoted below.
        difference: From the paper's values, printed in brackets after them.
        group: Letter of the group of ties.
        mark: Footnote mark.
    """

    value: float | str | None = None
    error: float | None = None
    second: tuple[float | None, float | None] | None = None
    interval: tuple[float, float] | None = None
    published: str = ""
    difference: tuple[float, ...] = ()
    group: str = ""
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Printed:
    """A cell's characters, in parts."""

    value: str
    error: str = ""
    second: str = ""
    second_error: str = ""
    low: str = ""
    high: str = ""
    group: str = ""
    mark: str = ""
    published: str = ""
    difference: str = ""
    sort: float | None = None
    interval: Literal["beside", "below"] = "beside"

    @property
    def text(self) -> str:
        """First line without group and mark, e.g. ``0.84 ± 0.02 / 0.80 ± 0.03``."""
        parts = [
            f"{value} ± {error}" if error else value
            for value, error in ((self.value, self.error), (self.second, self.second_error))
            if value
        ]
        beside = self._limits if self.interval == "beside" else ""
        return f"{' / '.join(parts)} {beside}".rstrip()

    @property
    def line(self) -> str:
        """First line, e.g. ``0.84 ± 0.02 ᵃ``."""
        group = " " + SUPERSCRIPTS.get(self.group, f"({self.group})") if self.group else ""
        return self.text + group + self.mark

    @property
    def below(self) -> str:
        """Second line: the interval, or what the paper prints and the difference from it."""
        limits = self._limits if self.interval == "below" else ""
        difference = f"({self.difference})" if self.difference else ""
        return " ".join(part for part in (limits, self.published, difference) if part)

    @property
    def _limits(self) -> str:
        return f"[{self.low}, {self.high}]" if self.low else ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under columns, with a caption that says what to conclude."""

    id: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Field, ...], ...]
    notes: tuple[str, ...] = ()
    rule_after: tuple[int, ...] = ()
    """Rows (0-based) that end a block."""

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"table {self.id}: a row has another length than the heading")

    @classmethod
    def behind(
        cls, id: str, columns: Mapping[str, Column], rows: Iterable[Mapping[str, Any]]
    ) -> Table:
        """The numbers behind a figure: a row for each mapping, a column for each named key."""
        body = tuple(tuple(Field(row[key]) for key in columns) for row in rows)
        return cls(id, "", "", tuple(columns.values()), body)

    def printed(self) -> tuple[tuple[Printed, ...], ...]:
        """Every cell as characters: the one formatting step."""
        return tuple(
            tuple(
                replace(_print(cell, column), sort=_order(meant))
                for cell, meant, column in zip(row, self.meant(row), self.columns, strict=True)
            )
            for row in self.rows
        )

    def meant(self, row: tuple[Field, ...]) -> tuple[Field, ...]:
        """A row with every ditto mark replaced by what it stands for."""
        last: dict[str, Field] = {}
        found = []
        for column, cell in zip(self.columns, row, strict=True):
            meant = last[column.same_as] if cell.value == DITTO else cell
            last[column.same_as] = meant
            found.append(meant)
        return tuple(found)


def _order(cell: Field) -> float | None:
    """What a cell is sorted by, a number that JSON has; words come last."""
    if cell.value is None or isinstance(cell.value, str):
        return None
    return min(max(cell.value, -sys.float_info.max), sys.float_info.max)


def grouped_columns(columns: tuple[Column, ...]) -> list[tuple[str, int]]:
    """Headings above columns, and how many columns each spans."""
    groups: list[tuple[str, int]] = []
    for column in columns:
        if groups and column.group and groups[-1][0] == column.group:
            groups[-1] = (column.group, groups[-1][1] + 1)
        else:
            groups.append((column.group, 1))
    return groups


def _print(cell: Field, column: Column) -> Printed:
    if isinstance(cell.value, str):
        return Printed(cell.value, mark=cell.mark, group=cell.group, published=cell.published)
    low, high = (
        ("", "") if cell.interval is None else (number(end, column.form) for end in cell.interval)
    )
    second, second_error = cell.second or (None, None)
    return Printed(
        value=number(cell.value, column.form),
        error=_known(cell.error, column.form),
        second="" if cell.second is None else number(second, column.form),
        second_error=_known(second_error, column.form),
        low=low,
        high=high,
        group=cell.group,
        mark=cell.mark,
        published=cell.published,
        difference=" / ".join(number(value, column.difference) for value in cell.difference)
        if column.difference
        else "",
        interval=column.interval,
    )


def _known(value: float | None, form: Format) -> str:
    return "" if value is None else number(value, form)


@dataclass(frozen=True, slots=True)
class Hover:
    """A point of a figure: place as a share of width and height from the top left, and words."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing as pixels and as vectors, with the numbers behind it."""

    id: str
    title: str
    caption: str
    alt: str
    png: bytes
    svg: str
    data: Table
    width: float
    """Inches."""
    hover: tuple[Hover, ...] = ()


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text."""

    text: str
    kind: Literal["plain", "note", "code"] = "plain"


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What this run says about one claim.

    Attributes:
        claim: The claim in words, with the paper's number.
        word: The answer.
        scope: What was judged: ``size`` (the number) or ``trend`` (its direction).
        evidence: The numbers.
        rule: The rule that turns the numbers into the answer.
    """

    claim: str
    word: VerdictWord
    scope: Literal["size", "trend"]
    evidence: str
    rule: str


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Verdicts, one block each."""

    items: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class Images:
    """Pictures side by side (worked examples), as PNG."""

    id: str
    caption: str
    pictures: tuple[tuple[str, bytes], ...]
    about: str = ""
    """Name of the image that all of them show."""


@dataclass(frozen=True, slots=True)
class Explorer:
    """What a reader of the page can turn over, as plain values ready to be shown.

    Other formats leave it out: its numbers stand in their tables and files.
    """

    id: str
    title: str
    caption: str
    content: Mapping[str, Any]


_Kind = TypeVar("_Kind")
Block = Paragraph | Bullets | Table | Figure | Verdicts | Images | Explorer


@dataclass(frozen=True, slots=True)
class Chapter:
    """A heading with its blocks; ``id`` is the anchor."""

    id: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A whole report."""

    title: str
    subtitle: str
    banner: str
    """Edition, shown on every page."""
    verdict: tuple[str, ...]
    """The box at the top: completeness first, then what can be concluded."""
    complete: bool
    sections: tuple[Chapter, ...]
    facts: Mapping[str, str] = field(default_factory=dict)

    def tables(self) -> tuple[Table, ...]:
        """All tables in order."""
        return self._of(Table)

    def figures(self) -> tuple[Figure, ...]:
        """All figures in order."""
        return self._of(Figure)

    def images(self) -> tuple[Images, ...]:
        """All rows of pictures in order."""
        return self._of(Images)

    def _of(self, kind: type[_Kind]) -> tuple[_Kind, ...]:
        return tuple(b for s in self.sections for b in s.blocks if isinstance(b, kind))
