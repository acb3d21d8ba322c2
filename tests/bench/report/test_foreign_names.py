"""Names from data sets and plugins in a report: words, never markup, in no format."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.report.document import (
    Bullets,
    Chapter,
    Column,
    Document,
    Explorer,
    Field,
    Paragraph,
    Table,
    Verdict,
    Verdicts,
)
from bench.report.formats.html import render_html
from bench.report.formats.markdown import render_markdown

NAMES = [
    "a|b",
    "*a*",
    "**a**",
    "`a`",
    "<script>alert(1)</script>",
    "<!-- a",
    "</td></table>",
    "a\n\n# b",
    "a\r\n| b | c |\n|---|---|",
    "a\u2028b",
    "[a](javascript:alert(1))",
    "![a](http://x/y.png)",
    "[a]: http://x",
    "# a",
    "> a",
    "- a",
    "---",
    "a\\|b",
    "&lt;b&gt;",
    "_a_",
    "~~a~~",
    "```\na",
]


def document(name: str) -> Document:
    """A document that has the name at every place that a name can reach."""
    table = Table(
        id="t",
        title=name,
        caption=name,
        columns=(Column(name, kind="text"), Column("number")),
        rows=((Field(name), Field(1.0)), (Field("other", mark="*"), Field(2.0))),
        notes=(name,),
    )
    blocks = (
        Paragraph(name),
        Paragraph(name, kind="note"),
        Paragraph(name, kind="code"),
        Bullets((name, f"image `{name}`")),
        Explorer("explore", name, name, {"modes": {name: name}}),
        Verdicts((Verdict(name, "reproduced", "trend", name, name),)),
        table,
    )
    return Document(
        title=name,
        subtitle=name,
        banner=name,
        verdict=("first", name),
        complete=True,
        sections=(Chapter("s", name, blocks),),
        facts={name: name},
    )


def outline(text: str) -> list[str]:
    """What a Markdown reader makes of each line outside fences: its kind, its unescaped bars."""
    lines, fence = [], ""
    for line in text.splitlines():
        ticks = re.match("`{3,}", line)
        if ticks and (not fence or line == fence):
            fence = "" if fence else ticks[0]
        if fence:
            continue
        start = re.match(r"#+ |> - |> |- |  - |\| ?|<sub>|$", line)
        bars = len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) if line.startswith("|") else 0
        lines.append(f"{start[0] if start else 'text'}{bars}")
    return lines


def prose(text: str) -> str:
    """Markdown without fences, code, and the tags that a report itself has."""
    text = re.sub(r"^(`{3,})\n.*?\n\1$", "", text, flags=re.M | re.S)
    return re.sub(r"(?<!\\)`[^`\n]*`|</?sub>|<br>", "", text)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_changes_no_structure_and_brings_no_markup(name: str) -> None:
    text = render_markdown(document(name))
    assert outline(text) == outline(render_markdown(document("plain")))
    shown = prose(text)
    assert not re.search(r"<[A-Za-z/!?]", shown)
    assert not re.search(r"(?<!\\)\]\((?!figures/|tables/)", shown)
    assert not re.search(r"^\[[^]]*\]:", shown, re.M)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.text(st.sampled_from("a |*`<>/!?&;#_[]()\\~-\n\r\u2028"), min_size=1, max_size=12))
def test_any_name(name: str) -> None:
    name = f"x{name}x"  # of a name of blanks alone nothing is left
    text = render_markdown(document(name))
    assert outline(text) == outline(render_markdown(document("plain")))
    assert not re.search(r"<[A-Za-z/!?]", prose(text))


@pytest.mark.parametrize("name", NAMES)
def test_the_page_escapes_too(name: str) -> None:
    page, plain = render_html(document(name)), render_html(document("plain"))
    assert page.count("<script") == plain.count("<script")
    assert page.count("</script") == plain.count("</script")
    assert page.count("</table>") == plain.count("</table>") == 2


def test_our_own_marks_stay() -> None:
    page = document("plain")
    text = render_markdown(page).replace("plain", "")
    assert "****" in text  # the banner stays strong around any words
    chapter = Chapter("s", "s", (Paragraph("**so** `a_b|c` 2 * 3 _x_ [0.1, 0.2]"),))
    shown = render_markdown(Document("t", "s", "b", ("v",), True, (chapter,), {}))
    assert "**so** `a_b|c` 2 \\* 3 \\_x\\_ [0.1, 0.2]" in shown
