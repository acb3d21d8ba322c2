# ruff: noqa: RUF001 - Greek letters are meant
"""The part of the page that a reader turns over: any radius, model and noise level, any image.

This module makes printed characters of numbers and puts them in lists; it must not know a page.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.explore import ALL, best_levels, levels, seen
from bench.analysis.frames import of_mode
from bench.analysis.matched import Matched
from bench.analysis.names import defense_order, defense_title, model_title
from bench.analysis.widths import PROVED
from bench.report.document import Explorer
from bench.report.numbers import Format, number
from bench.report.parts.decision import WIDTH, Decision
from bench.report.theme import defense_looks

_SHARE = Format(0, unit=" %", scale=100, rounding="down")
_HUMAN = Format(2)
SHOWN = 80
"""Most images that are points: every radius of each is on the page."""
_ABSENT = "-" * 6


def explorer(decision: Decision, frame: pd.DataFrame, *, pictured: pd.Series) -> Explorer:
    """Everything the page can show, by mode.

    Args:
        decision: The numbers of page 1.
        frame: The evaluation records it was made of.
        pictured: Names of images that there are pictures of: they are points before all others.
    """
    judged = frame[["mode", "image", "mos"]].drop_duplicates(["mode", "image"])
    judged = judged.assign(pictured=judged["image"].isin(pictured))
    modes = {mode: _mode(data, decision, of_mode(judged, mode)) for mode, data in _data(decision)}
    return Explorer(
        id="explore",
        title="Any radius, any model, any image",
        caption="The table of page 1 at every radius; without a choice of σ each defence has the "
        "noise level that serves it best. Below, one point for each image "
        f"(at most {SHOWN}, spread over the human scores): choose one to see what every defence "
        "says of it at that radius.",
        content={"modes": modes, "start": decision.radii[0]},
    )


def _data(decision: Decision) -> list[tuple[str, Matched]]:
    return list(decision.data.items())


def _mode(data: Matched, decision: Decision, frame: pd.DataFrame) -> dict[str, Any]:
    found = levels(data)
    names = defense_order(data.rigor)
    looks = defense_looks(names)
    return {
        "radii": list(data.radii),
        "models": {ALL: "all models", **{m: model_title(m) for m in data.agreement.models}},
        "defenses": {
            name: {
                "title": defense_title(name),
                "color": looks[name].color,
                "proved": data.rigor[name] == PROVED,
                "rigor": data.rigor[name],
            }
            for name in names
        },
        "levels": [
            {
                "model": level.model,
                "defense": level.defense,
                "sigma": level.sigma,
                "srcc": [_order(level.srcc), _with_limits(level.srcc, level.interval)],
                "width": [[_order(v), number(v, WIDTH)] for v in level.own],
                "certified": [[_order(v), number(v, _SHARE)] for v in level.certified],
            }
            for level in found
        ],
        "best": [[*name, list(sigmas)] for name, sigmas in best_levels(found).items()],
        "images": _images(data, frame),
    }


def _order(value: float | None) -> float | None:
    """What is sorted by, in few digits; JSON has neither infinity nor NaN."""
    return None if value is None or value != value or abs(value) > 1e9 else float(f"{value:.6g}")


def _with_limits(value: float | None, limits: tuple[float, float] | None) -> str:
    if limits is None:
        return number(value)
    return f"{number(value)} [{number(limits[0])}, {number(limits[1])}]"


def _images(data: Matched, frame: pd.DataFrame) -> Mapping[str, Any]:
    """Names and human scores of images, and what every model and defence says at each radius.

    What is said of all images at one radius is one string: of each image six digits to the base 36,
    two for the score and two for either bound, in thousandths of the range.
    """
    known = _spread(frame).sort_values("image")
    names = [str(name) for name in known["image"]]
    place = {name: i for i, name in enumerate(names)}
    steps = {radius: i for i, radius in enumerate(data.radii)}
    said = {
        model: {d: [[_ABSENT] * len(names) for _ in steps] for d in data.rigor}
        for model in data.agreement.models
    }
    for one in seen(data):
        if one.image in place:
            digits = "".join(_digits(value) for value in (one.score, one.lower, one.upper))
            said[one.model][one.defense][steps[one.radius]][place[one.image]] = digits
    strings = {
        model: {defense: ["".join(cells) for cells in lines] for defense, lines in of_model.items()}
        for model, of_model in said.items()
    }
    human = [[_order(float(value)), number(float(value), _HUMAN)] for value in known["mos"]]
    return {"names": names, "human": human, "said": strings}


def _spread(images: pd.DataFrame) -> pd.DataFrame:
    """Those with pictures, and so many others as are spread evenly over their human scores."""
    if len(images) <= SHOWN:
        return images
    first = images[images["pictured"]].head(SHOWN)
    rest = images.drop(first.index).sort_values(["mos", "image"])
    places = np.linspace(0, len(rest) - 1, SHOWN - len(first)).round().astype(int)
    return pd.concat([first, rest.iloc[places]])


def _digits(thousandths: int) -> str:
    """Two digits to the base 36.

    >>> _digits(0), _digits(37), _digits(1000)
    ('00', '11', 'RS')
    """
    return np.base_repr(min(max(thousandths, 0), 1000), 36).zfill(2)
