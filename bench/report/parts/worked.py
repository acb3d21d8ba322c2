"""Three images of the run, seen through every defence: the best, the median and the worst.

Chosen by how far the first-named defence of the attack ranks them from where people do, so nobody
picks.  This module knows picture and attack records and makes PNGs of arrays; it must not know any
output format.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from PIL import Image

from bench.analysis.attacks import of_kind
from bench.analysis.frames import known, rows
from bench.analysis.names import UNDEFENDED, defense_order, defense_title, model_title
from bench.analysis.source import FrameRun
from bench.analysis.statistics import Array
from bench.report.document import Block, Chapter, Column, Field, Images, Paragraph, Table
from bench.report.numbers import Format
from bench.report.parts.attacks import norm_title
from bench.report.parts.guarantee import RADIUS_DOWN

AMPLIFIED = 5.0
_SCORE = Format(3)
_LOWER = Format(3, rounding="down")
_UPPER = Format(3, rounding="up")


def worked_section(run: FrameRun) -> Chapter | None:
    """The section, or None where the run kept no pictures."""
    pictures = run.table("pictures")
    pictures = pictures[pictures["status"] == "ok"]
    if pictures.empty:
        return None
    model, sigma = str(pictures["model"].iloc[0]), float(pictures["sigma"].iloc[0])
    frame = run.table("evaluate")
    frame = frame[(frame["model"] == model) & (frame["sigma"] == sigma)]
    blocks: list[Block] = [
        Paragraph(
            f"{model_title(model)} at noise level {sigma:g}. Of the images kept as pictures, the "
            "one that the attacked defence ranks closest to where people rank it, the median "
            "one, and the one it ranks furthest away."
        )
    ]
    attacks = run.table("attack")
    for number, (word, image) in enumerate(_chosen(frame, pictures), start=1):
        seen = frame[frame["image"] == image]
        blocks += [
            _images(f"W{number}", word, image, pictures, attacks),
            _table(f"W{number}", word, seen),
        ]
    return Chapter("examples", "Worked examples", tuple(blocks)) if len(blocks) > 1 else None


def _chosen(frame: pd.DataFrame, pictures: pd.DataFrame) -> list[tuple[str, str]]:
    """Best, median and worst of the pictured images by rank error, without repeats."""
    attacked = [d for d in pictures["defense"].unique() if d != UNDEFENDED]
    scored = frame[frame["defense"].isin(attacked) & frame["score"].notna()]
    scored = scored[scored["defense"] == min(scored["defense"])] if len(scored) else scored
    sign = np.where(scored["higher_is_better"].astype(bool), 1.0, -1.0)
    error = (
        (scored["score"].astype(float) * sign).rank() - scored["mos"].astype(float).rank()
    ).abs()
    ranked = scored.assign(error=error)[scored["image"].isin(pictures["image"])]
    names = [str(name) for name in ranked.sort_values(["error", "image"])["image"]]
    if not names:
        return []
    picks = {"Best": 0, "Median": (len(names) - 1) // 2, "Worst": len(names) - 1}
    taken: dict[str, str] = {}
    for word, place in picks.items():
        taken.setdefault(names[place], word)
    return [(word, name) for name, word in taken.items()]


def _images(
    id: str, word: str, image: str, pictures: pd.DataFrame, attacks: pd.DataFrame
) -> Images:
    """The image, and for every attacked pipeline the attacked image with its difference."""
    kept = {str(row["defense"]): row for row in rows(pictures[pictures["image"] == image])}
    first = next(iter(kept.values()))
    original = _pixels(first["original_png"])
    shown: list[tuple[str, Array]] = [("original", original)]
    moves = []
    for defense in sorted(kept, key=lambda name: name != UNDEFENDED):
        row = kept[defense]
        attacked = _pixels(row["attacked_png"])
        title = "undefended" if defense == UNDEFENDED else defense_title(defense)
        shown += [
            (f"attacked, {title}", attacked),
            (f"difference x{AMPLIFIED:g}", amplified(attacked, original, factor=AMPLIFIED)),
        ]
        moves += [f"{title} {move}" for move in _moved(attacks, row)]
    caption = (
        f"**{word}**: {image}. I-FGSM on {model_title(str(first['model']))}, "
        f"{norm_title(first['norm'])} {first['epsilon']:g}, scores pushed up. Score before and "
        f"after: {'; '.join(moves) or 'not recorded'}."
    )
    return worked_example(id=id, caption=caption, pictures=shown, about=image)


def _moved(attacks: pd.DataFrame, row: dict[str, Any]) -> list[str]:
    """Score before and after the pictured attack."""
    if attacks.empty:
        return []
    attacks = of_kind(attacks, "white-box")
    same = attacks[
        (attacks["image"] == row["image"])
        & (attacks["defense"] == row["defense"])
        & (attacks["norm"] == row["norm"])
        & (attacks["epsilon"] == row["epsilon"])
        & (attacks["direction"] == "up")
        & (attacks["status"] == "ok")
    ]
    return [f"{a['score_before']:.3f} to {a['score_after']:.3f}" for a in rows(same)]


def _pixels(png: str) -> Array:
    """A base64 PNG as ``(H, W, 3)`` in [0, 1]."""
    with Image.open(io.BytesIO(base64.b64decode(png)), formats=["PNG"]) as opened:
        return np.asarray(opened.convert("RGB"), dtype=np.float64) / 255.0


def _table(id: str, word: str, seen: pd.DataFrame) -> Table:
    """What every defence says of one image."""
    columns = (
        Column("Defence", kind="text"),
        Column("score", _SCORE),
        Column("lower", _LOWER),
        Column("upper", _UPPER),
        Column("radius", RADIUS_DOWN),
        Column("range", kind="text"),
        Column("rigor", kind="text"),
        Column("status", kind="text"),
    )
    by_name = {str(row["defense"]): row for row in rows(seen)}
    body = [
        (
            Field(defense_title(name)),
            Field(known(row["score"])),
            Field(known(row["lower"])),
            Field(known(row["upper"])),
            Field(known(row["radius"])),
            Field(f"{row['range_low']:g} to {row['range_high']:g}"),
            Field(str(row["rigor"])),
            Field(str(row["status"])),
        )
        for name in defense_order(pd.Series(list(by_name)))
        for row in [by_name[name]]
    ]
    mos = f"{float(seen['mos'].iloc[0]):.2f}" if len(seen) else "unknown"
    return Table(
        id=f"{id}-scores",
        title=f"{word} example",
        caption=f"Human score {mos}. Scores of different defences are on different scales; the "
        "range column names them.",
        columns=columns,
        rows=tuple(body),
    )


def amplified(attacked: ArrayLike, original: ArrayLike, *, factor: float = 10.0) -> Array:
    """The difference of two images around mid-grey, amplified and cut to [0, 1].

    >>> float(amplified([[[0.51] * 3]], [[[0.5] * 3]], factor=10.0)[0, 0, 0].round(3))
    0.6
    """
    difference = np.asarray(attacked, dtype=np.float64) - np.asarray(original, dtype=np.float64)
    return np.clip(0.5 + factor * difference, 0.0, 1.0)


def worked_example(
    *, id: str, caption: str, pictures: Sequence[tuple[str, ArrayLike]], about: str = ""
) -> Images:
    """Pictures ``(H, W, 3)`` in [0, 1] with a label each, as one block of the report."""
    shown = tuple((label, _png(pixels)) for label, pixels in pictures)
    return Images(id, caption, shown, about)


def _png(pixels: ArrayLike) -> bytes:
    array = np.asarray(pixels, dtype=np.float64)
    if array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"a picture has shape (H, W, 3), found {array.shape}")
    levels = np.rint(255 * np.clip(array, 0.0, 1.0)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
