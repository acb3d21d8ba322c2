"""The board as files: a page that needs nothing else, the same as JSON, a badge for each entry.

It knows entries and HTML; it must not know how anything was verified.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jinja2

from bench.base.files import write_text
from bench.board.entries import Entry, Refused, as_json
from bench.board.rows import ALL, RADII

DEFAULT_RADIUS = 0.1
_GREEN, _AMBER = "#00704f", "#8a5a00"


def write_board(
    entries: Sequence[Entry],
    refused: Sequence[Refused],
    out: Path,
    *,
    report: Callable[[Entry, Path], str],
) -> Path:
    """Write the site; returns its page.

    Args:
        entries: What is shown.
        refused: What is not, and why.
        out: Folder of the site.
        report: Writes an entry's report into a folder; returns the page's name there.
    """
    plain = as_json(entries, refused)
    for entry, told in zip(entries, plain["submissions"], strict=True):
        place = Path("submissions") / entry.submission.slug
        told["report"] = (place / report(entry, out / place)).as_posix()
        told["verification"] = (place / "verification.txt").as_posix()
        told["badge"] = f"badges/{entry.submission.slug}.svg"
        who = f"{entry.submission.name} ({entry.submission.url})"
        write_text(out / told["verification"], f"{who}\n\n{entry.verification}\n")
        write_text(out / told["badge"], badge(entry))
    text = json.dumps(plain, indent=1, sort_keys=True, allow_nan=False)
    write_text(out / "board.json", text + "\n")
    page = out / "index.html"
    write_text(page, html(plain))
    return page


def html(plain: dict[str, Any]) -> str:
    """The page: rows of the first choice in it, all others in its data."""
    rows = [
        {**row, "submission": index}
        for index, told in enumerate(plain["submissions"])
        for row in told["rows"]
    ]
    first = _choices(rows)
    shown = [row for row in rows if all(row[k] == v[0] for k, v in first.items() if v)]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bench.board"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("board.html.j2").render(
        submissions=plain["submissions"],
        refused=plain["refused"],
        choices=first,
        submissions_short=[
            {k: one[k] for k in ("name", "url", "report", "verification")}
            for one in plain["submissions"]
        ],
        shown=[as_text(row, plain["submissions"]) for row in shown],
        data=[as_text(row, plain["submissions"]) for row in rows],
        words={"model": "all models, mean", "level": "the best at the radius"},
        ALL=ALL,
    )


def _choices(rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """Values of every filter; what is shown first stands first."""
    found = {
        name: list(dict.fromkeys(row[name] for row in rows))
        for name in ("edition", "mode", "model", "level")
    }
    found["level"].sort(key=lambda level: -1.0 if level == ALL else float(level))
    return {**found, "radius": sorted(RADII, key=lambda r: (r != DEFAULT_RADIUS, r))}


def as_text(row: dict[str, Any], submissions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A row as it is printed: what is certified is rounded to the safe side."""
    told = submissions[row["submission"]]
    interval = "" if row["low"] is None else f"[{row['low']:.2f}, {row['high']:.2f}]"
    return {
        **{name: row[name] for name in ("edition", "mode", "model", "level", "radius")},
        "submission": row["submission"],
        "defense": row["title"],
        "stated": row["defense"] in told["not_recomputed"],
        "sigma": f"{row['sigma']:g}",
        "srcc": "none fits" if row["srcc"] is None else f"{row['srcc']:.3f}",
        "interval": interval,
        # Where too few images are certified a width is that of the score range.
        "width": "–" if row["srcc"] is None else _share(row["width"], up=True),  # noqa: RUF001
        "certified": _share(row["certified"], up=False),
        "images": f"of {row['images']}",
        "rigor": row["rigor"],
        "seconds": "–" if row["seconds"] is None else f"{row['seconds']:.3g}",  # noqa: RUF001
        "broken": f"{row['broken']}/{row['attacked']}" if row["attacked"] else "–",  # noqa: RUF001
    }


def _share(value: float | None, *, up: bool) -> str:
    """A share in per cent, rounded to the safe side.

    >>> _share(0.1231, up=True), _share(0.999, up=False), _share(None, up=True)
    ('12.4 %', '99.9 %', 'none')
    """
    if value is None:
        return "none"
    rounded = math.ceil(1000 * value - 1e-9) if up else math.floor(1000 * value + 1e-9)
    return f"{rounded / 10:.1f} %"


def badge(entry: Entry) -> str:
    """A drawing of two words; no service is asked for it."""
    words = f"{entry.verification.certificates:,} certificates verified"
    colour = _AMBER if entry.stated else _GREEN
    if entry.stated:
        words = "records verified, bounds as stated"
    left, right = 128, 7 * len(words) + 12
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" '
        f'aria-label="certified-iqa-bench: {words}"><title>certified-iqa-bench: {words}</title>'
        f'<rect width="{left}" height="20" fill="#333"/>'
        f'<rect x="{left}" width="{right}" height="20" fill="{colour}"/>'
        '<g fill="#fff" font-family="Verdana,sans-serif" font-size="11" text-anchor="middle">'
        f'<text x="{left / 2:g}" y="14">certified-iqa-bench</text>'
        f'<text x="{left + right / 2:g}" y="14">{words}</text></g></svg>\n'
    )
