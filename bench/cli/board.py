"""The verb ``board``: a static site of all submissions that verify.

It must not know how a submission is judged or shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.base.errors import OK, SOME_FAILED

if TYPE_CHECKING:
    from bench.board.entries import Entry


def board(
    folders: Annotated[list[Path], typer.Argument(help="Folders of submissions.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the site.")] = Path("board"),
) -> None:
    """Verify submissions, executing nothing of them, and write the board: HTML, JSON, badges.

    The first folder's rows stand first.  A submission that does not verify is refused by name.
    """
    from bench.board.entries import judge
    from bench.board.site import write_board

    entries, refused = judge(folders)
    page = write_board(entries, refused, out, report=written_report)
    for entry in entries:
        print(f"verified {entry.submission.name}: {entry.verification}")  # noqa: T201
    for one in refused:
        print(f"refused {one.name}: {one.reason}")  # noqa: T201
    print(f"board: {page}")  # noqa: T201
    raise typer.Exit(SOME_FAILED if refused else OK)


def written_report(entry: Entry, out: Path) -> str:
    """Write a submission's report from its records; returns the page's name."""
    from bench.records.folder import RunFolder
    from bench.report.upkeep import report

    report(RunFolder.open(entry.folder), out, say=lambda text: None)
    return "report.html"
