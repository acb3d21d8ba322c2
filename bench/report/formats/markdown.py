"""The document as Markdown (GitHub flavour).

This module knows Markdown; it must not compute or format any number.
"""

from __future__ import annotations

from tabulate import tabulate

from bench.report.document import (
    Block,
    Bullets,
    Card,
    Document,
    Figure,
    Images,
    Paragraph,
    Printed,
    Table,
    Verdict,
    Verdicts,
)


def render_markdown(document: Document) -> str:
    """The whole report; figures are linked from ``figures/``, tables from ``tables/``."""
    state = "complete" if document.complete else "**incomplete**"
    parts = [
        f"# {document.title}",
        document.subtitle,
        f"> **{document.banner}**",
        "\n".join(
            f"> {'- ' if i else ''}{line}" + ("" if i else "\n>")
            for i, line in enumerate(document.verdict)
        ),
        f"Run: {state}. " + " · ".join(f"{k}: {v}" for k, v in document.facts.items()),
    ]
    for section in document.sections:
        parts.append(f"## {section.title}")
        parts += [_block(block) for block in section.blocks]
    return "\n\n".join(part for part in parts if part) + "\n"


def _block(block: Block) -> str:
    match block:
        case Paragraph():
            return {"plain": "{}", "note": "*{}*", "code": "```\n{}\n```"}[block.kind].format(
                block.text
            )
        case Bullets():
            return "\n".join(f"- {item}" for item in block.items)
        case Card():
            lines = [f"- **{name}:** {text}" for name, text in block.fields]
            return "\n".join([f"#### {block.title}", "", *lines])
        case Verdicts():
            return "\n\n".join(_verdict(item) for item in block.items)
        case Images():
            names = [
                f"![{label}](figures/{block.id}-{i + 1}.png)"
                for i, (label, _) in enumerate(block.pictures)
            ]
            return "\n".join([*names, "", block.caption])
        case Figure():
            return (
                f"### {block.title}\n\n![{block.alt}](figures/{block.id}.png)\n\n{block.caption}"
                f" ([data](figures/{block.id}.csv), [PDF](figures/{block.id}.pdf))"
            )
        case Table():
            return _table(block)


def _verdict(verdict: Verdict) -> str:
    return (
        f"- **{verdict.word}** ({verdict.scope}): {verdict.claim}\n"
        f"  - {verdict.evidence}\n  - Rule: {verdict.rule}"
    )


def _table(table: Table) -> str:
    cells = tabulate(
        [[_cell(cell) for cell in row] for row in table.printed()],
        [_safe(column.label) for column in table.columns],
        tablefmt="pipe",
        colalign=["right" if column.kind == "number" else "left" for column in table.columns],
        disable_numparse=True,
    )
    files = f"([CSV](tables/{table.id}.csv), [LaTeX](tables/{table.id}.tex))"
    parts = [f"### {table.title}", f"{table.caption} {files}", cells]
    if table.notes:
        parts.append("\n".join(f"<sub>{note}</sub><br>" for note in table.notes))
    return "\n\n".join(parts)


def _cell(cell: Printed) -> str:
    below = f"<br><sub>{cell.below}</sub>" if cell.below else ""
    return _safe(cell.line) + below


def _safe(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")
