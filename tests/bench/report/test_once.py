"""A note stands below the first table that has it; marks are explained below every one."""

from __future__ import annotations

from bench.report.document import Chapter, Column, Field, Paragraph, Table
from bench.report.parts.once import once


def table(name: str, *notes: str) -> Table:
    return Table(name, f"Table {name}. Something", "", (Column("x"),), ((Field(1.0),),), notes)


def test_later_tables_refer_to_the_first_that_has_a_note() -> None:
    text = Paragraph("Widths up.")
    chapters = (
        Chapter("a", "A", (table("A", "† Not proved.", "Widths up."), table("B", "Other."), text)),
        Chapter("b", "B", (table("C", "† Not proved.", "Other.", "Widths up.", "Own."),)),
        Chapter("c", "C", (table("D", "Own."), table("E"))),
    )
    first, second, third = once(chapters)
    assert first == chapters[0]
    (one,) = second.blocks
    assert isinstance(one, Table)
    assert one.notes == ("† Not proved.", "Own.", "Further notes: below Table B and Table A.")
    told = [block.notes for block in third.blocks if isinstance(block, Table)]
    assert told == [("Further notes: below Table C.",), ()]
