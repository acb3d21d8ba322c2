"""The document as Markdown (GitHub flavour).

This module knows Markdown; it must not compute or format any number.
"""

from __future__ import annotations

import re

from tabulate import tabulate

from bench.report.document import (
    Block,
    Bullets,
    Document,
    Explorer,
    Figure,
    Images,
    Paragraph,
    Printed,
    Table,
    Verdict,
    Verdicts,
)
from bench.report.formats.view import spans

_BREAKS = re.compile(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*")
_MEANT = re.compile(r"[\\`*~]|(?<!\w)_|_(?!\w)|(?<=\])[(\[]")
"""Escapes, code, emphasis and links; single brackets and underscores in words mean nothing."""
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_ENTITY = re.compile(r"&(?=#?\w+;)")
_START = re.compile(r"^(?:#|>|[+=-](?=[\s+=-]|$)|\[(?=[^\]]*\]:))")
"""What would open a heading, a quotation, a list, a rule or a definition of a link."""


def render_markdown(document: Document) -> str:
    """The whole report; figures are linked from ``figures/``, tables from ``tables/``."""
    state = "complete" if document.complete else "**incomplete**"
    parts = [
        f"# {_text(document.title)}",
        _text(document.subtitle),
        f"> **{_text(document.banner)}**",
        "\n".join(
            f"> {'- ' if i else ''}{_text(line)}" + ("" if i else "\n>")
            for i, line in enumerate(document.verdict)
        ),
        f"Run: {state}. "
        + " · ".join(f"{_text(k)}: {_text(v)}" for k, v in document.facts.items()),
    ]
    for section in document.sections:
        parts.append(f"## {_text(section.title)}")
        parts += [_block(block) for block in section.blocks]
    return "\n\n".join(part for part in parts if part) + "\n"


def _block(block: Block) -> str:
    match block:
        case Paragraph():
            if block.kind == "code":
                return _fenced(block.text)
            return f"*{_text(block.text)}*" if block.kind == "note" else _text(block.text)
        case Bullets():
            return "\n".join(f"- {_text(item)}" for item in block.items)
        case Verdicts():
            return "\n\n".join(_verdict(item) for item in block.items)
        case Images():
            names = [
                f"![{_text(label)}](figures/{block.id}-{i + 1}.png)"
                for i, (label, _) in enumerate(block.pictures)
            ]
            return "\n".join([*names, "", _text(block.caption)])
        case Figure():
            return (
                f"### {_text(block.title)}\n\n![{_text(block.alt)}](figures/{block.id}.png)\n\n"
                f"{_text(block.caption)} ([data](figures/{block.id}.csv), "
                f"[PDF](figures/{block.id}.pdf))"
            )
        case Explorer():
            return ""
        case Table():
            return _table(block)


def _verdict(verdict: Verdict) -> str:
    return (
        f"- **{verdict.word}** ({_text(verdict.scope)}): {_text(verdict.claim)}\n"
        f"  - {_text(verdict.evidence)}\n  - Rule: {_text(verdict.rule)}"
    )


def _table(table: Table) -> str:
    cells = tabulate(
        [[_cell(cell) for cell in row] for row in table.printed()],
        [_cell_text(column.label) for column in table.columns],
        tablefmt="pipe",
        colalign=["right" if column.kind == "number" else "left" for column in table.columns],
        disable_numparse=True,
    )
    files = f"([CSV](tables/{table.id}.csv), [LaTeX](tables/{table.id}.tex))"
    parts = [f"### {_text(table.title)}", f"{_text(table.caption)} {files}", cells]
    if table.notes:
        parts.append("\n".join(f"<sub>{_text(note)}</sub><br>" for note in table.notes))
    return "\n\n".join(parts)


def _cell(cell: Printed) -> str:
    below = f"<br><sub>{_cell_text(cell.below)}</sub>" if cell.below else ""
    return _cell_text(cell.line) + below


# --- characters ----------------------------------------------------------------------------------


def _text(text: str) -> str:
    r"""A document's text in one line: its own two marks stay marks, all else is what it says.

    >>> _text("**bold** `a*b` <b> 2 * 3 | [x](y)")
    '**bold** `a*b` &lt;b> 2 \\* 3 | [x]\\(y)'
    """
    runs = {"strong": "**{}**", "plain": "{}"}
    return _START.sub(
        r"\\\g<0>",
        "".join(
            f"`{run}`" if kind == "code" else runs[kind].format(plain(run))
            for kind, run in spans(" ".join(_BREAKS.split(text)))
        ),
    )


def _cell_text(text: str) -> str:
    """A value or heading: no mark is meant in it, and a bar would end the cell."""
    return plain(" ".join(_BREAKS.split(text))).replace("|", "\\|")


def plain(text: str) -> str:
    r"""Characters as themselves, whatever they would mean to a reader of Markdown or HTML.

    >>> plain("<script> & a_b *c*")
    '&lt;script> & a_b \\*c\\*'
    """
    return _TAG.sub("&lt;", _ENTITY.sub("&amp;", _MEANT.sub(r"\\\g<0>", text)))


def _fenced(text: str) -> str:
    """Text as it is, between fences longer than any in it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"
